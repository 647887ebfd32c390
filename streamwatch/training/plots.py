"""Pictures of a training run: the learning curve, a sheet of training pairs, a sheet of found masks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from streamwatch.evaluation.extra import load_pyplot
from streamwatch.records import FloatArray, ImageArray
from streamwatch.training.data import TrainingPair
from streamwatch.training.run_folder import LOG_COLUMNS
from streamwatch.training.trainer import Trainer


def draw_progress(trainer: Trainer) -> list[Path]:
    """`curve.png`, and `masks.png` where there are masks to find, in the run's folder."""
    drawn = [draw_curve(trainer.folder / "log.csv", trainer.folder / "curve.png")]
    if trainer.recipe.architecture.decoder and (pairs := trainer.held_back.first_pairs(2)):
        drawn.append(write_image(trainer.folder / "masks.png", mask_sheet(pairs, trainer.found_masks(pairs))))
    return drawn


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


def pair_sheet(pairs: Sequence[TrainingPair], columns: int = 5) -> ImageArray:
    """Real, fake and mask of every pair side by side, `columns` triples a row (H×W×3)."""
    return _tiled([np.hstack([pair.real, pair.fake, _mask_picture(pair)]) for pair in pairs], columns)


def mask_sheet(
    pairs: Sequence[TrainingPair], masks: Sequence[tuple[FloatArray, FloatArray]], columns: int = 2
) -> ImageArray:
    """For every pair: the real face and the mask found in it, the fake one, its forged region, the mask found in it.

    masks: h×w in 0..1, of the real and of the fake face.
    """
    rows = []
    for pair, (in_real, in_fake) in zip(pairs, masks, strict=True):
        side = pair.real.shape[0]
        rows.append(
            np.hstack([pair.real, _sized(in_real, side), pair.fake, _mask_picture(pair), _sized(in_fake, side)])
        )
    return _tiled(rows, columns)


def _sized(mask: FloatArray, side: int) -> ImageArray:
    return _grey(np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR), np.float32))


def _tiled(pictures: list[ImageArray], columns: int) -> ImageArray:
    pictures = pictures + [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])


def write_image(path: Path, image: ImageArray) -> Path:
    """Write an RGB image; the suffix decides the format. Raises OSError if that fails."""
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: cannot be written")
    return path


def _mask_picture(pair: TrainingPair) -> ImageArray:
    if pair.mask is None:
        picture = np.full_like(pair.real, 64)
        cv2.putText(picture, "unknown", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
        return picture
    return _grey(pair.mask)


def _grey(mask: FloatArray) -> ImageArray:
    return np.repeat(np.rint(mask * 255).astype(np.uint8)[..., None], 3, axis=2)
