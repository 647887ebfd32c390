"""The key frames of a file: pictures that need no other one, and so cost little to look at."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av.error
from av.video.frame import VideoFrame

from streamwatch.config import DecodeSettings
from streamwatch.records import ImageArray
from streamwatch.sources.container import open_container, timestamps_may_restart, video_stream
from streamwatch.sources.location import Location
from streamwatch.sources.pixels import PictureConverter, PixelAspect
from streamwatch.sources.segments import decodes_from


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """ticks: its timestamp, in ticks of the stream. index: its place among all pictures, from 0. pts, before: media
    seconds of it, and of the picture before it (of itself for the first one).
    """

    ticks: int
    index: int
    pts: float
    before: float


class KeyFrames(NamedTuple):
    """Key frames in order. end: media seconds at which the last picture of the file ends."""

    frames: Sequence[KeyFrame]
    end: float


NONE = KeyFrames((), 0.0)


def read_key_frames(location: Location, decode: DecodeSettings, origin: float) -> KeyFrames:
    """All key frames of a file; none where they cannot be looked at by themselves.

    origin: seconds of the timestamp that is media second 0. Raises a SourceError where the file cannot be opened.
    """
    if location.is_url:
        return NONE
    with open_container(location, decode) as container:
        stream = video_stream(container, location, decode, live=False)
        if timestamps_may_restart(container) or stream.time_base is None:
            return NONE
        tick = float(stream.time_base)
        times, keys, end = [], [], 0
        try:
            for packet in container.demux(stream):
                if packet.size:
                    if packet.pts is None:
                        return NONE
                    times.append(packet.pts)
                    end = max(end, packet.pts + (packet.duration or 0))
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            if not keys or not decodes_from(container, stream, keys[len(keys) // 2]):
                return NONE
        except av.error.FFmpegError:
            return NONE
    times.sort()
    found = []
    for ticks in sorted(set(keys)):
        index = bisect.bisect_left(times, ticks)
        pts, before = (moment * tick - origin for moment in (ticks, times[max(0, index - 1)]))
        found.append(KeyFrame(ticks, index, pts, before))
    return KeyFrames(found, end * tick - origin)


def key_pictures(
    location: Location, decode: DecodeSettings, wanted: Sequence[KeyFrame], converter: PictureConverter
) -> Iterator[tuple[KeyFrame, ImageArray]]:
    """The pictures of these key frames, as the converter gives them, in order; those that are damaged are left out.

    Raises a SourceError where the file cannot be opened.
    """
    by_ticks = {frame.ticks: frame for frame in wanted}
    with open_container(location, decode) as container:
        stream = video_stream(container, location, decode, live=False)
        aspect = PixelAspect(stream)
        for packet in container.demux(stream):
            if packet.size and packet.pts not in by_ticks:
                continue
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:
                continue
            for picture in pictures:
                assert isinstance(picture, VideoFrame)
                frame = None if picture.pts is None else by_ticks.get(picture.pts)
                if frame is not None and not picture.is_corrupt:
                    yield frame, converter.convert(picture, aspect.now)
