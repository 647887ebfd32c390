"""The demo: an honest forgery in a clip, and an honest word on whether it was found."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from streamwatch.cli.demo import _lines
from streamwatch.config import FaceSettings, load_settings
from streamwatch.demo import (
    ClipPlan,
    DemoResult,
    Swap,
    camera_at,
    face_mask,
    find_landmarks,
    forge,
    make_clip,
    move,
    portrait,
    run_demo,
)
from streamwatch.drawing.muxing import Mp4Writer
from streamwatch.errors import ConfigError
from streamwatch.faces import load_face_detector
from streamwatch.records import (
    FloatArray,
    ImageArray,
    Label,
    Span,
)
from tests.support.builders import make_track, make_verdict
from tests.support.small_detectors import light_detector

SHORT = ClipPlan(seconds=1.2, fps=10, size=(320, 192), forged=(0.4, 0.8))
SWAP = Swap(colour=(10.0, 0.0, -10.0), scale=1.03, shift=(0.03, 0.0), blur=2.0)


@pytest.fixture(scope="module")
def landmarks() -> FloatArray:
    return find_landmarks(portrait())


def pictures(path: Path) -> list[ImageArray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def result(*spans: tuple[float, float], label: Label = Label.FAKE) -> DemoResult:
    found = tuple(Span(start, end, 0.99, 0.9) for start, end in spans)
    verdict = make_verdict(label=label, duration=12.0, tracks=(make_track(end=12.0, label=label, spans=found),))
    return DemoResult(ClipPlan(), verdict, Path("clip.mp4"), Path("annotated.mp4"), "sqlite:///x.db")


def test_clip_is_what_its_plan_says_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    class Recorder(Mp4Writer):
        def write(self, picture: ImageArray, pts: float) -> None:
            written.append(picture.tobytes())
            super().write(picture, pts)

    monkeypatch.setattr("streamwatch.demo.Mp4Writer", Recorder)
    make_clip(tmp_path / "clip.mp4", SHORT)
    make_clip(tmp_path / "clip.mp4", SHORT)
    assert len(written) == 24
    assert written[:12] == written[12:]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 192)
    assert len(pictures(tmp_path / "clip.mp4")) == 12


def test_only_the_forged_span_differs_and_only_at_the_face(tmp_path: Path, landmarks: FloatArray) -> None:
    make_clip(tmp_path / "forged.mp4", SHORT)
    genuine = ClipPlan(seconds=1.2, fps=10, size=(320, 192), forged=(9.0, 9.5))
    make_clip(tmp_path / "genuine.mp4", genuine)
    pairs = zip(pictures(tmp_path / "forged.mp4"), pictures(tmp_path / "genuine.mp4"), strict=True)
    for index, (forged, real) in enumerate(pairs):
        points = move(landmarks, camera_at(index / 10, landmarks, (320, 192)))
        inside = face_mask(points, (192, 320), 0.12) > 0.9
        difference = np.abs(forged.astype(int) - real).mean(axis=2)
        far = face_mask(points, (192, 320), 0.5) < 0.01
        assert difference[far].mean() < 3, "the rest is the same but for the encoder"
        assert (difference[inside].mean() > 4) == SHORT.forges(index / 10), f"picture {index}"


def test_the_face_can_be_found_in_every_picture(tmp_path: Path) -> None:
    plan = ClipPlan(seconds=1.2, fps=5, forged=(0.4, 0.8))
    make_clip(tmp_path / "clip.mp4", plan)
    found = load_face_detector(FaceSettings()).detect(pictures(tmp_path / "clip.mp4"))
    assert [len(faces) for faces in found] == [1] * 6
    assert min(face.short_side for faces in found for face in faces) > 100


def test_forgery_leaves_the_background_alone(landmarks: FloatArray) -> None:
    picture = portrait()
    forged = forge(picture, landmarks, SWAP)
    mask = face_mask(landmarks, picture.shape[:2], SWAP.border)
    assert (forged[mask == 0] == picture[mask == 0]).all()
    assert np.abs(forged[mask > 0.9].astype(int) - picture[mask > 0.9]).mean() > 5
    assert (mask > 0.5).mean() < 0.05


def test_mask_lies_on_the_face(landmarks: FloatArray) -> None:
    mask = face_mask(landmarks, (512, 512), 0.1)
    assert mask.min() >= 0
    assert mask.max() <= 1
    for x, y in landmarks:
        assert mask[round(float(y)), round(float(x))] > 0.5
    above = landmarks[:2].mean(axis=0) - 3 * (landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0))
    assert mask[round(float(above[1])), round(float(above[0]))] == 0


def test_found_is_compared_with_forged() -> None:
    exact = result((4.0, 8.0))
    assert (exact.share_found(), exact.excess()) == (1.0, 0.0)
    half = result((6.0, 9.0))
    assert (half.share_found(), half.excess()) == (0.5, 1.0)
    assert (result().share_found(), result().excess()) == (0.0, 0.0)
    elsewhere = result((9.0, 10.5))
    assert (elsewhere.share_found(), elsewhere.excess()) == (0.0, 1.5)


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        (((4.0, 7.5),), "4.0 to 7.5 s: 88% of the forged span"),
        (((0.0, 12.0),), "0.0 to 12.0 s: 100% of the forged span, and 8.0 s of genuine video"),
        ((), "nothing: the model missed the forged span"),
        (((9.0, 10.0),), "9.0 to 10.0 s: a false alarm, and the model missed the forged span"),
    ],
)
def test_what_is_said_is_what_was_found(spans: tuple[tuple[float, float], ...], said: str) -> None:
    lines = _lines(result(*spans))
    assert lines["found"] == said
    assert "forged from 4.0 to 8.0 s" in lines["clip"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out"):
        run_demo(tmp_path / "file" / "demo", load_settings(), SHORT)


@pytest.mark.ray
@pytest.mark.usefixtures("local_cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own sockets to the collector
def test_from_portrait_to_annotated_clip(tmp_path: Path) -> None:
    from streamwatch.store import Filters, Store

    folder = tmp_path / "demo"
    settings = load_settings(
        overrides={
            "store": {"url": f"sqlite:///{folder / 'streamwatch.db'}"},
            "detector": {"model": str(light_detector(tmp_path)), "threads": 1},
            "engine": {"workers": 1},
            "sampling": {"fps": 5, "min_frames": 8},
        }
    )
    reported: list[str] = []
    done = run_demo(folder, settings, SHORT, progress=lambda what, share: reported.append(what))
    assert done.verdict.label in (Label.REAL, Label.FAKE, Label.INCONCLUSIVE)
    assert done.verdict.frames.analysed == 8
    assert len(pictures(done.annotated)) == len(pictures(done.clip)) == 12
    assert list(dict.fromkeys(reported)) == ["making the clip", "scanning it", "annotating it", "done"]
    with Store.open(done.store) as store:
        assert [row.verdict.source for row in store.verdicts(Filters())] == [str(done.clip)]
