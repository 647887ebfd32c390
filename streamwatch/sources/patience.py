"""How long a stream whose packets come may show no picture."""

from __future__ import annotations

import time
from collections.abc import Callable

from av.packet import Packet
from av.stream import Stream

from streamwatch.errors import SourceTimeout
from streamwatch.sources.packets import PacketReader

SAY_EVERY = 1.0
"""Seconds between two calls of `on_wait`."""


class Patience:
    """Ends a stream that sends packets, but shows nothing.

    Cameras set key frames as seldom as every 90 seconds: until the first one has come, a stream has
    `decode.key_frame_timeout` seconds, as long as packets of its video come, and `on_wait` is called every second.
    From then on, it is `decode.read_timeout` seconds from picture to picture.
    """

    def __init__(self, reader: PacketReader, on_wait: Callable[[], None]) -> None:
        self._reader = reader
        self._on_wait = on_wait
        self._began = self._picture_at = self._video_at = self._said_at = time.monotonic()
        self._waiting = reader.streamed

    def picture(self, *, spoiled: bool) -> None:
        """A picture has come. spoiled: it shows nothing yet where no key frame came before it."""
        if self._waiting and spoiled:
            return
        self._waiting = False
        self._picture_at = time.monotonic()

    def check(self, packet: Packet[Stream]) -> None:
        """To be called after each packet. Raises SourceTimeout."""
        reader, now = self._reader, time.monotonic()
        if not reader.streamed:
            return
        if packet.stream.index == reader.stream.index:
            self._video_at = now
            if self._waiting and packet.is_keyframe:
                self._waiting, self._picture_at = False, now
        limit = reader.settings.read_timeout
        if not self._waiting or now - self._video_at > limit:
            if now - self._picture_at > limit:
                raise SourceTimeout(f"{reader.location}: data came, but no picture for {limit:g} s", "check the sender")
            return
        if now - self._began > reader.settings.key_frame_timeout:
            raise SourceTimeout(
                f"{reader.location}: no key frame within {reader.settings.key_frame_timeout:g} s",
                "have the sender set them more often, or raise decode.key_frame_timeout",
            )
        if now - self._said_at >= SAY_EVERY:
            self._said_at = now
            self._on_wait()
