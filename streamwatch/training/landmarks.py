"""468 face landmarks for the masks of self-blended images. Needed at preparation time only.

The network is MediaPipe's `face_landmark.tflite` (Apache-2.0), which anyone finds inside the `mediapipe` 0.10 wheel
under `mediapipe/modules/face_landmark/`; it runs in OpenCV, MediaPipe itself is not needed.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from streamwatch.errors import WeightsError
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.records import Box, FloatArray, ImageArray

_SIDE = 192
_GEOMETRY = CropGeometry(scale=1.2)  # checked by eye on tight and wide pictures


class MeshLandmarks:
    """Finds 468 points of a face whose box is known."""

    def __init__(self, model: Path) -> None:
        """model: path of `face_landmark.tflite`. Raises WeightsError if it is missing or not that network."""
        if not model.is_file():
            raise WeightsError(
                f"{model}: no such file", "unzip face_landmark.tflite from the mediapipe 0.10 wheel and name it here"
            )
        try:
            self._net = cv2.dnn.readNetFromTFLite(str(model))
        except cv2.error as error:
            raise WeightsError(f"{model}: OpenCV cannot read this as a TFLite network ({error.err})") from None

    def find(self, image: ImageArray, box: Box) -> FloatArray:
        """468×2 points in pixels of `image` (H×W×3); `box` is the RetinaFace box of the face."""
        x0, y0, x1, _ = region = _GEOMETRY.region(box)
        crop = crop_face(image, region, _SIDE)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, (_SIDE, _SIDE)))
        points = self._net.forward().reshape(-1)
        if points.size != 468 * 3:
            raise WeightsError(
                f"the landmark network gives {points.size} numbers, not 468×3", "take face_landmark.tflite"
            )
        return np.asarray(points.reshape(468, 3)[:, :2] * ((x1 - x0) / _SIDE) + (x0, y0), np.float32)
