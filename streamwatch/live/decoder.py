"""The process that decodes a stream, over all its connections."""

from __future__ import annotations

import contextlib

from streamwatch.config import Settings
from streamwatch.records import FrameCounts
from streamwatch.sources.location import Location
from streamwatch.sources.process import (
    ClipOrder,
    Closed,
    DecodeRate,
    DecoderDied,
    DecodingProcess,
    DecodingProgress,
    Message,
)
from streamwatch.sources.recorder import Recording

DELAY = 10.0
"""Seconds from a face to the alert that it opens for which packets are kept, beyond those of the clip."""


class StreamDecoder:
    """Connects to one source again and again, each time with the effort that was asked for last. The process is started
    where none runs. live: whether the source is a stream, and no file.

    `adjust` and `cut` may be called from another thread than the rest.
    """

    def __init__(self, source: Location, settings: Settings, *, live: bool) -> None:
        self._source = source
        self._settings = settings
        self.live = live
        self._rate = DecodeRate(settings.sampling.fps)
        self._process: DecodingProcess | None = None
        self._counts = FrameCounts(), FrameCounts()

    @property
    def counts(self) -> FrameCounts:
        """Frames decoded, sampled and damaged so far, over all connections."""
        past, present = self._counts
        return past + present

    def connect(self) -> None:
        """Open the source. Raises DecoderDied."""
        settings, alerts = self._settings, self._settings.alerts
        self._counts = self.counts, FrameCounts()
        if self._process is None:
            self._process = DecodingProcess()
        process = self._process
        recording = None
        if self.live and alerts.clip_max_bytes:
            recording = Recording(alerts.clip_before + alerts.clip_after + DELAY, alerts.clip_max_bytes)
        process.open(self._source, settings.decode, settings.sampling, live=self.live, recording=recording)
        if self._rate != DecodeRate(settings.sampling.fps):
            process.adjust(self._rate)

    def receive(self, timeout: float) -> Message | None:
        """The process's next message; None if there is nothing within `timeout` seconds. Raises DecoderDied, also
        where there is no process.
        """
        if self._process is None:
            raise DecoderDied
        message = self._process.receive(timeout)
        if isinstance(message, (DecodingProgress, Closed)):
            self._counts = self._counts[0], message.counts
        return message

    def adjust(self, effort: DecodeRate) -> None:
        """Sample and decode with another effort from now on, over all connections."""
        self._rate = effort
        process = self._process
        if process is not None:
            with contextlib.suppress(DecoderDied):
                process.adjust(effort)

    def cut(self, order: ClipOrder) -> None:
        """Have a clip cut from what was received. Raises DecoderDied, also where there is no process."""
        process = self._process
        if process is None:
            raise DecoderDied
        process.cut(order)

    def end(self) -> None:
        """End the process, whatever it is doing. May be called more than once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
