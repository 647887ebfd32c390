"""A long file that is worked on in segments: which of them still have to be done, and what came of the others."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from streamwatch.engine.analysis import Cut
from streamwatch.engine.jobs import Job
from streamwatch.sources.segments import Segment


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the work on a file: a segment, or (None) the verdict from all of them."""

    file: CutFile
    segment: Segment | None


class CutFile:
    """The segments of one file. stored: what the store has of them, by `Segment.place`."""

    def __init__(self, job: Job, cut: Cut, stored: Mapping[str, bytes]) -> None:
        self.job = job
        self.cut = cut
        self.over = False
        """Whether there is a verdict, so that nothing more is to be done."""
        self._done = {segment: stored[segment.place] for segment in cut.segments if segment.place in stored}
        self._waiting: deque[Segment | None] = deque(each for each in cut.segments if each not in self._done)
        self._attempts: Counter[Segment | None] = Counter()
        self._end_if_complete()

    @property
    def share(self) -> float:
        """How much of the file is done, 0..1."""
        return len(self._done) / max(1, len(self.cut.segments))

    @property
    def weight(self) -> float:
        """The share of one segment."""
        return 1 / max(1, len(self.cut.segments))

    def next(self) -> Piece | None:
        """The next piece to be worked on; None where there is none at the moment."""
        if self.over or not self._waiting:
            return None
        segment = self._waiting.popleft()
        self._attempts[segment] += 1
        return Piece(self, segment)

    def done(self, segment: Segment, scores: bytes) -> None:
        """Take in what came of a segment."""
        self._done[segment] = scores
        self._end_if_complete()

    def lost(self, segment: Segment | None, attempts: int) -> bool:
        """The process that worked on a piece died: whether it may be tried again, up to so many times."""
        if self._attempts[segment] >= attempts:
            return False
        self._waiting.appendleft(segment)
        return True

    def scores(self) -> list[bytes]:
        """What came of all segments, in their order."""
        return [self._done[segment] for segment in self.cut.segments]

    def _end_if_complete(self) -> None:
        if len(self._done) == len(self.cut.segments):
            self._waiting.append(None)
