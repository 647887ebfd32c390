"""Which way of fusing a track tells real from forged best: a temporal transformer against plain rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from streamwatch.detectors import Detector
from streamwatch.fusion.vtf import VTF, OnlineVTF, VTFConfig
from streamwatch.records import FloatArray
from streamwatch.training.families import FAMILIES
from streamwatch.training.recipe import Recipe
from streamwatch.training.tracks import Compared, TrackScores, clip_faces, compared, score_tracks

Rule = Callable[[FloatArray], float]

TOP = 4


def mean_logit(logits: FloatArray) -> float:
    """Mean of the logits; the detector's head being linear, this is the logit of the mean feature as well."""
    return float(logits.mean())


def majority(logits: FloatArray) -> float:
    """Share of the faces above one half."""
    return float((logits >= 0).mean())


def top_mean(logits: FloatArray) -> float:
    """Mean of the `TOP` highest logits."""
    return float(np.sort(logits)[-TOP:].mean())


def median(logits: FloatArray) -> float:
    return float(np.median(logits))


RULES: Mapping[str, Rule] = {
    "mean of logits": mean_logit,
    "median of logits": median,
    "majority": majority,
    f"mean of the {TOP} highest": top_mean,
}


def compare_fusions(
    detector: Detector,
    recipe: Recipe,
    cache: Path,
    landmark_model: Path,
    *,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Compared]:
    """Forge the recipe's camera clips track by track, train the transformer on part, compare all on the others.

    Raises as `clip_faces` does.
    """
    pictures, forger = clip_faces(recipe, cache, landmark_model, report)

    def tracks(split: str, seed: int) -> list[TrackScores]:
        part = [p for p in pictures if p.split == split]
        return list(score_tracks(detector, part, forger, FAMILIES, seed=seed, progress=progress))

    seen, held_out = tracks("train", 0), tracks("val", 1)
    report(f"{len(seen)} tracks to train on, {len(held_out)} held out")
    return compare(train_vtf(seen, VTFConfig(features=seen[0].features.shape[1])), held_out)


def train_vtf(
    tracks: Sequence[TrackScores], config: VTFConfig, *, epochs: int = 20, batch: int = 16, seed: int = 0
) -> VTF:
    """Binary cross-entropy on whole tracks (at most `config.frames` faces of each); AdamW 3e-4 with a cosine."""
    torch.manual_seed(seed)
    model = VTF(config)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-4, weight_decay=0.05)
    steps = epochs * -(-len(tracks) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(seed)
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(tracks))
        for start in range(0, len(order), batch):
            chosen = [tracks[int(i)] for i in order[start : start + batch]]
            features, missing = _pad([track.features for track in chosen], config.frames)
            labels = torch.tensor([float(track.fake) for track in chosen])
            loss = F.binary_cross_entropy_with_logits(model(features, missing), labels)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return model.eval()


def compare(model: VTF, tracks: Sequence[TrackScores]) -> list[Compared]:
    """The plain rules and the transformer on the same tracks, best first."""
    scores = {name: np.array([rule(track.logits) for track in tracks]) for name, rule in RULES.items()}
    scores["VTF"] = np.array([_online(model, track.features) for track in tracks])
    return sorted((compared(name, tracks, values) for name, values in scores.items()), key=lambda row: -row.auc)


def _online(model: VTF, features: FloatArray) -> float:
    fusion = OnlineVTF(model)
    for feature in features:
        fusion.add(feature)
    return fusion.logit


def _pad(parts: Sequence[FloatArray], frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = min(frames, max(len(part) for part in parts))
    features = torch.zeros(len(parts), longest, parts[0].shape[1])
    missing = torch.ones(len(parts), longest, dtype=torch.bool)
    for row, part in enumerate(parts):
        count = min(longest, len(part))
        features[row, :count] = torch.from_numpy(np.ascontiguousarray(part[:count]))
        missing[row, :count] = False
    return features, missing
