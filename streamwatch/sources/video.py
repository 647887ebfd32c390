"""A video, from a file or a live stream, as sampled RGB frames."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType

import av
import av.error
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import SourceError, SourceTimeout, SourceUnreadable
from streamwatch.records import Frame, FrameCounts, ImageArray
from streamwatch.sources.clocks import (
    MAX_STEP_CONTINUOUS,
    MAX_STEP_DISCONTINUOUS,
    CaptureClock,
    MediaClock,
    utc_now,
)
from streamwatch.sources.container import (
    access_for,
    check_size,
    open_container,
    source_error,
    timed_out,
    timestamps_may_restart,
    video_stream,
)
from streamwatch.sources.objects import ObjectFile, is_object
from streamwatch.sources.pixels import quarter_turns, upright
from streamwatch.sources.recorder import PacketRecorder, RecordedClip, Recording
from streamwatch.sources.redact import is_url, redact
from streamwatch.sources.sampling import ROUNDING, TimeSampler
from streamwatch.sources.segments import Segment, find_segments

SEEK_PICTURES = 1000
"""Pictures after a key frame among which one is looked for."""

SEEK_EARLIER = (0.0, 2.0, 12.0)
"""Seconds to seek ahead of a picture, one after another: in streams without an index a seek may end behind it."""


@dataclass(frozen=True)
class DecodedFrame:
    """One decoded picture; its pixels are converted only when asked for.

    `index`, `pts` and `wall_time` are as in `records.Frame`; `sampled`: `VideoSource.frames` yields it.
    """

    index: int
    pts: float
    wall_time: datetime | None
    sampled: bool
    _picture: VideoFrame = field(repr=False)
    _reformatter: VideoReformatter = field(repr=False)

    def to_image(self) -> ImageArray:
        """The picture as upright RGB, H×W×3 uint8, contiguous, full resolution."""
        return upright(self._picture, self._reformatter)


class VideoSource:
    """A path or URL opened for reading. A context manager: leaving it closes the container.

    Once constructed, at least one picture has been decoded. The source is read once, front to back: a second
    call of `frames` or `decoded` goes on where the first stopped.

    Damaged packets and pictures are skipped and counted, and a local file that breaks off gives what it has.
    Nothing blocks for longer than `decode.open_timeout` (opening) or `decode.read_timeout` (each read).

    url: path, or URL of a scheme in `container.SCHEMES` or `objects.SCHEMES`.
    live: treat the source as live whatever its scheme; rtsp, rtmp, srt and udp, and http(s) media without a
        duration, always are. Live frames carry `wall_time`, and `sampling.max_frames` does not apply to them.
    clock: gives the present UTC instant.
    recording: how much of a live stream is kept for `cut`; None: nothing.
    segment: of a file, the part that is read, with the sampling that it has within the whole; `counts` are of it
        alone, and so is `DecodedFrame.index`.

    Raises a SourceError: NotFound, Refused, Timeout, Unreadable or TooLarge.
    """

    def __init__(
        self,
        url: str,
        decode: DecodeSettings | None = None,
        sampling: SamplingSettings | None = None,
        *,
        live: bool = False,
        clock: Callable[[], datetime] = utc_now,
        recording: Recording | None = None,
        segment: Segment | None = None,
    ) -> None:
        self._url = url
        self._segment = segment or Segment()
        self._recorder = None if recording is None else PacketRecorder(recording)
        self._clock = clock
        self._settings = decode or DecodeSettings()
        self._sampling = sampling or SamplingSettings()
        self.source_id = redact(url)
        access = access_for(url)
        self._streamed = is_url(url) and not is_object(url)
        self._object = ObjectFile(url, self._settings) if is_object(url) else None
        with contextlib.ExitStack() as stack:
            if self._object is not None:
                stack.callback(self._object.close)
            self._container = open_container(url, self._settings, self._object)
            stack.callback(self._container.close)
            duration = self._container.duration
            self.duration: float | None = duration / av.time_base if duration and duration > 0 else None
            self.live = live or access.live or (self._streamed and self.duration is None)
            self._stream = video_stream(self._container, url, self._settings, live=self.live)
            self._time_base = self._stream.time_base
            rate = self._stream.average_rate or self._stream.guessed_rate
            self.frame_rate: float | None = float(rate) if rate else None
            self.codec: str = self._stream.codec_context.codec.canonical_name
            self._media_clock = self._make_media_clock()
            self._capture_clock = CaptureClock(clock) if self.live else None
            self._sampler = TimeSampler(self._sampling_rate())
            if self._segment.start is not None:
                self._container.seek(self._segment.start, stream=self._stream, backward=True)
                self._sampler.resume(self._segment.first, self._segment.before)
            self._reformatter = VideoReformatter()
            self._decoded = self._sampled = self._corrupt = 0
            self._pictures = self._read_pictures()
            self._first: VideoFrame | None = self._prime()
            self.width, self.height = (0, 0) if self._first is None else _upright_size(self._first)
            self._opened = stack.pop_all()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<VideoSource {self.source_id!r} {self.codec} {self.width}×{self.height}>"

    def close(self) -> None:
        """Release the decoder and the file or connection. May be called more than once."""
        self._first = None
        self._pictures.close()
        self._opened.close()

    @property
    def counts(self) -> FrameCounts:
        """Pictures decoded, sampled and damaged so far."""
        return FrameCounts(decoded=self._decoded, sampled=self._sampled, corrupt=self._corrupt)

    def adjust(self, fps: float, *, spare: bool) -> None:
        """Go on with so many samples per second, the next picture being the first; `spare`: do not decode pictures that
        no other one refers to.
        """
        self._sampler = TimeSampler(fps)
        self._stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"

    def cut(self, start: datetime, end: datetime) -> RecordedClip:
        """What came from `start` to `end`, from the key frame before it on. Raises SourceUnreadable."""
        if self._recorder is None:
            raise SourceUnreadable(f"{self.source_id}: nothing of it is kept")
        return self._recorder.cut(self._stream, start.timestamp(), end.timestamp())

    def frames(self) -> Iterator[Frame]:
        """The sampled frames in order of their strictly increasing `pts`.

        Raises SourceTimeout, SourceRefused or SourceUnreadable when a stream fails on its way, SourceTooLarge
        when its pictures grow beyond the limit.
        """
        while not self._sampled_enough():
            decoded = self._next()
            if decoded is None:
                return
            if decoded.sampled:
                yield Frame(self.source_id, decoded.index, decoded.pts, decoded.wall_time, decoded.to_image())

    def decoded(self) -> Iterator[DecodedFrame]:
        """Every decoded picture, sampled or not, in order of `pts`. Raises as `frames` does."""
        while (decoded := self._next()) is not None:
            yield decoded

    def _next(self) -> DecodedFrame | None:
        picture, self._first = self._first, None
        if picture is None:
            picture = next(self._pictures, None)
        if picture is None:
            return None
        pts = self._media_clock.advance(self._timestamp(picture))
        if self._media_clock.jumped:
            self._sampler.restart()
            if self._capture_clock is not None:
                self._capture_clock.restart()
        sampled = not self._sampled_enough() and self._sampler.keep(pts)
        index = self._decoded
        self._decoded += 1
        self._sampled += sampled
        wall_time = self._capture_clock.captured(pts) if self._capture_clock is not None else None
        return DecodedFrame(index, pts, wall_time, sampled, picture, self._reformatter)

    def _sampling_rate(self) -> float:
        """Frames per second; more than asked for where a file would be over before `min_frames` were seen."""
        fps = self._sampling.fps
        if self.live or not self.duration:
            return fps
        return max(fps, self._sampling.min_frames / self.duration)

    def _sampled_enough(self) -> bool:
        limit = self._sampling.max_frames
        return limit is not None and not self.live and self._sampled >= limit

    def segments(self, seconds: float) -> list[Segment]:
        """The file in parts of about so many seconds; one where it cannot be cut. To be called before it is read."""
        place = self.place()
        if place is None or self.duration is None:
            return [Segment()]
        origin, first = place
        length = {"seconds": seconds, "duration": self.duration}
        return find_segments(self._url, self._settings, **length, origin=origin, first=first)

    def place(self) -> tuple[float, float] | None:
        """Seconds of the timestamp that is media second 0, and media seconds of the first picture; None where parts of
        the file cannot be told by time. To be called before it is read.
        """
        timestamp = None if self._first is None else self._timestamp(self._first)
        if timestamp is None or self._sampling.max_frames is not None:
            return None
        origin = self._media_clock.origin(timestamp)
        return origin, timestamp - origin

    def _prime(self) -> VideoFrame | None:
        """The first picture. A part of a file may have none."""
        first = next(self._pictures, None)
        if first is None and self._segment.start is None:
            damage = f" ({self._corrupt} damaged packets)" if self._corrupt else ""
            raise SourceUnreadable(f"{self.source_id}: no picture could be decoded from its video{damage}")
        return first

    def _make_media_clock(self) -> MediaClock:
        start = self._container.start_time
        begin = None if self.live or start is None else start / av.time_base
        may_jump = self.live or timestamps_may_restart(self._container)
        return MediaClock(
            start=begin if self._segment.start is None else self._segment.origin,
            frame_rate=self.frame_rate,
            max_step=MAX_STEP_DISCONTINUOUS if may_jump else MAX_STEP_CONTINUOUS,
        )

    def _timestamp(self, picture: VideoFrame) -> float | None:
        ticks = _ticks(picture)
        if ticks is None or self._time_base is None:
            return None
        return ticks * self._time_base.numerator / self._time_base.denominator

    def _read_pictures(self) -> Generator[VideoFrame, None, None]:
        last_picture = time.monotonic()
        for packet in self._read_packets():
            if packet.stream.index == self._stream.index:
                if self._recorder is not None and packet.size and not packet.is_corrupt:
                    self._recorder.keep(packet, self._clock().timestamp())
                for picture in self._decode(packet):
                    if not self._segment.before_end(_ticks(picture)):
                        return
                    yield picture
                    last_picture = time.monotonic()
            if self._streamed and time.monotonic() - last_picture > self._settings.read_timeout:
                raise SourceTimeout(
                    f"{self.source_id}: data came, but no picture for {self._settings.read_timeout:g} s",
                    "check the sender",
                )

    def _read_packets(self) -> Iterator[Packet[Stream]]:
        asked = time.monotonic()
        try:
            # All streams: time must be checked between packets even when those of the video stay away.
            for packet in self._container.demux():
                if self._streamed and time.monotonic() - asked >= self._settings.read_timeout:
                    # FFmpeg empties its parser when a read ends by its limit: that packet came long ago.
                    raise timed_out(self._url, self._settings.read_timeout)
                yield packet
                asked = time.monotonic()
        except av.error.FFmpegError as error:
            self._check_object()
            if self._streamed or not isinstance(error, av.error.InvalidDataError):
                raise self._failure(error, waited=time.monotonic() - asked) from error
            self._corrupt += 1
            flush: Packet[Stream] = Packet()
            flush.stream = self._stream
            yield flush
        self._check_object()

    def _check_object(self) -> None:
        """An object that cannot be read any more looks like the end of a file to FFmpeg."""
        if self._object is not None:
            self._object.check()

    def _decode(self, packet: Packet[Stream]) -> Iterator[VideoFrame]:
        if packet.is_corrupt:
            self._corrupt += self._segment.holds(packet.pts)
            return
        context = self._stream.codec_context
        try:
            pictures = packet.decode()
        except (av.error.InvalidDataError, av.error.ArgumentError, av.error.PatchWelcomeError):
            check_size(context.width, context.height, self._url, self._settings)
            self._corrupt += self._segment.holds(packet.pts)
            return
        except av.error.FFmpegError as error:
            raise self._failure(error) from error
        for picture in pictures:
            assert isinstance(picture, VideoFrame)
            if picture.is_corrupt:
                self._corrupt += self._segment.holds(_ticks(picture))
            elif self._segment.after_start(_ticks(picture)):
                yield picture

    def _failure(self, error: av.error.FFmpegError, waited: float = 0.0) -> SourceError:
        return source_error(error, self._url, waited=waited, limit=self._settings.read_timeout, opening=False)


def open_source(
    url: str,
    decode: DecodeSettings | None = None,
    sampling: SamplingSettings | None = None,
    *,
    live: bool = False,
) -> VideoSource:
    """Open a path or URL; see `VideoSource`. For use in a `with` statement."""
    return VideoSource(url, decode, sampling, live=live)


def picture_at(path: str, pts: float, decode: DecodeSettings | None = None) -> ImageArray | None:
    """The picture of a file at media second `pts`, to a millisecond, as upright RGB; None where seeking finds none.

    In files whose timestamps jump another picture may stand there. Raises a SourceError where it cannot be opened.
    """
    settings = decode or DecodeSettings()
    with open_container(path, settings) as container:
        stream = video_stream(container, path, settings, live=False)
        start = (container.start_time or 0) / av.time_base
        for earlier in SEEK_EARLIER:
            with contextlib.suppress(av.error.FFmpegError):
                container.seek(max(0, round((start + pts - earlier) * av.time_base)))
                for picture in itertools.islice(container.decode(stream), SEEK_PICTURES):
                    off = -math.inf if picture.time is None else picture.time - start - pts
                    if abs(off) <= ROUNDING:
                        return upright(picture, VideoReformatter())
                    if off > 0:
                        break
    return None


def iter_frames(url: str, fps: float = 2.0, decode: DecodeSettings | None = None) -> Iterator[Frame]:
    """The frames of a path or URL, `fps` per second of media time; closed at the end or with the iterator."""
    with VideoSource(url, decode, SamplingSettings(fps=fps, min_frames=0)) as source:
        yield from source.frames()


def _ticks(picture: VideoFrame) -> int | None:
    return picture.pts if picture.pts is not None else picture.dts


def _upright_size(picture: VideoFrame) -> tuple[int, int]:
    size = picture.width, picture.height
    return size if quarter_turns(picture) % 2 == 0 else size[::-1]
