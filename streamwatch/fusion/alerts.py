"""The life of a live source's alerts: new, update, end, with one id and a revision."""

from __future__ import annotations

import heapq
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from streamwatch.config import AlertSettings
from streamwatch.errors import ConfigError
from streamwatch.fusion.evidence import ScoredCandidate
from streamwatch.fusion.policy import Policy
from streamwatch.fusion.quality import face_weight
from streamwatch.fusion.spans import to_logit
from streamwatch.records import Alert, AlertKind, Evidence, FaceScore, Label, sigmoid

PRESENT = 1.5
"""Seconds after the newest face of a track, or the newest evidence of an alert, during which it is still there."""

IDLE = 10.0
"""Seconds after its newest face after which a track's faces are dropped."""

OPERATIONAL_LABELS = {
    AlertKind.DOWN: Label.ERROR,
    AlertKind.FROZEN: Label.INCONCLUSIVE,
    AlertKind.BLACK: Label.INCONCLUSIVE,
    AlertKind.UNANALYSED: Label.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class AlertRules:
    """When alerts open, go on and end.

    enter, leave: probabilities. min_faces, min_seconds: faces that an alert opens on, and the time that they must
    cover. quiet: seconds without evidence after which it ends. cool_down: seconds after its end within which it opens
    again instead of a new one. update_every: least seconds between two updates. down_after: seconds that an operational
    fault must last. evidence: faces kept. mask_threshold: see `Policy`.
    """

    enter: float
    leave: float
    min_faces: int
    min_seconds: float
    quiet: float
    cool_down: float
    update_every: float
    down_after: float
    evidence: int
    mask_threshold: float

    @classmethod
    def resolve(cls, settings: AlertSettings, policy: Policy) -> AlertRules:
        """Settings where they are given, the policy's thresholds where they are null.

        Raises ConfigError where a threshold set by hand contradicts the other one.
        """
        enter = policy.fake if settings.enter is None else settings.enter
        leave = policy.real if settings.leave is None else settings.leave
        if leave > enter:
            raise ConfigError(f"alerts.leave ({leave:g}) is above alerts.enter ({enter:g})", "set both, leave ≤ enter")
        return cls(
            enter=enter,
            leave=leave,
            min_faces=settings.min_faces,
            min_seconds=settings.min_seconds,
            quiet=settings.quiet,
            cool_down=settings.cool_down,
            update_every=settings.update_every,
            down_after=settings.down_after,
            evidence=policy.evidence,
            mask_threshold=policy.mask_threshold,
        )


class SourceAlerts:
    """The alerts of one live source.

    A forgery alert opens when the newest usable faces of a track, as few as make `min_faces` and `min_seconds`, have a
    mean of `enter` or more, and goes on while that mean is `leave` or more. It follows a face: where the track breaks
    off, the next forged track of the source carries the alert on, within the cool-down. Two forged faces in the picture
    at once are two alerts. Means are those of `mean_logit`: weighted by quality, over calibrated logits.

    An operational alert opens when its fault has lasted for `down_after` seconds. Both kinds end after `quiet` seconds
    without evidence; their end is that of the evidence.

    Times are seconds of one time line: POSIX time for a live source, whose scores carry wall times, media time for a
    file. began: gives the POSIX time at which the capture began, None before that and for a file. earlier: alerts of a
    predecessor on the same source, which go on.
    """

    def __init__(
        self,
        source: str,
        rules: AlertRules,
        policy: Policy,
        *,
        live: bool = True,
        began: Callable[[], float | None] = lambda: None,
        earlier: Iterable[Alert] = (),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._source = source
        self._rules = rules
        self._policy = policy
        self._live = live
        self._began = began
        self._new_id = new_id
        self._recent: dict[int, _Recent] = {}
        self._forgeries: list[_Forgery] = []
        self._faults: dict[AlertKind, _Fault] = {}
        self._since: dict[AlertKind, float] = {}
        for alert in earlier:
            if alert.kind is AlertKind.FORGERY:
                self._forgeries.append(_Forgery(alert, rules))
            else:
                self._faults[alert.kind] = _Fault(alert, rules)

    def add(self, score: FaceScore) -> None:
        """Add a scored face with its crop and track. Faces of a track come in order of time."""
        crop = score.crop
        if crop is None or crop.face.track_id is None:
            raise ValueError("alerts need scores with their crops and track ids")
        weight = face_weight(crop.face, self._policy.limits)
        if weight == 0:
            return
        track = crop.face.track_id
        now = crop.pts if crop.wall_time is None else crop.wall_time.timestamp()
        recent = self._recent.setdefault(track, _Recent(self._rules))
        recent.add(_Face(now, float(to_logit(score.probability)), weight, score))
        mean = recent.mean()
        held = next((life for life in self._forgeries if life.holder == track), None)
        if held is not None and held.open:
            held.go_on(recent.faces[-1], carried=mean is not None and mean >= self._rules.leave)
        elif mean is not None and mean >= self._rules.enter:
            life = held if held is not None and held.renewable(now) else self._orphan(now) or self._new_forgery(recent)
            life.hold(track, recent.faces)

    def fault(self, kind: AlertKind, reason: str | None, now: float, *, at_once: bool = False) -> None:
        """Report whether an operational fault is present: its reason, or None. at_once: it raises an alert without
        having to last.
        """
        if reason is None:
            self._since.pop(kind, None)
            return
        since = self._since.setdefault(kind, now)
        life = self._faults.get(kind)
        if life is None or not (life.open or life.renewable(now)):
            if now - since < self._rules.down_after and not at_once:
                return
            life = self._faults[kind] = _Fault(self._first(kind, since, OPERATIONAL_LABELS[kind], None), self._rules)
        life.go_on(reason, now)

    def step(self, now: float) -> bool:
        """Let time pass; whether an alert has a new revision (see `current`)."""
        for track in [track for track, recent in self._recent.items() if recent.faces[-1].time < now - IDLE]:
            del self._recent[track]
        changed = [life for life in self._lives() if life.step(now)]
        for life in changed:
            life.alert = self._placed(life)
        return bool(changed)

    def end(self, now: float) -> None:
        """The source is no longer watched: all alerts end."""
        for life in self._lives():
            life.finish()
        self.step(now)

    def current(self, since: float) -> tuple[Alert, ...]:
        """The alerts that are open or ended at `since` or later, in their latest revisions, the oldest first. Those
        that can neither open again nor are of that time are dropped.
        """
        self._forgeries = [life for life in self._forgeries if life.lasts(since)]
        self._faults = {kind: life for kind, life in self._faults.items() if life.lasts(since)}
        alerts = [life.alert for life in self._lives() if life.alert.revision]
        return tuple(sorted(alerts, key=lambda alert: alert.start))

    def _lives(self) -> list[_Life]:
        return [*self._forgeries, *self._faults.values()]

    def _orphan(self, now: float) -> _Forgery | None:
        """The alert, open or in its cool-down, whose face went out of sight last."""

        def present(life: _Forgery) -> bool:
            recent = None if life.holder is None else self._recent.get(life.holder)
            return recent is not None and recent.faces[-1].time >= now - PRESENT

        orphans = [life for life in self._forgeries if life.renewable(now) and not present(life)]
        return max(orphans, key=lambda life: life.seen, default=None)

    def _new_forgery(self, recent: _Recent) -> _Forgery:
        start = next(face.time for face in recent.faces if face.score.probability >= self._rules.enter)
        life = _Forgery(self._first(AlertKind.FORGERY, start, Label.FAKE, 0.0), self._rules)
        self._forgeries.append(life)
        return life

    def _first(self, kind: AlertKind, start: float, label: Label, score: float | None) -> Alert:
        return Alert(
            id=self._new_id(),
            source=self._source,
            track_id=None,
            start=self._media(start),
            end=None,
            peak=score,
            mean=score,
            label=label,
            revision=0,
            started_at=self._instant(start),
            kind=kind,
        )

    def _placed(self, life: _Life) -> Alert:
        """The alert with the times of its life in media seconds and UTC."""
        ended = life.ended
        return replace(
            life.alert,
            end=None if ended is None else max(life.alert.start, self._media(ended)),
            ended_at=None if ended is None else self._instant(ended),
            seen=self._media(life.seen),
        )

    def _media(self, time: float) -> float:
        began = self._began() if self._live else 0.0
        return 0.0 if began is None else max(0.0, time - began)

    def _instant(self, time: float) -> datetime | None:
        return datetime.fromtimestamp(time, timezone.utc) if self._live else None


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    """A usable face: when, its calibrated logit, its weight."""

    time: float
    logit: float
    weight: float
    score: FaceScore


class _Recent:
    """The newest usable faces of a track, as few as make `min_faces` and `min_seconds`."""

    def __init__(self, rules: AlertRules) -> None:
        self.faces: deque[_Face] = deque()
        self._rules = rules

    def add(self, face: _Face) -> None:
        self.faces.append(face)
        while len(self.faces) > self._rules.min_faces and face.time - self.faces[1].time >= self._rules.min_seconds:
            self.faces.popleft()

    def mean(self) -> float | None:
        """Probability at the weighted mean of their logits; None while they are too few, or too close together."""
        faces = self.faces
        if len(faces) < self._rules.min_faces or faces[-1].time - faces[0].time < self._rules.min_seconds - 1e-6:
            return None
        return sigmoid(sum(face.weight * face.logit for face in faces) / sum(face.weight for face in faces))


class _Life(ABC):
    """One alert. alert: its latest revision, 0 before the first. seen: when its newest evidence was."""

    def __init__(self, alert: Alert, rules: AlertRules) -> None:
        opened = alert.start if alert.started_at is None else alert.started_at.timestamp()
        self.alert = alert
        self.seen = opened if alert.seen is None else opened + alert.seen - alert.start
        self.ended: float | None = None if alert.end is None else opened + alert.end - alert.start
        self._rules = rules
        self._reported = self.seen
        self._reported_at = self.seen

    @property
    def open(self) -> bool:
        return self.ended is None

    def renewable(self, now: float) -> bool:
        """Whether it is open, or may open again."""
        return self.ended is None or now - self.ended <= self._rules.cool_down

    def lasts(self, since: float) -> bool:
        """Whether it is, or may still be, of interest after `since`."""
        return self.ended is None or self.ended >= since - self._rules.cool_down

    def step(self, now: float) -> bool:
        """End it where it has been quiet, and make a new revision where something changed; whether one was made."""
        if self.ended is None and now - self.seen >= self._rules.quiet:
            self.ended = self.seen
        turned = self.alert.revision == 0 or (self.alert.end is None) != (self.ended is None)
        fresh = self.seen > self._reported and now - self.seen <= PRESENT
        grown = self.ended is None and fresh and self._changed() and now - self._reported_at >= self._rules.update_every
        if turned or grown:
            self._reported, self._reported_at = self.seen, now
            self.alert = replace(self._draft(), revision=self.alert.revision + 1)
        return turned or grown

    def finish(self) -> None:
        """End it, whatever it has seen."""
        if self.ended is None:
            self.ended = self.seen

    @abstractmethod
    def _changed(self) -> bool:
        """Whether it differs from the revision reported last."""

    @abstractmethod
    def _draft(self) -> Alert:
        """The next revision of the alert, except for what `step` fills in."""


class _Forgery(_Life):
    """An alert on a face. holder: the track that carries it; None before the first one."""

    def __init__(self, alert: Alert, rules: AlertRules) -> None:
        super().__init__(alert, rules)
        self.holder: int | None = None
        self._faces = alert.faces or 0
        self._mass = float(self._faces)
        self._moment = self._mass * float(to_logit(alert.mean or 0.5))
        self._peak = alert.peak or 0.0
        self._evidence: list[Evidence] = list(alert.evidence)
        self._waiting: list[_Face] = []

    def hold(self, track: int, faces: Iterable[_Face]) -> None:
        """A track begins, or begins again, to carry it, with its newest faces."""
        self.holder = track
        self.ended = None
        self._waiting = []
        fresh = [face for face in faces if face.time > self.seen] if self._faces else list(faces)
        while fresh and fresh[0].score.probability < self._rules.enter:
            del fresh[0]
        for face in fresh:
            self.go_on(face, carried=True)

    def go_on(self, face: _Face, *, carried: bool) -> None:
        """A face of the holder; carried: whether the alert rests on the faces around it."""
        self._waiting.append(face)
        if not carried or face.score.probability < self._rules.leave:
            return
        self.seen = face.time
        for passed in self._waiting:
            self._faces += 1
            self._mass += passed.weight
            self._moment += passed.weight * passed.logit
            self._peak = max(self._peak, passed.score.probability)
            self._consider(passed.score)
        self._waiting = []

    def _consider(self, score: FaceScore) -> None:
        room = self._rules.evidence
        if room == 0 or (len(self._evidence) >= room and score.probability <= self._evidence[-1].score):
            return
        fresh = ScoredCandidate(score, self._rules.mask_threshold).evidence()
        self._evidence = heapq.nlargest(room, [*self._evidence, fresh], key=lambda item: item.score)

    def _changed(self) -> bool:
        return True

    def _draft(self) -> Alert:
        mean = sigmoid(self._moment / self._mass)
        return replace(
            self.alert,
            track_id=self.holder if self.holder is not None else self.alert.track_id,
            peak=self._peak,
            mean=mean,
            faces=self._faces,
            evidence=tuple(self._evidence),
            reason=f"{self._faces} faces with a mean of {mean:.2f}, the strongest {self._peak:.2f}",
        )


class _Fault(_Life):
    """An operational alert."""

    def __init__(self, alert: Alert, rules: AlertRules) -> None:
        super().__init__(alert, rules)
        self._reason = alert.reason

    def go_on(self, reason: str, now: float) -> None:
        """The fault is there."""
        self.ended = None
        self.seen = now
        self._reason = reason

    def _changed(self) -> bool:
        return self._reason != self.alert.reason

    def _draft(self) -> Alert:
        return replace(self.alert, reason=self._reason)
