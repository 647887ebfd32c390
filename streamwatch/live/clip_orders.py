"""Evidence clips that are cut from a running stream."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from streamwatch.config import AlertSettings
from streamwatch.records import Alert, AlertKind, EvidenceClip
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.process import ClipOrder

CLIP_PATIENCE = 5.0
"""Seconds beyond its end after which a clip is cancelled."""


class ClipOrders:
    """Orders one clip for each forgery, and delivers the result of each: the clip, or why there is none.

    source: its name. cut: has a clip cut. deliver: receives every clip. known: ids of alerts that were reported before,
    which get none.
    """

    def __init__(
        self,
        source: str,
        settings: AlertSettings,
        *,
        cut: Callable[[ClipOrder], None],
        deliver: Callable[[EvidenceClip], None],
        known: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._source = source
        self._settings = settings
        self._cut = cut
        self._deliver = deliver
        self._known = set(known)
        self._clock = clock
        self._now = now
        self._deadlines: dict[str, float] = {}

    def order(self, alerts: Iterable[Alert]) -> None:
        """Order a clip for those of the alerts that are new."""
        settings = self._settings
        for alert in alerts:
            if alert.id in self._known or not settings.clip_max_bytes:
                continue
            self._known.add(alert.id)
            if alert.kind is AlertKind.FORGERY and alert.started_at is not None:
                start = alert.started_at - timedelta(seconds=settings.clip_before)
                end = self._now() + timedelta(seconds=settings.clip_after)
                self._deadlines[alert.id] = self._clock() + settings.clip_after + CLIP_PATIENCE
                self._cut(ClipOrder(alert.id, start, end))

    def receive(self, clip: EvidenceClip) -> None:
        """Deliver a clip that was ordered, once; may be called from another thread."""
        if self._deadlines.pop(clip.alert_id, None) is not None:
            self._deliver(clip)

    def fail_overdue(self, *, all_of_them: bool = False) -> None:
        """Deliver a failure in place of every clip that is overdue, or of all that are still to come."""
        now = math.inf if all_of_them else self._clock()
        for alert_id in [alert_id for alert_id, deadline in self._deadlines.items() if deadline < now]:
            failure = "the connection ended before it was cut"
            self.receive(EvidenceClip(self._source, alert_id, None, failure=failure))
