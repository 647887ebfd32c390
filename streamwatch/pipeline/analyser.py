"""One file from its first frame to its verdict: the stages in a row, in plain Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import format_exception
from typing import TypeVar

import cv2
import numpy as np

from streamwatch.errors import DetectorError, SourceRefused, SourceUnreadable, StreamwatchError
from streamwatch.faces import FaceDetector, FaceFinder, load_face_detector
from streamwatch.faces.tracking import View
from streamwatch.fusion import Policy, SourceFusion, Subject, error_verdict
from streamwatch.fusion.evidence import settling
from streamwatch.fusion.overlooked import FrameFaces, face_notes, track_notes, with_notes
from streamwatch.fusion.regions import measure_coverage
from streamwatch.fusion.track import frame_record
from streamwatch.fusion.unseen import early_end, unseen_time
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import DetectorClient, ScoringQueue
from streamwatch.pipeline.segment_scores import SegmentScores, fuse
from streamwatch.pipeline.triage import doubtful_windows, longest_gap, sample_key_frames
from streamwatch.records import (
    DropReason,
    FaceScore,
    FaceTrace,
    Failure,
    Frame,
    FrameCounts,
    FrameRecord,
    Metadata,
    VideoVerdict,
)
from streamwatch.sources import Location, VideoSource
from streamwatch.sources.keyframes import key_pictures, read_key_frames
from streamwatch.sources.pixels import PictureConverter
from streamwatch.sources.segments import Segment

TRACE_MASK = 28
"""Side of the masks in traces, pixels."""

NOTHING = "no frame could be decoded"

LEAST_KEY_FRAMES = 4
"""Key frames that a file must have to be skimmed."""

WORTH = 0.8
"""Share of a file in doubt from which on it is analysed as a whole."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A verdict, and the traces of its faces in order of time where they were asked for.

    segments: in which the file was analysed. metadata: of the input. clip: the annotated clip where one was asked for
    and there is a file to draw on, or why it could not be made. traceback: of a detector that failed, for the log.
    """

    verdict: VideoVerdict
    traces: tuple[FaceTrace, ...] = ()
    segments: tuple[Segment, ...] = (Segment(),)
    metadata: Metadata = field(default_factory=dict)
    clip: Path | Failure | None = None
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A file that is to be analysed in segments. duration: seconds.

    skim: what was seen of the rest of the file, as `SegmentScores` in bytes; None where the segments are all of it.
    gap: the longest time between two key frames there for which a track may not be seen, seconds.
    promised_end: see `VideoSource`. to_end: whether the file is read to its end, where its pictures do not end before.
    video_tracks: of the file, of which one is analysed.
    """

    segments: tuple[Segment, ...]
    duration: float | None
    skim: bytes | None = None
    gap: float = 0.0
    promised_end: float | None = None
    to_end: bool = True
    video_tracks: int = 1


class Analyser:
    """Decodes, finds faces, has them scored, fuses: one file after another.

    Frames are read in batches while the detector works on the crops of earlier ones; `engine.in_flight`
    bounds how far reading runs ahead. Of the pixels only those of the evidence stay.

    progress: called with the share of the file that was read, 0..1, where its duration is known.
    """

    def __init__(
        self,
        plan: Plan,
        client: DetectorClient,
        *,
        face_detector: FaceDetector | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        self._plan = plan
        self._client = client
        self._face_detector = face_detector or load_face_detector(plan.settings.faces)
        self._progress = progress

    def analyse(
        self,
        source: str | Path | Location,
        *,
        name: str | None = None,
        sha256: str | None = None,
        trace: bool = False,
    ) -> Analysis:
        """Analyse a file or a URL with an end. What fails on the way gives the verdict `error`, with its
        type.

        name: what the verdict calls the source; default: the source, credentials masked. sha256: of its
        content.
        """
        location = Location.of(source)
        subject = self._plan.subject(name or location.name, sha256)
        found = self.begin(subject, location, trace=trace, segment=0.0)
        if isinstance(found, Analysis):
            return found
        parts: list[bytes] = []
        for segment in found.segments:
            part = self.analyse_segment(subject, location, segment)
            if isinstance(part, Analysis):
                return part
            parts.append(part)
        return self.fuse(subject, found, parts)

    def begin(self, subject: Subject, source: Location, *, trace: bool, segment: float) -> Analysis | SegmentPlan:
        """As `analyse`; but a file that can be cut into two or more parts of about `segment` seconds is only cut.
        0: none is. With triage it is skimmed, and the cut is what is to be analysed in full. trace: of a file that is
        not cut, give the traces; such a file is not skimmed.
        """
        try:
            with VideoSource(source, self._plan.settings.decode, self._plan.settings.sampling) as video:
                if video.live:
                    raise SourceRefused(f"{source}: a live stream has no end to scan", "use `streamwatch watch`")
                if self._plan.settings.sampling.triage and not trace:
                    skimmed = self._triage(source, video, segment)
                    if skimmed is not None:
                        return skimmed
                segments = video.segments(segment) if segment else []
                if len(segments) > 1:
                    return _segment_plan(video, tuple(segments))
                scores = self._score(video, subject, video.duration, trace)
                if isinstance(scores, Analysis):
                    return scores
                whole = replace(_segment_plan(video, (Segment(),)), to_end=not video.limited)
                return self._fuse(subject, whole, [scores])
        except StreamwatchError as error:
            return _failed(subject, error)

    def analyse_segment(
        self, subject: Subject, source: Location, segment: Segment, trace: bool = False
    ) -> bytes | Analysis:
        """What `SegmentScores` keep of a part of a file, as bytes; the verdict `error` on it where that fails.

        trace: keep the traces of its faces too.
        """
        settings = self._plan.settings
        try:
            with VideoSource(source, settings.decode, settings.sampling, segment=segment) as video:
                scores = self._score(video, subject, settings.engine.segment, trace)
                return scores if isinstance(scores, Analysis) else scores.to_bytes()
        except StreamwatchError as error:
            return _failed(subject, error)

    def fuse(self, subject: Subject, cut: SegmentPlan, segments: Iterable[bytes]) -> Analysis:
        """The verdict on a file from all its segments, in order; with the traces, where the segments have them."""
        return self._fuse(subject, cut, map(SegmentScores.from_bytes, segments))

    def _fuse(self, subject: Subject, cut: SegmentPlan, segments: Iterable[SegmentScores]) -> Analysis:
        firsts: list[int | None] = [segment.index for segment in cut.segments]
        if cut.skim is not None:
            segments, firsts = itertools.chain([SegmentScores.from_bytes(cut.skim)], segments), [0, *firsts]
        faces: list[FrameFaces] = []
        fused = fuse(_noting_faces(segments, faces), self._plan, firsts=firsts, gap=cut.gap)
        if fused.counts.decoded == 0:
            return Analysis(error_verdict(subject, SourceUnreadable(f"{subject.source}: {NOTHING}")))
        duration, unseen = cut.duration, []
        if cut.to_end and fused.end is not None:
            duration = fused.end
            whole = max(fused.end, cut.promised_end or 0.0)
            unseen = [*unseen_time(fused.counts.unseen, whole), *early_end(fused.end, cut.promised_end)]
        verdict = fused.fusion.verdict(subject, fused.counts, duration, unseen=unseen)
        notes = [*track_notes(cut.video_tracks), *face_notes(faces)]
        return Analysis(with_notes(verdict, notes), tuple(fused.traces))

    def _triage(self, source: Location, video: VideoSource, segment: float) -> SegmentPlan | None:
        """What the key frames of a file leave in doubt; None where it has to be analysed as a whole."""
        settings, place = self._plan.settings, video.place()
        if place is None or video.duration is None:
            return None
        origin, first = place
        found_keys = read_key_frames(source, settings.decode, origin)
        key_frames = sample_key_frames(found_keys.frames, settings.sampling.fps)
        if len(key_frames) < LEAST_KEY_FRAMES:
            return None
        gap = longest_gap(key_frames)
        collector = self._collector(gap)
        converter = PictureConverter()
        pictures = key_pictures(source, settings.decode, key_frames, converter)
        seen: set[int] = set()

        def frames() -> Iterator[Frame]:
            for key_frame, image in pictures:
                seen.add(key_frame.index)
                yield Frame(video.source_id, key_frame.index, key_frame.pts, None, image)

        collector.run(frames(), video.duration)
        counts = FrameCounts(len(seen), len(seen), len(seen), remarks=converter.remarks)
        found = collector.scores(counts)
        windows = doubtful_windows(key_frames, seen, found.records, self._plan.policy, video.duration, segment)
        if sum(window.seconds(video.duration) for window in windows) > WORTH * video.duration:
            return None
        times = {key_frame.pts for key_frame in key_frames if any(window.holds(key_frame.index) for window in windows)}
        return replace(
            _segment_plan(video, tuple(window.segment(origin, first) for window in windows)),
            skim=replace(found.without(times), end=found_keys.end).to_bytes(),
            gap=gap,
        )

    def _collector(self, gap: float = 0.0, *, trace: bool = False) -> _ScoreCollector:
        collector = _ScoreCollector(self._plan, self._client, self._face_detector, self._progress, trace=trace)
        collector.finder.relax(gap)
        return collector

    def _score(
        self, video: VideoSource, subject: Subject, duration: float | None, trace: bool
    ) -> SegmentScores | Analysis:
        """The scores of what is open; the verdict `error` where that fails on the way. duration: about, seconds."""
        collector = self._collector(trace=trace)
        try:
            collector.run(video.frames(), duration)
        except StreamwatchError as error:
            return _failed(subject, error, _counts(video, collector.queue), video.duration)
        return replace(collector.scores(_counts(video, collector.queue)), end=video.end)


class _ScoreCollector:
    """Has the faces of frames scored, and keeps what `SegmentScores` keep of them."""

    def __init__(
        self,
        plan: Plan,
        client: DetectorClient,
        face_detector: FaceDetector,
        progress: Callable[[float], None],
        *,
        trace: bool,
    ) -> None:
        self._batch = plan.settings.faces.batch
        self._progress = progress
        self._found = _Found(plan.policy, trace=trace)  # the queue refers to it, and not to this: no reference cycle
        engine = plan.settings.engine
        self.queue = ScoringQueue(client, engine.batch_faces, engine.in_flight, self._found.add)
        self.finder = plan.face_finder(face_detector, on_view=self._found.views.append)

    def run(self, frames: Iterable[Frame], duration: float | None) -> None:
        """Raises StreamwatchError. duration: of the frames, about, seconds; None where it is not known."""
        score_frames(frames, self.finder, self.queue, self._batch, duration, self._progress)

    def scores(self, counts: FrameCounts) -> SegmentScores:
        """What was found."""
        return self._found.scores(counts)


class _Found:
    """Views, faces, and what may become evidence."""

    def __init__(self, policy: Policy, *, trace: bool) -> None:
        self.views: list[View] = []
        self._policy = policy
        self._trace = trace
        self._records: list[FrameRecord] = []
        self._traces: list[FaceTrace] = []
        self._fusion: SourceFusion | None = None

    def add(self, score: FaceScore) -> None:
        record = frame_record(score)
        if self._fusion is None:
            self._fusion = SourceFusion(self._policy, open_until=record.pts + settling(self._policy))
        self._fusion.add(score)
        self._records.append(record)
        if self._trace:
            self._traces.append(trace_of(score, self._policy))

    def scores(self, counts: FrameCounts) -> SegmentScores:
        pictures = [] if self._fusion is None else self._fusion.pictures()
        return SegmentScores(counts, self.views, self._records, pictures, self._traces)


def score_frames(
    frames: Iterable[Frame],
    finder: FaceFinder,
    queue: ScoringQueue,
    batch: int,
    duration: float | None,
    progress: Callable[[float], None],
) -> None:
    """Have all faces of all frames scored. batch: frames at a time. duration: of the frames, about, seconds."""
    began: float | None = None
    for some in batches(frames, batch):
        began = some[0].pts if began is None else began
        for crops in finder.find(some):
            queue.put(crops)
        if duration:
            progress(min(1.0, (some[-1].pts - began) / duration))
    queue.drain()


def _noting_faces(segments: Iterable[SegmentScores], faces: list[FrameFaces]) -> Iterator[SegmentScores]:
    """The segments, one at a time, with the faces of their frames noted."""
    for segment in segments:
        faces.extend(map(FrameFaces.of, segment.views))
        yield segment


def _segment_plan(video: VideoSource, segments: tuple[Segment, ...]) -> SegmentPlan:
    return SegmentPlan(segments, video.duration, promised_end=video.promised_end, video_tracks=video.video_tracks)


def _failed(
    subject: Subject, error: StreamwatchError, frames: FrameCounts | None = None, duration: float | None = None
) -> Analysis:
    trace = "".join(format_exception(error)) if isinstance(error, DetectorError) else ""
    return Analysis(error_verdict(subject, error, frames, duration), traceback=trace)


def _counts(video: VideoSource, queue: ScoringQueue) -> FrameCounts:
    """Frames that were sampled but not analysed when an error ended the work count as dropped."""
    counts = video.counts
    analysed = queue.finished_frames
    dropped = counts.sampled - analysed
    return replace(
        counts, analysed=analysed, dropped=dropped, dropped_by={DropReason.FAILED: dropped} if dropped else {}
    )


def trace_of(score: FaceScore, policy: Policy) -> FaceTrace:
    """The trace of a scored face; its mask is shrunk to 28×28."""
    crop = score.crop
    if crop is None or crop.face.track_id is None:
        raise ValueError("a trace needs a score with its crop and track id")
    mask, coverage = None, None
    if score.mask is not None:
        if score.probability >= policy.fake:
            coverage = measure_coverage(score.mask, policy.mask_threshold, crop.face, crop.region)
        small = cv2.resize(score.mask, (TRACE_MASK, TRACE_MASK), interpolation=cv2.INTER_AREA)
        mask = np.asarray(small, np.uint8)
    return FaceTrace(
        frame_index=crop.frame_index,
        pts=crop.pts,
        track_id=crop.face.track_id,
        box=crop.face.box,
        region=crop.region,
        probability=score.probability,
        mask=mask,
        coverage=coverage,
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
