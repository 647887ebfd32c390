"""Pictures that somebody cut around one face: where in them the face lies."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from streamwatch.faces.retinaface import FaceDetector
from streamwatch.records import Face, ImageArray

MARGIN = 0.25
"""Share of the longer side by which a picture's border is repeated outwards before faces are looked for.

On a crop that cuts the face's box off, RetinaFace draws the box in to the border: the height of cut boxes came out at
0.86 of what the full frame gives, with this margin at 0.985. Training would then crop tighter than serving does.
"""


def face_of_cutout(detector: FaceDetector, image: ImageArray) -> Face | None:
    """The largest face of an H×W×3 picture, in its pixels; box and landmarks may reach outside. None without a face."""
    margin = round(MARGIN * max(image.shape[:2]))
    padded = cv2.copyMakeBorder(image, *(margin,) * 4, cv2.BORDER_REPLICATE)
    faces = detector.detect([np.asarray(padded, np.uint8)])[0]
    return _moved(max(faces, key=lambda face: face.width * face.height), margin) if faces else None


def _moved(face: Face, margin: int) -> Face:
    x0, y0, x1, y1 = face.box
    a, b, c, d, e = ((x - margin, y - margin) for x, y in face.landmarks)
    return replace(face, box=(x0 - margin, y0 - margin, x1 - margin, y1 - margin), landmarks=(a, b, c, d, e))
