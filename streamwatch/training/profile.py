"""Where the time of a training step goes, and how many pictures a second a recipe trains on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from streamwatch.training.batches import images_seen
from streamwatch.training.stages import StageTimes, measured_stages
from streamwatch.training.trainer import Trainer

WARM_UP = 3
"""Steps before the clock runs: the first ones allocate, and fork the processes."""


@dataclass(frozen=True, slots=True)
class TrainingStageCost:
    """One stage. Milliseconds per picture: of the clock, and of CPU time on all cores. share: of all CPU time."""

    name: str
    wall_ms: float
    cpu_ms: float
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured.

    stages: of steps whose pairs are prepared in the same process, dearest first. pictures: that these are of.
    pictures_per_second, waiting: of steps as the recipe takes them, and the share of the time in which they wait for
    the processes that prepare pairs.
    """

    stages: tuple[TrainingStageCost, ...]
    pictures: int
    pictures_per_second: float
    waiting: float


def profile(trainer: Trainer, steps: int) -> Profile:
    """Take `steps` steps twice: with pairs prepared in this process, then with the recipe's processes beside it.

    The trainer is used up: its steps count, and nothing is saved. Raises ValueError where the recipe has too few steps.
    """
    first, last = trainer.state.step, trainer.recipe.optimisation.steps
    if last - first < 2 * (steps + WARM_UP):
        raise ValueError(f"profiling takes {2 * (steps + WARM_UP)} steps, and the recipe has {last - first} left")
    each = images_seen(trainer.recipe, 1)
    alone = trainer.steps(workers=0)
    _take(alone, WARM_UP)
    with measured_stages() as times:
        _take(alone, steps)
    together = trainer.steps()
    _take(together, WARM_UP)
    with measured_stages() as beside:
        started = time.perf_counter()
        _take(together, steps)
        seconds = time.perf_counter() - started
    return Profile(
        _costs(times, steps * each),
        steps * each,
        steps * each / seconds,
        beside.wall["waiting for pairs"] / seconds,
    )


def _take(steps: Iterator[dict[str, float]], count: int) -> None:
    for _ in islice(steps, count):
        pass


def _costs(times: StageTimes, pictures: int) -> tuple[TrainingStageCost, ...]:
    total = sum(times.cpu.values())
    costs = [
        TrainingStageCost(name, 1000 * times.wall[name] / pictures, 1000 * cpu / pictures, cpu / total)
        for name, cpu in times.cpu.items()
    ]
    return tuple(sorted(costs, key=lambda cost: -cost.cpu_ms))
