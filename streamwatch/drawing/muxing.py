"""H.264 in MP4: pictures at any times, parts that were encoded apart joined as they are, a file's sound unchanged."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamwatch.config import DecodeSettings
from streamwatch.errors import StreamwatchError
from streamwatch.records import ImageArray
from streamwatch.sources.container import open_container
from streamwatch.sources.location import Location

AUDIO_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})
"""Sound that MP4 carries as it is; other sound is left out rather than encoded again."""

CLOCK = Fraction(1, 90_000)
"""Seconds of a tick of the pictures' timestamps."""


class Mp4Writer:
    """H.264 in MP4, pictures at any times. A context manager: leaving it finishes the file.

    size: width and height of the pictures, both even. crf: x264's constant rate factor, lower is finer. live: as
    cameras send it: a key frame every two seconds, no pictures that refer to later ones.

    Files of the same size and options can be joined with `join`: each begins with a key frame, and none of its
    pictures refers to another file.
    """

    def __init__(self, path: Path, size: tuple[int, int], *, crf: int = 20, live: bool = False) -> None:
        self._container = _create(path)
        try:
            self._stream = self._container.add_stream("libx264", rate=25)
            self._stream.width, self._stream.height = size
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = CLOCK
            self._stream.codec_context.time_base = CLOCK
            self._stream.codec_context.thread_count = 2
            self._stream.options = {"crf": str(crf), "preset": "veryfast", **({"bf": "0", "g": "50"} if live else {})}
        except BaseException:
            self._container.close()
            raise
        self._last = -1

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def write(self, picture: ImageArray, pts: float) -> None:
        """Add an H×W×3 RGB picture at media second `pts`; times must not go back."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._last = max(round(pts / CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, CLOCK
        self._container.mux(self._stream.encode(frame))


@dataclass(frozen=True, slots=True)
class Part:
    """A file that `Mp4Writer` wrote, whose first picture is at 0. start: of that picture in the whole, in ticks."""

    path: Path
    start: int


def join(parts: Sequence[Part], sound_of: Path, output: Path) -> None:
    """Write the packets of all parts, in their order, to one MP4, with the sound of a file where MP4 carries it.

    Nothing is encoded. Raises a SourceError where a file cannot be read, and StreamwatchError where the parts do not
    fit together.
    """
    with contextlib.ExitStack() as stack:
        sound = Sound.open(sound_of)
        if sound is not None:
            stack.callback(sound.close)
        container = stack.enter_context(contextlib.closing(_create(output)))
        joint = _Joint(container, sound)
        for part in parts:
            joint.add(part)
        joint.mux_sound(math.inf)


class _Joint:
    """The streams of a file that is put together from parts."""

    def __init__(self, container: OutputContainer, sound: Sound | None) -> None:
        self._container = container
        self._sound = sound
        self._audio: AudioStream | None = None
        self._stream: Stream | None = None
        self._parameters: bytes | None = None
        self._last: int | None = None

    def add(self, part: Part) -> None:
        with open_container(Location(part.path), DecodeSettings()) as container:
            stream = container.streams.video[0]
            parameters = stream.codec_context.extradata
            if self._stream is None:
                self._parameters = parameters
                self._stream = self._container.add_stream_from_template(stream)
                self._stream.time_base = CLOCK
                if self._sound is not None:
                    self._audio = self._container.add_stream_from_template(self._sound.stream)
            elif parameters != self._parameters:
                raise StreamwatchError(f"{part.path}: was encoded with other parameters than the parts before it")
            for packet in container.demux(stream):
                if packet.pts is None or packet.dts is None:
                    continue
                packet.pts += part.start
                # Where the rate changes at a joint, times of decoding could go back by some pictures.
                packet.dts += part.start
                if self._last is not None:
                    packet.dts = max(packet.dts, self._last + 1)
                self._last = packet.dts
                packet.stream = self._stream
                seconds = float(packet.pts * CLOCK)
                self._container.mux(packet)
                self.mux_sound(seconds)

    def mux_sound(self, until: float) -> None:
        """The sound up to media second `until`."""
        if self._sound is None or self._audio is None:
            return
        for packet in self._sound.packets(until):
            packet.stream = self._audio
            self._container.mux(packet)


class Sound:
    """The packets of a file's sound, unchanged, in step with the pictures. Close it after use."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self.stream = stream
        self._container = container
        self._offset = -(container.start_time or 0) / av.time_base
        self._packets = self._read()
        self._next: Packet[AudioStream] | None = next(self._packets, None)

    @classmethod
    def open(cls, path: Path) -> Sound | None:
        """The sound of a file, or None where there is none that MP4 carries as it is."""
        container = open_container(Location(path), DecodeSettings())
        stream = container.streams.best("audio")
        if isinstance(stream, AudioStream) and stream.codec_context.name in AUDIO_CODECS:
            return cls(container, stream)
        container.close()
        return None

    def close(self) -> None:
        self._container.close()

    def packets(self, until: float) -> Iterator[Packet[AudioStream]]:
        """Those not yet taken whose time is up to media second `until`."""
        while self._next is not None and _seconds(self._next) <= until:
            packet, self._next = self._next, next(self._packets, None)
            yield packet

    def _read(self) -> Iterator[Packet[AudioStream]]:
        # Damaged sound ends the sound, not the clip.
        with contextlib.suppress(av.error.FFmpegError):
            for packet in self._container.demux(self.stream):
                if packet.dts is None or packet.pts is None or packet.time_base is None:
                    continue
                shift = round(self._offset / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                yield packet


def _seconds(packet: Packet[AudioStream]) -> float:
    assert packet.dts is not None
    assert packet.time_base is not None
    return float(packet.dts * packet.time_base)


def _create(path: Path) -> OutputContainer:
    return av.open(str(path), "w", format="mp4", container_options={"movflags": "+faststart"})
