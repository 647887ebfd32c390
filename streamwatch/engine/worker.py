"""The actor that owns one file or one stream at a time: decoding, faces, tracks, fusion."""

from __future__ import annotations

import threading

import cv2
import ray

from streamwatch.engine.analysis import Analyser, Analysis
from streamwatch.engine.cluster import Actor
from streamwatch.engine.detector import RemoteClient
from streamwatch.engine.plan import Plan
from streamwatch.engine.stream import LiveStream
from streamwatch.records import VideoVerdict
from streamwatch.sources.states import Transition


class StreamWorker:
    """Runs in a process of its own, so that a source that kills it costs nothing but its own work.

    `analyse` or `watch` works on one source; the other methods answer meanwhile.
    """

    def __init__(self, plan: Plan, detectors: list[Actor], name: str) -> None:
        cv2.setNumThreads(1)
        self._plan = plan
        self._share = 0.0
        self._client = RemoteClient(detectors, name)
        self._analyser: Analyser | None = None
        self._stream: LiveStream | None = None
        self._outbox: list[VideoVerdict | Transition] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def analyse(self, source: str, name: str, sha256: str | None, trace: bool) -> Analysis:
        """See `Analyser.analyse`. Raises WeightsError where the face detector cannot be loaded."""
        self._share = 0.0
        if self._analyser is None:
            self._analyser = Analyser(self._plan, self._client, progress=self._note_share)
        return self._analyser.analyse(source, name=name, sha256=sha256, trace=trace)

    def share(self) -> float:
        """How much of the present file was read, 0..1."""
        return self._share

    def watch(self, url: str, seconds: float | None, first_track: int = 1) -> VideoVerdict:
        """Watch a stream until `stop`, for `seconds`, or to the end of a file; the final verdict."""
        stream = LiveStream(self._plan, self._client, url, deliver=self._put, first_track=first_track)
        return stream.run(self._stop, seconds)

    def take(self) -> list[VideoVerdict | Transition]:
        """Verdicts and events of the stream since the last call, in order."""
        with self._lock:
            taken, self._outbox = self._outbox, []
        return taken

    def stop(self) -> None:
        """Ask `watch` to come to its end."""
        self._stop.set()

    def _note_share(self, share: float) -> None:
        self._share = share

    def _put(self, item: VideoVerdict | Transition) -> None:
        with self._lock:
            self._outbox.append(item)


def start_worker(plan: Plan, detectors: list[Actor], name: str) -> Actor:
    """Start a worker. Two calls at a time: the work, and questions about it."""
    actor: Actor = ray.remote(StreamWorker)
    options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 2, "scheduling_strategy": "SPREAD"}
    return actor.options(**options).remote(plan, detectors, name)
