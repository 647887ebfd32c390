"""The actor that works on one file at a time, whole or in segments: decoding, faces, tracks, fusion, drawing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch import logs
from streamwatch.allocator import give_back_freed_memory
from streamwatch.cluster.connection import Actor, this_machine
from streamwatch.cluster.detector import RemoteClient
from streamwatch.drawing.annotate import Drawing
from streamwatch.drawing.muxing import Part
from streamwatch.errors import SourceNotFound
from streamwatch.fusion import Subject, error_verdict
from streamwatch.pipeline.analyser import Analyser, Analysis, SegmentPlan
from streamwatch.pipeline.plan import Plan
from streamwatch.sources import Location
from streamwatch.sources.segments import Segment


class FileWorker:
    """Runs in a process of its own, so that a file that kills it costs nothing but its own work.

    `share` answers while one of the other methods works.
    """

    def __init__(self, plan: Plan, detectors: list[Actor], name: str) -> None:
        logs.configure(plan.settings.log)
        cv2.setNumThreads(1)
        self._plan = plan
        self._share = 0.0
        self._client = RemoteClient(detectors, name)
        self._made: Analyser | None = None

    def begin(self, subject: Subject, source: Location, trace: bool, segment: float) -> Analysis | SegmentPlan:
        """See `Analyser.begin`. Raises WeightsError where the face detector cannot be loaded."""
        if _missing(subject, source):
            return Analysis(error_verdict(subject, _elsewhere(subject.source)))
        return self._analyser().begin(subject, source, trace=trace, segment=segment)

    def analyse_segment(self, subject: Subject, source: Location, segment: Segment, trace: bool) -> bytes | Analysis:
        """See `Analyser.analyse_segment`. Raises WeightsError where the face detector cannot be loaded."""
        if _missing(subject, source):
            return Analysis(error_verdict(subject, _elsewhere(subject.source)))
        found = self._analyser().analyse_segment(subject, source, segment, trace)
        give_back_freed_memory()
        return found

    def fuse(self, subject: Subject, cut: SegmentPlan, segments: Sequence[NDArray[np.uint8]]) -> Analysis:
        """See `Analyser.fuse`."""
        return self._analyser().fuse(subject, cut, (segment.tobytes() for segment in segments))

    def draw(self, drawing: Drawing, segment: Segment) -> Part | None:
        """See `Drawing.draw`."""
        self._share = 0.0
        return drawing.draw(segment, length=self._plan.settings.engine.segment, progress=self._note_share)

    def join(self, drawing: Drawing, parts: Sequence[Part | None]) -> None:
        """See `Drawing.join`."""
        drawing.join(parts)

    def share(self) -> float:
        """How much of the present file or segment was read, 0..1."""
        return self._share

    def _analyser(self) -> Analyser:
        self._share = 0.0
        if self._made is None:
            self._made = Analyser(self._plan, self._client, progress=self._note_share)
        return self._made

    def _note_share(self, share: float) -> None:
        self._share = share


def _missing(subject: Subject, source: Location) -> bool:
    """Whether a file is not there that was there when it was hashed."""
    return subject.sha256 is not None and not source.is_url and not source.path.exists()


def _elsewhere(name: str) -> SourceNotFound:
    return SourceNotFound(
        f"{name}: no such file on {this_machine()}, where a worker runs",
        "give all machines of the cluster the files under the same path, or put them into an object store",
    )
