"""What can go wrong, as types.

    StreamwatchError
    ├── ConfigError            a setting is unknown, missing or out of range; names the key and the fix
    ├── SourceError            an input cannot be used; names the path or URL (credentials masked)
    │   ├── SourceNotFound     no such file, or the server says there is none
    │   ├── SourceRefused      connection refused, or the scheme is not allowed
    │   │   ├── SourceUnauthorized  the server wants other credentials
    │   │   └── SourceUntrusted     no encrypted connection (TLS) could be agreed on
    │   ├── SourceTimeout      nothing came within the open or read timeout
    │   ├── SourceEnded        the other side closed the connection
    │   ├── SourceUnreadable   not a video, damaged beyond the first frame, no video stream, zero bytes
    │   └── SourceTooLarge     more pixels than `decode.max_pixels`
    ├── WeightsError           a checkpoint is missing, of the wrong kind, or fails its digest
    ├── TrainingDiverged       gradients stay infinite or NaN
    ├── DetectorError          the model failed on a batch of crops
    │   └── DetectorExhausted  for lack of memory
    ├── StoreError             the store cannot be reached, or its schema is not the one this version needs
    │   └── StoreDeadlock      PostgreSQL ended a transaction that waited for one that waited for it
    ├── JobCancelled           somebody cancelled the job that a scan works on
    ├── ClusterError           Ray could not be started on this machine
    ├── WorkerLost             the process that worked on a source died
    └── LibraryMissing         a package or system library that a command needs cannot be loaded

A problem names the file, key or URL; URLs have their credentials masked: build messages with
`streamwatch.sources.redact`.
"""

from __future__ import annotations


class StreamwatchError(Exception):
    """Root of all errors that streamwatch raises on purpose.

    problem: what is wrong. fix: what to do about it, None where the problem says it all. The text is `problem; fix`.
    """

    def __init__(self, problem: str, fix: str | None = None) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return self.problem if self.fix is None else f"{self.problem}; {self.fix}"


class ConfigError(StreamwatchError):
    """A setting is unknown, missing or out of range."""


class SourceError(StreamwatchError):
    """An input cannot be used."""


class SourceNotFound(SourceError):
    """No such file, or the server says that there is none."""


class SourceRefused(SourceError):
    """The connection was refused, or the scheme is not allowed."""


class SourceUnauthorized(SourceRefused):
    """The server wants other credentials."""


class SourceUntrusted(SourceRefused):
    """No encrypted connection (TLS) could be agreed on."""


class SourceTimeout(SourceError):
    """Nothing came within the open or read timeout."""


class SourceEnded(SourceError):
    """The other side closed the connection."""


class SourceUnreadable(SourceError):
    """Not a video, no video stream in it, or damaged before the first frame."""


class SourceTooLarge(SourceError):
    """The picture has more pixels than `decode.max_pixels` allows."""


class WeightsError(StreamwatchError):
    """A checkpoint is missing, of the wrong kind, or fails its digest."""


class TrainingDiverged(StreamwatchError):
    """Gradients stay infinite or NaN: the run cannot go on with its settings."""


class DetectorError(StreamwatchError):
    """The model failed on a batch of crops."""


class DetectorExhausted(DetectorError):
    """The model ran out of memory on a batch of crops; a smaller one may do."""


class JobCancelled(StreamwatchError):
    """Somebody cancelled the job that a scan works on."""


class StoreError(StreamwatchError):
    """The store cannot be reached, or its schema is not the one that this version needs."""


class StoreDeadlock(StoreError):
    """PostgreSQL ended a transaction because it and another one waited for each other; the same one may go again."""


class ClusterError(StreamwatchError):
    """Ray could not be started on this machine."""


class WorkerLost(StreamwatchError):
    """The process that worked on a source died."""


class LibraryMissing(StreamwatchError):
    """A package or system library that a command needs cannot be loaded."""
