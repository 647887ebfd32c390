"""Long files in segments: the verdict is that of the whole, wherever they are cut."""

from __future__ import annotations

import gc
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamwatch.detectors import load_detector
from streamwatch.errors import DetectorError
from streamwatch.faces.tracking import View
from streamwatch.pipeline.analyser import Analyser, Analysis, SegmentPlan
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import DetectorClient, LocalClient, PendingScores
from streamwatch.pipeline.segment_scores import SegmentScores, fuse
from streamwatch.records import Alert, FrameCounts, Label, TrackVerdict, VideoVerdict
from streamwatch.sources import Location
from streamwatch.sources.segments import Segment
from tests.support.face_clips import face_picture
from tests.support.media import encode
from tests.support.score_clients import Brighter
from tests.support.small_detectors import settings_for, untrained_detector

SECONDS = 28
FPS = 10


def story(number: int) -> np.ndarray:
    """A face that grows brighter and darker; nobody; the face again; another shot; two faces; one of them."""
    seconds = number / FPS
    face = (face_picture(number) * (0.8 + 0.2 * np.sin(seconds / 1.5))).astype(np.uint8)
    picture = np.full((192, 512, 3), 40 if seconds < 13 else 200, np.uint8)
    if not 6 <= seconds < 9:
        picture[:, :256] = face
    if 17 <= seconds < 23:
        picture[:, 256:] = face[:, ::-1] // 2
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("segments")


@pytest.fixture(scope="module")
def clip(folder: Path) -> str:
    images = (story(number) for number in range(SECONDS * FPS))
    path = folder / "clip.mp4"
    return str(encode(path, fps=FPS, frames=SECONDS * FPS, images=images, width=512, height=192, keyframe_every=7))


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return untrained_detector(folder)


@pytest.fixture(scope="module")
def plan(weights: Path) -> Plan:
    return Plan.resolve(settings_for(weights))


def in_segments(
    analyser: Analyser, plan: Plan, path: str, number: int, trace: bool = False
) -> tuple[Analysis, list[bytes]]:
    subject = plan.subject(path, "a" * 64)
    cut = analyser.begin(subject, Location(path), trace=trace, segment=SECONDS / number)
    assert isinstance(cut, SegmentPlan)
    assert len(cut.segments) == number
    found = [analyser.analyse_segment(subject, Location(path), segment, trace) for segment in cut.segments]
    parts = [part for part in found if isinstance(part, bytes)]
    return analyser.fuse(subject, cut, parts), parts


def pictures(verdict: VideoVerdict) -> list[object]:
    holders: list[Alert | TrackVerdict] = [*verdict.alerts, *verdict.tracks]
    return [asdict(item) for holder in holders for item in holder.evidence]


def without_scores(track: TrackVerdict) -> dict[str, object]:
    return asdict(replace(track, score=None, spans=(), evidence=()))


def test_what_was_done_to_the_pictures_is_said_in_the_reason(plan: Plan, folder: Path) -> None:
    images = (face_picture(number) for number in range(60))
    shape: dict[str, Any] = {"width": 256, "height": 192, "interlaced": True, "aspect": Fraction(2)}
    path = str(encode(folder / "old.mp4", fps=FPS, frames=60, images=images, **shape))
    analyser = Analyser(plan, Brighter())
    subject = plan.subject(path, "a" * 64)
    whole = analyser.analyse(path, sha256="a" * 64).verdict
    assert whole.frames.remarks == {"interlaced: one field of each picture", "pixels 2:1: made square"}
    assert whole.reason.endswith("interlaced: one field of each picture; pixels 2:1: made square")
    cut = analyser.begin(subject, Location(path), trace=False, segment=3.0)
    assert isinstance(cut, SegmentPlan)
    parts = [analyser.analyse_segment(subject, Location(path), segment) for segment in cut.segments]
    found = analyser.fuse(subject, cut, [part for part in parts if isinstance(part, bytes)]).verdict
    assert (found.frames, found.reason) == (whole.frames, whole.reason)


def test_a_skimmed_file_says_what_was_done_to_its_key_frames(plan: Plan, folder: Path) -> None:
    path = str(encode(folder / "nobody.mp4", frames=250, keyframe_every=25, interlaced=True))
    sampling = plan.settings.sampling.model_copy(update={"triage": True})
    triage = replace(plan, settings=plan.settings.model_copy(update={"sampling": sampling}))
    verdict = Analyser(triage, Brighter()).analyse(path).verdict
    assert verdict.frames.decoded == 10
    assert verdict.reason == "no face was found; interlaced: one field of each picture"


@pytest.mark.parametrize("number", [2, 7, 24])
@pytest.mark.parametrize("kind", ["untrained", "brighter"])
def test_the_verdict_does_not_depend_on_the_cuts(kind: str, number: int, plan: Plan, weights: Path, clip: str) -> None:
    client: DetectorClient = Brighter() if kind == "brighter" else LocalClient(load_detector(weights, "cpu", 1))
    analyser = Analyser(plan, client)
    whole = analyser.analyse(clip, sha256="a" * 64).verdict
    found = in_segments(analyser, plan, clip, number)[0].verdict

    assert len(whole.tracks) == 6
    assert len(found.tracks) == len(whole.tracks)
    assert found.label is whole.label
    assert found.score == pytest.approx(whole.score, abs=1e-3)
    assert found.frames == whole.frames
    assert found.duration == whole.duration
    for mine, theirs in zip(found.tracks, whole.tracks, strict=True):
        assert without_scores(mine) == without_scores(theirs)
        assert mine.score == pytest.approx(theirs.score, abs=1e-3)
        assert [(span.start, span.end) for span in mine.spans] == [(span.start, span.end) for span in theirs.spans]
    assert [alert.id for alert in found.alerts] == [alert.id for alert in whole.alerts]
    if kind == "brighter":
        assert len(whole.alerts) >= 2
        assert pictures(found) == pictures(whole)
        assert [asdict(record) for record in found.scores] == [asdict(record) for record in whole.scores]


@pytest.fixture(scope="module")
def traced(plan: Plan, clip: str) -> Analysis:
    return Analyser(plan, Brighter()).analyse(clip, sha256="a" * 64, trace=True)


@pytest.mark.parametrize("number", [2, 7])
def test_traces_do_not_depend_on_the_cuts(number: int, plan: Plan, clip: str, traced: Analysis) -> None:
    whole = traced
    found, parts = in_segments(Analyser(plan, Brighter()), plan, clip, number, trace=True)
    assert len(found.traces) == len(whole.traces) == len(whole.verdict.scores) > 50
    assert {trace.track_id for trace in found.traces} == {track.track_id for track in whole.verdict.tracks}
    for mine, theirs in zip(found.traces, whole.traces, strict=True):
        assert mine.mask is not None
        assert theirs.mask is not None
        assert mine.mask.shape == (28, 28)
        assert np.array_equal(mine.mask, theirs.mask)
        assert asdict(replace(mine, mask=None)) == asdict(replace(theirs, mask=None))
    assert {trace.coverage is None for trace in found.traces} == {True, False}
    bare = [replace(trace, mask=None) for trace in SegmentScores.from_bytes(parts[0]).traces]
    again = SegmentScores.from_bytes(replace(SegmentScores.from_bytes(parts[0]), traces=bare).to_bytes())
    assert [asdict(trace) for trace in again.traces] == [asdict(trace) for trace in bare]


def test_what_is_kept_of_a_segment_comes_back_from_its_bytes(plan: Plan, clip: str) -> None:
    _, (first, *_) = in_segments(Analyser(plan, Brighter()), plan, clip, 2)
    scores = SegmentScores.from_bytes(first)
    assert scores.counts.analysed == len(scores.views) > 20
    assert scores.pictures
    assert sum(len(view.faces) for view in scores.views) == len(scores.records)
    assert scores.traces == []
    assert SegmentScores.from_bytes(scores.to_bytes()).to_bytes() == scores.to_bytes()
    assert SegmentScores.can_read(first)
    other_version = first[:4] + bytes([first[4] + 1]) + first[5:]
    damaged = first[:-1] + bytes([first[-1] ^ 1])
    for unreadable in (b"", first[:9], first[:-1], first[10:], other_version, damaged):
        assert not SegmentScores.can_read(unreadable)
        with pytest.raises(ValueError, match="not a segment of version"):
            SegmentScores.from_bytes(unreadable)
    nothing = SegmentScores(FrameCounts(), [], [], [])
    assert SegmentScores.from_bytes(nothing.to_bytes()).counts == FrameCounts()
    assert fuse([nothing], plan)[1] == FrameCounts()


def test_nothing_of_a_segment_waits_for_the_garbage_collector(plan: Plan, clip: str) -> None:
    analyser, subject = Analyser(plan, Brighter()), plan.subject(clip, None)
    cut = analyser.begin(subject, Location(clip), trace=False, segment=5)
    assert isinstance(cut, SegmentPlan)
    gc.collect()
    gc.disable()
    try:
        analyser.analyse_segment(subject, Location(clip), cut.segments[0])
        left = [each for each in gc.get_objects() if type(each) is View]
    finally:
        gc.enable()
    assert not left


def test_a_part_that_fails_is_an_error_with_its_type(plan: Plan, clip: str) -> None:
    class Failing:
        def submit(self, crops: np.ndarray) -> PendingScores:
            raise DetectorError("broken")

    subject = plan.subject(clip, None)
    found = Analyser(plan, Failing()).analyse_segment(subject, Location(clip), Segment(end=10_000))
    assert isinstance(found, Analysis)
    assert found.verdict.label is Label.ERROR
    assert found.verdict.failure is not None
    assert (found.verdict.failure.kind, found.verdict.failure.message) == ("DetectorError", "broken")


def test_a_short_file_is_done_at_once(plan: Plan, clip: str) -> None:
    analyser, subject = Analyser(plan, Brighter()), plan.subject(clip, None)
    assert isinstance(analyser.begin(subject, Location(clip), trace=False, segment=SECONDS / 1.4), Analysis)
    assert isinstance(analyser.begin(subject, Location(clip), trace=False, segment=0.0), Analysis)
