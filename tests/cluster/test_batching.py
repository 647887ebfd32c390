"""Micro-batching, on a clock that the tests own: nobody sleeps."""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamwatch
from streamwatch.cluster.batch_scorer import REGROW
from streamwatch.cluster.batching import MicroBatcher
from streamwatch.cluster.histogram import Histogram
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import DetectorError, DetectorExhausted
from tests.support.score_clients import scores_of


class InstantLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: where others would, its clock goes forward."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: InstantLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is to come")
        self._loop.now += max(0.0, timeout)
        return super().select(0)


class AtOnce(Executor):
    """Runs what it is given on the spot."""

    def submit(self, work: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **options))
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the future
            future.set_exception(error)
        return future


def crops(count: int, value: int = 7) -> np.ndarray:
    return np.full((count, 4, 4, 3), value, np.uint8)


Work = Callable[[MicroBatcher], Awaitable[None]]


def run_batcher(work: Work, score: Callable[[np.ndarray], ScoreArrays] = scores_of, **options: Any) -> list[int]:
    """Run `work(batcher)` and return the sizes of the batches that were scored. takes: seconds that one lasts."""
    sizes: list[int] = []
    takes = options.pop("takes", 0.0)

    def counted(batch: np.ndarray) -> ScoreArrays:
        sizes.append(len(batch))
        loop.now += takes
        return score(batch)

    async def main() -> None:
        settings = {"max_batch": 8, "max_wait": 5.0, **options}
        await asyncio.wait_for(work(MicroBatcher(counted, AtOnce(), **settings)), 10_000)

    loop = InstantLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return sizes


def test_a_lone_client_does_not_wait() -> None:
    async def work(batcher: MicroBatcher) -> None:
        for value in (1, 2, 3):
            loop = asyncio.get_running_loop()
            begin = loop.time()
            scores = await batcher.submit("a", crops(2, value))
            assert loop.time() == begin
            assert scores.logits.tolist() == [value] * 2

    assert run_batcher(work, max_wait=60.0) == [2, 2, 2]


def test_requests_of_two_clients_share_a_batch() -> None:
    async def work(batcher: MicroBatcher) -> None:
        await asyncio.gather(batcher.submit("a", crops(1)), batcher.submit("b", crops(1)))
        first, second = await asyncio.gather(batcher.submit("a", crops(2, 5)), batcher.submit("b", crops(3, 9)))
        assert first.logits.tolist() == [5] * 2
        assert second.logits.tolist() == [9] * 3
        assert batcher.counts.shared >= 1

    assert run_batcher(work)[-1] == 5


def test_a_client_that_stays_away_costs_the_waiting_time_only() -> None:
    async def work(batcher: MicroBatcher) -> None:
        await asyncio.gather(batcher.submit("a", crops(1)), batcher.submit("b", crops(1)))
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await batcher.submit("a", crops(1))
        assert loop.time() - begin == pytest.approx(0.05 + 1.0)  # waited for b, then scored

    run_batcher(work, max_wait=0.05, takes=1.0)


async def send_every(batcher: MicroBatcher, client: str, seconds: float, times: int, faces: int = 1) -> list[float]:
    """How long each answer took."""
    loop = asyncio.get_running_loop()
    waits = []
    for _ in range(times):
        begin = loop.time()
        await batcher.submit(client, crops(faces))
        waits.append(loop.time() - begin)
        await asyncio.sleep(max(0.0, begin + seconds - loop.time()))
    return waits


def test_the_window_is_no_longer_than_scoring_a_batch_takes() -> None:
    async def work(batcher: MicroBatcher) -> None:
        await asyncio.gather(batcher.submit("a", crops(1)), batcher.submit("b", crops(1)))
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await batcher.submit("a", crops(1))
        assert loop.time() - begin == pytest.approx(0.02 + 0.02)  # waited for b, then scored

    run_batcher(work, max_wait=5.0, takes=0.02)


def test_a_client_that_is_not_due_is_not_waited_for() -> None:
    """Two streams out of step: each is scored at once."""

    async def work(batcher: MicroBatcher) -> None:
        first = asyncio.create_task(send_every(batcher, "first", 0.5, 12))
        await asyncio.sleep(0.25)
        second = asyncio.create_task(send_every(batcher, "second", 0.5, 12))
        for waits in (await first, await second):
            assert max(waits[6:]) == pytest.approx(0.02)

    run_batcher(work, max_wait=0.05, takes=0.02)


def test_streams_in_step_share_every_batch() -> None:
    async def work(batcher: MicroBatcher) -> None:
        await asyncio.gather(*(send_every(batcher, f"stream-{n}", 0.5, 10) for n in range(4)))
        assert batcher.counts.shared >= 9
        assert batcher.counts.sizes.mean == pytest.approx(4.0, abs=0.5)

    run_batcher(work, max_wait=0.05, takes=0.02)


def test_a_client_with_much_to_do_takes_no_others_turn() -> None:
    """Thirty requests of one client wait when another one sends its first."""

    async def work(batcher: MicroBatcher) -> None:
        order: list[str] = []

        async def send(client: str, value: int) -> None:
            await batcher.submit(client, crops(2, value))
            order.append(client)

        busy = [asyncio.create_task(send("busy", 1)) for _ in range(30)]
        await asyncio.sleep(0)
        late = asyncio.create_task(send("late", 2))
        await asyncio.gather(*busy, late)
        assert order.index("late") < 8

    run_batcher(work, max_wait=0.05)


class Small:
    """A detector with memory for so many faces."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, batch: np.ndarray) -> ScoreArrays:
        if len(batch) > self.room:
            raise DetectorExhausted("out of memory")
        return scores_of(batch)


def test_it_scores_fewer_faces_at_once_where_memory_runs_out_and_more_again_later() -> None:
    detector = Small(3)

    async def work(batcher: MicroBatcher) -> None:
        big = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
        assert (await batcher.submit("a", big)).logits.tolist() == list(range(8))
        assert (batcher.room, batcher.counts.exhausted) == (2, 2)
        detector.room = 100
        for _ in range(REGROW):
            await batcher.submit("a", crops(2))
        assert batcher.room == 4
        for _ in range(REGROW):
            await batcher.submit("a", crops(2))
        assert batcher.room == 8
        assert batcher.counts.exhausted == 2

    sizes = run_batcher(work, score=detector)
    assert sizes[:7] == [8, 4, 2, 2, 2, 2, 2]


def test_no_room_for_a_single_face_is_an_error() -> None:
    async def work(batcher: MicroBatcher) -> None:
        with pytest.raises(DetectorExhausted):
            await batcher.submit("a", crops(4))

    assert run_batcher(work, score=Small(0)) == [4, 2, 1]


def test_counts_say_how_large_batches_were_how_long_requests_waited_and_scoring_took() -> None:
    async def work(batcher: MicroBatcher) -> None:
        for _ in range(3):
            await asyncio.gather(batcher.submit("a", crops(2)), batcher.submit("b", crops(3)))
        counts = batcher.counts
        assert (counts.requests, counts.batches, counts.faces) == (6, 3, 15)
        assert (counts.sizes.mean, counts.waits.count) == (5.0, 6)
        assert counts.busy == pytest.approx(0.12)
        assert counts.times.quantile(0.5) == pytest.approx(0.04, abs=0.011)

    run_batcher(work, takes=0.04)


def test_quantiles_of_a_histogram() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    for value in (0.5, 0.6, 1.5, 3.0):
        histogram.observe(value)
    histogram.observe(9.0)
    assert histogram.counts == [2, 1, 1, 1]
    assert histogram.mean == pytest.approx(2.92)
    assert histogram.quantile(0.4) == 1.0
    assert histogram.quantile(0.7) == pytest.approx(3.0)
    assert histogram.quantile(1.0) == 4.0
    other = Histogram((1.0, 2.0, 4.0))
    other.observe(1.0)
    histogram.add(other)
    assert histogram.counts == [3, 1, 1, 1]
    assert histogram.total == pytest.approx(15.6)


def test_batches_are_bounded_by_faces() -> None:
    async def work(batcher: MicroBatcher) -> None:
        results = await asyncio.gather(*(batcher.submit("a", crops(3, i)) for i in range(6)))
        assert [result.logits[0] for result in results] == list(range(6))

    assert all(size <= 8 for size in run_batcher(work))


def test_a_request_larger_than_a_batch_is_split() -> None:
    async def work(batcher: MicroBatcher) -> None:
        big = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
        assert (await batcher.submit("a", big)).logits.tolist() == list(range(20))

    assert run_batcher(work) == [8, 8, 4]


def test_a_failing_request_is_isolated() -> None:
    def fragile(batch: np.ndarray) -> ScoreArrays:
        if (batch == 13).any():
            raise DetectorError("unlucky")
        return scores_of(batch)

    async def work(batcher: MicroBatcher) -> None:
        results = await asyncio.gather(
            batcher.submit("a", crops(1, 5)),
            batcher.submit("b", crops(1, 13)),
            batcher.submit("c", crops(1, 6)),
            return_exceptions=True,
        )
        assert isinstance(results[1], DetectorError)
        scores = [result.logits[0] for result in results if isinstance(result, ScoreArrays)]
        assert scores == [5, 6]
        assert (await batcher.submit("b", crops(1, 1))).logits[0] == 1

    run_batcher(work, score=fragile, max_wait=0.05)


def test_crops_of_another_size_do_not_share_a_batch() -> None:
    async def work(batcher: MicroBatcher) -> None:
        small = np.full((1, 2, 2, 3), 3, np.uint8)
        results = await asyncio.gather(batcher.submit("a", crops(1, 5)), batcher.submit("b", small))
        assert [result.logits[0] for result in results] == [5, 3]

    assert run_batcher(work, max_wait=0.05) == [1, 1]


def test_a_fault_of_the_model_is_told_to_all_who_wait() -> None:
    def broken(batch: np.ndarray) -> ScoreArrays:
        raise ZeroDivisionError("fault")

    async def work(batcher: MicroBatcher) -> None:
        for _ in range(2):
            waiting = (batcher.submit("a", crops(1)), batcher.submit("b", crops(1)))
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [ZeroDivisionError] * 2

    run_batcher(work, score=broken, max_wait=0.05)


STARVED = """
import asyncio, resource, sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from streamwatch.detectors import load_detector
from streamwatch.cluster.batching import MicroBatcher
from streamwatch.pipeline.scoring import score_crops

detector = load_detector(Path(sys.argv[1]), "cpu", threads=1, precision="fp32")
side = detector.input_size
crops = np.random.default_rng(1).integers(0, 256, (16, side, side, 3), np.uint8)
thread = ThreadPoolExecutor(1)
one_by_one = [thread.submit(score_crops, detector, crops[n : n + 1]).result().logits[0] for n in range(16)]

async def work():
    batcher = MicroBatcher(partial(score_crops, detector), thread, max_batch=16, max_wait=0.01)
    await batcher.submit("warm", crops[:1])
    taken = next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]
    resource.setrlimit(resource.RLIMIT_AS, (int(taken) * 1024 + (2 << 20), resource.RLIM_INFINITY))
    scores = await batcher.submit("a", crops)
    print(batcher.counts.exhausted, batcher.room, float(np.abs(scores.logits - one_by_one).max()))

asyncio.run(work())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_memory_that_really_runs_out_costs_no_score() -> None:
    weights = Path(streamwatch.__file__).parent / "weights" / "m2tr-lite.safetensors"
    command = [sys.executable, "-c", STARVED, str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    exhausted, room, difference = done.stdout.split()
    assert int(exhausted) > 0
    assert int(room) < 16
    assert float(difference) < 1e-3
