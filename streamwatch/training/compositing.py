"""Laying a changed face over the picture it belongs to, in the ways that forgery tools do it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from streamwatch.records import FloatArray, ImageArray

Blend = Callable[[ImageArray, ImageArray, FloatArray], ImageArray]


def composite(source: ImageArray, target: ImageArray, mask: FloatArray) -> ImageArray:
    """mask·source + (1−mask)·target, rounded to uint8."""
    weight = mask[..., None]
    return np.rint(weight * source + (1.0 - weight) * target).astype(np.uint8)


def multiband(source: ImageArray, target: ImageArray, mask: FloatArray, levels: int = 4) -> ImageArray:
    """Blend every octave with a mask as soft as the octave is coarse (Burt & Adelson, ACM ToG 1983)."""
    height, width = mask.shape
    step = 2 ** (levels - 1)
    bottom, right = -height % step, -width % step

    def extend(image: FloatArray) -> FloatArray:
        return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.float32)

    weight = extend(mask)
    difference = extend(source.astype(np.float32) - target.astype(np.float32))
    bands: list[FloatArray] = []
    for _ in range(levels - 1):
        small = cv2.pyrDown(difference)
        coarse = cv2.pyrUp(small, dstsize=(difference.shape[1], difference.shape[0]))
        bands.append((difference - coarse) * weight[..., None])
        difference, weight = np.asarray(small, np.float32), np.asarray(cv2.pyrDown(weight), np.float32)
    result = difference * weight[..., None]
    for band in reversed(bands):
        result = np.asarray(cv2.pyrUp(result, dstsize=(band.shape[1], band.shape[0])), np.float32) + band
    return np.asarray(np.clip(np.rint(target + result[:height, :width]), 0, 255), np.uint8)


def poisson(source: ImageArray, target: ImageArray, mask: FloatArray) -> ImageArray:
    """Keep the source's gradients inside and the target's colours at the border (Pérez et al., SIGGRAPH 2003).

    A mask that leaves no room is composited plainly.
    """
    inside = (mask > 0.5).astype(np.uint8)
    inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = 0, 0, 0, 0
    x, y, width, height = cv2.boundingRect(inside)
    if width < 3 or height < 3:
        return composite(source, target, mask)
    centre = (x + width // 2, y + height // 2)
    return np.asarray(cv2.seamlessClone(source, target, inside * 255, centre, cv2.NORMAL_CLONE), np.uint8)


def draw_blend(rng: np.random.Generator) -> Blend:
    """Plain six times in ten, multi-band three times, Poisson once."""
    blends: tuple[Blend, ...] = (composite, multiband, poisson)
    return blends[int(rng.choice(3, p=[0.6, 0.3, 0.1]))]


def match_colours(source: ImageArray, target: ImageArray, mask: FloatArray, strength: float) -> ImageArray:
    """Move the source's mean and spread per Lab channel towards the target's, both taken inside the mask.

    Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001. strength: 0 leaves the source, 1 matches it.
    """
    inside = mask > 0.5
    if inside.sum() < 16:
        return source
    ours = np.asarray(cv2.cvtColor(source, cv2.COLOR_RGB2LAB), np.float32)
    theirs = np.asarray(cv2.cvtColor(target, cv2.COLOR_RGB2LAB), np.float32)
    mean, spread = ours[inside].mean(axis=0), ours[inside].std(axis=0) + 1.0
    wanted_mean, wanted_spread = theirs[inside].mean(axis=0), theirs[inside].std(axis=0) + 1.0
    gain = np.clip(wanted_spread / spread, 0.5, 2.0)
    matched = ours + strength * ((ours - mean) * gain + wanted_mean - ours)
    lab = np.asarray(np.clip(np.rint(matched), 0, 255), np.uint8)
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)
