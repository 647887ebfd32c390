"""One live stream from its first frame to its last verdict, in plain Python."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from streamwatch.errors import SourceTimeout
from streamwatch.faces import FaceDetector, load_face_detector
from streamwatch.fusion import SourceAlerts, SourceFusion, error_verdict
from streamwatch.live.feed import Clock, Feed
from streamwatch.live.frame_times import FrameTraces
from streamwatch.live.sampling_rate import SamplingRate
from streamwatch.live.stillness import PictureState, StillnessMonitor
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import DetectorClient, ScoringQueue
from streamwatch.records import Alert, AlertKind, DropReason, EvidenceClip, FaceScore, FrameCounts, Label, VideoVerdict
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.process import ClipOrder, Effort
from streamwatch.sources.states import StreamState, Transition

_DROPPED = {PictureState.FROZEN: DropReason.FROZEN, PictureState.BLACK: DropReason.BLACK}
_STILL = {
    PictureState.FROZEN: "the picture has stood still for {:.0f} s",
    PictureState.BLACK: "the picture has been black for {:.0f} s",
}
_STILL_ALERTS = {PictureState.FROZEN: AlertKind.FROZEN, PictureState.BLACK: AlertKind.BLACK}

TICK = 0.1
"""Seconds after which a loop that gets no frame looks at scores, time and stop."""

CLIP_PATIENCE = 5.0
"""Seconds beyond its end after which a clip is given up."""

TRACK_GAP = 1.5
"""Sampling intervals that a track may go without its face, where that is longer than `tracks.max_gap`."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What the worker of a stream leaves to the one that takes its place.

    first_track: id of the first new track; above those of all workers before. started_at: when the capture began.
    frames: counts so far; those that were under way count as dropped. alerts: as they were told last.
    """

    first_track: int = 1
    started_at: datetime | None = None
    frames: FrameCounts = field(default_factory=FrameCounts)
    alerts: tuple[Alert, ...] = ()

    @classmethod
    def after(cls, verdict: VideoVerdict | None, first_track: int) -> Handover:
        """From the last verdict of the predecessor, if there was one."""
        if verdict is None:
            return cls(first_track)
        frames = verdict.frames
        lost = frames.sampled - frames.analysed - frames.dropped
        failed = FrameCounts(dropped=lost, dropped_by={DropReason.FAILED: lost})
        return cls(first_track, verdict.started_at, frames + failed, verdict.alerts)


class LiveStream:
    """Watches one stream (or a file as if it were one): reads ahead on a thread, drops what the detector
    cannot follow.

    deliver: hears every verdict (one each `live.verdict_every` seconds, and at once when an alert has something to
    tell), every change of state and every clip, in order, from two threads.
    """

    def __init__(
        self,
        plan: Plan,
        client: DetectorClient,
        url: str,
        *,
        deliver: Callable[[VideoVerdict | Transition | EvidenceClip], None],
        face_detector: FaceDetector | None = None,
        handover: Handover = Handover(),
        clock: Clock = time.monotonic,
    ) -> None:
        self._plan = plan
        self._deliver = deliver
        self._clock = clock
        self._handover = handover
        self._feed = Feed(
            url,
            plan.settings,
            listen=self._hear,
            on_clip=self._take_clip,
            clock=clock,
            started_at=handover.started_at,
        )
        self._clips: dict[str, float] = {}
        engine = plan.settings.engine
        self._fusion = SourceFusion(plan.policy, horizon=plan.settings.live.horizon)
        self._alerts = SourceAlerts(
            self._feed.name,
            plan.alert_rules,
            plan.policy,
            live=not self._feed.is_file,
            began=self._began,
            earlier=handover.alerts,
        )
        self._queue = ScoringQueue(client, engine.batch_faces, engine.in_flight, self._take)
        detector = face_detector or load_face_detector(plan.settings.faces)
        self._finder = plan.face_finder(detector, handover.first_track)
        self._picture = StillnessMonitor(plan.settings.live.still_after)
        self._still: Counter[DropReason] = Counter()
        self._governor = SamplingRate(plan.settings.sampling.fps, clock)
        self._traces = FrameTraces(plan.settings.tracing.every)
        self._trouble: Transition | None = None
        self._finished = self._sampled = 0
        self._waiting_since: float | None = None
        self._now = 0.0
        self._stopped_at: float | None = None

    def run(self, stop: threading.Event, seconds: float | None = None) -> VideoVerdict:
        """Watch until `stop`, for `seconds`, or to the end of a file; returns the last verdict.

        Raises DetectorError where the model fails, and an unexpected error that ended the feed.
        """
        every = self._plan.settings.live.verdict_every
        begin = self._clock()
        due = begin + every
        handed_over = {alert.id for alert in self._handover.alerts}
        self._feed.start()
        try:
            while not self._feed.frames.exhausted:
                over = seconds is not None and self._clock() - begin >= seconds
                if self._stopped_at is None and (over or stop.is_set()):
                    self._stopped_at = self._clock()
                    self._feed.stop()
                self._step()
                news = self._watch_for_alerts()
                if self._clock() >= due or news:
                    due = self._clock() + every
                    self._deliver(self._verdict())
                if news:
                    self._order_clips(handed_over)
                self._give_clips_up(self._clock())
        finally:
            self._feed.stop()
        if self._feed.crash is not None:
            raise self._feed.crash
        self._queue.drain()
        self._alerts.end(self._time())
        self._give_clips_up(math.inf)
        return self._verdict()

    def _step(self) -> None:
        if self._queue.full:
            self._queue.wait(TICK)
        else:
            self._look(TICK)
        self._queue.collect()
        if not self._feed.is_file and self._governor.update(self._feed.frames.counts[1]):
            self._feed.adjust(Effort(self._governor.rate, spare=self._governor.strained))
            self._finder.relax(TRACK_GAP / self._governor.rate)

    def _look(self, patience: float) -> None:
        frame = self._feed.frames.get(patience)
        if frame is None:
            return
        self._now = frame.pts
        picture = PictureState.MOVING if self._feed.is_file else self._picture.see(frame)
        if picture is PictureState.MOVING:
            self._traces.take(frame)
            (crops,) = self._finder.find([frame])
            self._traces.find(frame.index, len(crops))
            self._queue.put(crops)
            self._queue.flush()
        else:
            self._still[_DROPPED[picture]] += 1

    def _take(self, score: FaceScore) -> None:
        self._fusion.add(score)
        self._alerts.add(score)
        if score.crop is not None:
            self._traces.score(score.crop.frame_index)

    def _hear(self, change: Transition) -> None:
        if change.cause is not None:
            self._trouble = change
        self._deliver(change)

    def _watch_for_alerts(self) -> bool:
        """Whether an alert has something to tell."""
        now = self._time()
        if not self._feed.is_file:
            state = self._feed.machine.state
            down = self._down()
            self._alerts.fault(AlertKind.DOWN, down, now, at_once=state is StreamState.FAILED)
            runs = state is StreamState.RUNNING
            for picture, kind in _STILL_ALERTS.items():
                still = runs and self._picture.state is picture
                self._alerts.fault(kind, self._stillness() if still else None, now, at_once=True)
            self._alerts.fault(AlertKind.UNANALYSED, self._backlog() if runs else None, now)
        return self._alerts.step(now)

    def _order_clips(self, known: set[str]) -> None:
        """Have a clip cut for every forgery that was told for the first time; `known` are those that were."""
        alerts = self._plan.settings.alerts
        for alert in self._alerts.told(-math.inf):
            if alert.id in known or self._feed.is_file or not alerts.clip_max_bytes:
                continue
            known.add(alert.id)
            if alert.kind is AlertKind.FORGERY and alert.started_at is not None:
                start = alert.started_at - timedelta(seconds=alerts.clip_before)
                self._clips[alert.id] = self._clock() + alerts.clip_after + CLIP_PATIENCE
                self._feed.cut(ClipOrder(alert.id, start, utc_now() + timedelta(seconds=alerts.clip_after)))

    def _take_clip(self, clip: EvidenceClip) -> None:
        """On the feed's thread, or on this one."""
        if self._clips.pop(clip.alert_id, None) is not None:
            self._deliver(clip)

    def _give_clips_up(self, now: float) -> None:
        for alert_id in [alert_id for alert_id, deadline in self._clips.items() if deadline < now]:
            self._take_clip(
                EvidenceClip(self._feed.name, alert_id, None, failure="the connection ended before it was cut")
            )

    def _down(self) -> str | None:
        """Why no pictures come; None where they do, and during the first try."""
        machine, trouble = self._feed.machine, self._trouble
        if machine.state in (StreamState.RUNNING, StreamState.STOPPED) or machine.cause is None or trouble is None:
            return None
        return f"{trouble.cause}: {trouble.why}" if trouble.why else str(trouble.cause)

    def _backlog(self) -> str | None:
        """Why pictures that move are not analysed; None where they are."""
        finished, sampled = self._queue.finished_frames + self._still.total(), self._feed.counts.sampled
        now = self._clock()
        if finished != self._finished:
            self._finished, self._sampled, self._waiting_since = finished, sampled, None
        if self._waiting_since is None and sampled > self._sampled:
            self._waiting_since = now
        if self._waiting_since is None or now - self._waiting_since <= self._plan.settings.live.stale_after:
            return None
        return "pictures come, but none is analysed: the detector does not answer, or the machine is too slow"

    def _time(self) -> float:
        """The present on the time line of the alerts: media seconds of a file, POSIX time of a stream."""
        return self._now if self._feed.is_file else utc_now().timestamp()

    def _began(self) -> float | None:
        return None if self._feed.started_at is None else self._feed.started_at.timestamp()

    def _verdict(self) -> VideoVerdict:
        feed, live = self._feed, self._plan.settings.live
        subject = self._plan.subject(feed.name, None, feed.started_at)
        counts = self._counts()
        alerts = self._alerts.told(self._time() - live.horizon)
        silence = feed.silence(self._clock() if self._stopped_at is None else self._stopped_at)
        if counts.sampled == 0 or silence > live.horizon:
            nothing = SourceTimeout(f"{feed.name}: no picture came", "check that the sender is running")
            return error_verdict(subject, feed.failure or nothing, counts, alerts=alerts)
        verdict = self._fusion.verdict(subject, counts, self._duration(), self._now + silence, alerts)
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
        reason = "; ".join(filter(None, notes))
        return replace(verdict, label=label, reason=reason, times=self._traces.told())

    def _counts(self) -> FrameCounts:
        before, here = self._handover.frames, self._feed.counts
        still = FrameCounts(dropped=self._still.total(), dropped_by=self._still)
        return before + here + still + FrameCounts(analysed=self._queue.finished_frames)

    def _doubts(self, silence: float) -> list[str]:
        """Why what was seen lately does not say what is there now."""
        doubts = []
        if silence > self._plan.settings.live.stalled_after:
            doubts.append(f"no new picture for {silence:.0f} s")
        if self._picture.state is not PictureState.MOVING:
            doubts.append(self._stillness())
        return doubts

    def _stillness(self) -> str:
        return _STILL[self._picture.state].format(self._now - self._picture.since)

    def _duration(self) -> float | None:
        return self._feed.duration if self._feed.is_file else self._now
