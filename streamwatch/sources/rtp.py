"""Losses on the way from an RTSP server. FFmpeg joins what is left of a picture, and says so in its log alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TypeVar

import av.logging

REORDER_QUEUE = 2
"""RTP packets that wait for one before them over TCP, which keeps their order: with fewer, FFmpeg does not compare
their numbers at all."""

_LOST = ("RTP: missed ", "RTP: dropping old packet")

T = TypeVar("T")

_silent = logging.getLogger("libav")
_silent.propagate = False
_silent.addHandler(logging.NullHandler())


def with_losses(packets: Iterator[T]) -> Iterator[tuple[T, bool]]:
    """The same packets, each with whether RTP packets of it, or between it and the one before it, are missing.

    FFmpeg's log callback works only while a packet is being read, when this thread is the only one in FFmpeg; all lines
    are dropped.
    """
    while True:
        av.logging.set_level(av.logging.WARNING)
        try:
            with av.logging.Capture() as lines:
                packet = next(packets, None)
        finally:
            av.logging.set_level(None)
        if packet is None:
            return
        yield packet, any(message.startswith(_LOST) for _, _, message in lines)
