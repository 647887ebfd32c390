"""The analysis of a clip, without Ray."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamwatch.detectors import load_detector
from streamwatch.errors import DetectorError, WeightsError
from streamwatch.faces import FaceDetector, load_face_detector
from streamwatch.faces.turned import is_upright
from streamwatch.live.stream import LiveStream
from streamwatch.pipeline.analyser import Analyser, Analysis, batches
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient, PendingScores
from streamwatch.records import Face, ImageArray, Label, VideoVerdict
from streamwatch.sources import Location
from tests.support.face_clips import face_clip, face_picture
from tests.support.media import encode
from tests.support.present import present
from tests.support.small_detectors import settings_for, untrained_detector
from tests.support.square_faces import RedDetector, red_plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return untrained_detector(folder)


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return face_clip(folder / "clip.mp4")


@pytest.fixture(scope="module")
def plan(weights: Path) -> Plan:
    return Plan.resolve(settings_for(weights))


@pytest.fixture(scope="module")
def client(weights: Path) -> LocalClient:
    return LocalClient(load_detector(weights, "cpu", 1))


def test_the_last_batch_of_items_is_shorter() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_a_clip_with_a_face_gets_a_verdict(plan: Plan, client: LocalClient, clip: Path) -> None:
    shares: list[float] = []
    analysis = Analyser(plan, client, progress=shares.append).analyse(str(clip), sha256="a" * 64, trace=True)
    verdict = analysis.verdict
    assert verdict.failure is None
    assert verdict.label in (Label.REAL, Label.FAKE, Label.INCONCLUSIVE)
    assert verdict.score is not None
    assert verdict.frames.sampled == verdict.frames.analysed == len(verdict.scores) == 12
    assert verdict.frames.decoded == 30
    assert (verdict.sha256, verdict.model, verdict.policy) == ("a" * 64, plan.model, plan.policy.name)
    (track,) = verdict.tracks
    assert track.faces == 12
    assert len(track.evidence) == plan.policy.evidence
    assert [trace.pts for trace in analysis.traces] == [record.pts for record in verdict.scores]
    assert all(trace.mask is not None and trace.mask.shape == (28, 28) for trace in analysis.traces)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.1)


def test_scores_do_not_depend_on_the_batching(plan: Plan, client: LocalClient, clip: Path) -> None:
    def scores(batch: int) -> list[float]:
        engine = plan.settings.engine.model_copy(update={"batch_faces": batch})
        other = dataclasses.replace(plan, settings=plan.settings.model_copy(update={"engine": engine}))
        return [r.probability for r in Analyser(other, client).analyse(str(clip)).verdict.scores]

    assert scores(1) == pytest.approx(scores(8), abs=0.02)


def test_evidence_shows_the_face(plan: Plan, client: LocalClient, clip: Path) -> None:

    verdict = Analyser(plan, client).analyse(str(clip)).verdict
    item = verdict.tracks[0].evidence[0]
    picture = present(cv2.imdecode(np.frombuffer(item.crop_jpeg, np.uint8), cv2.IMREAD_COLOR))
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 20
    assert item.mask_png is not None
    assert item.score == max(record.probability for record in verdict.scores)


def test_a_clip_without_a_face_is_no_face(plan: Plan, client: LocalClient, folder: Path) -> None:
    clip = encode(folder / "noface.mp4", frames=20)
    verdict = Analyser(plan, client).analyse(str(clip)).verdict
    assert (verdict.label, verdict.score) == (Label.NO_FACE, None)
    assert verdict.frames.analysed == verdict.frames.sampled > 0


@pytest.mark.parametrize(("content", "kind"), [(b"", "SourceUnreadable"), (b"words " * 99, "SourceUnreadable")])
def test_what_is_no_video_is_an_error(
    plan: Plan, client: LocalClient, tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    verdict = Analyser(plan, client).analyse(str(path), name="broken.mp4").verdict
    assert (verdict.label, verdict.score, verdict.source) == (Label.ERROR, None, "broken.mp4")
    assert verdict.failure is not None
    assert verdict.failure.kind == kind
    assert "broken.mp4" in verdict.failure.message


def test_a_failing_detector_is_an_error_with_counts(plan: Plan, clip: Path) -> None:
    class Failing:
        def submit(self, crops: np.ndarray) -> PendingScores:
            raise DetectorError("out of order")

    verdict = Analyser(plan, Failing()).analyse(str(clip)).verdict
    assert (verdict.label, verdict.score) == (Label.ERROR, None)
    assert verdict.failure is not None
    assert (verdict.failure.kind, verdict.failure.message) == ("DetectorError", "out of order")
    assert verdict.frames.sampled == verdict.frames.analysed + verdict.frames.dropped > 0


def test_a_model_that_is_not_there_is_said_at_once(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing"):
        Plan.resolve(settings_for(tmp_path / "nothing.safetensors"))


def two_tracks(clip: Path, path: Path) -> Path:
    """A clip with a second track of the same packets."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        first = source.streams.video[0]
        streams = [target.add_stream_from_template(first) for _ in range(2)]
        for packet in list(source.demux(first)):
            if packet.size:
                for stream in streams:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                    copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                    target.mux(copy)
    return path


def test_a_video_track_that_is_not_analysed_is_named_and_leaves_nothing_real(clip: Path, tmp_path: Path) -> None:
    plan, client = red_plan(real=0.98, fake=0.99), LocalClient(RedDetector())
    both = two_tracks(clip, tmp_path / "both.mkv")
    alone = Analyser(plan, client).analyse(clip).verdict
    verdict = Analyser(plan, client).analyse(both).verdict
    assert (alone.label, alone.reason) == (Label.REAL, "")
    assert (verdict.label, verdict.score) == (Label.INCONCLUSIVE, alone.score)
    assert verdict.reason == "1 of 2 video tracks analysed"
    watched = LiveStream(plan, client, Location(both), deliver=lambda item: None).run(threading.Event())
    assert watched.label is Label.INCONCLUSIVE
    assert "1 of 2 video tracks analysed" in watched.reason
    forged = Analyser(red_plan(real=0.01, fake=0.02), client).analyse(both).verdict
    assert forged.label is Label.FAKE
    assert "1 of 2 video tracks analysed" in forged.reason


def with_small_faces(number: int) -> np.ndarray:
    image = np.full((192, 512, 3), 40, np.uint8)
    image[:, :256] = face_picture(number)
    image[32:160, 300:470] = cv2.resize(face_picture(number), (170, 128))
    return image


@pytest.mark.parametrize("segment", [0.0, 2.0])
def test_faces_that_were_not_looked_at_are_counted_and_leave_nothing_real(tmp_path: Path, segment: float) -> None:
    images = (with_small_faces(number) for number in range(60))
    crowd = encode(tmp_path / "crowd.mp4", fps=10, frames=60, images=images, width=512, height=192)
    client = LocalClient(RedDetector())
    whole = Analyser(red_plan(real=0.98, fake=0.99), client).analyse(crowd).verdict
    assert (whole.label, whole.reason, len(whole.tracks)) == (Label.REAL, "", 2)
    plan = red_plan(real=0.98, fake=0.99, faces={"max_faces": 1})
    assert (verdict := scanned(plan, client, crowd, segment)).label is Label.INCONCLUSIVE
    assert verdict.reason == "1 of 2 faces not looked at in the fullest frame"
    assert len(verdict.tracks) == 1
    if not segment:
        watched = LiveStream(plan, client, Location(crowd), deliver=lambda item: None).run(threading.Event())
        assert (watched.label, watched.reason) == (verdict.label, verdict.reason)


def scanned(
    plan: Plan, client: LocalClient, path: Path, segment: float, finder: FaceDetector | None = None
) -> VideoVerdict:
    """In segments of so many seconds; 0: as a whole."""
    analyser = Analyser(plan, client, face_detector=finder)
    subject, location = plan.subject(str(path), None), Location(path)
    cut = analyser.begin(subject, location, trace=False, segment=segment)
    if isinstance(cut, Analysis):
        return cut.verdict
    assert len(cut.segments) > 1
    parts = [analyser.analyse_segment(subject, location, part) for part in cut.segments]
    return analyser.fuse(subject, cut, [part for part in parts if isinstance(part, bytes)]).verdict


@pytest.mark.parametrize("segment", [0.0, 2.0])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_video_of_faces_that_are_not_upright_is_inconclusive(tmp_path: Path, quarters: int, segment: float) -> None:
    images = (np.rot90(np.concatenate([face_picture(number)] * 2), quarters) for number in range(60))
    height, width = (384, 256) if quarters % 2 == 0 else (256, 384)
    path = encode(tmp_path / "a.mp4", fps=10, frames=60, images=images, width=width, height=height)
    verdict = scanned(red_plan(real=0.98, fake=0.99), LocalClient(RedDetector()), path, segment)
    assert verdict.label is (Label.INCONCLUSIVE if quarters else Label.REAL)
    assert ("upside down or on their side" in verdict.reason) == bool(quarters)


class UprightFaces:
    """Finds upright faces only."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        return [[face for face in found if is_upright(face)] for found in self._detector.detect(images)]


@pytest.mark.parametrize("segment", [0.0, 2.0])
def test_faces_that_are_found_only_in_turned_pictures_are_not_no_face(tmp_path: Path, segment: float) -> None:
    images = (np.rot90(face_picture(number), 2) for number in range(60))
    path = encode(tmp_path / "a.mp4", fps=10, frames=60, images=images, width=256, height=192)
    plan, client = red_plan(real=0.98, fake=0.99), LocalClient(RedDetector())
    finder = UprightFaces(load_face_detector(plan.settings.faces))
    verdict = scanned(plan, client, path, segment, finder)
    assert (verdict.label, verdict.tracks) == (Label.INCONCLUSIVE, ())
    assert "none is found without turning the picture" in verdict.reason
