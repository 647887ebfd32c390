"""What a source shows beside what its verdict rests on, and what that means for the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from streamwatch.faces.tracking import View
from streamwatch.faces.turned import is_upright
from streamwatch.records import Label, VideoVerdict

TURNED_FRAMES = 2
"""Frames in which faces must be found by turning them: one may be a mistake of the face detector."""


def track_notes(video_tracks: int) -> list[str]:
    """What to say of a source with so many video tracks, of which one is analysed."""
    return [f"1 of {video_tracks} video tracks analysed"] if video_tracks > 1 else []


class FrameFaces(NamedTuple):
    """The faces that a sampled frame shows. pts: media seconds.

    looked_at, overlooked: faces. tilted: of those looked at, the ones that stand on their head or lie on their side.
    turned: there are some only when the picture is turned.
    """

    pts: float
    looked_at: int
    overlooked: int
    tilted: int
    turned: bool

    @classmethod
    def of(cls, view: View) -> FrameFaces:
        """Those of a view."""
        tilted = sum(not is_upright(face) for face in view.faces)
        return cls(view.pts, len(view.faces), view.overlooked, tilted, view.turned)


def face_notes(frames: Iterable[FrameFaces]) -> list[str]:
    """What to say of the faces of a source that a verdict does not rest on, or not safely: those beyond
    `faces.max_faces`, and where most are not upright, as detectors learn from upright ones.
    """
    frames = list(frames)
    looked_at, tilted = sum(frame.looked_at for frame in frames), sum(frame.tilted for frame in frames)
    notes = []
    fullest = max(frames, key=lambda frame: frame.overlooked, default=None)
    if fullest is not None and fullest.overlooked:
        found = fullest.looked_at + fullest.overlooked
        notes.append(f"{fullest.overlooked} of {found} faces not looked at in the fullest frame")
    if 2 * tilted > looked_at:
        notes.append(f"{tilted} of {looked_at} faces are upside down or on their side")
    if not looked_at and sum(frame.turned for frame in frames) >= TURNED_FRAMES:
        notes.append("faces are upside down or on their side: none is found without turning the picture")
    return notes


def with_notes(verdict: VideoVerdict, notes: Sequence[str]) -> VideoVerdict:
    """A verdict with what it does not rest on: it says so, and `real` and `no_face` become `inconclusive`, as what was
    not looked at may be forged.
    """
    if not notes:
        return verdict
    unknown = verdict.label in (Label.REAL, Label.NO_FACE)
    label = Label.INCONCLUSIVE if unknown else verdict.label
    return replace(verdict, label=label, reason="; ".join(filter(None, (*notes, verdict.reason))))
