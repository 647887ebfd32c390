"""Pictures of a training run: the learning curve and a sheet of training pairs."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from streamwatch.evaluation.pyplot import load_pyplot
from streamwatch.records import ImageArray
from streamwatch.training.data import Pair
from streamwatch.training.trainer import LOG_COLUMNS


def draw_curve(log: Path, output: Path) -> Path:
    """Loss and held-back AUC over the images seen, from a run's `log.csv`. Returns `output` (PNG)."""
    plt = load_pyplot()
    with log.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    images = [int(row["images"]) for row in rows]
    figure, (losses, aucs) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for column in ("classification", "mask"):
        losses.plot(images, [float(row[column]) for row in rows], marker=".", label=column)
    for kind in list(rows[0])[len(LOG_COLUMNS) :]:
        aucs.plot(images, [float(row[kind]) for row in rows], marker=".", label=kind.replace("_", " "))
    losses.set(xlabel="images seen", ylabel="loss of the last batch")
    aucs.set(xlabel="images seen", ylabel="held-back AUC of the averaged weights")
    for axis in (losses, aucs):
        axis.grid(alpha=0.3)
    losses.legend()
    aucs.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(output, dpi=110)
    plt.close(figure)
    return output


def pair_sheet(pairs: list[Pair], columns: int = 5) -> ImageArray:
    """Real, fake and mask of every pair side by side, `columns` triples a row (H×W×3)."""
    triples = [np.hstack([pair.real, pair.fake, _mask_picture(pair)]) for pair in pairs]
    triples += [np.zeros_like(triples[0])] * (-len(triples) % columns)
    return np.vstack([np.hstack(triples[i : i + columns]) for i in range(0, len(triples), columns)])


def write_image(path: Path, image: ImageArray) -> Path:
    """Write an RGB image; the suffix decides the format. Raises OSError if that fails."""
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: cannot be written")
    return path


def _mask_picture(pair: Pair) -> ImageArray:
    if pair.mask is None:
        picture = np.full_like(pair.real, 64)
        cv2.putText(picture, "unknown", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
        return picture
    return np.repeat(np.rint(pair.mask * 255).astype(np.uint8)[..., None], 3, axis=2)
