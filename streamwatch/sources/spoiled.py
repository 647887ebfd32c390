"""Which pictures of a stream are whole, told from what is known of its packets and from what its decoder reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamwatch.sources.clocks import DEFAULT_FRAME_RATE
from streamwatch.sources.damage import PATIENCE, DamageTracker
from streamwatch.sources.h264 import HeaderReader, PictureHeader
from streamwatch.sources.segments import Segment

MAX_HELD = 4
"""Pictures that wait for one that they may refer to and that comes out of the decoder after them."""

MAX_PENDING = 64
"""Packets after which the picture of one is not expected any more: decoders reorder and hold back fewer."""


class Picture(NamedTuple):
    """A decoded picture. spoiled: it is damaged, or rests on a picture that is."""

    frame: VideoFrame
    spoiled: bool


class SpoiledPictures:
    """Follows the packets that go into a decoder and the pictures that come out of it.

    Where pictures are reordered, a few are held back: one that is found damaged may come out after others that refer
    to it.

    segment: damage in it is counted. frame_rate: pictures per second; None where it is not known.
    """

    def __init__(self, context: VideoCodecContext, segment: Segment, frame_rate: float | None) -> None:
        self._damage = DamageTracker(patience=max(1, round(PATIENCE * (frame_rate or DEFAULT_FRAME_RATE))))
        self._headers = HeaderReader(context.extradata or b"") if context.codec.canonical_name == "h264" else None
        self._segment = segment
        self._newest = -1
        self._numbers: dict[int, int] = {}
        self._pending: set[int] = set()
        self._held: deque[VideoFrame] = deque()

    @property
    def damaged(self) -> int:
        """Damaged packets and pictures of the segment so far."""
        return self._damage.count

    def send(self, packet: Packet[Stream], *, lost: bool) -> None:
        """A packet goes into the decoder. lost: data before or in it are known to be lost."""
        if packet.size == 0:
            return
        self._newest += 1
        header = PictureHeader() if self._headers is None else self._headers.read(bytes(packet))
        if header.recovery:
            self._damage.note_recovery(self._newest, header.recovery)
        if lost or packet.is_corrupt or header.gap:
            self._note(self._newest, packet.pts)
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is not None:
            self._numbers[ticks] = self._newest
            self._pending = {number for number in self._pending if number > self._newest - MAX_PENDING}
            self._pending.add(self._newest)

    def fail(self, packet: Packet[Stream]) -> None:
        """The decoder refused the packet that was sent last."""
        self._note(max(0, self._newest), packet.pts)

    def receive(self, frames: Iterable[VideoFrame], *, last: bool) -> Iterator[Picture]:
        """Pictures that came out of the decoder; those that can be judged now, in order of presentation. last: no more
        come.
        """
        for frame in frames:
            number = self._number(frame)
            self._pending.discard(number)
            if frame.is_corrupt:
                self._note(number, ticks_of(frame))
            self._held.append(frame)
        while self._held and (last or len(self._held) > MAX_HELD or not self._waits(self._held[0])):
            frame = self._held.popleft()
            number = self._number(frame)
            yield Picture(frame, self._damage.spoils(number, key=frame.key_frame))
            while len(self._numbers) > 2 * MAX_PENDING:
                del self._numbers[next(iter(self._numbers))]

    def _note(self, number: int, ticks: int | None) -> None:
        self._damage.note(number, counted=self._segment.holds(ticks))

    def _waits(self, frame: VideoFrame) -> bool:
        number = self._number(frame)
        return any(pending < number for pending in self._pending)

    def _number(self, frame: VideoFrame) -> int:
        """Of the packet that a picture came in; of the newest one where it cannot be told."""
        ticks, newest = ticks_of(frame), max(0, self._newest)
        return newest if ticks is None else self._numbers.get(ticks, newest)


def ticks_of(picture: VideoFrame) -> int | None:
    """Timestamp of a picture in ticks of its stream; None where it has none."""
    return picture.pts if picture.pts is not None else picture.dts
