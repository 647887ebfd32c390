"""Evidence as pictures for a person."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from streamwatch.errors import StoreError
from streamwatch.files import make_private_folder, replacing
from streamwatch.records import Alert, Evidence, ImageArray

_FORGED = np.array([255, 48, 32], dtype=np.float32)
"""Colour (RGB) of the forged region: rare in skin and in hair."""
_STRENGTH = 0.45
"""Opacity where the mask is 255: the face stays visible under it."""
_OUTLINE = 0.5
"""The mask value (0..1) along which the outline runs where that of the coverage is not known."""


def overlay(crop: ImageArray, mask: ImageArray, outline: float = _OUTLINE) -> ImageArray:
    """The crop with its forged region tinted in proportion to the mask, and outlined where that crosses `outline`
    (0..1).

    crop: H×W×3 RGB. mask: h×w uint8 (255 = forged) in crop coordinates, of any resolution. Returns H×W×3 RGB.
    """
    height, width = crop.shape[:2]
    shares = mask.astype(np.float32) / 255
    scaled = cv2.resize(shares, (width, height), interpolation=cv2.INTER_LINEAR)
    opacity = _STRENGTH * scaled[..., np.newaxis]
    tinted = np.ascontiguousarray(np.rint(crop * (1.0 - opacity) + _FORGED * opacity).astype(np.uint8))
    outlines, _ = cv2.findContours((scaled >= outline).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, outlines, -1, (255, 255, 255), max(1, round(width / 192)), cv2.LINE_AA)
    return tinted


def write_evidence(alert: Alert, folder: Path) -> list[Path]:
    """Write each face of an alert as PNG, strongest first: `ID-1-face.png`, and `ID-1-mask.png` if masked.

    Makes the folder. Raises StoreError for a stored picture that cannot be decoded, OSError if writing fails.
    """
    make_private_folder(folder)
    stem = file_stem(alert)
    written = []
    for number, item in enumerate(alert.evidence, start=1):
        written.append(write_png(folder / f"{stem}-{number}-face.png", decode_crop(item, f"alert {alert.id}")))
        masked = masked_crop(item, f"alert {alert.id}")
        if masked is not None:
            written.append(write_png(folder / f"{stem}-{number}-mask.png", masked))
    return written


def file_stem(alert: Alert) -> str:
    """The alert's id as the beginning of a file name."""
    return re.sub(r"[^\w.-]", "_", alert.id)


def decode_crop(item: Evidence, owner: str) -> ImageArray:
    """The stored crop, S×S×3 RGB. owner: whose it is, for the StoreError where it is damaged."""
    return np.ascontiguousarray(_decode(item.crop_jpeg, cv2.IMREAD_COLOR, owner)[..., ::-1])


def masked_crop(item: Evidence, owner: str) -> ImageArray | None:
    """The stored crop under its mask, outlined at the threshold of its coverage; None without a mask.

    owner: whose it is, for the StoreError where one is damaged.
    """
    if item.mask_png is None:
        return None
    mask = _decode(item.mask_png, cv2.IMREAD_GRAYSCALE, owner)
    return overlay(decode_crop(item, owner), mask, _OUTLINE if item.coverage is None else item.coverage.threshold)


def write_png(path: Path, image: ImageArray) -> Path:
    """Write an H×W×3 RGB picture that only its owner can read. Raises OSError."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise StoreError(f"{path}: OpenCV could not encode a {image.shape} picture as PNG")
    with replacing(path, durable=False) as draft:
        draft.write_bytes(data.tobytes())
    return path


def _decode(data: bytes, mode: int, owner: str) -> ImageArray:
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), mode) if data else None
    if image is None:
        raise StoreError(f"{owner}: a stored picture is damaged and cannot be decoded", "scan the source again")
    return np.asarray(image, dtype=np.uint8)
