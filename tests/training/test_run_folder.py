"""What a training run leaves behind, and finds again."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from streamwatch.errors import ConfigError, WeightsError
from streamwatch.training.held_back import HeldBackAucs
from streamwatch.training.recipe import Recipe, load_recipe
from streamwatch.training.run_folder import LOSSES, RunFolder, RunState
from streamwatch.training.trainer import moving_average

CPU = torch.device("cpu")
FOUND = HeldBackAucs(0.9, math.nan, {"hull": 0.75}, {"auc": 0.5})


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("m2tr-lite-small")


class Parts:
    """What a trainer keeps in its folder, with every weight at the same value."""

    def __init__(self, value: float) -> None:
        self.model = nn.Linear(2, 1)
        nn.init.constant_(self.model.weight, value)
        self.average = AveragedModel(self.model)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=value)

    @property
    def all(self) -> tuple[nn.Linear, AveragedModel, torch.optim.AdamW]:
        return self.model, self.average, self.optimiser


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path, recipe: Recipe) -> None:
    folder, saved = RunFolder(tmp_path / "run", recipe), Parts(0.5)
    state = RunState(step=40, minutes=1.5, best=0.8, best_step=20, latest=FOUND)
    folder.save(state, *saved.all)

    fresh = Parts(0.25)
    restored = RunFolder(tmp_path / "run", recipe).restore(*fresh.all, CPU)
    assert repr(restored) == repr(state)  # NaN is not equal to itself
    assert torch.equal(fresh.model.weight, saved.model.weight)
    assert fresh.average.module.state_dict()["weight"].equal(saved.model.weight)
    assert fresh.optimiser.param_groups[0]["lr"] == 0.5


def test_an_empty_folder_begins_at_the_beginning(tmp_path: Path, recipe: Recipe) -> None:
    folder, parts = RunFolder(tmp_path / "run", recipe), Parts(0.5)
    assert folder.restore(*parts.all, CPU) == RunState()
    with pytest.raises(WeightsError, match=r"best\.pt: no evaluation has been reached"):
        folder.best()


def test_the_best_is_kept_with_what_it_found(tmp_path: Path, recipe: Recipe) -> None:
    folder = RunFolder(tmp_path / "run", recipe)
    folder.save_best(Parts(0.5).model, RunState(step=20, latest=FOUND))
    weights, found = folder.best()
    assert weights["weight"].tolist() == [[0.5, 0.5]]
    assert repr(found) == repr(FOUND)


def test_a_folder_is_its_recipes_from_the_claim_on(tmp_path: Path, recipe: Recipe) -> None:
    other = recipe.model_copy(update={"seed": recipe.seed + 1})
    folder = RunFolder(tmp_path / "run", recipe)
    RunFolder(tmp_path / "run", other)
    folder.claim()
    RunFolder(tmp_path / "run", recipe)
    with pytest.raises(ConfigError, match="another recipe"):
        RunFolder(tmp_path / "run", other)


def test_a_run_that_goes_on_logs_over_what_it_lost(tmp_path: Path, recipe: Recipe) -> None:
    folder = RunFolder(tmp_path / "run", recipe)
    losses = dict.fromkeys(LOSSES, 0.5)
    for step in (20, 40, 60, 40):
        folder.log(RunState(step=step, latest=FOUND), losses)
    header, *rows = (line.split(",") for line in (tmp_path / "run" / "log.csv").read_text().splitlines())
    assert [row[0] for row in rows] == ["20", "40"]
    assert dict(zip(header, rows[-1], strict=True))["hull"] == "0.75"


def test_the_moving_average_soon_forgets_its_start() -> None:
    blend = moving_average(0.5)
    average, current = torch.zeros(1), torch.ones(1)
    blend([average], [current], 0)
    assert average.item() == pytest.approx(0.9)
    average.zero_()
    blend([average], [current], 1000)
    assert average.item() == pytest.approx(0.5)
    counts = torch.zeros(1, dtype=torch.long)
    blend([counts], [torch.tensor([7])], 0)
    assert counts.item() == 7
