"""Which input comes next, with the hash of its content, read ahead of its turn."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from queue import SimpleQueue

from streamwatch.errors import SourceError
from streamwatch.records import Content, Metadata
from streamwatch.sources import Input, Location, content_sha256
from streamwatch.sources.content import Stamp, content_stamp, settled

THREADS = 2
"""Files that are read at once to be hashed."""


@dataclass(slots=True)
class QueuedInput:
    """One input on its way. number: its place in the scan, from 1. `sha256` is None for a URL that is no object.
    `failure` says why its content could not be read. stamp: of its content before that was read; None without one.
    """

    source: Location
    number: int
    metadata: Metadata = field(default_factory=dict)
    sha256: str | None = None
    failure: SourceError | None = None
    stamp: Stamp | None = None

    @property
    def changed(self) -> bool:
        """Whether a file is another one by now than the one that was hashed."""
        return self.stamp is not None and not self.source.is_url and content_stamp(self.source) != self.stamp


class InputQueue:
    """Inputs, the largest first, so that none is left over for the end that takes long; URLs, of which that is not
    known, before them. Hashed on threads `ahead` of being asked for.

    known: contents by their keys; what has not changed since is not read.
    """

    def __init__(self, inputs: Sequence[Input], ahead: int, known: Mapping[str, Content] | None = None) -> None:
        self._inputs = iter(sorted(enumerate(inputs, start=1), key=lambda numbered: _size(numbered[1]), reverse=True))
        self.ahead = ahead
        self._known = known or {}
        self._jobs: SimpleQueue[tuple[QueuedInput, Future[None]] | None] = SimpleQueue()
        self._closed = threading.Event()
        for number in range(THREADS):
            # Daemons, which the end of the program does not wait for: a read from a dead file server may never end.
            threading.Thread(target=self._hash_jobs, name=f"hash {number}", daemon=True).start()
        self._hashing: deque[tuple[QueuedInput, Future[None]]] = deque()
        self._fresh: deque[Content] = deque()

    def next(self) -> QueuedInput | None:
        """The next input that is ready; None where there is none at the moment."""
        self._hash_ahead()
        if self._hashing and self._hashing[0][1].done():
            job, done = self._hashing.popleft()
            done.result()
            return job
        return None

    def wait(self, seconds: float) -> None:
        """Wait for the next input, at most so long; so long where none is on its way."""
        if self._hashing:
            wait([self._hashing[0][1]], seconds)
        else:
            time.sleep(seconds)

    def take_fresh(self) -> list[Content]:
        """Contents that were not known, since the last call."""
        return [self._fresh.popleft() for _ in range(len(self._fresh))]

    def close(self) -> None:
        """Stop reading ahead."""
        self._closed.set()
        for _ in range(THREADS):
            self._jobs.put(None)

    def _hash_ahead(self) -> None:
        while len(self._hashing) < self.ahead and (numbered := next(self._inputs, None)) is not None:
            number, item = numbered
            job = QueuedInput(item.source, number, item.metadata, failure=item.failure)
            queued: tuple[QueuedInput, Future[None]] = job, Future()
            self._hashing.append(queued)
            self._jobs.put(queued)

    def _hash_jobs(self) -> None:
        while (queued := self._jobs.get()) is not None and not self._closed.is_set():
            job, done = queued
            try:
                self._hash(job)
            except CancelledError:
                return
            except BaseException as error:  # noqa: BLE001 - for the thread that takes the input
                done.set_exception(error)
            else:
                done.set_result(None)

    def _hash(self, job: QueuedInput) -> None:
        if job.failure is not None or not job.source.has_content:
            return
        key = job.source.absolute().text
        try:
            job.stamp = stamp = content_stamp(job.source)
            known = self._known.get(key)
            if known is not None and (known.bytes, known.modified_ns) == stamp:
                job.sha256 = known.sha256
                return
            job.sha256 = content_sha256(job.source, self._closed.is_set)
            if stamp is not None and stamp == content_stamp(job.source) and settled(stamp) and _is_text(key):
                self._fresh.append(Content(key, *stamp, job.sha256))
        except SourceError as error:
            job.failure = error


def paths_of(inputs: Sequence[Input]) -> list[str]:
    """The keys of those that have a content of their own."""
    paths = (item.source.absolute().text for item in inputs if item.source.has_content)
    return [path for path in paths if _is_text(path)]


def _size(item: Input) -> float:
    """Bytes."""
    if item.failure is not None:
        return 0
    if item.source.is_url:
        return math.inf
    stamp = content_stamp(item.source)
    return 0 if stamp is None else stamp[0]


def _is_text(path: str) -> bool:
    """Whether a database can hold the path, which may be any bytes."""
    try:
        return "\0" not in path and bool(path.encode())
    except UnicodeEncodeError:
        return False
