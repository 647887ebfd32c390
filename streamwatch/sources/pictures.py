"""Single pictures from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from streamwatch.errors import SourceNotFound
from streamwatch.records import ImageArray


def read_image(path: Path) -> ImageArray:
    """H×W×3 RGB. Raises SourceNotFound for a file that is missing or not a picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceNotFound(f"{path}: not a readable picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
