"""The actor that watches one stream at a time: decoding, faces, tracks, fusion."""

from __future__ import annotations

import threading

import cv2

from streamwatch import logs
from streamwatch.cluster.connection import Actor
from streamwatch.cluster.detector import RemoteClient
from streamwatch.live.stream import LiveStream, ResumeState
from streamwatch.pipeline.plan import Plan
from streamwatch.records import EvidenceClip, VideoVerdict
from streamwatch.sources.location import Location
from streamwatch.sources.states import Transition

TAKE_PATIENCE = 1.0
"""Seconds that a call of `take` waits for something to take."""


class StreamWorker:
    """Runs in a process of its own, so that a stream that kills it costs nothing but its own work.

    `take` and `stop` answer while `watch` works.
    """

    def __init__(self, plan: Plan, detectors: list[Actor], name: str) -> None:
        logs.configure(plan.settings.log)
        cv2.setNumThreads(1)
        self._plan = plan
        self._client = RemoteClient(detectors, name)
        self._outbox: list[VideoVerdict | Transition | EvidenceClip] = []
        self._filled = threading.Condition()
        self._over = False
        self._stop = threading.Event()

    def watch(self, source: Location, seconds: float | None, resume: ResumeState) -> VideoVerdict:
        """Watch a stream until `stop`, for `seconds`, or to the end of a file; the final verdict."""
        stream = LiveStream(self._plan, self._client, source, deliver=self._put, resume=resume)
        try:
            return stream.run(self._stop, seconds)
        finally:
            with self._filled:
                self._over = True
                self._filled.notify_all()

    def take(self) -> list[VideoVerdict | Transition | EvidenceClip]:
        """Verdicts and events of the stream since the last call, in order; waits a while for the first one."""
        with self._filled:
            self._filled.wait_for(lambda: self._outbox or self._over, TAKE_PATIENCE)
            taken, self._outbox = self._outbox, []
        return taken

    def stop(self) -> None:
        """Ask `watch` to come to its end."""
        self._stop.set()

    def _put(self, item: VideoVerdict | Transition | EvidenceClip) -> None:
        with self._filled:
            self._outbox.append(item)
            self._filled.notify_all()
