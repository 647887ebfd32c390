"""Where a step's time goes: the parts add up, and the process is set up for training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamwatch.training.profile import profile
from streamwatch.training.recipe import Recipe
from streamwatch.training.stages import measured_stages, stage
from streamwatch.training.trainer import Trainer
from tests.support.face_datasets import make_data, tiny_recipe


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_stage_inside_another_counts_for_itself_alone() -> None:
    with stage("outside"):
        spin(0.01)
    with measured_stages() as times, stage("outer"):
        spin(0.02)
        for _ in range(2):
            with stage("inner"):
                spin(0.04)
    assert set(times.cpu) == {"outer", "inner"}
    assert times.count == {"outer": 1, "inner": 2}
    assert times.cpu["inner"] == pytest.approx(0.08, rel=0.25)
    assert times.cpu["outer"] == pytest.approx(0.02, rel=0.5)
    assert times.wall["outer"] + times.wall["inner"] >= 0.1


def test_training_takes_denormal_numbers_for_zero_on_every_thread() -> None:
    script = """
from streamwatch.training.process import prepare_process
prepare_process()
import os, torch
torch.set_num_threads(2)
print(os.environ["OMP_WAIT_POLICY"], int((torch.full((1 << 20,), 1e-30) * 1e-10).count_nonzero()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "PASSIVE 0\n", done.stderr


@pytest.mark.slow
def test_a_profile_names_every_stage_and_needs_steps_enough(tmp_path: Path) -> None:
    root, cache = make_data(tmp_path)
    values = tiny_recipe(root)
    values["optimisation"] = {**values["optimisation"], "steps": 10, "pairs": 2}
    recipe = Recipe.model_validate(values)
    trainer = Trainer(recipe, tmp_path / "run", Path("unused"), cache=cache)
    with pytest.raises(ValueError, match="takes 16 steps, and the recipe has 10"):
        profile(trainer, 5)
    found = profile(trainer, 2)
    names = {cost.name for cost in found.stages}
    assert {"reading", "degrading", "cutting", "forward", "backward", "optimiser", "averaging"} <= names
    assert any(name.startswith("forging: ") or name == "comparing" for name in names)
    assert sum(cost.share for cost in found.stages) == pytest.approx(1)
    assert [cost.cpu_ms for cost in found.stages] == sorted((cost.cpu_ms for cost in found.stages), reverse=True)
    assert found.pictures == 8
    assert found.pictures_per_second > 0
    assert 0 <= found.waiting <= 1
