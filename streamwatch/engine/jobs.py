"""Which input comes next, with the hash of its content, read ahead of its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from streamwatch.errors import SourceError
from streamwatch.sources import content_sha256, is_url, redact


@dataclass(slots=True)
class Job:
    """One input on its way. `sha256` is None for a URL. `failure` says why its content could not be read."""

    source: str
    sha256: str | None = None
    failure: SourceError | None = None
    attempts: int = 0
    alone: bool = False
    """Not to be told by the result of a copy."""

    @property
    def name(self) -> str:
        """The input with its credentials masked."""
        return redact(self.source)


class Jobs:
    """Inputs in their order, hashed on a thread `ahead` of being asked for; those put back come last."""

    def __init__(self, inputs: Iterable[str], ahead: int) -> None:
        self._inputs = iter(inputs)
        self._ahead = ahead
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hash")
        self._hashing: deque[Future[Job]] = deque()
        self._again: deque[Job] = deque()

    def next(self) -> Job | None:
        """The next input that is ready; None where there is none at the moment."""
        self._hash_ahead()
        if self._hashing and self._hashing[0].done():
            return self._hashing.popleft().result()
        if not self._hashing and self._again:
            return self._again.popleft()
        return None

    def wait(self, seconds: float) -> None:
        """Wait for the next input, at most so long."""
        if self._hashing:
            wait([self._hashing[0]], seconds)

    def put_back(self, job: Job) -> None:
        """Have an input come again."""
        self._again.append(job)

    def close(self) -> None:
        """Stop reading ahead."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _hash_ahead(self) -> None:
        while len(self._hashing) < self._ahead and (source := next(self._inputs, None)) is not None:
            self._hashing.append(self._thread.submit(_job, source))


def _job(source: str) -> Job:
    if is_url(source):
        return Job(source)
    try:
        return Job(source, content_sha256(Path(source)))
    except SourceError as error:
        return Job(source, failure=error)
