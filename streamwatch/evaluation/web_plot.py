"""The picture of an evaluation on web clips: ROC, fakes beside their own originals, methods. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamwatch.evaluation.clips import ClipFigures, ScoredFace, clips_of, pairs_of
from streamwatch.evaluation.extra import load_pyplot
from streamwatch.evaluation.metrics import roc_curve
from streamwatch.evaluation.swaps import is_swap

DPI = 110
REAL, OTHER, SWAP, ENHANCED = "#2c7a4b", "#8a8a8a", "#c0392b", "#2f6fb3"
WIDTH = 11.5
LEAST_HEIGHT = 10.5
ROW = 0.19
"""Inches for a method."""


def draw(figures: ClipFigures, faces: Sequence[ScoredFace], title: str, output: Path) -> None:
    """ROC over clips, pairs, scores by class, and the AUC of every method, the worst on top."""
    plt = load_pyplot()
    height = max(LEAST_HEIGHT, 1.5 + ROW * len(figures.methods))
    figure = plt.figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.1), height_ratios=(1, 1, 0.55))
    _draw_roc(figure.add_subplot(grid[0, 0]), figures, faces)
    _draw_pairs(figure.add_subplot(grid[1, 0]), figures, faces)
    _draw_scores(figure.add_subplot(grid[2, 0]), faces)
    _draw_methods(figure.add_subplot(grid[:, 1]), figures)
    figure.suptitle(f"{title}: {figures.clips} clips of {figures.scenes} scenes, {figures.pictures} faces")
    figure.savefig(output, dpi=DPI)
    plt.close(figure)


def _draw_roc(axes: Any, figures: ClipFigures, faces: Sequence[ScoredFace]) -> None:
    clips = [clip for clip in clips_of(faces) if clip.label != "enhanced"]
    parts = [("all forged clips", clips, figures.whole, "black")]
    if figures.swaps is not None:
        swaps = [clip for clip in clips if clip.label == "real" or is_swap(clip.method)]
        parts.append(("face swaps", swaps, figures.swaps, SWAP))
    for name, part, comparison, colour in parts:
        false, true = roc_curve([clip.label == "fake" for clip in part], [clip.score for clip in part])
        plain, matched = comparison.plain.auc.value, comparison.matched.auc.value
        axes.plot(false, true, color=colour, label=f"{name}: AUC {plain:.3f}, matched {matched:.3f}")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    axes.axvline(0.05, color="0.8", linewidth=1)
    axes.set(xlabel="share of honest clips called fake", ylabel="share of forged clips found")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title="ROC over clips; line: 5 % false alarms")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")


def _draw_pairs(axes: Any, figures: ClipFigures, faces: Sequence[ScoredFace]) -> None:
    clips = clips_of(faces)
    pairs = pairs_of([clip for clip in clips if clip.label != "real"], [clip for clip in clips if clip.label == "real"])
    kinds = (
        ("forged otherwise", OTHER, [p for p in pairs if p.clip.label == "fake" and not is_swap(p.clip.method)]),
        ("face swap", SWAP, [p for p in pairs if p.clip.label == "fake" and is_swap(p.clip.method)]),
        ("enhanced, not forged", ENHANCED, [p for p in pairs if p.clip.label == "enhanced"]),
    )
    for name, colour, part in kinds:
        if part:
            own, original = [pair.own[0] for pair in part], [pair.original[0] for pair in part]
            face = "none" if colour == ENHANCED else colour
            axes.scatter(original, own, s=22, facecolors=face, edgecolors=colour, alpha=0.8, label=name)
    axes.set(xlabel="logit of the original", ylabel="logit of the clip")
    if not pairs:
        axes.set_title("no scene has both classes")
        return
    ends = [float(end([value for p in pairs for value in (p.own[0], p.original[0])])) for end in (min, max)]
    margin = 0.05 * (ends[1] - ends[0]) + 0.1
    limits = (ends[0] - margin, ends[1] + margin)
    axes.plot(limits, limits, color="0.5", linewidth=1, linestyle="--", zorder=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    pairs_won = figures.pairs
    above = "" if pairs_won is None else f": {100 * pairs_won.won.value:.0f} % of {pairs_won.pairs} fakes above"
    axes.set_title(f"beside their own originals{above}")


def _draw_scores(axes: Any, faces: Sequence[ScoredFace]) -> None:
    clips = clips_of(faces)
    parts = (
        ("honest", REAL, [c.score for c in clips if c.label == "real"]),
        ("enhanced", ENHANCED, [c.score for c in clips if c.label == "enhanced"]),
        ("swaps", SWAP, [c.score for c in clips if c.label == "fake" and is_swap(c.method)]),
        ("other fakes", OTHER, [c.score for c in clips if c.label == "fake" and not is_swap(c.method)]),
    )
    rows = [part for part in parts if part[2]]
    spread = np.random.default_rng(0)
    for place, (_, colour, scores) in enumerate(rows):
        axes.scatter(scores, place + spread.uniform(-0.28, 0.28, len(scores)), s=7, color=colour, alpha=0.5)
        axes.plot([np.median(scores)] * 2, [place - 0.36, place + 0.36], color="black", linewidth=1.5)
    axes.set_yticks(range(len(rows)), [f"{name} ({len(scores)})" for name, _, scores in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel="logit of the clip (mean over its faces)", title="scores of the clips; line: median")


def _draw_methods(axes: Any, figures: ClipFigures) -> None:
    for place, method in enumerate(figures.methods):
        colour = SWAP if method.swap else "0.35"
        if method.auc.interval is not None:
            axes.plot(method.auc.interval, [place, place], color=colour, linewidth=1.5, alpha=0.5)
        axes.scatter(method.auc.value, place, s=10 + 4 * min(method.clips, 25), color=colour, zorder=3)
    axes.set_yticks(range(len(figures.methods)), [f"{method.method} ({method.clips})" for method in figures.methods])
    axes.tick_params(axis="y", labelsize=7.5)
    for label, method in zip(axes.get_yticklabels(), figures.methods, strict=True):
        label.set_color(SWAP if method.swap else "black")
    axes.axvline(0.5, color="0.5", linestyle="--", linewidth=1)
    axes.axvline(figures.whole.plain.auc.value, color="black", linewidth=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(figures.methods) - 0.4, -0.6))
    axes.set_xlabel("AUC against all honest clips (bar: 95 % over scenes)\nblack line: all forged clips")
    axes.set_title("methods (clips), the worst first; red: face swaps")
    axes.grid(axis="x", alpha=0.3)
