"""One live stream from its first frame to its last verdict, in plain Python."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from streamwatch.engine.feed import Clock, Feed
from streamwatch.engine.governor import Governor
from streamwatch.engine.plan import Plan
from streamwatch.engine.scoring import DetectorClient, ScoringQueue
from streamwatch.errors import SourceTimeout
from streamwatch.faces import FaceDetector, load_face_detector
from streamwatch.fusion import SourceFusion, error_verdict
from streamwatch.records import DropReason, FrameCounts, Label, VideoVerdict
from streamwatch.sources.picture import Picture, PictureWatch
from streamwatch.sources.process import Effort
from streamwatch.sources.states import Transition

_DROPPED = {Picture.FROZEN: DropReason.FROZEN, Picture.BLACK: DropReason.BLACK}
_STILL = {
    Picture.FROZEN: "the picture has stood still for {:.0f} s",
    Picture.BLACK: "the picture has been black for {:.0f} s",
}

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
        self._picture = PictureWatch(plan.settings.live.still_after)
        self._still: Counter[DropReason] = Counter()
        self._governor = Governor(plan.settings.sampling.fps, clock)
        self._now = 0.0
        self._stopped_at: float | None = None

    def run(self, stop: threading.Event, seconds: float | None = None) -> VideoVerdict:
        """Watch until `stop`, for `seconds`, or to the end of a file; returns the last verdict.

        Raises DetectorError where the model fails.
        """
        every = self._plan.settings.live.verdict_every
        begin = self._clock()
        due = begin + every
        self._feed.start()
        try:
            while not self._feed.frames.exhausted:
                over = seconds is not None and self._clock() - begin >= seconds
                if self._stopped_at is None and (over or stop.is_set()):
                    self._stopped_at = self._clock()
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
            picture = Picture.MOVING if self._feed.is_file else self._picture.see(frame)
            if picture is Picture.MOVING:
                (crops,) = self._finder.find([frame])
                self._queue.put(crops)
                self._queue.flush()
            else:
                self._still[_DROPPED[picture]] += 1
        self._queue.collect()
        if not self._feed.is_file and self._governor.update(self._feed.frames.counts[1]):
            self._feed.adjust(Effort(self._governor.rate, spare=self._governor.strained))

    def _verdict(self) -> VideoVerdict:
        feed, live = self._feed, self._plan.settings.live
        subject = self._plan.subject(feed.name, None, feed.started_at)
        counts = self._counts()
        silence = feed.silence(self._clock() if self._stopped_at is None else self._stopped_at)
        if counts.sampled == 0 or silence > live.horizon:
            nothing = SourceTimeout(f"{feed.name}: no picture came; check that the sender is running")
            return error_verdict(subject, feed.failure or nothing, counts)
        verdict = self._fusion.verdict(subject, counts, self._duration(), self._now + silence)
        doubts = self._doubts(silence)
        notes = [*doubts, verdict.reason]
        if self._governor.rate < self._governor.wanted:
            notes.append(f"sampled at {self._governor.rate:.2g} frames/s for lack of time")
        if counts.dropped:
            notes.append("not analysed: " + ", ".join(f"{n} {reason}" for reason, n in counts.dropped_by.items()))
        if lost := feed.machine.reconnects.total():
            notes.append(f"connection lost: {lost}×")
        label = verdict.label
        if doubts and label in (Label.REAL, Label.NO_FACE):
            label = Label.INCONCLUSIVE
        return replace(verdict, label=label, reason="; ".join(filter(None, notes)))

    def _counts(self) -> FrameCounts:
        counts = self._feed.counts
        dropped_by = Counter(counts.dropped_by) + self._still
        return replace(
            counts, analysed=self._queue.finished_frames, dropped=dropped_by.total(), dropped_by=dict(dropped_by)
        )

    def _doubts(self, silence: float) -> list[str]:
        """Why what was seen lately does not say what is there now."""
        doubts = []
        if silence > self._plan.settings.live.stalled_after:
            doubts.append(f"no new picture for {silence:.0f} s")
        if self._picture.state is not Picture.MOVING:
            since = self._now - self._picture.since
            doubts.append(_STILL[self._picture.state].format(since))
        return doubts

    def _duration(self) -> float | None:
        return self._feed.duration if self._feed.is_file else self._now
