"""Test videos, encoded on the spot with PyAV.

Pictures show which way up they are (red above blue) and which one they are (a yellow square that wanders).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

TIME_BASE = Fraction(1, 1000)


def picture(number: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """RGB test picture: red band on top, blue below, and a yellow square that wanders with `number`."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (30, 60, 160)
    image[: height // 4] = (220, 30, 30)
    side = height // 4
    left = (number * 3) % max(1, width - side)
    image[height // 2 : height // 2 + side, left : left + side] = (240, 240, 60)
    return image


def encode(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    width: int = 160,
    height: int = 96,
    fps: int = 25,
    frames: int = 50,
    times: Iterable[float] | None = None,
    images: Iterable[NDArray[np.uint8]] | None = None,
    keyframe_every: int = 10,
    b_frames: bool = True,
    crf: int | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    interlaced: bool = False,
    audio: bool = False,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encode a clip to `path` (container by suffix) and return the path.

    times: presentation times in seconds, for a variable frame rate; else `frames` pictures at `fps`.
    images: the pictures; else `picture(0)`, `picture(1)`, …
    crf: constant rate factor of x264; else its default.
    rotation: degrees counter-clockwise by which a player has to turn the stored picture.
    aspect: of the pixels, width ÷ height.
    interlaced: say so of every picture, the first field being the earlier one (x264 and MPEG-2).
    audio: add a silent AAC track.
    """
    moments = list(times) if times is not None else [number / fps for number in range(frames)]
    if images is None:
        images = (picture(number, width, height) for number in range(len(moments)))
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(
            codec, rate=fps, options=_codec_options(codec, b_frames) | ({} if crf is None else {"crf": str(crf)})
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.gop_size = keyframe_every
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if interlaced:
            stream.codec_context.options |= {"flags": "+ildct+ilme", "x264-params": "tff=1"}
        if times is not None:
            stream.codec_context.time_base = TIME_BASE
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        for moment, image in zip(moments, images, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            base = TIME_BASE if times is not None else Fraction(1, fps)
            frame.time_base, frame.pts = base, round(moment / base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for silence in _silence(moments[-1] + 1 / fps):
                container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return path


def synthetic_video(path: Path, *, seconds: float = 2.0, fps: int = 25, width: int = 160, height: int = 96) -> Path:
    """A plain H.264 clip without B-pictures, its index at the front: for tests that need just any clip."""
    return encode(
        path,
        frames=round(seconds * fps),
        fps=fps,
        width=width,
        height=height,
        b_frames=False,
        container_options={"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else None,
    )


def audio_only(path: Path, seconds: float = 1.0) -> Path:
    """A file with a silent audio track and nothing else."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for frame in _silence(seconds):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def truncated(source: Path, target: Path, share: float = 0.5) -> Path:
    """The first `share` of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def corrupted(source: Path, target: Path, start: float = 0.5, share: float = 0.05) -> Path:
    """A copy whose bytes from `start` (share of the size) on are noise, for `share` of the size."""
    data = bytearray(source.read_bytes())
    begin, length = int(len(data) * start), int(len(data) * share)
    noise = np.random.default_rng(0).integers(0, 256, length, dtype=np.uint8)
    data[begin : begin + length] = noise.tobytes()
    target.write_bytes(data)
    return target


def concatenated(target: Path, *parts: Path) -> Path:
    """MPEG-TS files one after the other, byte by byte: timestamps start again, sizes may change."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def _codec_options(codec: str, b_frames: bool) -> dict[str, str]:
    if codec == "libx264":
        return {"preset": "ultrafast", "threads": "1", "bf": "2" if b_frames else "0"}
    if codec == "libx265":
        return {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
    if codec == "libvpx-vp9":
        return {"deadline": "realtime", "cpu-used": "8", "threads": "1"}
    return {"threads": "1"}


def _silence(seconds: float) -> Iterator[av.AudioFrame]:
    rate, block = 16000, 1024
    for number in range(max(1, int(seconds * rate) // block)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, block), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, number * block, Fraction(1, rate)
        yield frame
