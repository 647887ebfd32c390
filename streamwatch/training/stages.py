"""Where a step's time goes: parts of the work name themselves, and a profile adds up what each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class StageTimes:
    """Wall seconds and CPU seconds of this process by stage; a stage inside another counts for itself alone."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, wall: float, cpu: float, count: int = 0) -> None:
        self.wall[name] = self.wall.get(name, 0.0) + wall
        self.cpu[name] = self.cpu.get(name, 0.0) + cpu
        self.count[name] = self.count.get(name, 0) + count


_active: StageTimes | None = None
_open: list[str] = []


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time the block under `name` while `measured_stages` is open; costs nothing to speak of otherwise."""
    times = _active
    if times is None:
        yield
        return
    _open.append(name)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        _open.pop()
        times.add(name, wall, cpu, 1)
        if _open:
            times.add(_open[-1], -wall, -cpu)


@contextmanager
def measured_stages() -> Iterator[StageTimes]:
    """Collect the times of all stages that run in this process meanwhile."""
    global _active
    before, _active = _active, StageTimes()
    try:
        yield _active
    finally:
        _active = before
