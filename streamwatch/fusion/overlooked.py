"""What a source shows beside what its verdict rests on, and what that means for the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamwatch.records import Label, VideoVerdict


def track_notes(video_tracks: int) -> list[str]:
    """What to say of a source with so many video tracks, of which one is analysed."""
    return [f"1 of {video_tracks} video tracks analysed"] if video_tracks > 1 else []


def with_notes(verdict: VideoVerdict, notes: Sequence[str]) -> VideoVerdict:
    """A verdict with what it does not rest on: it says so, and `real` and `no_face` become `inconclusive`, as what was
    not looked at may be forged.
    """
    if not notes:
        return verdict
    unknown = verdict.label in (Label.REAL, Label.NO_FACE)
    label = Label.INCONCLUSIVE if unknown else verdict.label
    return replace(verdict, label=label, reason="; ".join(filter(None, (*notes, verdict.reason))))
