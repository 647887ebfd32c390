"""Forgeries made from real faces alone.

Self-blended images (Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022): a face is
blended onto itself after one of the two copies was changed slightly, so that only what a face swap leaves behind
(a blending border, unequal colour, sharpness or resolution) reveals the fake. The real partner goes through the same
changes as the background of the fake, so "changed" never means "fake".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from streamwatch.evaluation.degradations import jpeg, noise, rescale, sharpen
from streamwatch.records import FloatArray, ImageArray
from streamwatch.training.compositing import composite

# Points of the 468-point face mesh (MediaPipe's numbering).
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 129, 358, 48, 278)
LOWER_OVAL = (
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
)

HULLS: dict[str, tuple[int, ...]] = {
    "face": OVAL,
    "below_brows": (*BROWS, *LOWER_OVAL),
    "inner": (*BROWS, *LEFT_EYE, *RIGHT_EYE, *NOSE, *LIPS),
    "lower": (*LOWER_OVAL, *NOSE, *LIPS),
    "eyes": (*BROWS, *LEFT_EYE, *RIGHT_EYE),
    "mouth": LIPS,
    "nose": NOSE,
}

SCATTERED = "scattered"
"""A hull of mesh points drawn at random: no two have the same shape or place."""

LEAST_AREA = 0.02  # of the picture: softening eats a smaller hull up, and a fake without a forgery teaches noise

Transform = Callable[[ImageArray], ImageArray]


@dataclass(frozen=True, slots=True, eq=False)
class Forgery:
    """A pair made from real pictures: `real` and `fake` (H×W×3), and where they differ (`mask`, H×W, 0..1)."""

    real: ImageArray
    fake: ImageArray
    mask: FloatArray


def self_blend(
    image: ImageArray, landmarks: FloatArray, rng: np.random.Generator, hulls: Sequence[str] = tuple(HULLS)
) -> Forgery:
    """Blend a face onto itself.

    image: H×W×3. landmarks: 468×2 in pixels of `image`; points may lie outside. hulls: names of `HULLS`, or
    `SCATTERED`, to choose from. The draw is `rng`'s alone.
    """
    height, width = image.shape[:2]
    name = hulls[int(rng.integers(len(hulls)))]
    chosen = rng.choice(len(landmarks), int(rng.integers(8, 25)), False) if name == SCATTERED else list(HULLS[name])
    hull = hull_mask(landmarks[chosen], (height, width), rng)
    if hull.mean() < LEAST_AREA:
        hull = hull_mask(landmarks[list(OVAL)], (height, width), rng)

    change = draw_change(rng)
    source, target = (change(image), image) if rng.random() < 0.5 else (image, change(image))

    source, hull = _jitter_affine(source, hull, rng)
    hull = _elastic(hull, rng)
    mask = soften(hull, rng) * np.float32(rng.choice([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]))
    fake = composite(source, target, mask)
    return Forgery(real=target, fake=fake, mask=mask)


def hull_mask(points: FloatArray, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Filled convex hull of `points` (N×2, pixels), grown or shrunk a little about its centre; 0 or 1."""
    centre = points.mean(axis=0)
    grown = centre + (points - centre) * rng.uniform(0.9, 1.1)
    mask = np.zeros(shape, np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(grown).astype(np.int32)), 1.0)
    return mask


def draw_change(rng: np.random.Generator) -> Transform:
    """One draw of what sets source and target apart: colour, resolution or sharpness, and at times noise or coding."""
    colour = draw_colour(rng)
    factor = int(rng.choice([2, 4])) if rng.random() < 0.5 else 0
    amount = float(rng.uniform(0.2, 0.8))
    history = rng.random()
    sigma, quality, seed = float(rng.uniform(1, 5)), int(rng.integers(40, 91)), int(rng.integers(2**32))

    def change(image: ImageArray) -> ImageArray:
        tinted = colour(image)
        changed = rescale(tinted, factor) if factor else sharpen(tinted, amount)
        if history < 0.15:
            return noise(changed, sigma, np.random.default_rng(seed))
        return jpeg(changed, quality) if history < 0.3 else changed

    return change


def draw_colour(rng: np.random.Generator) -> Transform:
    """One draw of an RGB shift, of hue and saturation, and of brightness and contrast."""
    shift = rng.uniform(-20, 20, 3).astype(np.float32) if rng.random() < 0.3 else np.zeros(3, np.float32)
    hue, saturation = rng.uniform(-0.1, 0.1, 2) if rng.random() < 0.5 else (0.0, 0.0)
    brightness, contrast = rng.uniform(-0.1, 0.1, 2) if rng.random() < 0.5 else (0.0, 0.0)

    def change(image: ImageArray) -> ImageArray:
        pixels = image.astype(np.float32) + shift
        pixels = (pixels - 127.5) * (1 + contrast) + 127.5 * (1 + brightness)
        tinted = np.asarray(np.clip(pixels, 0, 255), np.uint8)
        if hue or saturation:
            hsv = np.asarray(cv2.cvtColor(tinted, cv2.COLOR_RGB2HSV), np.float32)
            hsv[..., 0] = (hsv[..., 0] + hue * 40) % 180
            hsv[..., 1] = np.clip(hsv[..., 1] * (1 + saturation * 2), 0, 255)
            tinted = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)
        return tinted

    return change


def _jitter_affine(source: ImageArray, mask: FloatArray, rng: np.random.Generator) -> tuple[ImageArray, FloatArray]:
    height, width = mask.shape
    scale = rng.uniform(0.95, 1.05)
    shift = rng.uniform(-0.03, 0.03) * width, rng.uniform(-0.015, 0.015) * height
    matrix = np.array(
        [
            [scale, 0, (1 - scale) * width / 2 + shift[0]],
            [0, scale, (1 - scale) * height / 2 + shift[1]],
        ],
        np.float32,
    )
    moved = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    moved_mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(moved, np.uint8), np.asarray(moved_mask, np.float32)


def _elastic(mask: FloatArray, rng: np.random.Generator, alpha: float = 50, sigma: float = 7) -> FloatArray:
    """Random smooth displacement of the mask (Simard et al., ICDAR 2003); as many draws from `rng` at any size."""
    height, width = mask.shape
    own = np.random.default_rng(int(rng.integers(2**32)))
    field = own.uniform(-1, 1, (height, width, 2)).astype(np.float32)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32) * alpha
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    warped = cv2.remap(mask, columns + field[..., 0], rows + field[..., 1], cv2.INTER_LINEAR)
    return np.asarray(warped, np.float32)


def soften(mask: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Give a binary mask a soft border that lies inside of it; peak 1 (an empty mask stays empty).

    The second blur's σ of 1.5–11 at a side of about 224 covers hard to very soft borders.
    """
    height, width = mask.shape
    side = int(rng.integers(192, 257))
    soft = cv2.resize(mask, (side, side))
    soft = cv2.GaussianBlur(soft, (_odd(rng, 5, 25), _odd(rng, 5, 25)), 0)
    soft[soft < soft.max()] = 0
    sigma = float(rng.uniform(1.5, 11))
    soft = cv2.GaussianBlur(soft, (0, 0), sigma)
    soft = np.asarray(cv2.resize(soft, (width, height)), np.float32)
    peak = float(soft.max())
    return np.asarray(soft / peak if peak > 0 else soft, np.float32)


def _odd(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low // 2, high // 2 + 1)) * 2 + 1
