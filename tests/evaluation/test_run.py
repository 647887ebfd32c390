"""`streamwatch evaluate`: labelled clips through the stages, the figures, the files and the command."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamwatch.cli.main import main
from streamwatch.evaluation.datasets.catalogue import list_clips
from streamwatch.evaluation.datasets.clip import ClipSelection, LabelledClip
from streamwatch.evaluation.plots import draw_robustness
from streamwatch.evaluation.report import EvaluationReport, EvaluationScope, build_report, scores_by_level, write_videos
from streamwatch.evaluation.robustness import Degradation
from streamwatch.evaluation.run import with_crop_scale
from streamwatch.evaluation.scoring import ClipOutcome, Evaluator
from streamwatch.faces.cutouts import MARGIN, face_of_cutout
from streamwatch.records import Face, Label
from streamwatch.sources.pictures import read_image
from tests.support.media import encode
from tests.support.square_faces import RedDetector, SquareFinder, plan

BOX = 40


def square(red: int, left: int = 20) -> np.ndarray:
    image = np.zeros((96, 128, 3), np.uint8)
    image[30 : 30 + BOX, left : left + BOX] = (red, 90, 90)
    return image


def video(path: Path, red: int, seconds: float = 4.0, face: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(seconds * 10)
    images = (square(red, 20 + i % 5) if face else np.zeros((96, 128, 3), np.uint8) for i in range(count))
    return encode(path, fps=10, frames=count, images=images, width=128, height=96)


def picture(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def run(folder: Path, *degradations: Degradation, kind: Any = "auto", frames: int = 8) -> list[list[ClipOutcome]]:
    _, clips = list_clips(folder, kind, ClipSelection())
    return evaluator(frames).run(clips, degradations)


def evaluator(frames: int = 8, **sections: Any) -> Evaluator:
    return Evaluator(plan(**sections), RedDetector(), frames=frames, face_detector=SquareFinder())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for index, red in enumerate((80, 100, 120)):
        video(folder / "real" / f"{index}.mp4", red)
    for index, red in enumerate((230, 240)):
        video(folder / "fake" / "paint" / f"{index}.mp4", red)
    video(folder / "fake" / "other" / "2.mp4", 220)
    video(folder / "real" / "empty.mp4", 0, face=False)
    (folder / "real" / "broken.mp4").write_text("no video", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def outcomes(clips: Path) -> list[ClipOutcome]:
    return run(clips)[0]


def by_name(outcomes: list[ClipOutcome]) -> dict[str, ClipOutcome]:
    return {outcome.clip.name: outcome for outcome in outcomes}


def test_videos_go_through_tracks_and_fusion(outcomes: list[ClipOutcome]) -> None:
    found = by_name(outcomes)
    real, fake = found["real/0.mp4"], found["fake/paint/0.mp4"]
    assert (real.label, fake.label) == (Label.REAL, Label.FAKE)
    assert len(real.faces) == len(fake.faces) == 8
    assert len(real.tracks) == 1
    assert real.score == pytest.approx(80 / 255, abs=0.05)
    assert fake.score == pytest.approx(230 / 255, abs=0.05)


def test_what_gives_no_score_is_an_outcome(outcomes: list[ClipOutcome]) -> None:
    found = by_name(outcomes)
    assert (found["real/empty.mp4"].label, found["real/empty.mp4"].score) == (Label.NO_FACE, None)
    broken = found["real/broken.mp4"]
    assert (broken.label, broken.score) == (Label.ERROR, None)
    assert broken.failure is not None
    assert broken.failure.kind == "SourceUnreadable"
    assert "broken.mp4" in broken.failure.message


def test_samples_of_a_long_video_are_one_track(tmp_path: Path) -> None:
    video(tmp_path / "real" / "long.mp4", 90, seconds=40)
    (outcome,) = run(tmp_path, frames=6)[0]
    assert len(outcome.faces) == 6
    assert len(outcome.tracks) == 1
    assert outcome.label is Label.REAL


def report_of(results: list[list[ClipOutcome]], *degradations: Degradation) -> EvaluationReport:
    scope = EvaluationScope("clips", "folder", "", None, 8)
    return build_report(scope, plan(), results, degradations, evaluator().costs, "cpu")


def test_report_counts_measures_and_lists(outcomes: list[ClipOutcome], tmp_path: Path) -> None:
    report = report_of([outcomes])
    assert report.outcomes == {"real": 3, "fake": 3, "no_face": 1, "error": 1}
    assert {failed.label for failed in report.failures} == {"no_face", "error"}
    levels = {(level.level, level.method): level for level in report.levels}
    assert set(levels) == {(level, m) for level in ("frame", "track", "video") for m in ("", "paint", "other")}
    whole = levels["video", ""]
    assert whole.separation is not None
    assert whole.separation.auc == 1
    assert whole.separation.balanced_accuracy == 1
    assert whole.separation.auc_interval == (1.0, 1.0)
    assert levels["frame", ""].real is not None
    assert levels["frame", ""].real.called_fake.of == 24
    json.dumps(report.to_json(), allow_nan=False)
    write_videos(outcomes, tmp_path / "videos.csv")
    with (tmp_path / "videos.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert rows["real/empty.mp4"]["score"] == ""
    assert rows["real/broken.mp4"]["error"].startswith("SourceUnreadable: ")
    assert rows["fake/paint/0.mp4"]["verdict"] == "fake"
    assert rows["fake/paint/0.mp4"]["faces"] == "8"


def test_one_class_gives_false_alarms_and_quantiles(clips: Path) -> None:
    report = report_of(run(clips / "real", kind="real"))
    assert all(level.separation is None and level.fake is None for level in report.levels)
    level = next(level for level in report.levels if level.level == "video")
    assert level.real is not None
    assert (level.real.called_fake.count, level.real.called_fake.of) == (0, 3)
    assert level.real.called_real.count == 3
    assert 0.5 < level.real.called_fake.high < 0.6


def test_a_degradation_is_applied_to_the_frames_before_the_faces_are_found(clips: Path) -> None:
    red = Degradation("paint", "", 1, lambda image: np.where(image > 60, 250, image).astype(np.uint8))
    dark = Degradation("dark", "", 1, np.zeros_like)
    results = run(clips, red, dark)
    painted, blind = by_name(results[1]), by_name(results[2])
    assert painted["real/0.mp4"].label is Label.FAKE
    assert blind["fake/paint/0.mp4"].label is Label.NO_FACE
    assert painted["real/broken.mp4"].label is Label.ERROR
    report = report_of(results, red, dark)
    none, first, second = report.robustness
    assert none.auc == {"frame": 1.0, "track": 1.0, "video": 1.0}
    assert first.auc["video"] < 1
    (video,) = [level for level in first.levels if level.level == "video"]
    assert video.real is not None
    assert video.real.called_fake.count == video.real.called_fake.of == 3
    assert (second.auc, second.faces, second.without_score) == ({}, 0, 8)


def test_robustness_is_drawn(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    same = [Degradation("JPEG", f"quality {q}", q, lambda image: image) for q in (90, 50)]
    report = report_of(run(clips, *same), *same)
    draw_robustness(report.robustness, "video", tmp_path / "robustness.png")
    assert read_image(tmp_path / "robustness.png").shape[0] > 100


def test_another_crop_scale_changes_what_the_detector_sees(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", square(240)[10:90, 0:80])
    _, clips = list_clips(tmp_path, "fake", ClipSelection())
    tight, wide = (
        Evaluator(with_crop_scale(plan(), scale), RedDetector(), face_detector=SquareFinder()).run(clips)[0][0].faces[0]
        for scale in (1.0, 2.0)
    )
    assert tight > 0.9
    assert wide == pytest.approx(tight / 4, rel=0.2)


def test_single_pictures_have_a_face_level_only_and_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(70, 110, (96, 96, 3)).astype(np.uint8)
    forged = scene.copy()
    forged[24:72, 24:72, 0] = 250
    picture(tmp_path / "test/real/a.png", scene)
    picture(tmp_path / "test/fake/a.png", forged)
    picture(tmp_path / "test/real/b.png", np.zeros((96, 96, 3), np.uint8))
    lines = ["split,label,file,source_video", "test,real,a.png,a", "test,fake,a.png,a", "test,real,b.png,b"]
    (tmp_path / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    (outcomes,) = run(tmp_path)
    assert list(scores_by_level(outcomes)) == ["frame"]
    found = by_name(outcomes)
    assert found["test/real/b.png"].label is Label.NO_FACE
    (mask,) = found["test/fake/a.png"].masks
    assert mask.iou > 0.5
    assert mask.pixel_auc is not None
    assert mask.pixel_auc > 0.9
    report = report_of([outcomes])
    assert report.masks is not None
    assert (report.masks.faces, report.masks.threshold) == (1, 0.4)


def test_sequences_of_pictures_are_sampled_and_fused(tmp_path: Path) -> None:
    for index in range(12):
        picture(tmp_path / f"real_test/1/real/0/{index}.png", square(90)[20:80, 10:70])
        picture(tmp_path / f"fake_test/1/fake/0/{index}.png", square(240)[20:80, 10:70])
    (outcomes,) = run(tmp_path, frames=6)
    found = by_name(outcomes)
    assert (found["fake_test/1/fake/0"].label, found["real_test/1/real/0"].label) == (Label.FAKE, Label.REAL)
    assert [len(outcome.faces) for outcome in outcomes] == [6, 6]
    assert list(scores_by_level(outcomes)) == ["frame", "track", "video"]


def test_mask_videos_are_read_at_the_sampled_frames(tmp_path: Path) -> None:
    path = video(tmp_path / "fake.mp4", 240)
    half = np.zeros((96, 128, 3), np.uint8)
    half[30 : 30 + BOX // 2] = 255
    mask = encode(tmp_path / "mask.mp4", fps=10, frames=40, images=(half for _ in range(40)), width=128, height=96)
    (results,) = evaluator().run([LabelledClip((path,), "fake.mp4", True, "", "fake", mask=mask)])
    assert len(results[0].masks) == 8
    assert 0.4 < np.mean([agreement.iou for agreement in results[0].masks]) < 0.6


def test_face_of_a_cutout_lies_in_the_pictures_own_pixels() -> None:
    class Everything:
        def detect(self, images: Any) -> list[list[Face]]:
            height, width = images[0].shape[:2]
            assert (height, width) == (96 + 2 * round(MARGIN * 128), 128 + 2 * round(MARGIN * 128))
            points = ((40.0, 40.0), (60.0, 40.0), (50.0, 50.0), (42.0, 60.0), (58.0, 60.0))
            small = Face((0.0, 0.0, 10.0, 10.0), points, 0.9)
            return [[small, Face((32.0, 32.0, 132.0, 128.0), points, 0.9)]]

    face = face_of_cutout(Everything(), np.zeros((96, 128, 3), np.uint8))
    assert face is not None
    assert face.box == (0.0, 0.0, 100.0, 96.0)
    assert face.landmarks[0] == (8.0, 8.0)


@pytest.mark.slow
def test_the_command_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    from tests.support.face_clips import face_clip
    from tests.support.small_detectors import untrained_detector

    for label in ("real", "fake"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for index in range(2):
            face_clip(tmp_path / "clips" / label / f"{index}.mp4", start=40 * index + (label == "fake"))
    weights = untrained_detector(tmp_path)
    arguments = [str(tmp_path / "clips"), "--model", str(weights), "--device", "cpu", "--frames", "4", "--limit", "4"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments, "--out", str(tmp_path / "out"), "--json"])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["clips"] == 4
    assert document["speed"]["faces"] == 16
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == document
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json",
        "videos.csv",
        "roc.png",
        "reliability.png",
        "coverage.png",
    }
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "dataset", *arguments])
    assert ended.value.code == 0
    assert "balanced accuracy" in capsys.readouterr().out


def test_the_command_names_the_missing_extra_before_it_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "broken.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(tmp_path), "--kind", "real", "--json"])
    assert ended.value.code != 0
    shown = capsys.readouterr()
    assert "pip install '.[evaluate]'" in shown.err
    assert shown.out == ""


def test_the_command_says_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([str(tmp_path / "nothing")], "no such folder"),
        ([str(tmp_path)], "--kind"),
        (["--split", "val", str(tmp_path), "--kind", "celebdf"], "List_of_testing_videos.txt"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", *arguments])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_help_of_the_group_names_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--help"])
    assert ended.value.code == 0
    assert "DATASET | COMMAND" in capsys.readouterr().out
