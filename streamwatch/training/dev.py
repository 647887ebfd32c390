"""Sets of web clips that choose a checkpoint: never trained on, apart from what is in clips, scenes and methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from streamwatch.config import FaceSettings
from streamwatch.errors import ConfigError
from streamwatch.evaluation.clips import ClipFigures
from streamwatch.evaluation.datasets.web import WebPicture, read_pictures
from streamwatch.evaluation.web_faces import FoundFace, find_faces
from streamwatch.faces import load_face_detector
from streamwatch.training.prepare import FacePicture

CHOSEN_BY = ("auc", "won")
"""Names of `dev_figures` whose mean chooses the checkpoint."""


def dev_faces(folders: Sequence[Path], cache: Path) -> tuple[FoundFace, ...]:
    """The faces of some sets, found once and kept in the folder `cache`. Raises as `read_pictures` does."""
    found: list[FoundFace] = []
    for folder in folders:
        detector = load_face_detector(FaceSettings(min_side=16, threads=1))
        found += find_faces(read_pictures(folder), detector, cache=cache / f"{folder.name}-dev.npz").found
    return tuple(found)


def check_apart(trained: Sequence[FacePicture] | Sequence[WebPicture], dev: Sequence[FoundFace]) -> None:
    """Raise ConfigError where a clip, a scene or a method of the dev sets is trained on."""
    known = {
        "clip": {p.clip for p in trained},
        "scene": {p.source if isinstance(p, FacePicture) else p.scene for p in trained},
        "method": {p.method for p in trained},
    }
    for picture in (face.picture for face in dev):
        for name, values in known.items():
            value = getattr(picture, name)
            if value and value in values:
                raise ConfigError(
                    f"data.dev: the {name} {value!r} of {picture.path} is in data.web too; what chooses a checkpoint "
                    "must not be trained on"
                )


def dev_figures(figures: ClipFigures) -> dict[str, float]:
    """AUC over clips, over faces, and over clips matched in size and bit rate; share of pairs won; AUC and pairs won of
    swaps alone; share of forged clips found at 5 % false alarms; mean AUC of the worst quarter of the methods.

    NaN where the sets have no such clips.
    """
    whole, swaps = figures.whole, figures.swaps
    values = {
        "auc": whole.plain.auc,
        "auc_faces": whole.plain.auc_faces,
        "auc_matched": whole.matched.auc,
        "won": None if figures.pairs is None else figures.pairs.won,
        "swaps": None if swaps is None else swaps.plain.auc,
        "swaps_won": None if figures.swap_pairs is None else figures.swap_pairs.won,
        "found": whole.plain.tpr_at_5_percent_fpr,
        "worst_quarter": figures.worst_quarter,
    }
    return {name: math.nan if value is None else value.value for name, value in values.items()}
