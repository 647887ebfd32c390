"""What `watch` shows in a terminal: a table of the streams that is redrawn at every event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.cli.listing import Listing
from streamwatch.records import VideoVerdict
from streamwatch.sources.states import DOWN, StreamState, Transition

STATE_STYLES = {
    StreamState.RUNNING: "green",
    StreamState.CONNECTING: "dim",
    StreamState.STALLED: "yellow",
    StreamState.BACKING_OFF: "yellow",
    StreamState.FAILED: "bold magenta",
    StreamState.STOPPED: "dim",
}


@dataclass(slots=True)
class _Row:
    """The state of a stream. analysed_fps: over the time between the last two verdicts. lag: seconds."""

    state: StreamState = StreamState.CONNECTING
    since: datetime | None = None
    why: str = ""
    failures: int = 0
    verdict: VideoVerdict | None = None
    verdict_at: datetime | None = None
    analysed_fps: float | None = None
    lag: float | None = None


class Board:
    """The streams in the order given: state, analysed frames per second, lag, drops, failures and verdict of each.

    names: what a source (credentials masked) is called.
    """

    def __init__(self, sources: Sequence[str], names: Mapping[str, str]) -> None:
        self._names = names
        self._rows = {source: _Row() for source in sources}

    def receive(self, item: VideoVerdict | Transition, now: datetime | None = None) -> None:
        """Update the row of a verdict's, or a transition's, stream."""
        row = self._rows.setdefault(item.source, _Row())
        if isinstance(item, Transition):
            row.state, row.since = item.state, item.at
            if item.state is not StreamState.CONNECTING:
                row.why = common.plain(item.why) if item.cause else ""
            row.failures += item.state in DOWN
            return
        now = now or datetime.now(timezone.utc)
        if row.verdict is not None and row.verdict_at is not None and now > row.verdict_at:
            fresh = item.frames.analysed - row.verdict.frames.analysed
            row.analysed_fps = max(0, fresh) / (now - row.verdict_at).total_seconds()
        seen = [score.wall_time for score in item.scores if score.wall_time is not None]
        row.lag = (now - max(seen)).total_seconds() if seen else None
        row.verdict, row.verdict_at = item, now

    def __rich__(self) -> Listing:
        columns = ("state", "since", "frames/s", "lag s", "dropped", "failures", "verdict", "score")
        table = Listing("stream", columns, right={*columns[2:6], "score"})
        for source, row in self._rows.items():
            why = row.why or ("" if row.verdict is None else common.plain(row.verdict.reason))
            table.add(common.plain(self._names.get(source, source)), self._cells(row), [why])
        return table

    def _cells(self, row: _Row) -> list[Text | str]:
        verdict = row.verdict
        return [
            Text(str(row.state), style=STATE_STYLES[row.state]),
            "–" if row.since is None else row.since.strftime("%H:%M:%S"),
            _number(row.analysed_fps, 1),
            _number(row.lag, 1),
            "–" if verdict is None else str(verdict.frames.dropped),
            str(row.failures),
            "–" if verdict is None else Text(str(verdict.label), style=running.STYLES[verdict.label]),
            "–" if verdict is None else running.score(verdict.score),
        ]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
