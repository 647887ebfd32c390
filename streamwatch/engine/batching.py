"""Gathers the requests of many workers into batches for one model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamwatch.engine.scoring import Scores
from streamwatch.errors import DetectorError

COMPANY = 1.0
"""Seconds after its last request or answer during which a client is expected to send another one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    client: str
    crops: NDArray[np.uint8]
    answer: asyncio.Future[Scores]


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Work done so far; `shared` batches held crops of more than one client."""

    requests: int = 0
    batches: int = 0
    faces: int = 0
    shared: int = 0


class MicroBatcher:
    """Batches of up to `max_batch` faces, made of whole requests in order of arrival.

    A batch leaves as soon as it is full, or every client that is expected to send (see `COMPANY`) has done
    so, or the oldest request has waited for `max_wait` seconds. A lone client therefore never waits. While
    `lanes` batches are being scored, requests gather.

    score: scores N×S×S×3 crops; runs on `executor`, so that the event loop stays free. Where it raises
    DetectorError on a batch of several requests, each of them is scored alone, and only those that fail again
    get the error.
    """

    def __init__(
        self,
        score: Callable[[NDArray[np.uint8]], Scores],
        executor: Executor,
        *,
        max_batch: int,
        max_wait: float,
        lanes: int = 1,
    ) -> None:
        self._score = score
        self._executor = executor
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._lanes = asyncio.Semaphore(lanes)
        self._requests: deque[_Request] = deque()
        self._last_seen: dict[str, float] = {}
        self._arrived = asyncio.Event()
        self._gatherer: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.counts = BatchCounts()

    async def submit(self, client: str, crops: NDArray[np.uint8]) -> Scores:
        """Score the crops of one client. Raises DetectorError."""
        loop = asyncio.get_running_loop()
        request = _Request(client, crops, loop.create_future())
        self._last_seen[client] = loop.time()
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
        deadline = loop.time() + self._max_wait
        while not self._complete(loop.time()):
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                return

    def _complete(self, now: float) -> bool:
        self._last_seen = {client: seen for client, seen in self._last_seen.items() if now - seen <= COMPANY}
        waiting = {request.client for request in self._requests}
        faces = sum(len(request.crops) for request in self._requests)
        return faces >= self._max_batch or waiting >= self._last_seen.keys()

    def _take(self) -> list[_Request]:
        batch = [self._requests.popleft()]
        faces = len(batch[0].crops)
        shape = batch[0].crops.shape[1:]
        while self._requests and self._requests[0].crops.shape[1:] == shape:
            if faces + len(self._requests[0].crops) > self._max_batch:
                break
            batch.append(self._requests.popleft())
            faces += len(batch[-1].crops)
        return batch

    async def _run(self, batch: list[_Request]) -> None:
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
            self._last_seen[request.client] = now
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
        loop = asyncio.get_running_loop()
        parts = []
        for start in range(0, len(crops), self._max_batch):
            piece = crops[start : start + self._max_batch]
            parts.append(await loop.run_in_executor(self._executor, self._score, piece))
        scores = join(parts)
        before = self.counts
        self.counts = BatchCounts(
            requests=before.requests + len(batch),
            batches=before.batches + len(parts),
            faces=before.faces + len(crops),
            shared=before.shared + (len({request.client for request in batch}) > 1),
        )
        start = 0
        for request in batch:
            stop = start + len(request.crops)
            if not request.answer.done():
                request.answer.set_result(scores.part(start, stop))
            start = stop


def _fail(request: _Request, error: BaseException) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def join(parts: list[Scores]) -> Scores:
    """One behind the other."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.masks for part in parts if part.masks is not None]
    return Scores(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate(masks) if masks else None,
    )
