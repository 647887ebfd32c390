"""One live stream from its first frame to its last verdict, in plain Python."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from streamwatch.errors import SourceTimeout
from streamwatch.faces import FaceDetector, load_face_detector
from streamwatch.fusion import SourceAlerts, SourceFusion, error_verdict
from streamwatch.fusion.overlooked import track_notes
from streamwatch.fusion.unseen import Unseen, unseen_time
from streamwatch.live.clip_orders import ClipOrders
from streamwatch.live.faults import StreamFaults
from streamwatch.live.feed import Clock, Feed
from streamwatch.live.frame_analysis import FrameAnalysis
from streamwatch.live.sampling_rate import SamplingRate
from streamwatch.live.unseen import RecentUnseen
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import DetectorClient
from streamwatch.records import Alert, DropReason, EvidenceClip, FaceScore, FrameCounts, Label, VideoVerdict
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.location import Location
from streamwatch.sources.process import DecodeRate
from streamwatch.sources.states import Transition

TICK = 0.1
"""Seconds after which a loop that gets no frame looks at scores, time and stop."""

TRACK_GAP = 1.5
"""Intervals of sampling, or of a slower stream's pictures, that a track may go without its face, where that is longer
than `tracks.max_gap`.
"""


@dataclass(frozen=True, slots=True)
class ResumeState:
    """State of a stream from which a new worker resumes after the previous one died.

    first_track: id of the first new track; above those of all workers before. started_at: when the capture began.
    frames: counts so far; frames in progress count as dropped. alerts: their latest revisions.
    """

    first_track: int = 1
    started_at: datetime | None = None
    frames: FrameCounts = field(default_factory=FrameCounts)
    alerts: tuple[Alert, ...] = ()

    @classmethod
    def after(cls, verdict: VideoVerdict | None, first_track: int) -> ResumeState:
        """From the last verdict of the predecessor, if there was one."""
        if verdict is None:
            return cls(first_track)
        frames = verdict.frames
        lost = frames.sampled - frames.analysed - frames.dropped
        failed = FrameCounts(dropped=lost, dropped_by={DropReason.FAILED: lost})
        return cls(first_track, verdict.started_at, frames + failed, verdict.alerts)


class LiveStream:  # size: one object for each thing that a watch does, joined here
    """Watches one stream (or a file as if it were one): reads ahead on a thread, drops what the detector
    cannot follow.

    deliver: called with every verdict (one each `live.verdict_every` seconds, and at once when an alert has a new
    revision), every change of state and every clip, in order, from two threads.
    """

    def __init__(
        self,
        plan: Plan,
        client: DetectorClient,
        source: Location,
        *,
        deliver: Callable[[VideoVerdict | Transition | EvidenceClip], None],
        face_detector: FaceDetector | None = None,
        resume: ResumeState = ResumeState(),
        clock: Clock = time.monotonic,
    ) -> None:
        settings = plan.settings
        self._plan = plan
        self._deliver = deliver
        self._clock = clock
        self._resume = resume
        self._stopped_at: float | None = None
        self._feed = feed = Feed(
            source,
            settings,
            listen=self._note_change,
            on_clip=lambda clip: self._clips.receive(clip),
            clock=clock,
            started_at=resume.started_at,
        )
        live = not feed.is_file
        self._faults = StreamFaults(feed.machine, settings.live.stale_after, clock)
        self._clips = ClipOrders(
            feed.name,
            settings.alerts,
            cut=feed.cut,
            deliver=deliver,
            known=[alert.id for alert in resume.alerts],
            clock=clock,
        )
        self._fusion = SourceFusion(plan.policy, horizon=settings.live.horizon)
        self._alerts = SourceAlerts(
            feed.name, plan.alert_rules, plan.policy, live=live, began=self._began, earlier=resume.alerts
        )
        self._analysis = FrameAnalysis(
            plan,
            client,
            face_detector or load_face_detector(settings.faces),
            first_track=resume.first_track,
            live=live,
            deliver=self._add_score,
        )
        self._sampling = SamplingRate(settings.sampling.fps, clock)
        self._sampled_at = clock()
        self._unseen = RecentUnseen(settings.live.horizon, self._sampled_at, resume.frames.unseen)

    def run(self, stop: threading.Event, seconds: float | None = None) -> VideoVerdict:
        """Watch until `stop`, for `seconds`, or to the end of a file; returns the last verdict.

        Raises DetectorError where the model fails, and an unexpected error that ended the feed.
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
                changed = self._update_alerts()
                if self._clock() >= due or changed:
                    due = self._clock() + every
                    self._deliver(self._verdict())
                if changed and not self._feed.is_file:
                    self._clips.order(self._alerts.current(-math.inf))
                self._clips.fail_overdue()
        finally:
            self._feed.stop()
        if self._feed.crash is not None:
            raise self._feed.crash
        self._analysis.drain()
        self._alerts.end(self._time())
        self._clips.fail_overdue(all_of_them=True)
        return self._verdict()

    def _step(self) -> None:
        if self._analysis.full:
            self._analysis.wait(TICK)
        elif (frame := self._feed.frames.get(TICK)) is not None:
            if not self._feed.is_file:
                self._analysis.relax(TRACK_GAP * max(1 / self._sampling.rate, self._feed.interval))
            self._analysis.analyse(frame)
            self._sampled_at = self._clock()
        self._analysis.collect()
        if not self._feed.is_file and self._sampling.update(self._feed.frames.counts[1]):
            self._feed.adjust(DecodeRate(self._sampling.rate, spare=self._sampling.strained))

    def _add_score(self, score: FaceScore) -> None:
        self._fusion.add(score)
        self._alerts.add(score)

    def _note_change(self, change: Transition) -> None:
        self._faults.note(change)
        self._deliver(change)

    def _update_alerts(self) -> bool:
        """Whether an alert has a new revision."""
        now = self._time()
        if not self._feed.is_file:
            for fault in self._faults.check(self._analysis, self._feed.counts.sampled):
                self._alerts.fault(fault.kind, fault.reason, now, at_once=fault.at_once)
        return self._alerts.step(now)

    def _time(self) -> float:
        """The present on the time line of the alerts: media seconds of a file, POSIX time of a stream."""
        return self._analysis.now if self._feed.is_file else utc_now().timestamp()

    def _began(self) -> float | None:
        return None if self._feed.started_at is None else self._feed.started_at.timestamp()

    def _verdict(self) -> VideoVerdict:
        feed, live = self._feed, self._plan.settings.live
        subject = self._plan.subject(feed.name, None, feed.started_at)
        counts = self._counts()
        alerts = self._alerts.current(self._time() - live.horizon)
        silence = feed.silence(self._clock() if self._stopped_at is None else self._stopped_at)
        if (counts.sampled == 0 and not counts.unseen) or silence > live.horizon:
            nothing = SourceTimeout(f"{feed.name}: no picture came", "check that the sender is running")
            return error_verdict(subject, feed.failure or nothing, counts, alerts=alerts)
        verdict = self._fusion.verdict(
            subject, counts, self._duration(), self._now(silence), alerts, unseen=self._unseen_lately(counts)
        )
        caveats = self._caveats(silence)
        notes = [*caveats, verdict.reason]
        if self._sampling.rate < self._sampling.wanted:
            notes.append(f"sampled at {self._sampling.rate:.2g} frames/s for lack of time")
        if counts.dropped:
            notes.append("not analysed: " + ", ".join(f"{n} {reason}" for reason, n in counts.dropped_by.items()))
        if lost := feed.machine.reconnects.total():
            notes.append(f"connection lost: {lost}×")
        label = verdict.label
        if caveats and label in (Label.REAL, Label.NO_FACE):
            label = Label.INCONCLUSIVE
        reason = "; ".join(filter(None, notes))
        return replace(verdict, label=label, reason=reason, times=self._analysis.times())

    def _counts(self) -> FrameCounts:
        return self._resume.frames + self._feed.counts + self._analysis.counts

    def _caveats(self, silence: float) -> list[str]:
        """Why what was seen lately does not say what is there now."""
        since = self._analysis.now + silence - self._plan.settings.live.horizon
        caveats = [*track_notes(self._feed.video_tracks), *self._analysis.face_notes(since)]
        if silence > self._feed.stalled_after:
            caveats.append(f"no new picture for {silence:.0f} s")
        if (stillness := self._analysis.stillness) is not None:
            caveats.append(stillness)
        return caveats

    def _now(self, silence: float) -> float:
        """Media seconds of the present: pictures that are not sampled, for their damage, let time go on too."""
        unsampled = 0.0 if self._feed.is_file else self._clock() - self._sampled_at
        return self._analysis.now + max(silence, unsampled)

    def _unseen_lately(self, counts: FrameCounts) -> list[Unseen]:
        if self._feed.is_file:
            return unseen_time(counts.unseen, max(self._feed.duration or 0.0, self._analysis.now))
        return self._unseen.update(self._clock(), counts.unseen)

    def _duration(self) -> float | None:
        return self._feed.duration if self._feed.is_file else self._analysis.now
