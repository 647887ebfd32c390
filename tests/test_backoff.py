"""Waits before another try: exponential steps, drawn in full."""

from __future__ import annotations

import random

import pytest

from streamwatch.backoff import full_jitter


def test_the_step_doubles_up_to_the_longest_however_many_failures() -> None:
    steps = [full_jitter(failures, 0.5, 4.0, lambda: 1.0) for failures in (0, 1, 2, 3, 4, 100_000)]
    assert steps == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_the_wait_is_drawn_evenly_from_nothing_to_the_step() -> None:
    assert full_jitter(3, 0.5, 4.0, lambda: 0.0) == 0
    assert full_jitter(3, 0.5, 4.0, lambda: 0.25) == 1.0
    waits = [full_jitter(1, 1.0, 10.0, random.Random(seed).random) for seed in range(2000)]
    assert max(waits) <= 2.0
    assert sum(waits) / len(waits) == pytest.approx(1.0, abs=0.05)


def test_the_same_draws_give_the_same_waits() -> None:
    first, second = ([full_jitter(n, 0.1, 5.0, random.Random(7).random) for n in range(9)] for _ in range(2))
    assert first == second
