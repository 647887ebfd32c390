"""Long files cut at key frames, so that their parts can be decoded side by side."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streamwatch.config import DecodeSettings
from streamwatch.sources.container import open_container, timestamps_may_restart, video_stream
from streamwatch.sources.location import Location

MOST_PACKETS = 5000
"""Packets that are looked at for one key frame: some minutes of video."""

MOST_SEGMENTS = 2000
"""Parts that a file is cut into at most: longer ones where there would be more."""

LOOK_BACK = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Seconds before a key frame at which the picture before it is looked for, until it is found: some formats seek by the
time of decoding.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """The pictures of a file with start ≤ timestamp < end; None: from its beginning, to its end.

    start, end: of key frames, in ticks of the stream's time base. origin: seconds of the timestamp that is media second
    0. first: media seconds of the file's first picture. before: media seconds of the last picture before the segment.
    index: of its first picture among all of the file; None: the segment before it ends there.
    """

    start: int | None = None
    end: int | None = None
    origin: float = 0.0
    first: float = 0.0
    before: float = 0.0
    index: int | None = None

    @property
    def place(self) -> str:
        """Where the segment lies in its file, for keys."""
        return f"{'' if self.start is None else self.start}:{'' if self.end is None else self.end}"

    def after_start(self, ticks: int | None) -> bool:
        """Whether a timestamp is not before the segment; one that is not known is not."""
        return ticks is None or self.start is None or ticks >= self.start

    def before_end(self, ticks: int | None) -> bool:
        """Whether a timestamp is not after the segment; one that is not known is not."""
        return ticks is None or self.end is None or ticks < self.end

    def begins(self, time_base: float) -> float | None:
        """Media seconds of its beginning; None for that of the file."""
        return None if self.start is None else self.start * time_base - self.origin

    def ends(self, time_base: float) -> float | None:
        """Media seconds of its end; None for that of the file."""
        return None if self.end is None else self.end * time_base - self.origin

    def holds(self, ticks: int | None) -> bool:
        """Whether a timestamp is in the segment; one that is not known is."""
        return self.after_start(ticks) and self.before_end(ticks)


def find_segments(
    location: Location, decode: DecodeSettings, *, seconds: float, duration: float, origin: float, first: float
) -> list[Segment]:
    """Segments of about so many seconds that together are the file; a single one where it cannot be cut.

    duration: of the file, seconds. origin, first: see `Segment`. Only what is around each cut is read. A file whose
    timestamps may restart, or are missing, is not cut. There are `MOST_SEGMENTS` at most, and no more cuts once
    `decode.open_timeout` is over. Raises a SourceError where the file cannot be opened.
    """
    whole = [Segment()]
    parts = round(min(duration / seconds, MOST_SEGMENTS))
    if parts < 2 or location.is_url:
        return whole
    with open_container(location, decode) as container:
        stream = video_stream(container, location, decode, live=False)
        if timestamps_may_restart(container) or stream.time_base is None:
            return whole
        tick = float(stream.time_base)
        cuts: list[tuple[int, float]] = []
        deadline = time.monotonic() + decode.open_timeout
        for part in range(1, parts):
            if time.monotonic() > deadline:
                break
            target = round((origin + part * duration / parts) / tick)
            cut = None
            with contextlib.suppress(av.error.FFmpegError):  # damage there
                cut = _cut_before(container, stream, target)
            if cut is not None and cut[0] * tick - origin > first and (not cuts or cut[0] > cuts[-1][0]):
                cuts.append((cut[0], cut[1] * tick - origin))
    edges: list[tuple[int | None, float]] = [(None, 0.0), *cuts, (None, 0.0)]
    return [Segment(start, end, origin, first, before) for (start, before), (end, _) in itertools.pairwise(edges)]


def _cut_before(container: InputContainer, stream: VideoStream, target: int) -> tuple[int, int] | None:
    """Timestamps of the last key frame at or before the target, and of the picture that is shown before it."""
    container.seek(target, stream=stream, backward=True)
    key = next((packet.pts for packet in _packets(container, stream) if packet.is_keyframe), None)
    if key is None or not decodes_from(container, stream, key):
        return None
    for seconds in LOOK_BACK:
        container.seek(key - round(seconds / float(stream.time_base or 1)), stream=stream, backward=True)
        before = _last_before(_packets(container, stream), key)
        if before is not None:
            return key, before
    return None


def decodes_from(container: InputContainer, stream: VideoStream, key: int) -> bool:
    """Whether decoding that begins at a key frame shows it. Where pictures are refreshed bit by bit, it does not."""
    container.seek(key, stream=stream, backward=True)
    pictures = (picture for packet in _packets(container, stream) for picture in packet.decode())
    shown = next((picture.pts for picture in pictures if picture.pts is None or picture.pts >= key), None)
    return shown == key


def _last_before(packets: Iterator[Packet[VideoStream]], key: int) -> int | None:
    """The largest timestamp below that of a key frame."""
    before: int | None = None
    for packet in packets:
        if packet.pts is None or (packet.dts is not None and packet.dts >= key):
            break
        if packet.pts < key:
            before = packet.pts if before is None else max(before, packet.pts)
    return before


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    return itertools.islice((packet for packet in container.demux(stream) if packet.size), MOST_PACKETS)
