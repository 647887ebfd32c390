"""Finds processes of a Ray cluster on this machine, and kills them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path


class Killer:
    """While it is entered, kills -9 processes of this cluster that `wanted` picks, at most `times`."""

    def __init__(self, wanted: Callable[[int], bool], times: int) -> None:
        self._wanted = wanted
        self._times = times
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.killed: list[int] = []

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while len(self.killed) < self._times and not self._done.wait(0.01):
            for process in descendants(os.getpid()):
                if process not in self.killed and self._wanted(process):
                    os.kill(process, signal.SIGKILL)
                    self.killed.append(process)
                    break


def descendants(process: int) -> Iterator[int]:
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return
    for child in children:
        yield child
        yield from descendants(child)


def has_open(path: str) -> Callable[[int], bool]:
    def check(process: int) -> bool:
        try:
            return any(str(link.readlink()) == path for link in Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            return False

    return check


def is_actor(name: str) -> Callable[[int], bool]:
    def check(process: int) -> bool:
        try:
            return Path(f"/proc/{process}/cmdline").read_bytes().startswith(f"ray::{name}".encode())
        except OSError:
            return False

    return check


def is_named(*words: str) -> Callable[[int], bool]:
    """Whether one of the words is in the command line of a process."""

    def check(process: int) -> bool:
        try:
            line = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return any(word in line for word in words)

    return check
