"""Evidence as pictures that a person can look at."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from streamwatch.errors import StoreError
from streamwatch.records import Alert, FloatArray, ImageArray

_FORGED = np.array([255, 48, 32], dtype=np.float32)
"""Colour (RGB) of the forged region: rare in skin and in hair."""
_STRENGTH = 0.45
"""Opacity where the mask is 1: the face stays visible under it."""
_OUTLINE = 0.5
"""The mask value along which the outline runs."""


def overlay(crop: ImageArray, mask: FloatArray) -> ImageArray:
    """The crop with its forged region tinted in proportion to the mask, and outlined where that crosses 0.5.

    crop: H×W×3 RGB. mask: h×w in 0..1, in crop coordinates, of any resolution. Returns H×W×3 RGB.
    """
    height, width = crop.shape[:2]
    scaled = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    opacity = _STRENGTH * np.clip(scaled, 0.0, 1.0)[..., np.newaxis]
    tinted = np.ascontiguousarray(np.rint(crop * (1.0 - opacity) + _FORGED * opacity).astype(np.uint8))
    outlines, _ = cv2.findContours((scaled >= _OUTLINE).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, outlines, -1, (255, 255, 255), max(1, round(width / 192)), cv2.LINE_AA)
    return tinted


def write_evidence(alert: Alert, folder: Path) -> list[Path]:
    """Write each face of an alert as PNG, strongest first: `ID-1-face.png`, and `ID-1-mask.png` if masked.

    Makes the folder. Raises StoreError for a stored picture that cannot be decoded, OSError if writing fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", alert.id)
    written = []
    for number, item in enumerate(alert.evidence, start=1):
        crop = _decode(item.crop_jpeg, cv2.IMREAD_COLOR, alert.id)[..., ::-1]
        written.append(_write(folder / f"{stem}-{number}-face.png", crop))
        if item.mask_png is not None:
            mask = _decode(item.mask_png, cv2.IMREAD_GRAYSCALE, alert.id).astype(np.float32) / 255.0
            written.append(_write(folder / f"{stem}-{number}-mask.png", overlay(crop, mask)))
    return written


def _decode(data: bytes, mode: int, alert_id: str) -> ImageArray:
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), mode) if data else None
    if image is None:
        raise StoreError(f"alert {alert_id}: a stored picture is damaged and cannot be decoded; scan the source again")
    return np.asarray(image, dtype=np.uint8)


def _write(path: Path, image: ImageArray) -> Path:
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise StoreError(f"{path}: OpenCV could not encode a {image.shape} picture as PNG")
    path.write_bytes(data.tobytes())
    return path
