"""Self-blends kept for measuring: hull shapes, borders and changes that no recipe trains on."""

from __future__ import annotations

import cv2
import numpy as np

from streamwatch.records import FloatArray, ImageArray
from streamwatch.training.compositing import composite
from streamwatch.training.forgeries import OVAL, Forgery

SHAPES = ("ellipse", "half", "box")


def unseen_self_blend(image: ImageArray, landmarks: FloatArray, rng: np.random.Generator) -> Forgery:
    """A face blended onto itself as `self_blend` does, with every part of the draw another one.

    Shapes: the ellipse through the face's outline, one half of it, a rectangle with rounded corners. Borders: a box
    filter. Changes, to source or target but never both: gamma, colour temperature, or motion blur.
    image: H×W×3. landmarks: 468×2, pixels.
    """
    height, width = image.shape[:2]
    mask = _shape(SHAPES[int(rng.integers(len(SHAPES)))], landmarks[list(OVAL)], (height, width), rng)
    reach = int(rng.integers(2, 9)) * 2 + 1
    mask = np.asarray(cv2.blur(mask, (reach, reach)), np.float32) * np.float32(rng.uniform(0.6, 1.0))
    changed = _change(image, rng)
    source, target = (changed, image) if rng.random() < 0.5 else (image, changed)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-3, 3)), float(rng.uniform(0.96, 1.04)))
    moved = cv2.warpAffine(source, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return Forgery(target, composite(np.asarray(moved, np.uint8), target, mask), mask)


def _shape(name: str, outline: FloatArray, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    mask = np.zeros(shape, np.float32)
    if name == "box":
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        inset = 0.12 * (x1 - x0)
        cv2.rectangle(mask, (round(x0 + inset), round(y0 + inset)), (round(x1 - inset), round(y1 - inset)), 1.0, -1)
        return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))), np.float32)
    centre, axes, angle = cv2.fitEllipse(outline.astype(np.float32))
    scale = float(rng.uniform(0.75, 0.95))
    cv2.ellipse(mask, (centre, (axes[0] * scale, axes[1] * scale), angle), 1.0, -1)
    if name == "half":
        columns = np.arange(shape[1], dtype=np.float32)[None, :]
        keep = columns < centre[0] if rng.random() < 0.5 else columns >= centre[0]
        mask *= keep
    return mask


def _change(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    kind = int(rng.integers(3))
    if kind == 0:
        gamma = float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.12, 0.35)))
        return np.asarray(np.rint(255 * (image / 255.0) ** gamma), np.uint8)
    if kind == 1:
        warmth = float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.12))
        gains = np.array([1 + warmth, 1.0, 1 - warmth])
        return np.asarray(np.clip(np.rint(image * gains), 0, 255), np.uint8)
    length = int(rng.integers(3, 8))
    kernel = np.eye(length, dtype=np.float32) if rng.random() < 0.5 else np.full((1, length), 1.0, np.float32)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
