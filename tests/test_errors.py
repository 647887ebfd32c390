"""Errors: a problem and its fix, also on the other side of a process boundary."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
from ray.exceptions import RayTaskError

from streamwatch import errors
from streamwatch.errors import ConfigError, SourceRefused, StreamwatchError

PROBLEM, FIX = "clip.mp4: broken; twice", "check it; or leave it out"


def kinds(root: type[StreamwatchError] = StreamwatchError) -> Iterator[type[StreamwatchError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def fail(kind: type[StreamwatchError], fix: str | None) -> None:
    raise kind(PROBLEM, fix)


def test_problem_and_fix_are_fields_and_one_line() -> None:
    error = ConfigError(PROBLEM, FIX)
    assert (error.problem, error.fix) == (PROBLEM, FIX)
    assert str(error) == "clip.mp4: broken; twice; check it; or leave it out"
    alone = ConfigError(PROBLEM)
    assert (alone.problem, alone.fix, str(alone)) == (PROBLEM, None, PROBLEM)


def test_every_error_is_drawn_in_the_module() -> None:
    assert len(set(kinds())) > 20
    for kind in kinds():
        assert kind.__module__ == errors.__name__
        assert kind.__name__ in str(errors.__doc__)


@pytest.mark.parametrize("fix", [FIX, None])
@pytest.mark.parametrize("kind", sorted(kinds(), key=str))
def test_round_trip(kind: type[StreamwatchError], fix: str | None) -> None:
    error = kind(PROBLEM, fix)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert (copy.problem, copy.fix, str(copy)) == (PROBLEM, fix, str(error))
    carried = RayTaskError("work", "Traceback …", error).to_bytes()  # type: ignore[no-untyped-call]
    returned = RayTaskError.from_bytes(carried)  # type: ignore[no-untyped-call]
    assert type(returned.cause) is kind
    assert (returned.cause.problem, returned.cause.fix) == (PROBLEM, fix)
    raised = returned.as_instanceof_cause()
    assert isinstance(raised, kind)
    assert (raised.problem, raised.fix) == (PROBLEM, fix)


def test_from_another_process() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool, pytest.raises(SourceRefused) as caught:
        pool.submit(fail, SourceRefused, FIX).result()
    assert (caught.value.problem, caught.value.fix) == (PROBLEM, FIX)
