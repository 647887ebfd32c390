"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable


def full_jitter(failures: int, first: float, longest: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait before the next try: drawn evenly from 0 to a step.

    The step is `first` seconds after the first failure (`failures` 0) and doubles with each further one, up to
    `longest`. Drawing all of the wait keeps many that failed at once from coming back at once ("full jitter": Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). chance: draws evenly from 0..1.
    """
    return chance() * min(longest, first * 2.0 ** min(failures, _MOST_DOUBLINGS))


_MOST_DOUBLINGS = 60
"""More of them than any wait has; a float holds them whatever the number of failures."""
