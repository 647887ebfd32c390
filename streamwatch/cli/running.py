"""What `scan` and `watch` share: options, settings from them, a clean stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer

from streamwatch.cli import common
from streamwatch.config import LogSettings, Settings
from streamwatch.records import Label

INTERRUPTED = 130

STYLES = {
    Label.FAKE: "bold red",
    Label.REAL: "green",
    Label.INCONCLUSIVE: "yellow",
    Label.NO_FACE: "dim",
    Label.ERROR: "magenta",
}

PipelineOption = Annotated[
    str, typer.Option("--pipeline", metavar="NAME|FILE", help="archive, live, forensic, or a YAML file.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FILE", help="Registered detector, or .safetensors file."),
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"] | None, typer.Option("--device", help="Where the detector runs.")
]

AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Ray cluster to join; default: from the settings."),
]


def settings(
    config: Path | None,
    pipeline: str,
    *,
    store: str | None,
    model: str | None,
    device: str | None,
    address: str | None = None,
    workers: int | None = None,
    triage: bool | None = None,
    log: LogSettings | None = None,
) -> Settings:
    """The settings of file, pipeline and environment, with the options that were given on top. log: in place of what
    they say of it.
    """
    given: dict[str, Any] = {
        "store": {"url": store},
        "detector": {"model": model, "device": device},
        "engine": {"workers": workers, "address": address},
        "sampling": {"triage": triage},
        "log": {} if log is None else log.model_dump(),
    }
    overrides = {
        section: {key: value for key, value in values.items() if value is not None} for section, values in given.items()
    }
    return common.read_settings(config, pipeline, overrides)


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Let SIGTERM end the work as an interrupt from the keyboard does: by a KeyboardInterrupt.

    Yields what raises it again if there was one. To be called now and then: Python loses an exception that a signal
    raises while a finaliser runs.
    """
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def drained() -> Iterator[threading.Event]:
    """An event that SIGTERM or an interrupt from the keyboard sets; the second one interrupts."""
    over = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if over.is_set():
            raise KeyboardInterrupt
        over.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def score(value: float | None) -> str:
    """`0.97`, or a dash."""
    return "–" if value is None else f"{value:.2f}"
