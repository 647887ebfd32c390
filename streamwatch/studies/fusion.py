"""Which way of fusing a track separates real from forged best: a temporal transformer against plain rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from streamwatch.config import load_settings
from streamwatch.detectors import Detector
from streamwatch.fusion.policy import Policy
from streamwatch.fusion.spans import find_spans, mean_score
from streamwatch.fusion.vtf import VTF, OnlineVTF, VTFConfig
from streamwatch.records import FloatArray
from streamwatch.studies.tracks import TrackComparison, TrackScores, clip_faces, compared, score_tracks
from streamwatch.training.families import FAMILIES
from streamwatch.training.recipe import Recipe

Rule = Callable[[FloatArray], float]

TOP = 4
MEAN = "mean of logits"


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


def as_served(policy: Policy, fps: float) -> Rule:
    """The rule that verdicts go by (`TrackFusion`), for faces of equal weight sampled at `fps`: the mean, or the
    strongest span where that is higher."""

    def rule(logits: FloatArray) -> float:
        columns = np.arange(len(logits)) / fps, logits.astype(np.float64), np.ones(len(logits))
        return max([mean_score(*columns[1:]), *(span.mean for span in find_spans(*columns, policy))])

    return rule


RULES: Mapping[str, Rule] = {
    MEAN: mean_logit,
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
) -> list[TrackComparison]:
    """Forge the recipe's camera clips track by track, train the transformer on part, compare all on the others.

    The rule that is served goes by the settings of `archive`. Raises as `clip_faces` does.
    """
    pictures, forger = clip_faces(recipe, cache, landmark_model, report)
    settings = load_settings(pipeline="archive")
    served = as_served(Policy.resolve(settings.fusion, detector.card), settings.sampling.fps)

    def tracks(split: str, seed: int) -> list[TrackScores]:
        part = [p for p in pictures if p.split == split]
        return list(score_tracks(detector, part, forger, FAMILIES, seed=seed, progress=progress))

    seen, held_out = tracks("train", 0), tracks("val", 1)
    report(f"{len(seen)} tracks to train on, {len(held_out)} held out")
    model = train_vtf(seen, VTFConfig(features=seen[0].features.shape[1]))
    return compare(model, held_out, {**RULES, "as served: mean or strongest span": served})


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


def compare(model: VTF, tracks: Sequence[TrackScores], rules: Mapping[str, Rule] = RULES) -> list[TrackComparison]:
    """The rules and the transformer on the same tracks, best first; gains are over the mean of logits."""
    scores = {name: np.array([rule(track.logits) for track in tracks]) for name, rule in rules.items()}
    scores["VTF"] = np.array([_online(model, track.features) for track in tracks])
    mean = scores[MEAN]
    rows = [compared(name, tracks, values, None if name == MEAN else mean) for name, values in scores.items()]
    return sorted(rows, key=lambda row: -row.auc)


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
