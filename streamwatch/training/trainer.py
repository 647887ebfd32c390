"""The training loop: one folder holds its whole state, and a run that was cut off goes on where it was last saved."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from streamwatch.detectors.m2tr.model import M2TR, build
from streamwatch.errors import ConfigError, TrainingDiverged
from streamwatch.records import FloatArray
from streamwatch.training.batches import TrainingPairs
from streamwatch.training.data import Kind, TrainingPair
from streamwatch.training.held_back import HeldBack, HeldBackAucs
from streamwatch.training.inference import evaluate, normalise
from streamwatch.training.losses import Objective, objective
from streamwatch.training.pack import PackedPairs
from streamwatch.training.recipe import Freeze, Recipe
from streamwatch.training.regularisers import mixed_styles, perturbed, pooled_stages
from streamwatch.training.run_folder import LOSSES, RunFolder
from streamwatch.training.split import packed_split, split_data
from streamwatch.training.stages import stage
from streamwatch.training.starts import start_from, start_from_imagenet

POOL = "pool"
"""Folder of a run that holds made pairs; it can be deleted."""

SAVE_EVERY = 20
"""Steps after which the state is saved, whether evaluated or not: what a cut costs at most."""

_MOST_SKIPPED = 10
_MIXED_BLOCKS = (0, 2)


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """What a listener receives after every step, with the latest evaluation (None before the first).

    evaluated: whether this step brought it.
    """

    step: int
    steps: int
    loss: float
    latest: HeldBackAucs | None
    evaluated: bool


class Trainer:
    """Trains one recipe in one folder.

    folder: see `RunFolder`; the state is saved every `SAVE_EVERY` steps and at every evaluation. tested: see
    `split_data`. pack: pairs to train on in place of the data sets, which need not be there then; only those dev sets
    that are there choose the checkpoint, without any the last evaluation does. On a GPU a pack's pairs are cut and
    degraded there.
    pairs: that it trains on. held_back: what the checkpoint is chosen by. average: the weights that are kept. state:
    how far the run is.

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
        self.device = torch.device(device)
        self._files = RunFolder(folder, recipe)
        self._report = report
        self._skipped = 0  # steps in a row
        torch.manual_seed(recipe.seed)
        self.model = _starting_model(recipe)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe.optimisation.freeze)
        self.average = AveragedModel(self.model, multi_avg_fn=moving_average(recipe.optimisation.ema), use_buffers=True)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, weight_decay=recipe.optimisation.weight_decay)
        cache = cache or folder.parent / "prepared"
        packed = None if pack is None else PackedPairs(pack)
        if packed is None:
            self.split = split_data(recipe, cache, landmark_model, report, tested=tested)
        else:
            self.split = packed_split(recipe, packed, cache, report)
        self.pairs = TrainingPairs(recipe, self.split, packed, self.size, self.device, folder / POOL)
        self.held_back = HeldBack(recipe, self.split, self.size)
        self._files.claim()  # not before: a run that cannot begin owns no folder
        self.state = self._files.restore(self.model, self.average, self.optimiser, self.device)

    @property
    def folder(self) -> Path:
        return self._files.path

    @property
    def size(self) -> int:
        """Side of the crops, pixels."""
        return self.model.config.input_size

    def run(self, listener: Callable[[TrainingProgress], None] = lambda progress: None) -> None:
        """Train to the last step of the recipe, evaluating on the way; returns at once if it is already there.

        A step whose gradient is not finite leaves the model as it was, batch statistics included.
        Raises TrainingDiverged after ten of them in a row.
        """
        options, state = self.recipe.optimisation, self.state
        started = time.monotonic() - state.minutes * 60
        for losses in self.steps():
            state.minutes = (time.monotonic() - started) / 60
            evaluated = state.step % self.recipe.evaluation.every == 0 or state.step == options.steps
            if evaluated:
                self._evaluate_and_keep(losses)
            if evaluated or state.step % SAVE_EVERY == 0:
                self._files.save(state, self.model, self.average, self.optimiser)
            listener(TrainingProgress(state.step, options.steps, losses["loss"], state.latest, evaluated))
        shutil.rmtree(self.folder / POOL, ignore_errors=True)

    def steps(self, workers: int | None = None) -> Iterator[dict[str, float]]:
        """Take one step after the other to the last of the recipe, and nothing beside; the losses of each.

        workers: processes that prepare pairs, other than the recipe's. Raises as `run` does.
        """
        options = self.recipe.optimisation
        batches = self.pairs.batches(self.state.step, workers)
        while self.state.step < options.steps:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.state.step, options.steps, options.warmup, options.learning_rate)
            losses = self._train_step(batches)
            self.state.step += 1
            yield losses

    def best_model(self) -> M2TR:
        """The averaged weights of the best evaluation so far. Raises WeightsError before the first."""
        model = build(self.recipe.architecture)
        model.load_state_dict(self._files.best()[0])
        return model.eval()

    def best_evaluation(self) -> HeldBackAucs:
        """What the best evaluation so far found. Raises WeightsError before the first."""
        return self._files.best()[1]

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
        torch.manual_seed(self._step_seed)  # dropout, too, is a function of seed and step
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
        where = f"step {self.state.step + 1}: the gradient is not finite"
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

    @property
    def _step_seed(self) -> int:
        return self.recipe.seed * 1_000_003 + self.state.step

    def _mixed_styles(self) -> AbstractContextManager[None]:
        """Styles mixed behind the first blocks in the recipe's share of the steps."""
        if np.random.default_rng([self._step_seed, 2]).random() >= self.recipe.optimisation.mix_styles:
            return nullcontext()
        return mixed_styles(self.model, _MIXED_BLOCKS, self._step_seed)

    def _evaluate_and_keep(self, losses: dict[str, float]) -> None:
        state = self.state
        state.latest = self.held_back.evaluate(self.average.module, self.device)
        score = state.latest.score(k for k, w in self.recipe.data.weights.items() if w > 0)
        if score >= state.best:
            state.best, state.best_step = score, state.step
            self._files.save_best(self.average.module, state)
        self._files.log(state, losses)


def _starting_model(recipe: Recipe) -> M2TR:
    model = build(recipe.architecture)
    if recipe.start is not None:
        start_from(model, recipe.start)
    elif model.levels is not None:
        raise ConfigError(f"recipe {recipe.name}: start: a network with levels needs fitted weights (--start)")
    else:
        start_from_imagenet(model)
    return model


def moving_average(most: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Exponential moving average whose decay grows to `most`, so that the start is soon forgotten; for
    `AveragedModel`.
    """

    def blend(averages: Sequence[Tensor], currents: Sequence[Tensor], updates: Tensor | int) -> None:
        count = int(updates)
        decay = min(most, (1 + count) / (10 + count))
        with torch.no_grad():
            for average, current in zip(averages, currents, strict=True):
                if average.is_floating_point():
                    average.lerp_(current, 1 - decay)
                else:
                    average.copy_(current)

    return blend


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
