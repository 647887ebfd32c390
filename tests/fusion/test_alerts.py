"""The life of alerts, on scores and faults that the tests write down, second by second."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import datetime, timezone

import pytest

from streamwatch.config import AlertSettings
from streamwatch.errors import ConfigError
from streamwatch.fusion import AlertRules, SourceAlerts
from streamwatch.records import Alert, AlertKind, AlertPhase, FaceScore, Label
from tests.support.face_scores import GOOD, policy, scored

POLICY = policy()
RULES = AlertRules.resolve(AlertSettings(quiet=4.0, cool_down=10.0, update_every=5.0, down_after=3.0), POLICY)
FORGED, DOUBTFUL, GENUINE = 0.9, 0.65, 0.05
"""Above `enter` (0.8), between it and `leave` (0.5), and below."""


class Desk:
    """Alerts of one source that receive two faces a second; what they reported, with the second of it."""

    def __init__(self, *earlier: Alert, rules: AlertRules = RULES) -> None:
        ids = (f"alert-{number}" for number in itertools.count(1 + len(earlier)))
        self.alerts = SourceAlerts("cam", rules, POLICY, live=False, earlier=earlier, new_id=lambda: next(ids))
        self.now = 0.0
        self.earlier = earlier
        self.reported: list[tuple[float, Alert]] = []

    def see(self, seconds: float, *probabilities: float, first_track: int = 1) -> None:
        """Faces with these probabilities, each on a track of its own, for so many seconds."""
        for _ in range(round(2 * seconds)):
            for track, probability in enumerate(probabilities, start=first_track):
                self.alerts.add(scored(probability, self.now, track))
            self._step()

    def fault(self, seconds: float, kind: AlertKind, reason: str | None, *, at_once: bool = False) -> None:
        for _ in range(round(2 * seconds)):
            self.alerts.fault(kind, reason, self.now, at_once=at_once)
            self._step()

    def _step(self) -> None:
        known = {alert.id: alert.revision for alert in (*self.earlier, *(alert for _, alert in self.reported))}
        news = self.alerts.step(self.now)
        fresh = [alert for alert in self.alerts.current(self.now - 60) if known.get(alert.id, 0) != alert.revision]
        assert news == bool(fresh)
        self.reported += [(self.now, alert) for alert in fresh]
        self.now += 0.5

    @property
    def phases(self) -> list[tuple[float, str, AlertPhase]]:
        return [(at, alert.id, alert.phase) for at, alert in self.reported]


def test_a_forgery_opens_within_two_seconds_and_ends_after_quiet() -> None:
    desk = Desk()
    desk.see(3, GENUINE)
    desk.see(4, FORGED)
    desk.see(8, GENUINE)
    assert desk.phases == [(4.5, "alert-1", AlertPhase.NEW), (10.5, "alert-1", AlertPhase.END)]
    opened, ended = (alert for _, alert in desk.reported)
    assert (opened.start, opened.end, opened.track_id, opened.faces, opened.label) == (3.0, None, 1, 4, Label.FAKE)
    assert (ended.start, ended.end, ended.faces, ended.revision) == (3.0, 6.5, 8, 2)
    assert ended.mean == pytest.approx(FORGED)
    assert [item.track_id for item in ended.evidence] == [1, 1, 1]
    assert ended.reason == "8 faces with a mean of 0.90, the strongest 0.90"


@pytest.mark.parametrize(
    ("probabilities", "fps"),
    [
        ([FORGED, FORGED, FORGED, GENUINE] * 5, 2),
        ([DOUBTFUL] * 40, 2),
        ([FORGED] * 3, 2),
        ([FORGED] * 10, 10),
    ],
    ids=["single faces", "between the thresholds", "too few faces", "too short"],
)
def test_what_opens_nothing(probabilities: list[float], fps: int) -> None:
    alerts = SourceAlerts("cam", RULES, POLICY, live=False)
    for index, probability in enumerate(probabilities):
        alerts.add(scored(probability, index / fps))
        assert not alerts.step(index / fps)
    assert alerts.current(0.0) == ()


def test_faces_beyond_the_models_limits_open_nothing() -> None:
    alerts = SourceAlerts("cam", RULES, POLICY, live=False)
    for index in range(20):
        alerts.add(scored(FORGED, index / 2, quality=dataclasses.replace(GOOD, pose=0.95)))
    assert not alerts.step(10.0)


def test_between_the_thresholds_an_open_alert_goes_on_and_is_told_now_and_then() -> None:
    desk = Desk()
    desk.see(2, FORGED)
    desk.see(12, DOUBTFUL)
    assert [(at, phase) for at, _, phase in desk.phases] == [
        (1.5, AlertPhase.NEW),
        (6.5, AlertPhase.UPDATE),
        (11.5, AlertPhase.UPDATE),
    ]
    assert [alert.revision for _, alert in desk.reported] == [1, 2, 3]
    assert desk.reported[-1][1].seen == 11.5
    assert desk.reported[-1][1].peak == FORGED


def test_the_next_forged_track_carries_the_alert_on() -> None:
    """As where the picture cuts to another camera: tracks end and begin, the forgery stays."""
    desk = Desk()
    for track in range(1, 6):
        desk.see(3, FORGED, first_track=track)
    assert {alert.id for _, alert in desk.reported} == {"alert-1"}
    (alert,) = desk.alerts.current(0.0)
    desk.see(6, GENUINE, first_track=9)
    (alert,) = desk.alerts.current(0.0)
    assert (alert.start, alert.end, alert.track_id, alert.faces) == (0.0, 14.5, 5, 30)


def test_two_forged_faces_at_once_are_two_alerts() -> None:
    desk = Desk()
    desk.see(4, FORGED, FORGED, GENUINE)
    assert [(alert.id, alert.track_id) for _, alert in desk.reported] == [("alert-1", 1), ("alert-2", 2)]


def test_it_opens_again_within_the_cool_down_and_not_after_it() -> None:
    desk = Desk()
    desk.see(3, FORGED)
    desk.see(8, GENUINE)
    desk.see(3, FORGED, first_track=2)
    desk.see(20, GENUINE)
    desk.see(3, FORGED, first_track=3)
    assert [(identity, phase) for _, identity, phase in desk.phases] == [
        ("alert-1", AlertPhase.NEW),
        ("alert-1", AlertPhase.END),
        ("alert-1", AlertPhase.UPDATE),
        ("alert-1", AlertPhase.END),
        ("alert-2", AlertPhase.NEW),
    ]
    assert [alert.revision for _, alert in desk.reported] == [1, 2, 3, 4, 1]
    assert (desk.reported[3][1].start, desk.reported[3][1].end, desk.reported[3][1].faces) == (0.0, 13.5, 12)


def test_a_successor_goes_on_with_the_alerts_of_its_predecessor() -> None:
    before = Desk()
    before.see(3, FORGED)
    (open_alert,) = before.alerts.current(0.0)
    after = Desk(open_alert)
    after.now = 3.0
    after.see(2, FORGED, first_track=1_000_001)
    after.see(5, GENUINE)
    assert [(alert.id, alert.revision, alert.phase) for _, alert in after.reported] == [("alert-1", 2, AlertPhase.END)]
    ended = after.reported[-1][1]
    assert (ended.start, ended.end, ended.faces, ended.track_id) == (0.0, 4.5, 8, 1_000_001)
    assert {item.track_id for item in ended.evidence} <= {1, 1_000_001}
    assert ended.mean == pytest.approx(FORGED)


def test_a_short_forgery_of_a_predecessor_ends_without_a_word_of_the_successor() -> None:
    before = Desk()
    before.see(3, FORGED)
    after = Desk(*before.alerts.current(0.0))
    after.now = 4.0
    after.see(4, GENUINE)
    assert [(alert.id, alert.end) for _, alert in after.reported] == [("alert-1", 1.5)]


def test_evidence_is_the_strongest_of_all_faces() -> None:
    desk = Desk()
    desk.see(2, 0.9)
    desk.see(1, 0.97)
    desk.see(2, 0.85)
    desk.see(1, 0.99)
    desk.see(5, GENUINE)
    assert [item.score for item in desk.reported[-1][1].evidence] == [0.99, 0.99, 0.97]


def test_the_end_of_the_watch_ends_every_alert() -> None:
    desk = Desk()
    desk.see(3, FORGED)
    desk.fault(4, AlertKind.DOWN, "refused")
    desk.alerts.end(desk.now)
    current = desk.alerts.current(0.0)
    assert [(alert.kind, alert.end) for alert in current] == [(AlertKind.FORGERY, 2.5), (AlertKind.DOWN, 6.5)]


def test_a_fault_is_told_once_it_has_lasted_and_ends_when_it_is_over() -> None:
    desk = Desk()
    desk.fault(2, AlertKind.DOWN, "refused")
    desk.fault(2, AlertKind.DOWN, None)
    assert desk.reported == []
    desk.fault(4, AlertKind.DOWN, "refused")
    desk.fault(2, AlertKind.DOWN, "timeout")
    desk.fault(6, AlertKind.DOWN, None)
    assert [(at, phase) for at, _, phase in desk.phases] == [(7.0, AlertPhase.NEW), (13.5, AlertPhase.END)]
    opened, ended = (alert for _, alert in desk.reported)
    assert (opened.kind, opened.label, opened.start, opened.reason) == (AlertKind.DOWN, Label.ERROR, 4.0, "refused")
    assert (opened.track_id, opened.peak, opened.mean, opened.evidence) == (None, None, None, ())
    assert (ended.end, ended.reason) == (9.5, "timeout")


def test_a_fault_that_goes_on_is_told_again_only_where_its_reason_is_another() -> None:
    desk = Desk()
    desk.fault(20, AlertKind.DOWN, "refused")
    assert [alert.revision for _, alert in desk.reported] == [1]
    desk.fault(6, AlertKind.DOWN, "timeout")
    assert [(alert.revision, alert.phase, alert.reason) for _, alert in desk.reported[1:]] == [
        (2, AlertPhase.UPDATE, "timeout")
    ]


def test_some_faults_are_told_at_once_and_kinds_are_apart() -> None:
    desk = Desk()
    desk.fault(0.5, AlertKind.DOWN, "authentication", at_once=True)
    desk.fault(0.5, AlertKind.FROZEN, "still", at_once=True)
    assert [(alert.kind, alert.label) for _, alert in desk.reported] == [
        (AlertKind.DOWN, Label.ERROR),
        (AlertKind.FROZEN, Label.INCONCLUSIVE),
    ]


def test_a_fault_that_comes_and_goes_is_one_alert() -> None:
    desk = Desk(rules=dataclasses.replace(RULES, update_every=60.0))
    for _ in range(4):
        desk.fault(4, AlertKind.DOWN, "ended")
        desk.fault(5, AlertKind.DOWN, None)
    assert {alert.id for _, alert in desk.reported} == {"alert-1"}
    assert desk.reported[-1][1].revision == 8


def test_live_times_are_utc_and_media_seconds() -> None:
    began = datetime(2026, 3, 1, 10, 0, tzinfo=timezone.utc).timestamp()
    alerts = SourceAlerts("cam", RULES, POLICY, began=lambda: began)
    for index in range(4):
        moment = datetime.fromtimestamp(began + 30 + index / 2, timezone.utc)
        score = scored(FORGED, 30 + index / 2)
        assert score.crop is not None
        alerts.add(dataclasses.replace(score, crop=dataclasses.replace(score.crop, wall_time=moment)))
    assert alerts.step(began + 31.6)
    (alert,) = alerts.current(began)
    assert alert.start == pytest.approx(30.0)
    assert alert.seen == pytest.approx(31.5)
    assert alert.started_at == datetime(2026, 3, 1, 10, 0, 30, tzinfo=timezone.utc)


def test_thresholds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"alerts\.leave .* above alerts\.enter"):
        AlertRules.resolve(AlertSettings(leave=0.9), POLICY)


def test_a_score_needs_its_track() -> None:
    score = scored(FORGED, 0.0)
    with pytest.raises(ValueError, match="track ids"):
        SourceAlerts("cam", RULES, POLICY).add(FaceScore(score.logit, score.probability, score.feature, None))
