"""The compressed packets of an open file or stream."""

from __future__ import annotations

import contextlib
import errno
import time
from collections import deque
from collections.abc import Iterator

import av
import av.error
from av.packet import Packet
from av.stream import Stream

from streamwatch.config import DecodeSettings
from streamwatch.errors import SourceError, SourceRefused
from streamwatch.sources.clocks import MAX_STEP_DISCONTINUOUS, MediaClock
from streamwatch.sources.container import (
    READ_ACCESS,
    access_for,
    no_header_duration,
    open_container,
    sends_no_parts,
    source_error,
    timed_out,
    timestamps_may_restart,
    video_stream,
)
from streamwatch.sources.location import Location
from streamwatch.sources.opened import open_file
from streamwatch.sources.rtp import with_losses

MOST_SECONDS_PER_BYTE = 10.0
"""No video is so small: a single picture of 10 kB that is shown for a day needs 8.6."""


class PacketReader:
    """Opens a path or URL and reads its packets. A read that takes longer than `decode.read_timeout` is an error, and
    so is what fails on its way; a local file that breaks off just ends.

    live: treat the source as live whatever its scheme.
    streamed: it comes from a server as it is read. container, stream: open; the
    main video stream. broken_off: the packets of a local file ended in damage.

    Raises a SourceError: NotFound, Refused, Timeout, Unreadable or TooLarge.
    """

    def __init__(self, location: Location, settings: DecodeSettings, *, live: bool = False) -> None:
        self.location = location
        self.settings = settings
        access = access_for(location)
        self._file = open_file(location, settings) if access is READ_ACCESS else None
        self.streamed = location.is_url and not (self._file is not None and self._file.seekable())
        self.broken_off = False
        with contextlib.ExitStack() as stack:
            if self._file is not None:
                stack.callback(self._file.close)
            self.container = open_container(location, settings, self._file)
            stack.callback(self.container.close)
            self.live = live or access.live or (self.streamed and self._declared is None)
            self.stream = video_stream(self.container, location, settings, live=self.live)
            self._opened = stack.pop_all()
        self._whole_packets = not (self.streamed or timestamps_may_restart(self.container))
        self._ahead: deque[tuple[Packet[Stream], bool]] = deque()
        demuxed = self.container.demux()
        rtp = location.scheme in ("rtsp", "rtsps")
        self._demuxed = with_losses(demuxed) if rtp else ((packet, False) for packet in demuxed)

    def close(self) -> None:
        """Release the decoder and the file or connection. May be called more than once."""
        self._opened.close()

    @property
    def duration(self) -> float | None:
        """Seconds; None where there is no end, or where the bytes cannot hold what the container says."""
        declared, size = self._declared, self.container.size
        return None if declared is not None and 0 < size * MOST_SECONDS_PER_BYTE < declared else declared

    @property
    def _declared(self) -> float | None:
        duration = self.container.duration
        return duration / av.time_base if duration and duration > 0 else None

    @property
    def frame_rate(self) -> float | None:
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None

    @property
    def promised_end(self) -> float | None:
        """Seconds after the container's start at which its video ends, as its header says; None where there is no
        header that says so.
        """
        if self.live or no_header_duration(self.container) or self.duration is None:
            return None
        start, base = self.container.start_time or 0, self.stream.time_base
        if self.stream.duration is None or base is None:
            return self.duration
        begin = 0.0 if self.stream.start_time is None else float(self.stream.start_time * base) - start / av.time_base
        return begin + float(self.stream.duration * base)

    def peek(self, seconds: float) -> float | None:
        """Read ahead for so many seconds of the video; its whole length in seconds where it ends within them. The
        packets come from `packets` all the same. To be called before it.
        """
        clock = MediaClock(frame_rate=self.frame_rate, max_step=MAX_STEP_DISCONTINUOUS)
        seen, base = 0.0, self.stream.time_base
        for packet, lost in self._read():
            self._ahead.append((packet, lost))
            if packet.stream.index == self.stream.index and packet.size and base is not None:
                ticks = packet.dts if packet.dts is not None else packet.pts
                seen = clock.advance(None if ticks is None else float(ticks * base)) + clock.interval
                if seen >= seconds:
                    return None
        return seen

    def packets(self) -> Iterator[tuple[Packet[Stream], bool]]:
        """Those of all streams, as time must be checked between packets even when those of the video stay away; then
        one of the video stream that is empty, which makes its decoder give what it holds back. With each, whether data
        before or in it are known to be lost.
        """
        while self._ahead:
            yield self._ahead.popleft()
        yield from self._read()

    def _read(self) -> Iterator[tuple[Packet[Stream], bool]]:
        asked = time.monotonic()
        cut_short: tuple[Packet[Stream], bool] | None = None
        try:
            for packet, lost in self._demuxed:
                if self.streamed and time.monotonic() - asked >= self.settings.read_timeout:
                    # FFmpeg empties its parser when a read ends by its limit: that packet came long ago.
                    raise timed_out(self.location, self.settings.read_timeout)
                if cut_short is not None:
                    if packet.size:
                        yield cut_short
                    else:  # a decoder that fails on half a packet drops the pictures that it holds back
                        self.broken_off = True
                    cut_short = None
                if packet.is_corrupt and self._whole_packets:
                    cut_short = packet, lost
                    continue
                yield packet, lost
                asked = time.monotonic()
        except av.error.FFmpegError as error:
            self._check_file()
            if self.streamed or not isinstance(error, av.error.InvalidDataError):
                raise self.failure(error, waited=time.monotonic() - asked) from error
            self.broken_off = True
            flush: Packet[Stream] = Packet()
            flush.stream = self.stream
            yield flush, False
        self._check_file()

    def failure(self, error: av.error.FFmpegError, waited: float = 0.0) -> SourceError:
        """The typed error for one of FFmpeg's on the way. waited: seconds that the failed call took."""
        index_at_end = "mov" in self.container.format.name  # or it would not have failed
        if error.errno == errno.EIO and index_at_end and sends_no_parts(self.location, self.settings):
            return SourceRefused(
                f"{self.location}: its index is at the end, and the server cannot send parts of it", "download it first"
            )
        return source_error(error, self.location, waited=waited, limit=self.settings.read_timeout, opening=False)

    def _check_file(self) -> None:
        """A file of ours that cannot be read any more looks like its end to FFmpeg."""
        if self._file is not None:
            self._file.check()
