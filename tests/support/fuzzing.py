"""Inputs that nobody would write on purpose: seeds with a few edits, as many as there is time for."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT

CORPUS: Final = ROOT / "tests" / "fuzz" / "corpus"
"""A folder for each target: inputs that once failed. They are tried first, for good."""

EXAMPLES: Final = 20
"""Edited inputs of a target in an ordinary run, the same ones each time."""

_SIZES: Final = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@st.composite
def edited(draw: st.DrawFn, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One of the seeds after one to six edits: bytes changed, deleted or repeated, the rest cut off, a size set to an
    extreme, a token inserted.
    """
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(1, 64)))
        kind = draw(st.sampled_from(("change", "cut", "double", "truncate", "size", "token")))
        if kind == "change":
            data[start:end] = draw(st.binary(max_size=16))
        elif kind == "cut":
            del data[start:end]
        elif kind == "double":
            data[end:end] = data[start:end] * draw(st.sampled_from((1, 2, 50)))
        elif kind == "truncate":
            del data[start:]
        elif kind == "size":
            data[start : start + 4] = struct.pack(">I", draw(st.sampled_from(_SIZES)))
        elif tokens:
            data[start:start] = draw(st.sampled_from(tokens))
    return bytes(data)


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`fuzz(target, seeds, check, tokens)` calls `check` with the kept inputs of the target, the seeds, and edited ones
    for `--fuzz-seconds`; without that option, with `EXAMPLES`. An input for which it raises is shown, made small.
    """
    seconds: float = request.config.getoption("--fuzz-seconds")

    def run(target: str, seeds: Sequence[bytes], check: Callable[[bytes], None], tokens: Sequence[bytes] = ()) -> None:
        for known in (*_kept(target), *seeds):
            check(known)

        def try_edited(data: bytes) -> None:
            check(data)

        within = settings(
            max_examples=500 if seconds else EXAMPLES,
            derandomize=not seconds,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        end = time.monotonic() + seconds
        while True:
            within(given(edited(seeds, tokens))(try_edited))()
            if time.monotonic() >= end:
                break

    return run


def _kept(target: str) -> list[bytes]:
    folder: Path = CORPUS / target
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
