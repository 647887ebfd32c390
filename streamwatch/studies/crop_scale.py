"""How wide to cut the served crop: AUC by its side on faces in full frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamwatch.detectors.protocol import Detector
from streamwatch.studies.tracks import TrackComparison, clip_faces, clips_of, compared, score_tracks
from streamwatch.training.families import FAMILIES
from streamwatch.training.recipe import Recipe


def compare_scales(
    detector: Detector,
    recipe: Recipe,
    cache: Path,
    landmark_model: Path,
    scales: Sequence[float],
    *,
    pictures_per_clip: int = 4,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TrackComparison]:
    """AUC of the mean logit on the recipe's camera clips, real and forged by every family, at each crop scale.

    Only the clips that are never trained on. scales: crop side ÷ longer side of the face box. Raises as `clip_faces`
    does.
    """
    pictures, forger = clip_faces(recipe, cache, landmark_model, report)
    clips = clips_of([picture for picture in pictures if picture.split == "val"])
    few = [picture for part in clips.values() for picture in part[:pictures_per_clip]]
    rows = []
    for number, scale in enumerate(scales):
        geometry = replace(detector.geometry, scale=scale)
        tracks = list(score_tracks(detector, few, forger, FAMILIES, seed=1, geometry=geometry))
        rows.append(compared(f"{scale:g}", tracks, np.array([float(track.logits.mean()) for track in tracks])))
        progress(number + 1, len(scales))
    return rows
