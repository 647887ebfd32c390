"""Pictures of an evaluation: ROC, reliability, AUC against the strength of a degradation. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from streamwatch.evaluation.coverage import JudgedFaces, accuracy_by_coverage, trusts
from streamwatch.evaluation.extra import load_pyplot
from streamwatch.evaluation.levels import LevelScores
from streamwatch.evaluation.metrics import expected_calibration_error, reliability, roc_auc, roc_curve
from streamwatch.evaluation.report import Robustness

DPI = 110
BASELINE = "none"
LEAST_COVERAGE = 0.1
"""Below it too few faces are left for a curve to say anything."""


def draw_roc(scores: Mapping[str, LevelScores], threshold: float, output: Path) -> None:
    """One curve per level with both classes; a dot where the threshold lies."""
    plt = load_pyplot()
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    for level, part in scores.items():
        false, true = roc_curve(part.fake, part.probability)
        (line,) = axes.plot(false, true, label=f"{level}, AUC {roc_auc(part.fake, part.probability):.3f}")
        called = part.probability >= threshold
        axes.plot(called[~part.fake].mean(), called[part.fake].mean(), "o", color=line.get_color())
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    axes.set(xlabel="real called fake", ylabel="fakes found", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title(f"ROC; dots: threshold {threshold:.3f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(output, dpi=DPI)
    plt.close(figure)


def draw_reliability(scores: Mapping[str, LevelScores], output: Path) -> None:
    """Share of fakes against probability in 15 bins, both classes weighted alike; below, where the scores lie."""
    plt = load_pyplot()
    figure, (axes, below) = plt.subplots(
        2, 1, figsize=(5, 6), layout="constrained", sharex=True, gridspec_kw={"height_ratios": (4, 1)}
    )
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for level, part in scores.items():
        predicted, observed, mass = reliability(part.fake, part.probability, balanced=True)
        error = expected_calibration_error(part.fake, part.probability, balanced=True)
        axes.plot(predicted, observed, marker="o", markersize=4, label=f"{level}, ECE {error:.3f}")
        below.plot(predicted, mass, marker=".")
    axes.set(ylabel="share of fakes", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    below.set(xlabel="probability of fake", ylabel="share of scores")
    below.grid(alpha=0.3)
    figure.savefig(output, dpi=DPI)
    plt.close(figure)


def draw_coverage(faces: JudgedFaces, output: Path) -> None:
    """Accuracy at one half of the faces that are kept, against their share, by what decides who leaves first."""
    plt = load_pyplot()
    figure, axes = plt.subplots(figsize=(5.5, 4.2), layout="constrained")
    for name, trust in trusts(faces).items():
        coverage, accuracy = accuracy_by_coverage(faces.wrong, trust)
        shown = coverage >= LEAST_COVERAGE
        axes.plot(coverage[shown], accuracy[shown], label=name)
    axes.set(xlabel="share of faces that are judged", ylabel="share of them judged right", xlim=(0, 1.02))
    axes.set_title("accuracy against coverage, least trusted out first")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
    figure.savefig(output, dpi=DPI)
    plt.close(figure)


def draw_robustness(rows: Sequence[Robustness], level: str, output: Path) -> None:
    """AUC of one level by family of degradation, from mild to severe; the line across is the clean AUC."""
    plt = load_pyplot()
    families = list(dict.fromkeys(row.family for row in rows if row.family != BASELINE))
    clean = next(row.auc.get(level) for row in rows if row.family == BASELINE)
    columns = min(4, len(families))
    lines = -(-len(families) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(2.9 * columns, 2.7 * lines), sharey=True, layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(families) :]:
        axes.set_visible(False)
    for axes, family in zip(grid.flat, families, strict=False):
        of_family = [row for row in rows if row.family == family and level in row.auc]
        places = np.arange(len(of_family))
        axes.plot(places, [row.auc[level] for row in of_family], marker="o")
        axes.set_xticks(places, [row.label for row in of_family])
        axes.tick_params(axis="x", rotation=35)
        if clean is not None:
            axes.axhline(clean, color="0.5", linestyle="--", linewidth=1)
        axes.set_title(family)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"AUC ({level})")
    figure.savefig(output, dpi=DPI)
    plt.close(figure)
