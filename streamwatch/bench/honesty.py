"""What is said of honest footage after what happens to footage: neither damage nor format may make it a forgery."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc
from numpy.typing import NDArray

from streamwatch.config import DecodeSettings
from streamwatch.pipeline.analyser import Analyser
from streamwatch.records import ImageArray, Label
from streamwatch.sources import Location, VideoSource
from streamwatch.sources.tonemap import GAMMA, WHITE, light_to_pq

CLEAN = "clean"
LONG_SIDE = 1280
"""Larger pictures are scaled down to this, for the memory."""

LOST = 0.003
"""Share of the packets of the transport stream that are lost."""

TO_WIDE = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]], np.float32)
"""BT.709's primaries to those of BT.2020, ITU-R BT.2087-0."""


@dataclass(frozen=True, slots=True)
class Footage:
    """The pictures of an honest clip (H×W×3 RGB, even sides), and how many of them make a second."""

    images: Sequence[ImageArray]
    rate: Fraction


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one clip in one kind. score: None where there is none."""

    clip: str
    kind: str
    label: Label
    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """All clips of one kind beside the same clips as they are. new_fakes: those that only the kind makes fake. shift:
    mean distance of the scores, None where no clip has both. largest: of them, upwards.
    """

    kind: str
    labels: Counter[Label]
    new_fakes: tuple[str, ...]
    shift: float | None
    largest: float | None


def bench_honesty(
    clips: Sequence[Path],
    analyser: Analyser,
    folder: Path,
    *,
    seconds: float = 4.0,
    kinds: Sequence[str] = (),
    progress: Callable[[str], None] = lambda what: None,
) -> Iterator[Cell]:
    """Every clip in every kind (default: `KINDS`), `CLEAN` first. folder: for the copies, one at a time. seconds: of a
    clip that are used. Raises a SourceError for a clip that cannot be read.
    """
    for clip in clips:
        footage = read_footage(clip, seconds)
        for kind in dict.fromkeys((CLEAN, *(kinds or KINDS))):
            progress(f"{clip.name}: {kind}")
            copy = KINDS[kind](footage, folder)
            try:
                verdict = analyser.analyse(str(copy)).verdict
            finally:
                copy.unlink()
            reason = verdict.reason if verdict.failure is None else verdict.failure.message
            yield Cell(clip.name, kind, verdict.label, verdict.score, reason)


def rows(cells: Sequence[Cell]) -> list[Row]:
    """The cells by kind, in order."""
    clean = {cell.clip: cell for cell in cells if cell.kind == CLEAN}
    found = []
    for kind in dict.fromkeys(cell.kind for cell in cells):
        of_kind = [cell for cell in cells if cell.kind == kind]
        pairs = [(cell.score, clean[cell.clip].score) for cell in of_kind]
        shifts = [score - before for score, before in pairs if score is not None and before is not None]
        found.append(
            Row(
                kind,
                Counter(cell.label for cell in of_kind),
                tuple(c.clip for c in of_kind if c.label is Label.FAKE and clean[c.clip].label is not Label.FAKE),
                float(np.mean(np.abs(shifts))) if shifts else None,
                max(shifts) if shifts else None,
            )
        )
    return found


def read_footage(clip: Path, seconds: float) -> Footage:
    """The beginning of a clip. Raises a SourceError."""
    with VideoSource(Location(str(clip)), DecodeSettings(threads=2)) as video:
        scale = min(1.0, LONG_SIDE / max(video.width, video.height))
        size = 2 * round(video.width * scale / 2), 2 * round(video.height * scale / 2)
        rate = Fraction(video.frame_rate or 25.0).limit_denominator(1001)
        pictures = itertools.takewhile(lambda picture: picture.pts < seconds, video.decoded())
        images = [cv2.resize(picture.to_image(), size, interpolation=cv2.INTER_AREA) for picture in pictures]
    return Footage([np.asarray(image, np.uint8) for image in images], rate)


def _clean(footage: Footage, folder: Path) -> Path:
    return _encode(folder / "clean.mp4", footage.images, footage.rate)


def _reencoded(footage: Footage, folder: Path) -> Path:
    return _encode(folder / "reencoded.mp4", footage.images, footage.rate, crf=32)


def _lossy(footage: Footage, folder: Path) -> Path:
    path = _encode(folder / "lossy.ts", footage.images, footage.rate, crf=20)
    packets = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 188)
    kept = np.random.default_rng(0).random(len(packets)) >= LOST
    kept[:50] = True  # the tables, and the beginning of the first picture
    path.write_bytes(packets[kept].tobytes())
    return path


def _interlaced(footage: Footage, folder: Path) -> Path:
    """Two pictures in one, as fields; the camera sways as well."""
    moving = [
        np.roll(image, round(0.1 * image.shape[1] * np.sin(2 * number / float(footage.rate))), axis=1)
        for number, image in enumerate(footage.images)
    ]
    woven = [first.copy() for first in moving[::2]]
    for picture, second in zip(woven, moving[1::2], strict=False):
        picture[1::2] = second[1::2]
    return _encode(folder / "interlaced.mp4", woven, footage.rate / 2, interlaced=True)


def _anamorphic(footage: Footage, folder: Path) -> Path:
    height, width = footage.images[0].shape[:2]
    size = 2 * round(width * 3 / 16), height
    narrow = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in footage.images]
    return _encode(folder / "anamorphic.mp4", narrow, footage.rate, aspect=Fraction(width, size[0]))


def _hdr(footage: Footage, folder: Path) -> Path:
    light = (WHITE * (np.arange(256) / 255) ** GAMMA).astype(np.float32)
    encoded = np.rint(65535 * light_to_pq(WHITE * np.linspace(0, 1, 65536) ** 2)).astype(np.uint16)

    def pq(image: ImageArray) -> NDArray[np.uint16]:
        wide = np.clip(cv2.transform(light[image], TO_WIDE) / WHITE, 0, 1)
        return np.asarray(encoded[np.rint(65535 * np.sqrt(wide)).astype(np.int32)])

    return _encode(folder / "hdr.mp4", (pq(image) for image in footage.images), footage.rate, wide=True)


def _mirrored(footage: Footage, folder: Path) -> Path:
    """Stored mirrored, with a display matrix that mirrors back."""
    path = _encode(folder / "mirrored.mp4", [image[:, ::-1] for image in footage.images], footage.rate)
    data, width = bytearray(path.read_bytes()), footage.images[0].shape[1]
    place = data.index(b"tkhd") + 44  # of the matrix in a box of version 0, ISO/IEC 14496-12, 8.3.2
    data[place : place + 36] = struct.pack(">9i", -(1 << 16), 0, 0, 0, 1 << 16, 0, width << 16, 0, 1 << 30)
    path.write_bytes(data)
    return path


def _truncated(footage: Footage, folder: Path) -> Path:
    path = _encode(folder / "truncated.mp4", footage.images, footage.rate)
    data = path.read_bytes()
    path.write_bytes(data[: round(0.6 * len(data))])
    return path


def _blended(footage: Footage, folder: Path) -> Path:
    """The mean of five pictures each, as frame-rate conversion leaves them at its worst."""
    images = footage.images
    groups = (images[max(0, number - 4) : number + 1] for number in range(len(images)))
    return _encode(
        folder / "blended.mp4", (np.mean(group, axis=0).round().astype(np.uint8) for group in groups), footage.rate
    )


KINDS: dict[str, Callable[[Footage, Path], Path]] = {
    CLEAN: _clean,
    "re-encoded": _reencoded,
    "lossy": _lossy,
    "truncated": _truncated,
    "interlaced": _interlaced,
    "anamorphic": _anamorphic,
    "HDR": _hdr,
    "mirrored": _mirrored,
    "blended": _blended,
}
"""Each writes a copy of the footage into a folder and returns its path."""


def _encode(
    path: Path,
    images: Any,
    rate: Fraction,
    *,
    crf: int = 16,
    interlaced: bool = False,
    aspect: Fraction | None = None,
    wide: bool = False,
) -> Path:
    """H.264. images: of uint8, or with `wide`, BT.2020 in PQ, of uint16."""
    options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
    if interlaced:
        options |= {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    fast = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=fast) as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        context = stream.codec_context
        stream.pix_fmt = "yuv420p10le" if wide else "yuv420p"
        colours = (Colorspace.BT2020, ColorPrimaries.BT2020, ColorTrc.SMPTE2084) if wide else None
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if colours is not None:
            context.colorspace, context.color_primaries, context.color_trc = colours
        for number, image in enumerate(images):
            if not number:
                stream.height, stream.width = image.shape[:2]
            source = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb48le" if wide else "rgb24")
            frame = source.reformat(format=stream.pix_fmt, dst_colorspace=colours[0] if colours else None)
            if colours is not None:
                frame.colorspace, frame.color_primaries, frame.color_trc = colours
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
