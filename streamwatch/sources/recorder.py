"""The newest compressed packets of a live stream, from which clips are cut without encoding anything."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timezone

import av
import av.error
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from streamwatch.errors import SourceUnreadable


@dataclass(frozen=True, slots=True)
class Recording:
    """How much is kept: seconds before the present, and at most so many bytes."""

    seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class RecordedClip:
    """An MP4 file, and the UTC instants at which its first and last packets came in."""

    data: bytes
    start: datetime
    end: datetime


class PacketRecorder:
    """Keeps whole groups of pictures, each from its key frame on; what lies before the first key frame is left out."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._groups: deque[list[tuple[float, Packet[Stream]]]] = deque()
        self._bytes = 0

    def keep(self, packet: Packet[Stream], arrived: float) -> None:
        """Take the next packet of the video stream. arrived: POSIX time."""
        if packet.is_keyframe:
            self._groups.append([])
        if not self._groups:
            return
        self._groups[-1].append((arrived, packet))
        self._bytes += packet.size
        since = arrived - self._recording.seconds
        while len(self._groups) > 1 and self._groups[1][0][0] <= since:
            self._drop_oldest()
        while self._groups and self._bytes > self._recording.max_bytes:
            self._drop_oldest()

    def cut(self, stream: VideoStream, start: float, end: float) -> RecordedClip:
        """The packets that came from `start` to `end` (POSIX time), from the key frame before it on, as MP4.

        stream: that of the packets. Raises SourceUnreadable where there are none, or MP4 does not take them.
        """
        kept = [group for group in self._groups if group[-1][0] >= start and group[0][0] <= end]
        packets = [(arrived, packet) for group in kept for arrived, packet in group if arrived <= end]
        if not packets:
            raise SourceUnreadable("no packets of that time were kept", "raise alerts.clip_max_bytes if they are large")
        try:
            data = _mux(stream, [packet for _, packet in packets])
        except (av.error.FFmpegError, ValueError) as error:
            raise SourceUnreadable(f"its packets cannot be written as MP4 ({error})") from error
        return RecordedClip(data, _instant(packets[0][0]), _instant(packets[-1][0]))

    def _drop_oldest(self) -> None:
        self._bytes -= sum(packet.size for _, packet in self._groups.popleft())


def _mux(template: VideoStream, packets: list[Packet[Stream]]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream_from_template(template)
        zero = next((ticks for packet in packets for ticks in (packet.dts, packet.pts) if ticks is not None), 0)
        before = -1
        for packet in packets:
            copy: Packet[Stream] = Packet(bytes(packet))
            ticks = packet.dts if packet.dts is not None else packet.pts
            copy.dts = before + 1 if ticks is None else max(before + 1, ticks - zero)
            copy.pts = copy.dts if packet.pts is None else max(copy.dts, packet.pts - zero)
            copy.duration = packet.duration
            copy.time_base = packet.time_base
            copy.is_keyframe = packet.is_keyframe
            copy.stream = stream
            before = copy.dts
            container.mux_one(copy)
    return buffer.getvalue()


def _instant(posix: float) -> datetime:
    return datetime.fromtimestamp(posix, timezone.utc)
