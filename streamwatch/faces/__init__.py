"""From frames to face crops: RetinaFace, tracks, crop geometry, face quality.

Names are loaded when first used, so that code that needs the crop geometry alone does not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamwatch.faces.crops import CropGeometry, crop_face
    from streamwatch.faces.finder import FaceFinder
    from streamwatch.faces.loading import load_face_detector
    from streamwatch.faces.quality import measure_quality
    from streamwatch.faces.retinaface import FaceDetector
    from streamwatch.faces.tracking import Tracker

__all__ = [
    "CropGeometry",
    "FaceDetector",
    "FaceFinder",
    "Tracker",
    "crop_face",
    "load_face_detector",
    "measure_quality",
]

_MODULES = {
    "CropGeometry": "crops",
    "FaceDetector": "retinaface",
    "FaceFinder": "finder",
    "Tracker": "tracking",
    "crop_face": "crops",
    "load_face_detector": "loading",
    "measure_quality": "quality",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
