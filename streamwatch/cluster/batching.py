"""Gathers the requests of many workers into batches for one model."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.cluster.batch_scorer import BatchScorer
from streamwatch.cluster.senders import Senders
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import DetectorError


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    client: str
    crops: NDArray[np.uint8]
    arrived: float
    answer: asyncio.Future[ScoreArrays]


class MicroBatcher:
    """Batches of up to `max_batch` faces, made of whole requests: one of each client before a second one of any, in
    order of arrival.

    A batch leaves as soon as it is full, or the oldest request has waited for the window: `max_wait` seconds, or less
    where a batch is scored in less; or as soon as all clients have sent whose next request is due within the window,
    by the rate at which each of them sends. A lone client therefore never waits, nor do streams that are out of step.
    While `lanes` batches are being scored, requests gather.

    score: scores N×S×S×3 crops on `executor`, see `BatchScorer`. Where it raises DetectorError on a batch of several
    requests, each of them is scored alone, and only those that fail again get the error.
    """

    def __init__(
        self,
        score: Callable[[NDArray[np.uint8]], ScoreArrays],
        executor: Executor,
        *,
        max_batch: int,
        max_wait: float,
        lanes: int = 1,
    ) -> None:
        self.counts = BatchCounts()
        self._scorer = BatchScorer(score, executor, max_batch, self.counts)
        self._max_wait = max_wait
        self._lanes = asyncio.Semaphore(lanes)
        self._requests: deque[_Request] = deque()
        self._senders = Senders()
        self._arrived = asyncio.Event()
        self._gatherer: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """Faces that are scored at once at present."""
        return self._scorer.room

    async def submit(self, client: str, crops: NDArray[np.uint8]) -> ScoreArrays:
        """Score the crops of one client. Raises DetectorError."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        request = _Request(client, crops, now, loop.create_future())
        self._senders.sent(client, now)
        self._requests.append(request)
        self._arrived.set()
        if self._gatherer is None or self._gatherer.done():
            self._gatherer = loop.create_task(self._gather())
        return await request.answer

    async def _gather(self) -> None:
        while self._requests:
            await self._lanes.acquire()
            await self._wait_for_company()
            batch = self._take()
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(partial(self._ran, batch))

    async def _wait_for_company(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = self._requests[0].arrived + self._window()
        while not self._complete(loop.time(), deadline):
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                return

    def _window(self) -> float:
        """Seconds that the oldest request may wait."""
        typical = self._scorer.typical
        return self._max_wait if typical is None else min(self._max_wait, typical)

    def _complete(self, now: float, deadline: float) -> bool:
        waiting = {request.client for request in self._requests}
        faces = sum(len(request.crops) for request in self._requests)
        expected = self._senders.due(now, deadline)
        return now >= deadline or faces >= self.room or waiting >= expected

    def _take(self) -> list[_Request]:
        """The next batch, out of the queue."""
        turns: Counter[str] = Counter()
        order: list[tuple[int, int, _Request]] = []
        for place, request in enumerate(self._requests):
            order.append((turns[request.client], place, request))
            turns[request.client] += 1
        order.sort(key=lambda item: item[:2])
        first = order[0][2]
        batch, faces = [first], len(first.crops)
        for _, _, request in order[1:]:
            if request.crops.shape[1:] != first.crops.shape[1:]:
                continue
            if faces + len(request.crops) > self.room:
                break
            batch.append(request)
            faces += len(request.crops)
        taken = {id(request) for request in batch}
        self._requests = deque(request for request in self._requests if id(request) not in taken)
        return batch

    async def _run(self, batch: list[_Request]) -> None:
        now = asyncio.get_running_loop().time()
        for request in batch:
            self.counts.waits.observe(now - request.arrived)
        try:
            await self._answer(batch)
        except DetectorError as error:
            if len(batch) == 1:
                _fail(batch[0], error)
            else:
                await self._answer_apart(batch)

    def _ran(self, batch: list[_Request], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._lanes.release()
        error = task.exception()
        now = asyncio.get_running_loop().time()
        for request in batch:
            self._senders.answered(request.client, now)
            if error is not None:
                _fail(request, error)

    async def _answer_apart(self, batch: list[_Request]) -> None:
        for request in batch:
            try:
                await self._answer([request])
            except DetectorError as error:
                _fail(request, error)

    async def _answer(self, batch: list[_Request]) -> None:
        crops = batch[0].crops if len(batch) == 1 else np.concatenate([request.crops for request in batch])
        scores = await self._scorer.score(crops)
        self.counts.shared += len({request.client for request in batch}) > 1
        start = 0
        for request in batch:
            stop = start + len(request.crops)
            if not request.answer.done():
                request.answer.set_result(scores.part(start, stop))
            start = stop


def _fail(request: _Request, error: BaseException) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
