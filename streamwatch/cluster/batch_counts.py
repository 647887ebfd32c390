"""What a detector has done, counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamwatch.cluster.histogram import FACES, SECONDS, Histogram


@dataclass(slots=True)
class BatchCounts:
    """Work done so far.

    shared: batches that held crops of more than one client. exhausted: how often memory ran out. sizes: faces in a
    batch. waits: seconds of a request before its scoring began. times: seconds that scoring a batch took.
    """

    shared: int = 0
    exhausted: int = 0
    sizes: Histogram = field(default_factory=lambda: Histogram(FACES))
    waits: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    times: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    @property
    def requests(self) -> int:
        """Requests whose scoring began."""
        return self.waits.count

    @property
    def batches(self) -> int:
        """Batches that were scored."""
        return self.sizes.count

    @property
    def faces(self) -> int:
        """Faces that were scored."""
        return int(self.sizes.total)

    @property
    def busy(self) -> float:
        """Seconds of scoring, over all lanes."""
        return self.times.total

    @classmethod
    def sum(cls, parts: Iterable[BatchCounts]) -> BatchCounts:
        """Those of several detectors together."""
        total = cls()
        for part in parts:
            total.shared += part.shared
            total.exhausted += part.exhausted
            total.sizes.add(part.sizes)
            total.waits.add(part.waits)
            total.times.add(part.times)
        return total
