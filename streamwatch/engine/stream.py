"""One live stream from its first frame to its last verdict, in plain Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from streamwatch.engine.feed import Clock, Feed
from streamwatch.engine.plan import Plan
from streamwatch.engine.scoring import DetectorClient, ScoringQueue
from streamwatch.errors import SourceTimeout
from streamwatch.faces import FaceDetector, load_face_detector
from streamwatch.fusion import SourceFusion, error_verdict
from streamwatch.records import VideoVerdict
from streamwatch.sources.states import Transition

TICK = 0.1
"""Seconds after which a loop that gets no frame looks at scores, time and stop."""


class LiveStream:
    """Watches one stream (or a file as if it were one): reads ahead on a thread, drops what the detector
    cannot follow.

    first_track: id of the first track; above those of a worker that watched this stream before.
    deliver: hears every verdict (one each `live.verdict_every` seconds) and every change of state, in order,
    from two threads.
    """

    def __init__(
        self,
        plan: Plan,
        client: DetectorClient,
        url: str,
        *,
        deliver: Callable[[VideoVerdict | Transition], None],
        face_detector: FaceDetector | None = None,
        first_track: int = 1,
        clock: Clock = time.monotonic,
    ) -> None:
        self._plan = plan
        self._deliver = deliver
        self._clock = clock
        self._feed = Feed(url, plan.settings, listen=deliver, clock=clock)
        engine = plan.settings.engine
        self._fusion = SourceFusion(plan.policy, horizon=plan.settings.live.horizon)
        self._queue = ScoringQueue(client, engine.batch_faces, engine.in_flight, self._fusion.add)
        detector = face_detector or load_face_detector(plan.settings.faces)
        self._finder = plan.face_finder(detector, first_track)
        self._now = 0.0

    def run(self, stop: threading.Event, seconds: float | None = None) -> VideoVerdict:
        """Watch until `stop`, for `seconds`, or to the end of a file; returns the last verdict.

        Raises DetectorError where the model fails.
        """
        every = self._plan.settings.live.verdict_every
        begin = self._clock()
        due = begin + every
        self._feed.start()
        try:
            stopped = False
            while not self._feed.frames.exhausted:
                over = seconds is not None and self._clock() - begin >= seconds
                if not stopped and (over or stop.is_set()):
                    stopped = True
                    self._feed.stop()
                self._step()
                if self._clock() >= due:
                    due = self._clock() + every
                    self._deliver(self._verdict())
        finally:
            self._feed.stop()
        self._queue.drain()
        return self._verdict()

    def _step(self) -> None:
        frame = self._feed.frames.get(TICK)
        if frame is not None:
            self._now = frame.pts
            (crops,) = self._finder.find([frame])
            self._queue.put(crops)
            self._queue.flush()
        self._queue.collect()

    def _verdict(self) -> VideoVerdict:
        feed = self._feed
        subject = self._plan.subject(feed.name, None, feed.started_at)
        counts = replace(feed.counts, analysed=self._queue.finished_frames)
        if counts.sampled == 0:
            nothing = SourceTimeout(f"{feed.name}: no frame came; check that the sender is running")
            return error_verdict(subject, feed.failure or nothing, counts)
        verdict = self._fusion.verdict(subject, counts, self._duration(), self._now)
        notes = [verdict.reason] if verdict.reason else []
        if counts.dropped:
            limit = self._plan.settings.live.stale_after
            notes.append(f"frames dropped as older than {limit:g} s: {counts.dropped}")
        if lost := feed.machine.reconnects.total():
            notes.append(f"connection lost: {lost}×")
        return replace(verdict, reason="; ".join(notes))

    def _duration(self) -> float | None:
        return self._feed.duration if self._feed.is_file else self._now
