"""The states of a stream, why it left them, and when it is tried again.

    connecting ──► running ◄──► stalled
        │             │            │
        ▼             ▼            ▼
    backing_off / failed ──► connecting        stopped, from anywhere

Nothing here reads a clock or a random number of its own: both are given.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from streamwatch.backoff import full_jitter
from streamwatch.config import LiveSettings
from streamwatch.enums import StrEnum
from streamwatch.errors import (
    SourceEnded,
    SourceError,
    SourceNotFound,
    SourceTimeout,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnreadable,
    SourceUntrusted,
)
from streamwatch.sources.clocks import utc_now


class StreamState(StrEnum):
    """What a stream is doing.

    `stalled`: connected, but no picture has come for a while. `backing_off`: waits for its next try. `failed`: it was
    tried too often, or its credentials are wrong; it is tried again, but seldom.
    """

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    STOPPED = "stopped"


DOWN = (StreamState.BACKING_OFF, StreamState.FAILED)
"""States that a stream goes to when its connection failed or was lost."""


class Cause(StrEnum):
    """Why a stream is not running.

    `timeout`: nothing came while connecting. `stalled`: pictures stopped coming, or their time stood still. `codec`:
    what came cannot be decoded. `crashed`: a process that worked on it died.
    """

    REFUSED = "refused"
    AUTHENTICATION = "authentication"
    NOT_FOUND = "not_found"
    TLS = "tls"
    TIMEOUT = "timeout"
    CODEC = "codec"
    STALLED = "stalled"
    ENDED = "ended"
    CRASHED = "crashed"


_CAUSES: tuple[tuple[type[SourceError], Cause], ...] = (
    (SourceUnauthorized, Cause.AUTHENTICATION),
    (SourceUntrusted, Cause.TLS),
    (SourceNotFound, Cause.NOT_FOUND),
    (SourceEnded, Cause.ENDED),
    (SourceUnreadable, Cause.CODEC),
    (SourceTooLarge, Cause.CODEC),
)


def cause_of(error: SourceError, *, connected: bool) -> Cause:
    """The cause that an error has. connected: whether pictures had come before it."""
    if isinstance(error, SourceTimeout):
        return Cause.STALLED if connected else Cause.TIMEOUT
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.REFUSED)


@dataclass(frozen=True, slots=True)
class Transition:
    """A stream went from one state to another.

    source: its name, credentials masked. cause: None where nothing went wrong. retry_in: seconds to the next try.
    """

    at: datetime
    source: str
    previous: StreamState
    state: StreamState
    cause: Cause | None = None
    message: str = ""
    retry_in: float | None = None

    @property
    def why(self) -> str:
        """The message without the name of the source, for where that is shown beside it."""
        return self.message.removeprefix(f"{self.source}: ")


class RetryPolicy:
    """When a source that failed is tried again, and when it counts as failed.

    The wait is that of `full_jitter` with steps from `backoff_first` to `backoff_max`, so that the streams of a server
    that came back do not all return at one instant. More than `retry_budget` failures within `retry_window` seconds
    open a circuit breaker, as do wrong credentials: from then on there is a try every `failed_retry` seconds until the
    source has run for `backoff_max` seconds, which also begins the steps again.
    """

    def __init__(
        self,
        settings: LiveSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._failures: deque[float] = deque()
        self._steps = 0
        self._broken = False

    def failed(self, cause: Cause, ran: float) -> tuple[bool, float]:
        """Note a failure, after the source had run for `ran` seconds: whether it counts as failed now, and the seconds
        to wait.
        """
        settings, now = self._settings, self._clock()
        if ran >= settings.backoff_max:
            self._failures.clear()
            self._steps = 0
            self._broken = False
        self._failures.append(now)
        while now - self._failures[0] > settings.retry_window:
            self._failures.popleft()
        if cause is Cause.AUTHENTICATION or len(self._failures) > settings.retry_budget:
            self._broken = True
        if self._broken:
            return True, settings.failed_retry
        wait = full_jitter(self._steps, settings.backoff_first, settings.backoff_max, self._chance)
        self._steps += 1
        return False, wait


class StreamMachine:
    """The state of one stream. Every change is passed to `listen` as a `Transition`, in order.

    state, cause: at present. reconnects: failures so far, by cause. Methods raise ValueError where the stream is in a
    state that does not lead there.
    """

    def __init__(
        self,
        source: str,
        settings: LiveSettings,
        *,
        listen: Callable[[Transition], None] = lambda transition: None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.state = StreamState.CONNECTING
        self.cause: Cause | None = None
        self.reconnects: Counter[Cause] = Counter()
        self._source = source
        self._listen = listen
        self._clock = clock
        self._now = now
        self._retries = RetryPolicy(settings, clock=clock, chance=chance)
        self._running_since: float | None = None
        self._waiting = False

    def connected(self, message: str = "") -> None:
        """The first picture has come."""
        self._expect(StreamState.CONNECTING)
        self._running_since = self._clock()
        self._go(StreamState.RUNNING, message=message)

    def waits(self, message: str) -> None:
        """What it waits for while connecting; said once on a connection."""
        self._expect(StreamState.CONNECTING)
        if not self._waiting:
            self._waiting = True
            self._go(StreamState.CONNECTING, self.cause, message)

    def stalled(self, message: str) -> None:
        """No picture has come for a while."""
        self._expect(StreamState.RUNNING)
        self._go(StreamState.STALLED, Cause.STALLED, message)

    def resumed(self) -> None:
        """Pictures come again on the same connection."""
        self._expect(StreamState.STALLED)
        self._go(StreamState.RUNNING)

    def lost(self, cause: Cause, message: str) -> float:
        """The connection failed; the seconds to wait before `retry`."""
        self._expect(StreamState.CONNECTING, StreamState.RUNNING, StreamState.STALLED)
        self.reconnects[cause] += 1
        ran = 0.0 if self._running_since is None else self._clock() - self._running_since
        self._running_since = None
        self._waiting = False
        failed, wait = self._retries.failed(cause, ran)
        self._go(StreamState.FAILED if failed else StreamState.BACKING_OFF, cause, message, wait)
        return wait

    def retry(self) -> None:
        """The wait is over."""
        self._expect(StreamState.BACKING_OFF, StreamState.FAILED)
        self._go(StreamState.CONNECTING, self.cause)

    def stop(self, cause: Cause | None = None, message: str = "") -> None:
        """The end, from any state; a second time it changes nothing. cause: None where it was asked for."""
        if self.state is not StreamState.STOPPED:
            self._go(StreamState.STOPPED, cause, message)

    def _expect(self, *states: StreamState) -> None:
        if self.state not in states:
            raise ValueError(f"{self._source} is {self.state}, not {' or '.join(states)}")

    def _go(
        self, state: StreamState, cause: Cause | None = None, message: str = "", retry_in: float | None = None
    ) -> None:
        previous, self.state, self.cause = self.state, state, cause
        self._listen(Transition(self._now(), self._source, previous, state, cause, message, retry_in))
