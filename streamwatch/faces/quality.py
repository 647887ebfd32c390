"""How much the pixels of a face can carry: size, sharpness, pose, upscaling."""

from __future__ import annotations

import cv2
import numpy as np

from streamwatch.records import Box, Face, FaceQuality, ImageArray, Point


def measure_quality(crop_image: ImageArray, face: Face, region: Box) -> FaceQuality:
    """Quality of a face from its S×S×3 RGB crop and the crop's square `region` in frame pixels."""
    return FaceQuality(
        short_side=face.short_side,
        sharpness=sharpness(crop_image),
        pose=pose(face.landmarks),
        upscaling=crop_image.shape[0] / (region[2] - region[0]),
    )


def sharpness(image: ImageArray) -> float:
    """Variance of the Laplacian of the grey picture, the focus measure of Pech-Pacheco et al. (ICPR 2000)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation.item()) ** 2


def pose(landmarks: tuple[Point, Point, Point, Point, Point]) -> float:
    """How far a face is turned to the side: 0 frontal, 1 when both eyes lie on one side of the nose.

    With a and b the signed distances of the two eyes from the nose, across the line from the middle of the
    eyes to the middle of the mouth: |a + b| ÷ (|a| + |b|). Free of scale and of roll.
    """
    eye_a, eye_b, nose, mouth_a, mouth_b = np.asarray(landmarks, dtype=np.float64)
    down = (mouth_a + mouth_b - eye_a - eye_b) / 2
    across = np.array([-down[1], down[0]])
    a, b = float(across @ (eye_a - nose)), float(across @ (eye_b - nose))
    spread = abs(a) + abs(b)
    return abs(a + b) / spread if spread > 0 else 1.0
