"""What keeps a live stream from being analysed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from streamwatch.live.backlog import BacklogMonitor
from streamwatch.live.frame_analysis import FrameAnalysis
from streamwatch.live.stillness import PictureState
from streamwatch.records import AlertKind
from streamwatch.sources.states import StreamMachine, StreamState, Transition

_STILL = {PictureState.FROZEN: AlertKind.FROZEN, PictureState.BLACK: AlertKind.BLACK}


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault as it is at present. reason: None where it is not there. at_once: it needs no time to show that
    it lasts.
    """

    kind: AlertKind
    reason: str | None
    at_once: bool = False


class StreamFaults:
    """Faults of one stream. stale_after: seconds for which pictures may come without one being analysed."""

    def __init__(self, machine: StreamMachine, stale_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine = machine
        self._backlog = BacklogMonitor(stale_after, clock)
        self._trouble: Transition | None = None

    def note(self, change: Transition) -> None:
        """Note a change of state, for its cause."""
        if change.cause is not None:
            self._trouble = change

    def check(self, analysis: FrameAnalysis, sampled: int) -> list[Fault]:
        """Every kind of fault. sampled: frames so far."""
        state = self._machine.state
        runs = state is StreamState.RUNNING
        still = analysis.stillness if runs else None
        return [
            Fault(AlertKind.DOWN, self._down(), at_once=state is StreamState.FAILED),
            *(
                Fault(kind, still if analysis.picture is picture else None, at_once=True)
                for picture, kind in _STILL.items()
            ),
            Fault(AlertKind.UNANALYSED, self._unanalysed(analysis, sampled) if runs else None),
        ]

    def _down(self) -> str | None:
        """Why no pictures come; None where they do, and during the first try."""
        machine, trouble = self._machine, self._trouble
        if machine.state in (StreamState.RUNNING, StreamState.STOPPED) or machine.cause is None or trouble is None:
            return None
        return f"{trouble.cause}: {trouble.why}" if trouble.why else str(trouble.cause)

    def _unanalysed(self, analysis: FrameAnalysis, sampled: int) -> str | None:
        counts = analysis.counts
        if not self._backlog.update(sampled, counts.analysed + counts.dropped):
            return None
        return "pictures come, but none is analysed: the detector does not answer, or the machine is too slow"
