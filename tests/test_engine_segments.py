"""Long files in segments: the verdict is that of the whole, wherever they are cut."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from streamwatch.archive.file_work import SegmentedFile
from streamwatch.archive.input_queue import QueuedInput
from streamwatch.detectors import load_detector
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import ConfigError, DetectorError
from streamwatch.faces.tracking import View
from streamwatch.pipeline.analyser import Analyser, Analysis, SegmentPlan
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import DetectorClient, LocalClient, PendingScores
from streamwatch.pipeline.segment_scores import SegmentScores, fuse
from streamwatch.records import FrameCounts, Label, TrackVerdict, VideoVerdict
from streamwatch.sources.segments import Segment
from tests.engine_support import face_picture, settings_for, untrained_detector
from tests.media import encode

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


class Brighter:
    """A detector's answers, with masks: the brighter a crop is, the more of a fake."""

    def __init__(self) -> None:
        self.scored = 0

    def submit(self, crops: np.ndarray) -> PendingScores:
        logits = ((crops.mean(axis=(1, 2, 3)) - 95.0) / 4).astype(np.float32)
        probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
        masks = np.clip(crops[:, ::4, ::4, 0], 0, 255)
        self.scored += len(crops)
        return _Ready(ScoreArrays(logits, probabilities, np.zeros((len(crops), 2), np.float32), masks))


class _Ready:
    def __init__(self, scores: ScoreArrays) -> None:
        self._scores = scores

    def ready(self) -> bool:
        return True

    def wait(self, seconds: float) -> None:
        pass

    def result(self) -> ScoreArrays:
        return self._scores


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
    cut = analyser.begin(subject, path, trace=trace, segment=SECONDS / number)
    assert isinstance(cut, SegmentPlan)
    assert len(cut.segments) == number
    found = [analyser.analyse_segment(subject, path, segment, trace) for segment in cut.segments]
    parts = [part for part in found if isinstance(part, bytes)]
    return analyser.fuse(subject, cut, parts), parts


def pictures(verdict: VideoVerdict) -> list[object]:
    return [asdict(item) for holder in (*verdict.alerts, *verdict.tracks) for item in holder.evidence]


def without_scores(track: TrackVerdict) -> dict[str, object]:
    return asdict(replace(track, score=None, spans=(), evidence=()))


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
    cut = analyser.begin(subject, clip, trace=False, segment=5)
    assert isinstance(cut, SegmentPlan)
    gc.collect()
    gc.disable()
    try:
        analyser.analyse_segment(subject, clip, cut.segments[0])
        left = [each for each in gc.get_objects() if type(each) is View]
    finally:
        gc.enable()
    assert not left


def test_a_part_that_fails_is_an_error_with_its_type(plan: Plan, clip: str) -> None:
    class Failing:
        def submit(self, crops: np.ndarray) -> PendingScores:
            raise DetectorError("broken")

    subject = plan.subject(clip, None)
    found = Analyser(plan, Failing()).analyse_segment(subject, clip, Segment(end=10_000))
    assert isinstance(found, Analysis)
    assert found.verdict.label is Label.ERROR
    assert found.verdict.failure is not None
    assert (found.verdict.failure.kind, found.verdict.failure.message) == ("DetectorError", "broken")


def test_a_short_file_is_done_at_once(plan: Plan, clip: str) -> None:
    analyser, subject = Analyser(plan, Brighter()), plan.subject(clip, None)
    assert isinstance(analyser.begin(subject, clip, trace=False, segment=SECONDS / 1.4), Analysis)
    assert isinstance(analyser.begin(subject, clip, trace=False, segment=0.0), Analysis)


# --- what is still to be done


CUT = SegmentPlan(tuple(Segment(n or None, n + 1) for n in range(3)), 3.0)


def places(file: SegmentedFile) -> list[Segment | None]:
    found = []
    while (piece := file.next()) is not None:
        found.append(piece.segment)
    return found


def test_the_verdict_comes_last_and_what_is_stored_is_not_done_again() -> None:
    file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {CUT.segments[1].place: b"1", "9:10": b"of another cut"})
    assert places(file) == [CUT.segments[0], CUT.segments[2]]
    assert file.share == pytest.approx(1 / 3)
    file.take(CUT.segments[2], b"2")
    assert file.next() is None
    file.take(CUT.segments[0], b"0")
    assert places(file) == [None]
    assert [part.tobytes() for part in file.parts()] == [b"0", b"1", b"2"]
    file.end()
    assert file.next() is None


def test_a_file_that_is_stored_in_all_its_parts_only_needs_its_verdict() -> None:
    file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {segment.place: b"" for segment in CUT.segments})
    assert places(file) == [None]
    file.end()


def test_a_lack_of_room_for_parts_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone: no room .*No such file.* set TMPDIR"):
        SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {})


def test_a_full_disk_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: full)
        file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {})
        with pytest.raises(ConfigError, match=r"no room .*No space left.* set TMPDIR"):
            file.take(CUT.segments[0], b"0")


def test_a_piece_is_tried_so_often() -> None:
    file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {})
    first = CUT.segments[0]
    tries: Sequence[bool] = []
    for _ in range(3):
        piece = file.next()
        assert piece is not None
        assert piece.segment == first
        tries = [*tries, file.lost(first, attempts=3)]
    assert tries == [True, True, False]
    file.end()
    assert file.next() is None
