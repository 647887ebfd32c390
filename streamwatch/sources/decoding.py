"""From packets to pictures: those that damage has spoiled are marked, and only pictures of the segment are given."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import datetime

import av.error
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from streamwatch.errors import SourceUnreadable
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.container import check_size
from streamwatch.sources.packets import PacketReader
from streamwatch.sources.patience import Patience
from streamwatch.sources.recorder import PacketRecorder, RecordedClip, Recording
from streamwatch.sources.segments import Segment
from streamwatch.sources.spoiled import Picture, SpoiledPictures, ticks_of


class PictureDecoder:
    """Decodes the pictures of a video stream, once, front to back.

    segment: the pictures that are given. recording: how much of the packets is kept for `cut`; None: nothing. clock:
    gives the present UTC instant. on_wait: see `VideoSource`.
    first: the picture that `next_picture` gives first, None once it was given; a part of a file may have none.
    decoded: pictures given so far.

    Raises SourceUnreadable where a whole source has no picture, and as `next_picture` does.
    """

    def __init__(
        self,
        reader: PacketReader,
        segment: Segment,
        recording: Recording | None = None,
        clock: Callable[[], datetime] = utc_now,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.reader = reader
        self.decoded = 0
        self._spoiled = SpoiledPictures(reader.stream.codec_context, segment, reader.frame_rate)
        self._segment = segment
        self._recorder = None if recording is None else PacketRecorder(recording)
        self._clock = clock
        self._patience = Patience(reader, on_wait)
        self._time_base = reader.stream.time_base
        if segment.start is not None:
            reader.container.seek(segment.start, stream=reader.stream, backward=True)
        self._pictures = self._read_pictures()
        self.first = next(self._pictures, None)
        if self.first is None and segment.start is None:
            damage = f" ({self.corrupt} damaged packets)" if self.corrupt else ""
            raise SourceUnreadable(f"{reader.location}: no picture could be decoded from its video{damage}")

    def close(self) -> None:
        """Release the pictures, and what is read. May be called more than once."""
        self.first = None
        self._pictures.close()
        self.reader.close()

    @property
    def corrupt(self) -> int:
        """Damaged packets and pictures so far."""
        return self._spoiled.damaged + self.reader.broken_off

    def next_picture(self) -> Picture | None:
        """None at the end. Raises SourceTimeout, SourceRefused, SourceUnreadable or SourceTooLarge."""
        picture, self.first = self.first, None
        if picture is None:
            picture = next(self._pictures, None)
        self.decoded += picture is not None
        return picture

    def timestamp(self, picture: Picture) -> float | None:
        """Seconds, as the source has them; None where it does not say."""
        ticks, base = ticks_of(picture.frame), self._time_base
        return None if ticks is None or base is None else ticks * base.numerator / base.denominator

    def skip_unreferenced(self, skip: bool) -> None:
        """Whether pictures that no other one refers to are left undecoded from now on."""
        self.reader.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def cut(self, start: datetime, end: datetime) -> RecordedClip:
        """What came from `start` to `end`, from the key frame before it on. Raises SourceUnreadable."""
        if self._recorder is None:
            raise SourceUnreadable(f"{self.reader.location}: nothing of it is kept")
        return self._recorder.cut(self.reader.stream, start.timestamp(), end.timestamp())

    def _read_pictures(self) -> Generator[Picture, None, None]:
        reader = self.reader
        for packet, lost in reader.packets():
            if packet.stream.index == reader.stream.index:
                if self._recorder is not None and packet.size:
                    self._recorder.keep(packet, self._clock().timestamp())
                self._spoiled.send(packet, lost=lost)
                for picture in self._spoiled.receive(self._decode(packet), last=packet.size == 0):
                    ticks = ticks_of(picture.frame)
                    if not self._segment.before_end(ticks):
                        return
                    if self._segment.after_start(ticks):
                        yield picture
                        self._patience.picture(spoiled=picture.spoiled)
            self._patience.check(packet)

    def _decode(self, packet: Packet[Stream]) -> Iterator[VideoFrame]:
        context = self.reader.stream.codec_context
        try:
            pictures = packet.decode()
        except (av.error.InvalidDataError, av.error.ArgumentError, av.error.PatchWelcomeError):
            check_size(context.width, context.height, self.reader.location, self.reader.settings)
            self._spoiled.fail(packet)
            return
        except av.error.FFmpegError as error:
            raise self.reader.failure(error) from error
        for picture in pictures:
            assert isinstance(picture, VideoFrame)
            yield picture
