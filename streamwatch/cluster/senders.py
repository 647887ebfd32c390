"""When the clients of a detector may be expected to send."""

from __future__ import annotations

from dataclasses import dataclass

COMPANY = 1.0
"""Seconds after its last request or answer during which a client is expected to send another one."""

SMOOTHING = 0.2
"""Weight of the newest value in the running mean of the time between a client's requests."""


@dataclass(slots=True)
class _Sender:
    """seen: when its last request or answer was. sent: when its last request was; interval: between them, seconds."""

    seen: float
    sent: float
    interval: float | None = None

    def send(self, now: float) -> None:
        gap = now - self.sent
        self.interval = gap if self.interval is None else self.interval + SMOOTHING * (gap - self.interval)
        self.seen = self.sent = now

    def due_by(self, time: float) -> bool:
        """Whether its next request may be expected by then."""
        return self.interval is None or self.sent + self.interval <= time


class Senders:
    """The clients that have sent, or were answered, within `COMPANY` seconds."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def sent(self, client: str, now: float) -> None:
        """A request of this client has come."""
        if client in self._senders:
            self._senders[client].send(now)
        else:
            self._senders[client] = _Sender(now, now)

    def answered(self, client: str, now: float) -> None:
        """A request of this client was answered."""
        if client in self._senders:
            self._senders[client].seen = now

    def due(self, now: float, deadline: float) -> set[str]:
        """Those whose next request may be expected by the deadline, by the rate at which each of them sends."""
        self._senders = {name: sender for name, sender in self._senders.items() if now - sender.seen <= COMPANY}
        return {name for name, sender in self._senders.items() if sender.due_by(deadline)}
