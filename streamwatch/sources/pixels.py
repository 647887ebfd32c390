"""Decoded pictures as arrays, the right way up."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from streamwatch.records import ImageArray


def upright(picture: VideoFrame, reformatter: VideoReformatter) -> ImageArray:
    """A picture as upright RGB, H×W×3 uint8, contiguous, full resolution."""
    rgb = reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns(picture)), dtype=np.uint8)


def quarter_turns(picture: VideoFrame) -> int:
    """Counter-clockwise quarter turns that the display matrix asks for, 0 to 3."""
    return round(picture.rotation / 90) % 4
