"""What encoders and streaming ladders do to a picture: one function per loss of quality, each with its strength."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Literal

import av
import cv2
import numpy as np

from streamwatch.records import ImageArray

VideoCodec = Literal["h264", "hevc"]
_ENCODERS: dict[VideoCodec, str] = {"h264": "libx264", "hevc": "libx265"}
_LEAD = 2  # frames before the one that is kept, so that it is a predicted picture and not a key frame
_MARGIN = 32  # pixels beside the picture, which what moves in comes from


def jpeg(image: ImageArray, quality: int) -> ImageArray:
    """Encode and decode as JPEG; quality 1..100."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB), np.uint8)


def rescale(image: ImageArray, factor: float, down: int = cv2.INTER_AREA, up: int = cv2.INTER_LINEAR) -> ImageArray:
    """Shrink by `factor` and enlarge back to the same size."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, round(width / factor)), max(1, round(height / factor))), interpolation=down)
    return np.asarray(cv2.resize(small, (width, height), interpolation=up), np.uint8)


def sharpen(image: ImageArray, amount: float) -> ImageArray:
    """Unsharp mask: image + amount·(image − blurred)."""
    return np.asarray(cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.5), -amount, 0), np.uint8)


def blur(image: ImageArray, sigma: float) -> ImageArray:
    """Gaussian blur; sigma in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def motion_blur(image: ImageArray, length: float, angle: float = 0.0) -> ImageArray:
    """Mean along a line of `length` pixels at `angle` degrees (0: a row): what moved while the shutter was open."""
    reach = math.ceil(length / 2)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    turn = math.radians(angle)
    along = np.abs(columns * math.cos(turn) - rows * math.sin(turn))
    across = np.abs(columns * math.sin(turn) + rows * math.cos(turn))
    kernel = np.clip(length / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def colour_cast(image: ImageArray, change: float) -> ImageArray:
    """White balance off: red multiplied by 1 + change and blue by 1 − change, clipped; above 0 is warmer."""
    gains = np.array([1 + change, 1, 1 - change], np.float32)
    return np.asarray(np.clip(np.rint(image * gains), 0, 255), np.uint8)


def noise(image: ImageArray, sigma: float, rng: np.random.Generator) -> ImageArray:
    """Add normal noise, independent per pixel and channel; sigma in steps of 0..255."""
    noisy = image + rng.normal(0.0, sigma, image.shape).astype(np.float32)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def brightness(image: ImageArray, change: float) -> ImageArray:
    """Multiply every value by 1 + change, clipped: −0.4 is 40 % darker."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=1 + change), np.uint8)


def encode_video(image: ImageArray, crf: int, codec: VideoCodec = "h264", preset: str = "veryfast") -> ImageArray:
    """The picture after video coding at a constant rate factor (0 best … 51 worst), 4:2:0, as a predicted frame.

    It moves in by a pixel at a time over three frames, and the last is taken.
    """
    height, width = image.shape[:2]
    canvas = np.asarray(
        cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2 + _MARGIN, cv2.BORDER_REPLICATE), np.uint8
    )
    moving = [np.roll(canvas, lead, axis=1) for lead in range(_LEAD, -1, -1)]
    last = encode_clip(moving, crf, codec, preset, tune="zerolatency")[-1]
    return np.ascontiguousarray(last[:height, :width])


def encode_clip(
    images: Sequence[ImageArray],
    crf: int,
    codec: VideoCodec = "h264",
    preset: str = "veryfast",
    *,
    tune: str | None = None,
) -> list[ImageArray]:
    """The pictures (each H×W×3, of one size, even sides) after coding as one clip at a constant rate factor, 4:2:0."""
    stream_options = {"crf": str(crf), "preset": preset} | ({} if tune is None else {"tune": tune})
    if codec == "hevc":
        stream_options["x265-params"] = "log-level=none:pools=1:frame-threads=1"
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as output:
        stream = output.add_stream(_ENCODERS[codec], rate=25, options=stream_options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in images:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())
    data.seek(0)
    with av.open(data, "r") as source:
        source.streams.video[0].thread_type = "NONE"
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in source.decode(video=0)]
