"""What triage saves and what it changes, against a full analysis of the same files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamwatch.archive.scan import iter_scan
from streamwatch.cluster.connection import connect
from streamwatch.config import Settings
from streamwatch.records import Label, VideoVerdict
from streamwatch.sources import Location


@dataclass(frozen=True, slots=True)
class TriageChange:
    """A file whose label triage changed."""

    source: str
    full: Label
    triage: Label


@dataclass(frozen=True, slots=True)
class TriageResult:
    """What `bench_triage` measured. seconds: of a scan from the first worker to the last verdict, models included."""

    files: int
    media_seconds: float
    full_seconds: float
    triage_seconds: float
    full_frames: int
    triage_frames: int
    changes: tuple[TriageChange, ...]

    @property
    def saved(self) -> float:
        """Share of the time of a full look that triage saves; below 0 it takes longer."""
        return 1 - self.triage_seconds / self.full_seconds


def bench_triage(
    inputs: Sequence[Location], settings: Settings, *, progress: Callable[[str], None] = lambda what: None
) -> TriageResult:
    """Scan files with and without triage, without a store. Raises what `iter_scan` raises."""
    found: dict[bool, dict[str, VideoVerdict]] = {}
    spent: dict[bool, float] = {}
    with connect(settings.engine):
        for triage in (False, True):
            progress("skimmed, then looked at" if triage else "looked at in full")
            sampling = settings.sampling.model_copy(update={"triage": triage})
            begun = time.monotonic()
            analyses = iter_scan(inputs, settings.model_copy(update={"sampling": sampling}), store=False)
            found[triage] = {analysis.verdict.source: analysis.verdict for analysis in analyses}
            spent[triage] = time.monotonic() - begun
    pairs = [(verdict, found[True][source]) for source, verdict in found[False].items()]
    return TriageResult(
        files=len(pairs),
        media_seconds=sum(full.duration or 0.0 for full, _ in pairs),
        full_seconds=spent[False],
        triage_seconds=spent[True],
        full_frames=sum(full.frames.analysed for full, _ in pairs),
        triage_frames=sum(triaged.frames.analysed for _, triaged in pairs),
        changes=tuple(
            TriageChange(full.source, full.label, triaged.label)
            for full, triaged in pairs
            if full.label != triaged.label
        ),
    )
