"""One file from its first frame to its verdict: the stages in a row, in plain Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import cv2
import numpy as np

from streamwatch.engine.plan import Plan
from streamwatch.engine.scoring import DetectorClient, ScoringQueue
from streamwatch.engine.segments import SegmentScores, fuse
from streamwatch.errors import SourceRefused, SourceUnreadable, StreamwatchError
from streamwatch.faces import FaceDetector, FaceFinder, load_face_detector
from streamwatch.faces.tracking import View
from streamwatch.fusion import Policy, SourceFusion, Subject, error_verdict
from streamwatch.fusion.evidence import settling
from streamwatch.fusion.regions import measure_coverage
from streamwatch.fusion.track import frame_record
from streamwatch.records import (
    DropReason,
    FaceScore,
    FaceTrace,
    FrameCounts,
    FrameRecord,
    Metadata,
    VideoVerdict,
)
from streamwatch.sources import VideoSource, redact
from streamwatch.sources.segments import Segment

TRACE_MASK = 28
"""Side of the masks in traces, pixels."""

NOTHING = "no frame could be decoded"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A verdict, and the traces of its faces in order of time where they were asked for. metadata: of the input."""

    verdict: VideoVerdict
    traces: tuple[FaceTrace, ...] = ()
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """A long file that is to be analysed in segments. duration: seconds."""

    segments: tuple[Segment, ...]
    duration: float | None


class Analyser:
    """Decodes, finds faces, has them scored, fuses: one file after another.

    Frames are read in batches while the detector works on the crops of earlier ones; `engine.in_flight`
    bounds how far reading runs ahead. Of the pixels only those of the evidence stay.

    progress: hears the share of the file that was read, 0..1, where its duration is known.
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
        self, source: str, *, name: str | None = None, sha256: str | None = None, trace: bool = False
    ) -> Analysis:
        """Analyse a file or a URL with an end. What fails on the way gives the verdict `error`, with its
        type.

        name: what the verdict calls the source; default: the source, credentials masked. sha256: of its
        content.
        """
        found = self.begin(self._plan.subject(name or redact(source), sha256), source, trace=trace, segment=0.0)
        assert isinstance(found, Analysis)
        return found

    def begin(self, subject: Subject, source: str, *, trace: bool, segment: float) -> Analysis | Cut:
        """As `analyse`; but a file that can be cut into two or more parts of about `segment` seconds is only cut.
        0: none is. Traces are only of files that are not cut.
        """
        try:
            with VideoSource(source, self._plan.settings.decode, self._plan.settings.sampling) as video:
                if video.live:
                    raise SourceRefused(f"{redact(source)}: a live stream has no end to scan; use `streamwatch watch`")
                segments = video.segments(segment) if segment and not trace else []
                if len(segments) > 1:
                    return Cut(tuple(segments), video.duration)
                return self._analyse(video, subject, trace)
        except StreamwatchError as error:
            return Analysis(error_verdict(subject, error))

    def analyse_segment(self, subject: Subject, source: str, segment: Segment) -> bytes | Analysis:
        """What `SegmentScores` keep of a part of a file, as bytes; the verdict `error` on it where that fails."""
        settings = self._plan.settings
        views: list[View] = []
        records: list[FrameRecord] = []
        fusion: SourceFusion | None = None

        def deliver(score: FaceScore) -> None:
            nonlocal fusion
            record = frame_record(score)
            if fusion is None:
                fusion = SourceFusion(self._plan.policy, open_until=record.pts + settling(self._plan.policy))
            fusion.add(score)
            records.append(record)

        try:
            with VideoSource(source, settings.decode, settings.sampling, segment=segment) as video:
                queue = self._queue(deliver)
                finder = self._plan.face_finder(self._face_detector, on_view=views.append)
                try:
                    self._score(video, finder, queue, settings.engine.segment)
                except StreamwatchError as error:
                    return Analysis(error_verdict(subject, error, _counts(video, queue), video.duration))
                pictures = [] if fusion is None else fusion.pictures()
                return SegmentScores(_counts(video, queue), views, records, pictures).to_bytes()
        except StreamwatchError as error:
            return Analysis(error_verdict(subject, error))

    def fuse(self, subject: Subject, segments: Sequence[bytes], duration: float | None) -> Analysis:
        """The verdict on a file from all its segments, in order."""
        fusion, counts = fuse([SegmentScores.from_bytes(segment) for segment in segments], self._plan)
        if counts.sampled == 0:
            return Analysis(error_verdict(subject, SourceUnreadable(f"{subject.source}: {NOTHING}")))
        return Analysis(fusion.verdict(subject, counts, duration))

    def _analyse(self, video: VideoSource, subject: Subject, trace: bool) -> Analysis:
        fusion = SourceFusion(self._plan.policy)
        traces: list[FaceTrace] = []

        def deliver(score: FaceScore) -> None:
            fusion.add(score)
            if trace:
                traces.append(trace_of(score, self._plan.policy))

        queue = self._queue(deliver)
        try:
            self._score(video, self._plan.face_finder(self._face_detector), queue, video.duration)
        except StreamwatchError as error:
            return Analysis(error_verdict(subject, error, _counts(video, queue), video.duration))
        counts = _counts(video, queue)
        if counts.sampled == 0:
            raise SourceUnreadable(f"{subject.source}: {NOTHING}")
        return Analysis(fusion.verdict(subject, counts, video.duration), tuple(traces))

    def _queue(self, deliver: Callable[[FaceScore], None]) -> ScoringQueue:
        engine = self._plan.settings.engine
        return ScoringQueue(self._client, engine.batch_faces, engine.in_flight, deliver)

    def _score(self, video: VideoSource, finder: FaceFinder, queue: ScoringQueue, duration: float | None) -> None:
        """Have all faces of all sampled frames scored. duration: of what is read, about, seconds."""
        began: float | None = None
        for frames in batches(video.frames(), self._plan.settings.faces.batch):
            began = frames[0].pts if began is None else began
            for crops in finder.find(frames):
                queue.put(crops)
            if duration:
                self._progress(min(1.0, (frames[-1].pts - began) / duration))
        queue.drain()


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
        mask = np.asarray(np.clip(small * 255 + 0.5, 0, 255), dtype=np.uint8)
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
