"""Gathers the requests of many workers into batches for one model."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamwatch.cluster.histogram import FACES, SECONDS, Histogram
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import DetectorError, DetectorExhausted

COMPANY = 1.0
"""Seconds after its last request or answer during which a client is expected to send another one."""

REGROW = 100
"""Batches in a row that must go well before more faces are tried at once again, after memory ran out."""

SMOOTHING = 0.2
"""Weight of the newest value in the running means of scoring times and of the time between a client's requests."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    client: str
    crops: NDArray[np.uint8]
    arrived: float
    answer: asyncio.Future[ScoreArrays]


@dataclass(slots=True)
class _Client:
    """seen: when its last request or answer was. sent: when its last request was; interval: between them, seconds."""

    seen: float
    sent: float
    interval: float | None = None

    def send(self, now: float) -> None:
        gap = now - self.sent
        self.interval = gap if self.interval is None else self.interval + SMOOTHING * (gap - self.interval)
        self.seen = self.sent = now

    def due_by(self, time: float) -> bool:
        """Whether its next request may be expected by then."""
        return self.interval is None or self.sent + self.interval <= time


@dataclass(slots=True)
class BatchCounts:
    """Work done so far.

    shared: batches that held crops of more than one client. exhausted: how often memory ran out. sizes: faces in a
    batch. waits: seconds of a request before its scoring began. times: seconds that scoring a batch took.
    """

    shared: int = 0
    exhausted: int = 0
    sizes: Histogram = field(default_factory=lambda: Histogram(FACES))
    waits: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    times: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    @property
    def requests(self) -> int:
        """Requests whose scoring began."""
        return self.waits.count

    @property
    def batches(self) -> int:
        """Batches that were scored."""
        return self.sizes.count

    @property
    def faces(self) -> int:
        """Faces that were scored."""
        return int(self.sizes.total)

    @property
    def busy(self) -> float:
        """Seconds of scoring, over all lanes."""
        return self.times.total

    @classmethod
    def sum(cls, parts: Iterable[BatchCounts]) -> BatchCounts:
        """Those of several detectors together."""
        total = cls()
        for part in parts:
            total.shared += part.shared
            total.exhausted += part.exhausted
            total.sizes.add(part.sizes)
            total.waits.add(part.waits)
            total.times.add(part.times)
        return total


class MicroBatcher:
    """Batches of up to `max_batch` faces, made of whole requests: one of each client before a second one of any, in
    order of arrival.

    A batch leaves as soon as it is full, or the oldest request has waited for the window: `max_wait` seconds, or less
    where a batch is scored in less; or as soon as all clients have sent whose next request is due within the window,
    by the rate at which each of them sends. A lone client therefore never waits, nor do streams that are out of step.
    While `lanes` batches are being scored, requests gather.

    score: scores N×S×S×3 crops; runs on `executor`, so that the event loop stays free. Where it raises
    DetectorError on a batch of several requests, each of them is scored alone, and only those that fail again
    get the error. Where it raises DetectorExhausted, half as many faces are scored at once from then on, and more again
    after `REGROW` batches.
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
        self._score = score
        self._executor = executor
        self._max_batch = self._room = max_batch
        self._max_wait = max_wait
        self._lanes = asyncio.Semaphore(lanes)
        self._requests: deque[_Request] = deque()
        self._clients: dict[str, _Client] = {}
        self._arrived = asyncio.Event()
        self._gatherer: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._typical: float | None = None
        self._good = 0
        self.counts = BatchCounts()

    @property
    def room(self) -> int:
        """Faces that are scored at once at present."""
        return self._room

    async def submit(self, client: str, crops: NDArray[np.uint8]) -> ScoreArrays:
        """Score the crops of one client. Raises DetectorError."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        request = _Request(client, crops, now, loop.create_future())
        if client in self._clients:
            self._clients[client].send(now)
        else:
            self._clients[client] = _Client(now, now)
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
        return self._max_wait if self._typical is None else min(self._max_wait, self._typical)

    def _complete(self, now: float, deadline: float) -> bool:
        self._clients = {name: client for name, client in self._clients.items() if now - client.seen <= COMPANY}
        waiting = {request.client for request in self._requests}
        faces = sum(len(request.crops) for request in self._requests)
        expected = {name for name, client in self._clients.items() if client.due_by(deadline)}
        return now >= deadline or faces >= self._room or waiting >= expected

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
            if faces + len(request.crops) > self._room:
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
            if request.client in self._clients:
                self._clients[request.client].seen = now
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
        scores = join(await self._score_all(crops))
        self.counts.shared += len({request.client for request in batch}) > 1
        start = 0
        for request in batch:
            stop = start + len(request.crops)
            if not request.answer.done():
                request.answer.set_result(scores.part(start, stop))
            start = stop

    async def _score_all(self, crops: NDArray[np.uint8]) -> list[ScoreArrays]:
        """In pieces of as many as there is room for. Raises DetectorError, also where there is no room for one."""
        loop = asyncio.get_running_loop()
        parts: list[ScoreArrays] = []
        start = 0
        while start < len(crops):
            piece = crops[start : start + self._room]
            begun = loop.time()
            try:
                parts.append(await loop.run_in_executor(self._executor, self._score, piece))
            except DetectorExhausted:
                self.counts.exhausted += 1
                if len(piece) == 1:
                    raise
                self._room, self._good = max(1, len(piece) // 2), 0
                continue
            self._note(len(piece), loop.time() - begun)
            start += len(piece)
        return parts

    def _note(self, faces: int, seconds: float) -> None:
        self.counts.sizes.observe(faces)
        self.counts.times.observe(seconds)
        self._typical = seconds if self._typical is None else self._typical + SMOOTHING * (seconds - self._typical)
        self._good += 1
        if self._good >= REGROW and self._room < self._max_batch:
            self._room, self._good = min(self._max_batch, self._room * 2), 0


def _fail(request: _Request, error: BaseException) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def join(parts: list[ScoreArrays]) -> ScoreArrays:
    """One behind the other."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.masks for part in parts if part.masks is not None]
    return ScoreArrays(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate(masks) if masks else None,
    )
