"""The face detector that the settings name."""

from __future__ import annotations

from streamwatch.config import FaceSettings
from streamwatch.faces.retinaface import FaceDetector


def load_face_detector(settings: FaceSettings) -> FaceDetector:
    """The detector that `settings.detector` names, with its weights loaded.

    Raises WeightsError when the weights are missing or not those of the network.
    """
    if settings.detector == "retinaface-resnet50":
        from streamwatch.faces import resnet50

        return resnet50.load(settings)
    from streamwatch.faces import mobilenet

    return mobilenet.load(settings)
