"""The training loop: one folder holds its whole state, and a run that was cut off goes on where it was last saved."""

from __future__ import annotations

import csv
import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Subset

from streamwatch.detectors.m2tr.imagenet import PIXEL_MEAN, PIXEL_STD
from streamwatch.detectors.m2tr.model import M2TR, M2TROutput, build
from streamwatch.errors import ConfigError, TrainingDiverged, WeightsError
from streamwatch.evaluation.clips import measure
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.evaluation.web_faces import score_web
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.files import replacing
from streamwatch.records import FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.data import (
    Kind,
    MadePairs,
    PairDataset,
    PairSource,
    Pools,
    Reuse,
    TrainingPair,
    forked_loader,
)
from streamwatch.training.dev import CHOSEN_BY, dev_figures
from streamwatch.training.device import DevicePairs
from streamwatch.training.families import FAMILIES, Family
from streamwatch.training.losses import Objective, objective
from streamwatch.training.pack import PackedPairs
from streamwatch.training.pool import PairPool
from streamwatch.training.prepare import FacePicture
from streamwatch.training.recipe import Freeze, Recipe
from streamwatch.training.regularisers import mixed_styles, perturbed, pooled_stages
from streamwatch.training.split import packed_split, split_data
from streamwatch.training.stages import stage
from streamwatch.training.starts import start_from, start_from_imagenet

LOSSES = ("loss", "classification", "mask", "contrastive", "quality", "ranking")
LOG_COLUMNS = ("step", "images", "minutes", *LOSSES)
"""Then one column per kind of pair, the AUC on held-back faces of that kind, and one per figure of the dev sets."""

POOL = "pool"
"""Folder of a run that holds made pairs; it can be deleted."""

SAVE_EVERY = 20
"""Steps after which the state is saved, whether evaluated or not: what a cut costs at most."""

_HELD_BACK_SEED = 1_000_003
_MOST_SKIPPED = 10
_MIXED_BLOCKS = (0, 2)
_POOL_MARGIN = 256  # pairs that the loader may be ahead of the step


@dataclass(frozen=True, slots=True)
class HeldBackAucs:
    """AUC on held-back faces of the paired sets and of the generated ones, and on held-back forgeries by family.

    NaN where no such faces of both classes are held back. dev: figures of the recipe's dev sets (`dev_figures`), empty
    without any.
    """

    faces: float
    generated: float
    families: dict[Family, float]
    dev: dict[str, float] = field(default_factory=dict)

    def cells(self) -> dict[Kind, float]:
        """Every cell under the kind of training pairs that it belongs to."""
        cells: dict[Kind, float] = {"paired": self.faces, "generated": self.generated}
        cells.update(self.families.items())
        return cells

    def score(self, trained_on: Iterable[Kind]) -> float:
        """What chooses the checkpoint: on dev sets the mean of `CHOSEN_BY`, else the mean over the known cells that the
        recipe trains on; −∞ without any.
        """
        if self.dev:
            return sum(self.dev[name] for name in CHOSEN_BY) / len(CHOSEN_BY)
        cells = self.cells()
        known = [cells[kind] for kind in trained_on if not math.isnan(cells.get(kind, math.nan))]
        return sum(known) / len(known) if known else -math.inf


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """What a listener hears after every step, with the latest evaluation (None before the first).

    evaluated: whether this step brought it.
    """

    step: int
    steps: int
    loss: float
    latest: HeldBackAucs | None
    evaluated: bool


def normalise(images: Tensor) -> Tensor:
    """uint8 N×3×S×S to float, (x − 127) / 128, channels last: what the ImageNet weights were trained on."""
    return ((images.float() - PIXEL_MEAN) / PIXEL_STD).contiguous(memory_format=torch.channels_last)


class Trainer:
    """Trains one recipe in one folder.

    folder: `state.pt` (model, average, optimiser, step; saved every `SAVE_EVERY` steps and at every evaluation),
    `best.pt` (averaged weights of the best evaluation), `log.csv`. tested: see `split_data`. pack: pairs to train on in
    place of the data sets, which need not be there then; only those dev sets that are there choose the checkpoint,
    without any the last evaluation does. On a GPU a pack's pairs are cut and degraded there.

    Raises ConfigError if the folder belongs to another recipe, or the pack was written for another geometry.
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
        tested: Iterable[Kind] = (),
        pack: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        self._report = report
        self._skipped = 0  # steps in a row
        folder.mkdir(parents=True, exist_ok=True)
        self._check_folder()
        torch.manual_seed(recipe.seed)
        self.model = build(recipe.architecture)
        if recipe.start is None:
            if self.model.levels is not None:
                raise ConfigError(f"recipe {recipe.name}: start: a network with levels needs fitted weights (--start)")
            start_from_imagenet(self.model)
        else:
            start_from(self.model, recipe.start)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe.optimisation.freeze)
        self.average = AveragedModel(self.model, multi_avg_fn=self._blend_average, use_buffers=True)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, weight_decay=recipe.optimisation.weight_decay)
        self.step = 0
        self.minutes = 0.0
        self.best = -math.inf
        self.best_step = 0
        self.latest: HeldBackAucs | None = None
        cache = cache or folder.parent / "prepared"
        packed = None if pack is None else PackedPairs(pack)
        if packed is None:
            split = split_data(recipe, cache, landmark_model, report, tested=tested)
        else:
            split = packed_split(recipe, packed, cache, report)
        self.split = split
        self.size = self.model.config.input_size
        geometry, weights = recipe.geometry.geometry(), recipe.data.weights
        pairs = recipe.optimisation.steps * recipe.optimisation.accumulate * recipe.optimisation.pairs
        reuse = Reuse(recipe.data.reuse, recipe.data.reuse_lag)
        self._on_device: DevicePairs | None = None
        source: PairSource
        if packed is not None:
            source = packed
            if makes_crops(self.device):
                self._on_device = DevicePairs(
                    packed, self.size, recipe.seed, self.device, untouched=recipe.data.untouched
                )
        else:
            source = MadePairs(split.pools, weights, recipe.seed, recipe.data.scene_pairs)
        if packed is None and reuse.times > 1:
            source = PairPool(source, folder / POOL, self._pool_key(), reuse.window + _POOL_MARGIN)
        self.data = PairDataset(
            source,
            geometry,
            self.size,
            recipe.seed,
            pairs,
            qualities=recipe.data.qualities,
            reuse=reuse,
            untouched=recipe.data.untouched,
            mix_amplitudes=recipe.data.mix_amplitudes,
        )
        self.made = source
        self.held_forgeries = held_back_pairs(split.held_pools, geometry, self.size, recipe.evaluation.forgeries)
        self.watched_faces = some_of_each_class(split.held_faces, recipe.evaluation.limit)
        self._note.write_text(self._noted, encoding="utf-8")  # not before: a run that cannot begin owns no folder
        self._restore()

    def run(self, listener: Callable[[TrainingProgress], None] = lambda progress: None) -> None:
        """Train to the last step of the recipe, evaluating on the way; returns at once if it is already there.

        A step whose gradient is not finite leaves the model as it was, batch statistics included.
        Raises TrainingDiverged after ten of them in a row.
        """
        options = self.recipe.optimisation
        started = time.monotonic() - self.minutes * 60
        for losses in self.steps():
            self.minutes = (time.monotonic() - started) / 60
            evaluated = self.step % self.recipe.evaluation.every == 0 or self.step == options.steps
            if evaluated:
                self._evaluate_and_keep(losses)
            if evaluated or self.step % SAVE_EVERY == 0:
                self._save_state()
            listener(TrainingProgress(self.step, options.steps, losses["loss"], self.latest, evaluated))
        shutil.rmtree(self.folder / POOL, ignore_errors=True)

    def steps(self, workers: int | None = None) -> Iterator[dict[str, float]]:
        """Take one step after the other to the last of the recipe, and nothing beside; the losses of each.

        workers: processes that prepare pairs, other than the recipe's. Raises as `run` does.
        """
        options = self.recipe.optimisation
        batches = self._batches(workers)
        while self.step < options.steps:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.step, options.steps, options.warmup, options.learning_rate)
            losses = self._train_step(batches)
            self.step += 1
            yield losses

    def best_model(self) -> M2TR:
        """The averaged weights of the best evaluation so far. Raises WeightsError before the first."""
        model = build(self.recipe.architecture)
        model.load_state_dict(self._best()["model"])
        return model.eval()

    def _best(self) -> dict[str, Any]:
        path = self.folder / "best.pt"
        if not path.is_file():
            raise WeightsError(
                f"{path}: no evaluation has been reached yet", "train for at least `evaluation.every` steps"
            )
        best: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return best

    def best_evaluation(self) -> HeldBackAucs:
        """What the best evaluation so far found. Raises WeightsError before the first."""
        return HeldBackAucs(**self._best()["latest"])

    def watched_pairs(self, per_family: int = 2) -> list[TrainingPair]:
        """The first held-back pairs of every family, cut and degraded as in training."""
        return [data.pair(index) for data in self.held_forgeries.values() for index in range(per_family)]

    def found_masks(self, pairs: Sequence[TrainingPair]) -> list[tuple[FloatArray, FloatArray]]:
        """What the averaged weights take for forged in the real and the fake face of each pair (h×w, 0..1).

        Raises ValueError for an architecture without a mask decoder.
        """
        faces = np.stack([face for pair in pairs for face in (pair.real, pair.fake)])
        output = evaluate(self.average.module, torch.from_numpy(faces).permute(0, 3, 1, 2), self.device)
        if output.mask_logits is None:
            raise ValueError(f"{self.recipe.name}: no mask decoder")
        masks = output.mask_logits.sigmoid()[:, 0].float().cpu().numpy()
        return list(zip(masks[::2], masks[1::2], strict=True))

    def _train_step(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, float]:
        options = self.recipe.optimisation
        train_mode(self.model, options.freeze, frozen_norm=options.freeze_norm)
        torch.set_flush_denormal(True)  # again: ONNX Runtime, which finds faces, turns it off in this thread
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)  # dropout, too, is a function of seed and step
        with stage("waiting for pairs"):
            batches_now = [next(batches) for _ in range(options.accumulate)]
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        if options.perturbation > 0:
            for batch in batches_now:
                torch.autograd.backward(self._objective(batch).total)
            with perturbed(self.model, options.perturbation):
                totals = self._accumulate(batches_now)
        else:
            totals = self._accumulate(batches_now)
        with stage("optimiser"):
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        if torch.stack([norm.isfinite(), *(buffer.isfinite().all() for buffer in self.model.buffers())]).all():
            with stage("optimiser"):
                self.optimiser.step()
            with stage("averaging"):
                self.average.update_parameters(self.model)
            self._skipped = 0
        else:
            self.model.load_state_dict(buffers, strict=False)
            self._skipped += 1
            self._warn_or_stop()
        self.optimiser.zero_grad(set_to_none=True)
        return totals

    def _warn_or_stop(self) -> None:
        where = f"step {self.step + 1}: the gradient is not finite"
        if self._skipped == _MOST_SKIPPED:
            raise TrainingDiverged(
                f"{self.folder}: {where}, for the {_MOST_SKIPPED}th step in a row",
                "lower optimisation.learning_rate or set optimisation.precision: fp32, and train in another folder",
            )
        self._report(f"{where}; the step is skipped")

    def _accumulate(self, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Add the gradients of the batches' mean loss; returns the mean of each of its terms."""
        totals = dict.fromkeys(LOSSES, 0.0)
        for batch in batches:
            with stage("forward"):
                terms = self._objective(batch)
            with stage("backward"):
                torch.autograd.backward(terms.total / len(batches))
            totals["loss"] += terms.total.item() / len(batches)
            for name in LOSSES[1:]:
                totals[name] += getattr(terms, name) / len(batches)
        return totals

    def _objective(self, batch: dict[str, Tensor]) -> Objective:
        weights = self.recipe.loss
        faces = batch["images"].transpose(0, 1).flatten(0, 2)  # quality by quality, as `quality_loss` reads them
        images = normalise(faces.to(self.device))
        labels = torch.tensor([0, 1], device=self.device).repeat(len(images) // 2)
        stages: list[Tensor] = []
        qualities = self.recipe.data.qualities
        bf16 = self.recipe.optimisation.precision == "bf16"
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
            pooled_stages(self.model, stages if qualities > 1 and weights.quality > 0 else None),
            self._mixed_styles(),
        ):
            output = self.model(images)
        return objective(
            output.logits.float(),
            labels,
            output.feature.float(),
            None if output.mask_logits is None else output.mask_logits.float(),
            batch["masks"].transpose(0, 1).flatten(0, 2).to(self.device),
            batch["mask_known"].transpose(0, 1).flatten().to(self.device),
            mask_weight=weights.mask,
            contrastive_weight=weights.contrastive,
            classification=weights.classification,
            stages=[*stages, output.feature.float()],
            qualities=qualities,
            quality_weight=weights.quality,
            related=batch["related"].transpose(0, 1).flatten().to(self.device),
            ranking_weight=weights.ranking,
        )

    def _mixed_styles(self) -> AbstractContextManager[None]:
        """Styles mixed behind the first blocks in the recipe's share of the steps."""
        seed = self.recipe.seed * 1_000_003 + self.step
        if np.random.default_rng([seed, 2]).random() >= self.recipe.optimisation.mix_styles:
            return nullcontext()
        return mixed_styles(self.model, _MIXED_BLOCKS, seed)

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
        score = self.latest.score(k for k, w in self.recipe.data.weights.items() if w > 0)
        if score >= self.best:
            self.best, self.best_step = score, self.step
            best = {"model": self.average.module.state_dict(), "step": self.step, "latest": asdict(self.latest)}
            _save(best, self.folder / "best.pt")
        self._log(losses)

    def _save_state(self) -> None:
        _save(
            {
                "step": self.step,
                "minutes": self.minutes,
                "best": self.best,
                "best_step": self.best_step,
                "latest": None if self.latest is None else asdict(self.latest),
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            self.folder / "state.pt",
        )

    def _evaluate(self, model: nn.Module) -> HeldBackAucs:
        return HeldBackAucs(
            self._picture_auc(model, self.watched_faces),
            self._picture_auc(model, self.split.held_generated),
            {family: self._forgery_auc(model, data) for family, data in self.held_forgeries.items()},
            self._dev_figures(model),
        )

    def _dev_figures(self, model: nn.Module) -> dict[str, float]:
        if not self.split.dev:
            return {}

        def score(crops: ImageArray) -> FloatArray:
            return infer(model, torch.from_numpy(crops).permute(0, 3, 1, 2), self.device)

        faces = score_web(score, self.split.dev, self.recipe.geometry.geometry(), self.size, batch=32)
        return dev_figures(measure(faces, rounds=0))

    def _picture_auc(self, model: nn.Module, pictures: list[FacePicture]) -> float:
        if len({p.fake for p in pictures}) < 2:
            return math.nan
        logits = face_logits(model, pictures, self.recipe, self.size, self.device)
        return roc_auc([p.fake for p in pictures], logits)

    def _forgery_auc(self, model: nn.Module, pairs: PairDataset) -> float:
        logits, labels = [], []
        for batch in forked_loader(pairs, 16, self.recipe.optimisation.workers):
            logits.append(infer(model, batch["images"].flatten(0, 2), self.device))
            labels.append(np.tile([0, 1], len(batch["images"])))
        return roc_auc(np.concatenate(labels), np.concatenate(logits))

    def _batches(self, workers: int | None = None) -> Iterator[dict[str, Tensor]]:
        options = self.recipe.optimisation
        if self._on_device is not None:
            device = self._on_device
            batches = range(self.step * options.accumulate, options.steps * options.accumulate)
            return (device.batch(index, options.pairs) for index in batches)
        first = self.step * options.accumulate * options.pairs
        rest = Subset(self.data, range(first, len(self.data)))
        return forked_loader(rest, options.pairs, options.workers if workers is None else workers)

    def _pool_key(self) -> str:
        data = self.recipe.data.model_dump_json(exclude={"root", "dev", "reuse", "reuse_lag"})
        return hashlib.sha256(f"{self.recipe.seed} {data}".encode()).hexdigest()

    @property
    def _note(self) -> Path:
        return self.folder / "recipe.json"

    @property
    def _noted(self) -> str:
        return self.recipe.model_dump_json(indent=2, exclude={"data": {"root"}})

    def _check_folder(self) -> None:
        if self._note.is_file() and self._note.read_text(encoding="utf-8") != self._noted:
            raise ConfigError(f"{self.folder}: holds a run of another recipe", "choose another --out or delete it")

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
        self.latest = None if state["latest"] is None else HeldBackAucs(**state["latest"])

    def _log(self, losses: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        rows = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in list(csv.reader(stream))[1:] if int(row[0]) < self.step]
        images = images_seen(self.recipe, self.step)
        values = (self.step, images, round(self.minutes, 2), *(round(v, 5) for v in losses.values()))
        assert self.latest is not None
        cells = self.latest.cells() | {f"dev_{name}": value for name, value in self.latest.dev.items()}
        rows.append([str(v) for v in (*values, *(round(v, 4) for v in cells.values()))])
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([(*LOG_COLUMNS, *cells), *rows])


def makes_crops(device: torch.device) -> bool:
    """Whether packed pairs are cut and degraded on this device, and not by processes beside it."""
    return device.type == "cuda"


def held_back_pairs(
    pools: Pools, geometry: CropGeometry, size: int, count: int, families: Sequence[Family] = FAMILIES
) -> dict[Family, PairDataset]:
    """`count` pairs of each family that these pools can be forged by, always the same."""
    return {
        family: PairDataset(MadePairs(pools, {family: 1.0}, _HELD_BACK_SEED), geometry, size, _HELD_BACK_SEED, count)
        for family in families
        if pools.sources and pools.forger.can(family)
    }


def some_of_each_class(pictures: list[FacePicture], limit: int | None) -> list[FacePicture]:
    """The first `limit` pictures of each class; all for None."""
    if limit is None:
        return pictures
    return [p for fake in (False, True) for p in [q for q in pictures if q.fake is fake][:limit]]


def images_seen(recipe: Recipe, step: int) -> int:
    """Pictures that went through the network until `step`: pairs of every quality."""
    options = recipe.optimisation
    return step * options.accumulate * options.pairs * 2 * recipe.data.qualities


def face_logits(
    model: nn.Module,
    pictures: list[FacePicture],
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
        logits.append(infer(model, images, device))
    return np.concatenate(logits)


def infer(model: nn.Module, images: Tensor, device: torch.device) -> NDArray[np.float32]:
    """z_fake − z_real (N) of uint8 N×3×S×S images, in evaluation mode."""
    output = evaluate(model, images, device)
    logits: NDArray[np.float32] = (output.logits[:, 1] - output.logits[:, 0]).float().cpu().numpy()
    return logits


def evaluate(model: nn.Module, images: Tensor, device: torch.device) -> M2TROutput:
    """The network's output for uint8 N×3×S×S images, in evaluation mode, without gradients."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        output: M2TROutput = model(normalise(images.to(device)))
    model.train(was_training)
    return output


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def frozen_modules(model: M2TR, frozen: Freeze) -> list[nn.Module]:
    """What keeps its weights: the backbone's stem and its first blocks, or all of `backbone`; nothing for 0."""
    if frozen == "backbone":
        reads = [] if model.levels is None else [model.levels, model.classifier]
        return [model.model, *reads]
    if frozen == 0:
        return []
    backbone: Any = model.model
    return [backbone._conv_stem, backbone._bn0, *backbone._blocks[:frozen]]


def freeze(model: M2TR, frozen: Freeze) -> None:
    for module in frozen_modules(model, frozen):
        module.requires_grad_(False)


def train_mode(model: M2TR, frozen: Freeze, *, frozen_norm: bool = False) -> None:
    """Training mode, with the frozen part's batch statistics kept, or those of all parts."""
    model.train()
    for module in frozen_modules(model, frozen):
        module.eval()
    if frozen_norm:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _save(state: dict[str, Any], path: Path) -> None:
    with replacing(path) as draft:
        torch.save(state, draft)
