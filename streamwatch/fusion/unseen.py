"""What a verdict does not rest on: parts of a source that were not analysed, and what that means for its label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamwatch.records import Label, UnseenCause

SHORTFALL = 1.0
"""Seconds by which a file may end before its container says so, without a remark."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A part of a source that was not analysed. share: of the source, 0..1. note: what and why, for a person."""

    share: float
    note: str


def qualify(label: Label, reason: str, unseen: Sequence[Unseen], limit: float) -> tuple[Label, str]:
    """Label and reason with what was not analysed: beyond a share of `limit` (0..1) `real` and `no_face` become
    `inconclusive`, as what was not seen may be forged; `fake` stays.
    """
    if label in (Label.REAL, Label.NO_FACE) and sum(part.share for part in unseen) > limit:
        label = Label.INCONCLUSIVE
    return label, "; ".join(filter(None, (*(part.note for part in unseen), reason)))


def unseen_time(seconds: Mapping[UnseenCause, float], whole: float) -> list[Unseen]:
    """Stretches of time that were not analysed. seconds: by cause; whole: of the source."""
    return [
        Unseen(min(1.0, lost / whole) if whole > 0 else 1.0, f"{lost:.1f} s not analysed: {cause}")
        for cause, lost in seconds.items()
        if lost >= 0.05
    ]


def early_end(end: float, promised: float | None) -> list[Unseen]:
    """A file whose pictures end before its container says so. end, promised: media seconds; None: it does not say."""
    if promised is None or promised - end <= SHORTFALL:
        return []
    return [Unseen((promised - end) / promised, f"ends at {_clock(end)} of {_clock(promised)}")]


def _clock(seconds: float) -> str:
    """Such as 0:08.0, or 1:02:03.4."""
    tenths = math.floor(seconds * 10 + 0.5)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{clock}" if hours else clock
