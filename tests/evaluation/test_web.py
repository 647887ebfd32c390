"""Sets of the kind `web`: their index, the faces in their pictures, and what keeps them out of the classes."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from streamwatch.cli.main import main
from streamwatch.detectors import Calibration, Detector, load_detector
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.errors import ConfigError, SourceNotFound, StreamwatchError
from streamwatch.evaluation.clips import ScoredFace, clips_of, measure
from streamwatch.evaluation.datasets.catalogue import detect, list_clips
from streamwatch.evaluation.datasets.clip import ClipSelection
from streamwatch.evaluation.datasets.plain import index_rows
from streamwatch.evaluation.datasets.web import few_per_clip, originals, read_pictures, whole_scenes
from streamwatch.evaluation.web import threshold_logit
from streamwatch.evaluation.web_faces import FoundFace, find_faces, score_web
from streamwatch.evaluation.web_plot import draw
from streamwatch.faces.crops import CropGeometry
from streamwatch.records import Face, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.prepare import list_pictures
from streamwatch.training.recipe_files import RECIPES
from tests.support.square_faces import RedDetector, SquareFinder, plan
from tests.support.statistics_models import tiny_card, tiny_model

COLUMNS = ("split", "label", "file", "source_video", "clip", "scene", "frame", "aligned", "method", "origin")
SIDE = 96
FACE = 48


def face_picture(red: int, *, face: bool = True) -> np.ndarray:
    """A dark picture, always the same, with a square in it."""
    image = np.random.default_rng(0).integers(0, 20, (SIDE, SIDE, 3)).astype(np.uint8)
    if face:
        image[24 : 24 + FACE, 24 : 24 + FACE] = (red, 90, 90)
    return image


def add(folder: Path, clip: str, label: str, scene: str, reds: list[int], /, **changes: Any) -> None:
    """A clip of two and more pictures, listed in the folder's index."""
    index = folder / "index.csv"
    new = not index.is_file()
    folder.mkdir(parents=True, exist_ok=True)
    with index.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for frame, red in enumerate(reds):
            row = {
                "split": "dev",
                "label": label,
                "file": f"{clip}-{frame}.png",
                "source_video": f"{clip}#{frame}",
                "clip": clip,
                "scene": scene,
                "frame": frame,
                "aligned": 0,
                "method": "" if label == "real" else "paint",
                "origin": "someone",
                **changes,
            }
            row = {key: value.format(frame=frame) if isinstance(value, str) else value for key, value in row.items()}
            writer.writerow(row)
            path = folder / row["split"] / label / row["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.cvtColor(face_picture(abs(red), face=red > 0), cv2.COLOR_RGB2BGR))


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Two scenes with an original each, one aligned; one fake alone; restored footage; a picture without a face."""
    folder = tmp_path / "web"
    add(folder, "r1", "real", "a", [100, 110])
    add(folder, "f1", "fake", "a", [200, 210], aligned=1, source_video="r1#{frame}", method="SimSwap")
    add(folder, "r2", "real", "b", [120, -120])
    add(folder, "f2", "fake", "b", [90, 95])
    add(folder, "f3", "fake", "c", [250, 250])
    add(folder, "e1", "enhanced", "a", [150, 150], aligned=1, source_video="r1#{frame}", method="KEEP")
    add(folder, "t1", "real", "t", [100], split="train")
    return folder


def logits_of(detector: Detector) -> Callable[[ImageArray], FloatArray]:
    return lambda crops: detector.score_arrays(crops).logits


def redness(crops: ImageArray) -> FloatArray:
    return np.asarray(crops[..., 0].mean(axis=(1, 2)) / 255, np.float32)


def test_the_kind_is_recognised_by_its_columns(web: Path, tmp_path: Path) -> None:
    assert detect(web) == "web"
    kind, clips = list_clips(web, "auto", ClipSelection(split="dev"))
    assert kind == "web"
    assert len(clips) == 10
    assert {clip.group for clip in clips} == {"a", "b", "c"}
    assert {clip.name for clip in clips if clip.original is not None} == {"dev/fake/f1-0.png", "dev/fake/f1-1.png"}
    plain = tmp_path / "plain"
    (plain / "test" / "real").mkdir(parents=True)
    (plain / "index.csv").write_text("split,label,file,source_video\ntest,real,a.png,a\n", encoding="utf-8")
    assert detect(plain) == "index"


def test_enhanced_footage_is_never_of_a_class(web: Path) -> None:
    assert {row["label"] for row in index_rows(web)} == {"real", "fake"}
    assert {listed.path.parent.name for listed in list_pictures(web)} == {"real", "fake"}
    for kind in ("web", "index"):
        _, clips = list_clips(web, kind, ClipSelection(split="dev"))
        assert len(clips) == 10
        assert not any("enhanced" in clip.name for clip in clips)
    index = web / "index.csv"
    index.write_text("split,label,file,source_video\ndev,enhanced,e1-0.png,a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2: label 'enhanced' is none of real, fake; that label needs the"):
        index_rows(web)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aligned": "yes"}, r"line 15: aligned is 'yes'; write 1"),
        ({"frame": "first"}, r"line 15: frame is 'first'; write its place"),
        ({"method": ""}, r"line 15: a fake without a method"),
        ({"scene": ""}, r"line 15: scene is empty"),
        ({"clip": "f2"}, r"line 15: clip f2 has scene 'z' here and 'b' before"),
        ({"label": "fale"}, r"line 15: label 'fale' is none of real, fake, enhanced"),
        ({"file": "f2-0.png"}, r"line 15: f2-0\.png is listed twice"),
    ],
)
def test_a_wrong_line_is_named(web: Path, changes: dict[str, str], said: str) -> None:
    add(web, "x", "fake", "z", [100], **changes)
    with pytest.raises(ConfigError, match=said):
        read_pictures(web)


def test_missing_files_splits_and_columns_are_named(web: Path) -> None:
    with pytest.raises(ConfigError, match=r"no split 'test'; its splits: dev, train \(--split\)"):
        read_pictures(web, "test")
    (web / "dev" / "fake" / "f3-1.png").unlink()
    with pytest.raises(SourceNotFound, match=r"f3-1\.png: listed but missing \(1 of 12 files\)"):
        read_pictures(web, "dev")
    assert len(read_pictures(web, "train")) == 1
    (web / "index.csv").write_text("split,label,file,source_video\ndev,real,r1-0.png,a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"needs the columns clip, scene, frame, aligned, method, origin too"):
        read_pictures(web)


def test_originals_are_those_of_the_same_frame_and_scene(web: Path) -> None:
    add(web, "r3", "real", "a", [101], source_video="r1#0")
    add(web, "f4", "fake", "b", [101], source_video="r1#0", aligned=1)
    found = {path.name: [real.name for real in reals] for path, reals in originals(read_pictures(web)).items()}
    assert found == {
        "f1-0.png": ["r1-0.png", "r3-0.png"],
        "f1-1.png": ["r1-1.png"],
        "e1-0.png": ["r1-0.png", "r3-0.png"],
        "e1-1.png": ["r1-1.png"],
    }


def test_few_pictures_of_each_clip_are_spread_evenly(web: Path) -> None:
    add(web, "long", "real", "l", [100] * 9)
    names = [picture.path.name for picture in few_per_clip(read_pictures(web, "dev"), 3)]
    assert [name for name in names if name.startswith("long")] == ["long-0.png", "long-4.png", "long-8.png"]
    assert len([name for name in names if name.startswith("r1")]) == 2


def test_faces_are_found_once_and_scored_by_any_callable(web: Path, tmp_path: Path) -> None:
    class Counting(SquareFinder):
        calls = 0

        def detect(self, images: Any) -> list[list[Face]]:
            self.calls += 1
            return super().detect(images)

    finder, cache = Counting(), tmp_path / "cache" / "web.npz"
    pictures = read_pictures(web, "dev")
    found = find_faces(pictures, finder, cache=cache)
    assert finder.calls == len(pictures) == 12
    assert [picture.path.name for picture in found.missing] == ["r2-1.png"]
    assert find_faces(pictures, finder, cache=cache) == found
    assert finder.calls == 12
    face = found.found[0]
    assert (face.box, face.side, face.width, face.height) == ((24, 24, 72, 72), FACE, SIDE, SIDE)
    assert face.bytes_per_pixel == face.picture.path.stat().st_size / SIDE**2

    sizes = []

    def score(crops: np.ndarray) -> np.ndarray:
        sizes.append(crops.shape)
        return redness(crops)

    faces = score_web(score, found.found, CropGeometry(scale=1.0), 32, batch=4)
    assert sizes == [(4, 32, 32, 3), (4, 32, 32, 3), (3, 32, 32, 3)]
    assert [face.logit for face in faces[:4]] == pytest.approx([100 / 255, 110 / 255, 200 / 255, 210 / 255], abs=0.02)
    wide = score_web(redness, found.found[:1], CropGeometry(scale=2.0), 32)
    assert wide[0].logit < faces[0].logit / 2
    figures = measure(faces, rounds=0)
    assert (figures.clips, figures.whole.real, figures.whole.fake) == (6, 2, 3)
    assert figures.pairs is not None
    assert (figures.pairs.pairs, figures.pairs.won.value) == (2, 0.5)
    assert figures.enhanced is not None
    assert figures.enhanced.above_original == 1.0
    with pytest.raises(ValueError, match="a score for each of 11 crops"):
        score_web(lambda crops: np.zeros(3, np.float32), found.found, CropGeometry(), 32)


def test_a_cache_of_other_files_is_not_used(web: Path, tmp_path: Path) -> None:
    cache = tmp_path / "web.npz"
    pictures = read_pictures(web, "dev")
    find_faces(pictures, SquareFinder(), cache=cache)
    path = pictures[0].path
    cv2.imwrite(str(path), face_picture(250)[:80, :90])
    face = find_faces(pictures, SquareFinder(), cache=cache).found[0]
    assert (face.width, face.height, face.bytes) == (90, 80, path.stat().st_size)
    path.unlink()
    with pytest.raises(StreamwatchError, match=r"r1-0\.png: cannot be read"):
        find_faces(pictures, SquareFinder(), cache=cache)


class ClipDetector(RedDetector):
    """With the card that an evaluation asks for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.card = plan().card


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector of redness and a finder of squares in place of the networks."""
    monkeypatch.setattr("streamwatch.evaluation.web.load_detector", ClipDetector)
    monkeypatch.setattr("streamwatch.evaluation.web.load_face_detector", lambda settings: SquareFinder())
    monkeypatch.setattr("streamwatch.evaluation.web.Plan.resolve", lambda settings: plan())


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


@pytest.mark.usefixtures("served")
def test_the_command_measures_and_writes(web: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    code, text, _ = evaluated(capsys, web, "--split", "dev", "--json", "--out", out)
    assert code == 0
    report = json.loads(text)
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report
    assert (report["kind"], report["split"], report["pictures"]) == ("web", "dev", 12)
    assert (report["without_face"], report["faceless"]) == ({"real": 1}, ["dev/real/r2-1.png"])
    figures = report["figures"]
    assert (figures["clips"], figures["pictures"]) == (6, 11)
    # reals 105, 120; fakes 205, 92.5, 250
    assert figures["whole"]["plain"]["auc"]["value"] == pytest.approx(4 / 6)
    assert figures["pairs"]["won"]["value"] == 0.5
    assert [row["method"] for row in figures["methods"]] == ["paint", "SimSwap"]
    assert figures["enhanced"]["above_original"] == 1.0
    assert figures["called_fake"] == [0.0, 0.0]
    assert (report["masks"]["faces"], report["masks"]["pixel_auc"]) == (2, None)
    assert report["masks"]["iou"] > 0.8
    assert report["facts"]["file"]["samples"] == 10
    assert report["facts"]["pairs"] is None
    assert {path.name for path in out.iterdir()} == {"report.json", "clips.csv", "clips.png"}
    assert read_image(out / "clips.png").shape[0] > 800
    with (out / "clips.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["clip"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["r1", "f1", "r2", "f2", "f3", "e1"]
    assert (rows["f1"]["won"], rows["f2"]["won"], rows["f3"]["won"], rows["r1"]["won"]) == ("1", "0", "", "")
    assert (rows["r2"]["faces"], rows["f1"]["face_side"], rows["e1"]["label"]) == ("1", f"{FACE}.0", "enhanced")


@pytest.mark.usefixtures("served")
def test_what_is_printed_fits_into_80_columns(
    web: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    add(web, "f9", "fake", "b", [90], method="a method whose name says everything about it there is to say")
    code, text, _ = evaluated(capsys, web, "--split", "dev")
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    for said in (
        "7 clips of 3 scenes, 12 faces",
        "pictures without a face: 1 of 13 (1 real): dev/real/r2-1.png",
        "AUC over clips",
        "fakes above their original",
        "swaps alone: 1 clips",
        "enhanced, of neither class: 1 clips",
        "file facts alone: AUC over faces",
        "masks of 2 aligned fakes",
    ):
        assert said in text


@pytest.mark.usefixtures("served")
def test_options_are_honoured_or_refused(web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def report(*arguments: str) -> Any:
        code, text, _ = evaluated(capsys, web, "--split", "dev", "--json", *arguments)
        assert code == 0
        return json.loads(text)

    only = report("--method", "simswap")
    assert ([row["method"] for row in only["figures"]["methods"]], only["methods"]) == (["SimSwap"], ["simswap"])
    assert only["figures"]["enhanced"]["clips"] == 1
    wide = report("--crop-scale", "2")
    assert wide["geometry"]["scale"] == 2
    assert wide["figures"]["enhanced"]["mean_logit"] < report()["figures"]["enhanced"]["mean_logit"]
    assert report("--frames", "1")["figures"]["pictures"] == 6
    few = report("--limit", "4")["figures"]
    assert (few["clips"], few["whole"]["real"], few["whole"]["fake"]) == (3, 1, 2)
    for arguments, said in (
        (["--robustness"], "--robustness: not for sets of the kind web"),
        (["--method", "FSGAN"], "has no fakes by FSGAN; its methods: SimSwap, paint"),
        (["--split", "test"], "its splits: dev, train (--split)"),
        (["--limit", "2"], "no real clip in the part asked for; raise --limit"),
        (["--split", "train"], "no fake clip in the part asked for"),
    ):
        code, _, text = evaluated(capsys, web, "--split", "dev", *arguments)
        assert code == 2
        assert said in text


@pytest.fixture
def two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Weights of two detectors with crops of other sizes and widths; faces are squares."""
    monkeypatch.setattr("streamwatch.evaluation.web.load_face_detector", lambda settings: SquareFinder())
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_statistics(first, tiny_model(), tiny_card(name="first"))
    other = replace(tiny_model(), intercept=-3.0)
    size = replace(tiny_card().input, size=96)
    card = tiny_card(name="second", input=size, geometry=CropGeometry(1.2), calibration=Calibration(0.5, 1.0))
    save_statistics(second, other, card)
    return first, second


def test_scores_of_two_detectors_are_joined(
    web: Path, two_models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    first, second = two_models
    out = tmp_path / "out"
    asked = (web, "--split", "dev", "--model", first)
    code, text, _ = evaluated(capsys, *asked, "--join", second, "--json", "--out", out)
    assert code == 0
    report = json.loads(text)
    assert (report["model"], report["input_size"], report["geometry"]["scale"]) == ("first", 128, 1.8)
    joined = report["joined"]
    assert (joined["model"], joined["input_size"], joined["geometry"]["scale"]) == ("second", 96, 1.2)
    assert joined["model_sha256"] != report["model_sha256"]
    assert (report["threshold"], report["figures"]["called_fake"]) == (None, None)

    found = find_faces(read_pictures(web, "dev"), SquareFinder()).found
    clips: list[dict[str, float]] = []
    for detector in map(load_detector, two_models):
        calibration = detector.card.calibration
        score = logits_of(detector)
        faces = score_web(score, found, detector.geometry, detector.input_size)
        clips.append({clip.name: clip.score / calibration.temperature + calibration.bias for clip in clips_of(faces)})
    with (out / "clips.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert float(row["logit"]) == pytest.approx((clips[0][row["clip"]] + clips[1][row["clip"]]) / 2, abs=1e-3)
        assert row["probability"] == ""

    code, text, _ = evaluated(capsys, *asked, "--join", second)
    assert code == 0
    assert "first + second on web dev: 6 clips" in text
    assert "first: crop 1.8 × face, 128 px" in text
    assert "second: crop 1.2 × face, 96 px" in text
    assert "called fake" not in text
    alone = json.loads(evaluated(capsys, *asked, "--json")[1])
    assert alone["joined"] is None
    assert alone["figures"]["called_fake"] is not None


def test_only_sets_of_web_clips_join_and_the_second_model_must_be_there(
    web: Path, tmp_path: Path, two_models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_models
    for folder, kind, model, said in (
        (web, "index", second, "--join: for sets of the kind web alone, and"),
        (web, "web", "nothing", "nothing: neither a detector's name"),
    ):
        arguments = ("--kind", kind, "--split", "dev", "--model", first, "--join", model)
        code, _, text = evaluated(capsys, folder, *arguments)
        assert code == 2
        assert said in text


def test_a_limit_keeps_scenes_whole_and_the_classes_even(web: Path) -> None:
    for index in range(12):
        add(web, f"p{index}", "real", f"s{index}", [100])
        add(web, f"q{index}", "fake", f"s{index}", [200])
    pictures = read_pictures(web, "dev")
    for limit in (2, 8, 20):
        kept = whole_scenes(pictures, limit)
        assert kept == whole_scenes(pictures, limit)
        clips = {picture.clip: picture.label for picture in kept}
        counts = Counter(clips.values())
        assert max(counts["real"], counts["fake"]) <= limit // 2
        assert counts["fake"] >= limit // 2 - 1
        scenes = {picture.scene for picture in kept}
        assert kept == [picture for picture in pictures if picture.scene in scenes]


def test_the_threshold_of_a_card_is_turned_into_a_logit() -> None:
    calibration = Calibration(temperature=1.5, bias=0.7)
    logit = threshold_logit(calibration, 0.9)
    assert calibration.probability(np.array([logit], np.float32))[0] == pytest.approx(0.9, abs=1e-6)
    assert threshold_logit(calibration, 1.0) == float("inf")
    assert threshold_logit(calibration, 0.0) == float("-inf")


def test_a_picture_of_a_set_without_pairs_or_swaps(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    faces = [
        ScoredFace(logit, label, f"{label}{n}", f"{label}{n}", 0, "lips" if label == "fake" else "", False, "", 9, 0.1)
        for label in ("real", "fake")
        for n, logit in enumerate((0.5, 1.0))
    ]
    draw(measure(faces, rounds=20), faces, "small", tmp_path / "clips.png")
    assert read_image(tmp_path / "clips.png").shape[0] > 800


def test_no_recipe_trains_on_the_dev_set() -> None:
    recipes = sorted(RECIPES.glob("*.yaml"))
    assert recipes
    for path in recipes:
        data = yaml.safe_load(path.read_text(encoding="utf-8")).get("data") or {}
        assert "web_dev" not in str({key: value for key, value in data.items() if key not in ("dev", "choose")}), (
            path.name
        )


def test_no_clip_scene_or_method_of_the_dev_set_is_in_training(shared: Path) -> None:
    data = shared / "data"
    if not (data / "web_dev" / "index.csv").is_file() or not (data / "web_faces" / "index.csv").is_file():
        pytest.skip("needs web_dev and web_faces in ../shared/data")
    dev, train = read_pictures(data / "web_dev"), read_pictures(data / "web_faces")
    assert {picture.split for picture in dev} == {"dev"}
    assert {picture.split for picture in train} == {"train"}
    for name in ("clip", "scene", "source", "method"):
        common = {getattr(picture, name) for picture in dev} & {getattr(picture, name) for picture in train} - {""}
        assert common == set(), name
    enhanced = {picture.path for picture in dev if picture.label == "enhanced"}
    assert enhanced
    assert not enhanced & {listed.path for listed in list_pictures(data / "web_dev")}


def test_the_size_of_the_crop_alone_is_no_merit_on_matched_dev_clips(shared: Path) -> None:
    folder = shared / "data" / "web_dev"
    if not (folder / "index.csv").is_file():
        pytest.skip("needs web_dev in ../shared/data")
    faces = []
    for picture in read_pictures(folder, "dev"):
        height, width = read_image(picture.path).shape[:2]
        box = (0.0, 0.0, width / 1.8, height / 1.8)
        found = FoundFace(picture, box, width, height, picture.path.stat().st_size)
        faces += [found.scored(found.side), found.scored(-found.bytes_per_pixel)]
    for fact, blind in (("size", faces[::2]), ("bytes", faces[1::2])):
        figures = measure(blind, rounds=0)
        assert figures.whole.plain.auc.value > 0.54, fact
        assert figures.whole.matched.auc.value == pytest.approx(0.5, abs=0.02), fact
        assert figures.swaps is not None
        assert figures.swaps.matched.auc.value == pytest.approx(0.5, abs=0.03), fact
        assert figures.pairs is not None
        assert figures.pairs.won_matched.value == pytest.approx(0.5, abs=0.01), fact
