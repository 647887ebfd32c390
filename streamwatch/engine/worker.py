"""The actor that owns one file or one stream at a time: decoding, faces, tracks, fusion."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamwatch.annotate import Drawing
from streamwatch.engine.analysis import Analyser, Analysis, Cut
from streamwatch.engine.cluster import QUIET, Actor, Node, this_machine
from streamwatch.engine.detector import RemoteClient
from streamwatch.engine.plan import Plan
from streamwatch.engine.stream import Handover, LiveStream
from streamwatch.errors import SourceNotFound
from streamwatch.fusion import Subject, error_verdict
from streamwatch.heap import give_back_freed_memory
from streamwatch.mp4 import Part
from streamwatch.records import Clip, VideoVerdict
from streamwatch.sources import is_url
from streamwatch.sources.segments import Segment
from streamwatch.sources.states import Transition

TAKE_PATIENCE = 1.0
"""Seconds that a call of `take` waits for something to take."""


class StreamWorker:
    """Runs in a process of its own, so that a source that kills it costs nothing but its own work.

    `begin`, `analyse_segment`, `fuse`, `draw`, `join` or `watch` works on one source; the other methods answer
    meanwhile.
    """

    def __init__(self, plan: Plan, detectors: list[Actor], name: str) -> None:
        cv2.setNumThreads(1)
        self._plan = plan
        self._share = 0.0
        self._client = RemoteClient(detectors, name)
        self._made: Analyser | None = None
        self._outbox: list[VideoVerdict | Transition | Clip] = []
        self._filled = threading.Condition()
        self._over = False
        self._stop = threading.Event()

    def begin(self, subject: Subject, source: str, trace: bool, segment: float) -> Analysis | Cut:
        """See `Analyser.begin`. Raises WeightsError where the face detector cannot be loaded."""
        if _missing(subject, source):
            return Analysis(error_verdict(subject, _elsewhere(subject.source)))
        return self._analyser().begin(subject, source, trace=trace, segment=segment)

    def analyse_segment(self, subject: Subject, source: str, segment: Segment, trace: bool) -> bytes | Analysis:
        """See `Analyser.analyse_segment`. Raises WeightsError where the face detector cannot be loaded."""
        if _missing(subject, source):
            return Analysis(error_verdict(subject, _elsewhere(subject.source)))
        found = self._analyser().analyse_segment(subject, source, segment, trace)
        give_back_freed_memory()
        return found

    def fuse(self, subject: Subject, cut: Cut, segments: Sequence[NDArray[np.uint8]]) -> Analysis:
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

    def watch(self, url: str, seconds: float | None, handover: Handover) -> VideoVerdict:
        """Watch a stream until `stop`, for `seconds`, or to the end of a file; the final verdict."""
        stream = LiveStream(self._plan, self._client, url, deliver=self._put, handover=handover)
        try:
            return stream.run(self._stop, seconds)
        finally:
            with self._filled:
                self._over = True
                self._filled.notify_all()

    def take(self) -> list[VideoVerdict | Transition | Clip]:
        """Verdicts and events of the stream since the last call, in order; waits a while for the first one."""
        with self._filled:
            self._filled.wait_for(lambda: self._outbox or self._over, TAKE_PATIENCE)
            taken, self._outbox = self._outbox, []
        return taken

    def stop(self) -> None:
        """Ask `watch` to come to its end."""
        self._stop.set()

    def _analyser(self) -> Analyser:
        self._share = 0.0
        if self._made is None:
            self._made = Analyser(self._plan, self._client, progress=self._note_share)
        return self._made

    def _note_share(self, share: float) -> None:
        self._share = share

    def _put(self, item: VideoVerdict | Transition | Clip) -> None:
        with self._filled:
            self._outbox.append(item)
            self._filled.notify_all()


def start_worker(plan: Plan, detectors: list[Actor], name: str, node: Node) -> Actor:
    """Start a worker on a machine; where that is lost, its calls raise one of `LOST`.

    Three calls at a time: the work, what it brings forth, and questions about it.
    """
    actor: Actor = ray.remote(StreamWorker)
    place = NodeAffinitySchedulingStrategy(node.id, soft=False)  # a soft one is not kept to
    options = {**QUIET, "num_cpus": 0, "max_restarts": 0, "max_concurrency": 3, "scheduling_strategy": place}
    return actor.options(**options).remote(plan, detectors, name)


def _missing(subject: Subject, source: str) -> bool:
    """Whether a file is not there that was there when it was hashed."""
    return subject.sha256 is not None and not is_url(source) and not Path(source).exists()


def _elsewhere(name: str) -> SourceNotFound:
    return SourceNotFound(
        f"{name}: no such file on {this_machine()}, where a worker runs; give all machines of the cluster the files "
        "under the same path, or put them into an object store"
    )
