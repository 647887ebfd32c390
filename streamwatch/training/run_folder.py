"""The folder of a training run, which holds its whole state."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from streamwatch.errors import ConfigError, WeightsError
from streamwatch.files import replacing
from streamwatch.training.batches import images_seen
from streamwatch.training.held_back import HeldBackAucs
from streamwatch.training.recipe import Recipe

LOSSES = ("loss", "classification", "mask", "contrastive", "quality", "ranking")
LOG_COLUMNS = ("step", "images", "minutes", *LOSSES)
"""Then one column per kind of pair, the AUC on held-back faces of that kind, and one per figure of the dev sets."""


@dataclass(slots=True)
class RunState:
    """How far a run is. minutes: it took. best: score of the best evaluation, that of step `best_step`. latest:
    evaluation; None before the first.
    """

    step: int = 0
    minutes: float = 0.0
    best: float = -math.inf
    best_step: int = 0
    latest: HeldBackAucs | None = None


class RunFolder:
    """`recipe.json`; `state.pt` (model, average, optimiser, `RunState`); `best.pt` (averaged weights of the best
    evaluation); `log.csv`, a line per evaluation.

    Raises ConfigError if the folder belongs to another recipe.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self._recipe = recipe
        self._note = path / "recipe.json"
        self._noted = recipe.model_dump_json(indent=2, exclude={"data": {"root"}})
        path.mkdir(parents=True, exist_ok=True)
        if self._note.is_file() and self._note.read_text(encoding="utf-8") != self._noted:
            raise ConfigError(f"{path}: holds a run of another recipe", "choose another --out or delete it")

    def claim(self) -> None:
        """From now on the folder belongs to the recipe."""
        self._note.write_text(self._noted, encoding="utf-8")

    def save(self, state: RunState, model: nn.Module, average: AveragedModel, optimiser: Optimizer) -> None:
        """Replace what was saved before."""
        parts = {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        _save({**asdict(state), **parts}, self.path / "state.pt")

    def restore(self, model: nn.Module, average: AveragedModel, optimiser: Optimizer, device: torch.device) -> RunState:
        """Load what was saved last into all three; the state of a new run where nothing was saved."""
        path = self.path / "state.pt"
        if not path.is_file():
            return RunState()
        saved = torch.load(path, weights_only=True, map_location=device)
        model.load_state_dict(saved.pop("model"))
        average.load_state_dict(saved.pop("average"))
        optimiser.load_state_dict(saved.pop("optimiser"))
        latest = saved.pop("latest")
        return RunState(**saved, latest=None if latest is None else HeldBackAucs(**latest))

    def save_best(self, model: nn.Module, state: RunState) -> None:
        """Keep the weights of the latest evaluation as the best."""
        assert state.latest is not None
        best = {"model": model.state_dict(), "step": state.step, "latest": asdict(state.latest)}
        _save(best, self.path / "best.pt")

    def best(self) -> tuple[dict[str, Any], HeldBackAucs]:
        """Weights of the best evaluation so far, and what it found. Raises WeightsError before the first."""
        path = self.path / "best.pt"
        if not path.is_file():
            raise WeightsError(
                f"{path}: no evaluation has been reached yet", "train for at least `evaluation.every` steps"
            )
        best = torch.load(path, weights_only=True, map_location="cpu")
        return best["model"], HeldBackAucs(**best["latest"])

    def log(self, state: RunState, losses: dict[str, float]) -> None:
        """Add the latest evaluation to the log, in place of what a run that was cut off had logged from here on."""
        assert state.latest is not None
        path = self.path / "log.csv"
        rows = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in list(csv.reader(stream))[1:] if int(row[0]) < state.step]
        images = images_seen(self._recipe, state.step)
        values = (state.step, images, round(state.minutes, 2), *(round(v, 5) for v in losses.values()))
        cells = state.latest.cells() | {f"dev_{name}": value for name, value in state.latest.dev.items()}
        rows.append([str(v) for v in (*values, *(round(v, 4) for v in cells.values()))])
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([(*LOG_COLUMNS, *cells), *rows])


def _save(state: dict[str, Any], path: Path) -> None:
    with replacing(path) as draft:
        torch.save(state, draft)
