"""A video, from a file or a live stream, as sampled RGB frames."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
from av.video.frame import VideoFrame

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.records import Frame, FrameCounts, ImageArray
from streamwatch.sources.clocks import (
    DEFAULT_FRAME_RATE,
    MAX_STEP_CONTINUOUS,
    MAX_STEP_DISCONTINUOUS,
    CaptureClock,
    MediaClock,
    utc_now,
)
from streamwatch.sources.container import open_container, timestamps_may_restart, video_stream, video_tracks
from streamwatch.sources.coverage import UnseenTime
from streamwatch.sources.decoding import PictureDecoder
from streamwatch.sources.location import Location
from streamwatch.sources.packets import PacketReader
from streamwatch.sources.pixels import PictureConverter, PixelAspect
from streamwatch.sources.recorder import RecordedClip, Recording
from streamwatch.sources.sampling import ROUNDING, TimeSampler
from streamwatch.sources.segments import Segment, find_segments

MOST_SAMPLES = 120.0
"""Samples per second to which short files are sampled."""

SEEK_PICTURES = 1000
"""Pictures after a key frame among which one is looked for."""

SEEK_EARLIER = (0.0, 2.0, 12.0)
"""Seconds to seek ahead of a picture, one after another: in streams without an index a seek may end behind it."""


@dataclass(frozen=True)
class DecodedFrame:
    """One decoded picture; its pixels are converted only when asked for.

    `index`, `pts` and `wall_time` are as in `records.Frame`; `sampled`: `VideoSource.frames` yields it; `spoiled`: it
    shows what damage has left, and is not sampled.
    """

    index: int
    pts: float
    wall_time: datetime | None
    sampled: bool
    spoiled: bool
    _picture: VideoFrame = field(repr=False)
    _aspect: Fraction = field(repr=False)
    _converter: PictureConverter = field(repr=False)

    def to_image(self) -> ImageArray:
        """The picture as upright RGB of square pixels, H×W×3 uint8, contiguous, full resolution."""
        return self._converter.convert(self._picture, self._aspect)


class VideoSource:  # size: what a caller wants to know of a source, and one object for each step
    """A path or URL opened for reading. A context manager: leaving it closes the container.

    Once constructed, at least one picture has been decoded. The source is read once, front to back: a second
    call of `frames` or `decoded` goes on where the first stopped.

    Damaged packets and pictures are counted, and decoded as far as possible; but no picture is sampled from damage up
    to the next one that needs no other. A local file that breaks off gives what it has.
    Nothing blocks for longer than `decode.open_timeout` (opening) or `decode.read_timeout` (each read).

    url: path, or URL of a scheme in `container.SCHEMES` or `extensions.SOURCES`.
    live: treat the source as live whatever its scheme; rtsp, rtmp, srt and udp, and http(s) media without a
        duration, always are. Live frames carry `wall_time`, and `sampling.max_frames` does not apply to them.
    clock: gives the present UTC instant.
    recording: how much of a live stream is kept for `cut`; None: nothing.
    segment: of a file, the part that is read, with the sampling that it has within the whole; `counts` are of it
        alone, and so is `DecodedFrame.index`.
    on_wait: called again and again while packets come from a server, but no key frame yet.

    Raises a SourceError: NotFound, Refused, Timeout, Unreadable or TooLarge.
    """

    def __init__(
        self,
        url: str | Path | Location,
        decode: DecodeSettings | None = None,
        sampling: SamplingSettings | None = None,
        *,
        live: bool = False,
        clock: Callable[[], datetime] = utc_now,
        recording: Recording | None = None,
        segment: Segment | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        segment = segment or Segment()
        with contextlib.ExitStack() as stack:
            reader = PacketReader(Location.of(url), decode or DecodeSettings(), live=live)
            stack.callback(reader.close)
            self.source_id = reader.location.name
            self.live = reader.live
            self.duration = reader.duration
            self.frame_rate = reader.frame_rate
            self.codec: str = reader.stream.codec_context.codec.canonical_name
            self._media_clock = _media_clock(reader, segment)
            self._capture_clock = CaptureClock(clock) if self.live else None
            self._sampler = _sampler(reader, sampling or SamplingSettings())
            tick = float(reader.stream.time_base or 0)
            self._unseen = UnseenTime(self._media_clock.interval, segment.begins(tick), segment.ends(tick))
            if segment.start is not None:
                self._sampler.resume(segment.first, segment.before)
            self._converter = PictureConverter()
            self._aspect = PixelAspect(reader.stream)
            self._decoder = PictureDecoder(reader, segment, recording, clock, on_wait)
            first = self._decoder.first
            self.width, self.height = (0, 0) if first is None else self._converter.size(first.frame, self._aspect.now)
            stack.pop_all()

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
        self._decoder.close()

    @property
    def counts(self) -> FrameCounts:
        """Pictures decoded, sampled and damaged so far, and what was done to those that were converted."""
        decoder = self._decoder
        return FrameCounts(
            decoded=decoder.decoded,
            sampled=self._sampler.kept,
            corrupt=decoder.corrupt,
            remarks=self._converter.remarks,
            unseen=self._unseen.seconds,
        )

    @property
    def promised_end(self) -> float | None:
        """Media seconds at which the video ends as its container says; None where it does not. For an open source."""
        return self._decoder.reader.promised_end

    @property
    def limited(self) -> bool:
        """Whether `sampling.max_frames` ended `frames`, maybe before the end of the source."""
        return self._sampler.exhausted

    @property
    def end(self) -> float | None:
        """Media seconds at which the newest picture ends; None before the first one."""
        return self._unseen.end

    @property
    def video_tracks(self) -> int:
        """How many its container has; the main one of them is read. For an open source."""
        return video_tracks(self._decoder.reader.container)

    def adjust(self, fps: float, *, spare: bool) -> None:
        """Go on with so many samples per second, the next picture being the first; `spare`: do not decode pictures that
        no other one refers to.
        """
        self._sampler.restart(fps)
        self._decoder.skip_unreferenced(spare)

    def cut(self, start: datetime, end: datetime) -> RecordedClip:
        """What came from `start` to `end`, from the key frame before it on. Raises SourceUnreadable."""
        return self._decoder.cut(start, end)

    def frames(self) -> Iterator[Frame]:
        """The sampled frames in order of their strictly increasing `pts`.

        Raises SourceTimeout, SourceRefused or SourceUnreadable when a stream fails on its way, SourceTooLarge
        when its pictures grow beyond the limit.
        """
        while not self._sampler.exhausted:
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
        index = self._decoder.decoded
        picture = self._decoder.next_picture()
        if picture is None:
            self._unseen.finish()
            return None
        frame, spoiled = picture
        pts = self._media_clock.advance(self._decoder.timestamp(picture), spoiled=spoiled)
        if self._media_clock.jumped:
            self._sampler.restart()
            if self._capture_clock is not None:
                self._capture_clock.restart()
        self._unseen.add(pts, spoiled=spoiled, lasts=float((frame.duration or 0) * (frame.time_base or 0)))
        sampled = not spoiled and self._sampler.keep(pts)
        wall_time = self._capture_clock.captured(pts) if self._capture_clock is not None else None
        return DecodedFrame(index, pts, wall_time, sampled, spoiled, frame, self._aspect.now, self._converter)

    def segments(self, seconds: float) -> list[Segment]:
        """The file in parts of about so many seconds; one where it cannot be cut. To be called before it is read."""
        place = self.place()
        if place is None or self.duration is None:
            return [Segment()]
        origin, first = place
        reader = self._decoder.reader
        length = {"seconds": seconds, "duration": self.duration}
        return find_segments(reader.location, reader.settings, **length, origin=origin, first=first)

    def place(self) -> tuple[float, float] | None:
        """Seconds of the timestamp that is media second 0, and media seconds of the first picture; None where parts of
        the file cannot be addressed by time. To be called before it is read.
        """
        picture = self._decoder.first
        timestamp = None if picture is None else self._decoder.timestamp(picture)
        if timestamp is None or self._sampler.limit is not None:
            return None
        origin = self._media_clock.origin(timestamp)
        return origin, timestamp - origin


def _media_clock(reader: PacketReader, segment: Segment) -> MediaClock:
    start = reader.container.start_time
    begin = None if reader.live or start is None else start / av.time_base
    may_jump = reader.live or timestamps_may_restart(reader.container)
    return MediaClock(
        start=begin if segment.start is None else segment.origin,
        frame_rate=reader.frame_rate,
        max_step=MAX_STEP_DISCONTINUOUS if may_jump else MAX_STEP_CONTINUOUS,
    )


def _sampler(reader: PacketReader, sampling: SamplingSettings) -> TimeSampler:
    """As the settings say; but more often where a file would be over before `min_frames` were seen, and without a limit
    where the source is live.
    """
    if reader.live:
        return TimeSampler(sampling.fps)
    duration = reader.duration
    if timestamps_may_restart(reader.container):  # what FFmpeg takes for the duration may be a jump
        duration = reader.peek(sampling.min_frames / sampling.fps)
    least = sampling.min_frames / duration if duration else 0.0
    if duration is None or least <= sampling.fps:
        return TimeSampler(sampling.fps, sampling.max_frames)
    # A file may be longer than it says: only its opening is sampled more densely.
    seconds = max(duration, sampling.min_frames / (reader.frame_rate or DEFAULT_FRAME_RATE))
    return TimeSampler(sampling.fps, sampling.max_frames, opening=(min(least, MOST_SAMPLES), seconds))


def open_source(
    url: str | Path | Location,
    decode: DecodeSettings | None = None,
    sampling: SamplingSettings | None = None,
    *,
    live: bool = False,
) -> VideoSource:
    """Open a path or URL; see `VideoSource`. For use in a `with` statement."""
    return VideoSource(url, decode, sampling, live=live)


def picture_at(path: str | Path | Location, pts: float, decode: DecodeSettings | None = None) -> ImageArray | None:
    """The picture of a file at media second `pts`, to a millisecond, as upright RGB; None where seeking finds none.

    In files whose timestamps jump another picture may stand there. Raises a SourceError where it cannot be opened.
    """
    location, settings = Location.of(path), decode or DecodeSettings()
    with open_container(location, settings) as container:
        stream = video_stream(container, location, settings, live=False)
        start = (container.start_time or 0) / av.time_base
        aspect = PixelAspect(stream)
        for earlier in SEEK_EARLIER:
            with contextlib.suppress(av.error.FFmpegError):
                container.seek(max(0, round((start + pts - earlier) * av.time_base)))
                for picture in itertools.islice(container.decode(stream), SEEK_PICTURES):
                    off = -math.inf if picture.time is None else picture.time - start - pts
                    if abs(off) <= ROUNDING:
                        return PictureConverter().convert(picture, aspect.now)
                    if off > 0:
                        break
    return None


def iter_frames(url: str | Path | Location, fps: float = 2.0, decode: DecodeSettings | None = None) -> Iterator[Frame]:
    """The frames of a path or URL, `fps` per second of media time; closed at the end or with the iterator."""
    with VideoSource(url, decode, SamplingSettings(fps=fps, min_frames=0)) as source:
        yield from source.frames()
