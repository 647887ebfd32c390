"""Where pictures come from: finding inputs, opening containers safely, sampling frames by time.

`VideoSource`, `DecodedFrame`, `open_source`, `iter_frames` and `picture_at` load PyAV on first use, so that
`import streamwatch.sources` alone stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamwatch.sources.content import content_sha256
from streamwatch.sources.inputs import VIDEO_SUFFIXES, Input, expand_inputs, read_inputs
from streamwatch.sources.location import Location
from streamwatch.sources.redact import redact

if TYPE_CHECKING:
    from streamwatch.sources.video import DecodedFrame, VideoSource, iter_frames, open_source, picture_at

__all__ = [
    "VIDEO_SUFFIXES",
    "DecodedFrame",
    "Input",
    "Location",
    "VideoSource",
    "content_sha256",
    "expand_inputs",
    "iter_frames",
    "open_source",
    "picture_at",
    "read_inputs",
    "redact",
]

_NEEDS_PYAV = frozenset({"DecodedFrame", "VideoSource", "iter_frames", "open_source", "picture_at"})


def __getattr__(name: str) -> object:
    if name in _NEEDS_PYAV:
        from streamwatch.sources import video

        return getattr(video, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
