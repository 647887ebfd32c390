"""A source that is decoded in a process of its own: a decoder that hangs cannot be ended in any other way.

The two processes talk over a socket that only they hold. The URL, which may carry a password, travels over it and never
stands on a command line.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import SourceError
from streamwatch.records import Frame, FrameCounts

BEAT = 0.25
"""Most seconds between two messages while pictures come."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The first picture was decoded. duration: seconds, None where there is no end."""

    codec: str
    width: int
    height: int
    duration: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far it is: counts so far, media seconds of the newest picture, and that picture where it was sampled."""

    counts: FrameCounts
    pts: float
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The source is over; with an error, or at its end."""

    error: SourceError | None
    counts: FrameCounts


Message = Opened | Progress | Closed


@dataclass(frozen=True, slots=True)
class _Request:
    url: str
    decode: DecodeSettings
    sampling: SamplingSettings
    live: bool


class DecoderDied(Exception):
    """The process ended by itself."""


class DecodingProcess:
    """Opens one source after another, in a process of its own that `kill` ends whatever it is doing.

    It ends by itself when this process does.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import main; main()", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt from the keyboard is for the process that owns this one
                env={**os.environ, "PYTHONPATH": _search_path(), "PYTHONSAFEPATH": "1"},
            )
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, url: str, decode: DecodeSettings, sampling: SamplingSettings, *, live: bool) -> None:
        """Have it open a source as `VideoSource` does: `Opened`, `Progress`, `Closed` follow. Raises DecoderDied."""
        try:
            self._connection.send(_Request(url, decode, sampling, live))
        except OSError:
            raise DecoderDied from None

    def receive(self, timeout: float) -> Message | None:
        """The next message; None if there is none within `timeout` seconds. Raises DecoderDied."""
        try:
            if not self._connection.poll(timeout):
                return None
            message: Message = self._connection.recv()
        except (EOFError, OSError):
            raise DecoderDied from None
        return message

    def kill(self) -> None:
        """End it at once. May be called more than once."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _search_path() -> str:
    """For the new process to import this very package, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join((root, before)) if before else root


def main() -> None:
    """Serve requests on the socket whose number is the first argument, until its other end closes."""
    connection = Connection(int(sys.argv[1]))
    requests: SimpleQueue[_Request] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        while True:
            _serve(requests.get(), connection)


def _listen(connection: Connection, requests: SimpleQueue[_Request]) -> None:
    """On a thread of its own, so that this process ends with the other one even where the decoder hangs."""
    while True:
        try:
            requests.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _serve(request: _Request, connection: Connection) -> None:
    from streamwatch.sources.video import VideoSource

    counts = FrameCounts()
    try:
        with VideoSource(request.url, request.decode, request.sampling, live=request.live) as source:
            connection.send(Opened(source.codec, source.width, source.height, source.duration))
            told = time.monotonic()
            try:
                for picture in source.decoded():
                    if picture.sampled:
                        frame = Frame(
                            source.source_id, picture.index, picture.pts, picture.wall_time, picture.to_image()
                        )
                    elif time.monotonic() - told > BEAT:
                        frame = None
                    else:
                        continue
                    connection.send(Progress(source.counts, picture.pts, frame))
                    told = time.monotonic()
            finally:
                counts = source.counts
    except SourceError as error:
        connection.send(Closed(error, counts))
    else:
        connection.send(Closed(None, counts))
