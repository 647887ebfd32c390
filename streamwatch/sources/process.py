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
import traceback
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import SourceError
from streamwatch.records import EvidenceClip, Frame, FrameCounts
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.location import Location
from streamwatch.sources.recorder import Recording

if TYPE_CHECKING:
    from streamwatch.sources.video import VideoSource

BEAT = 0.25
"""Most seconds between two messages while pictures come."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The first picture was decoded. duration: seconds, None where there is no end. video_tracks: see `VideoSource`."""

    codec: str
    width: int
    height: int
    duration: float | None
    video_tracks: int = 1


@dataclass(frozen=True, slots=True)
class WaitsForKeyFrame:
    """Packets come, but none yet from which pictures can be decoded. It is said again while that goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodingProgress:
    """How far it is: counts so far, media seconds of the newest picture, and that picture where it was sampled."""

    counts: FrameCounts
    pts: float
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The source is over; with an error, or at its end."""

    error: SourceError | None
    counts: FrameCounts


@dataclass(frozen=True, slots=True)
class _Crashed:
    """The process ends after an unexpected error."""

    traceback: str


Message = Opened | WaitsForKeyFrame | DecodingProgress | Closed | EvidenceClip


@dataclass(frozen=True, slots=True)
class DecodeRate:
    """How much is decoded. fps: samples per second. spare: whether pictures that no other refers to are skipped."""

    fps: float
    spare: bool = False


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """For an alert, what came between these instants; cut once the second one is over, or the source."""

    alert_id: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class _Request:
    source: Location
    decode: DecodeSettings
    sampling: SamplingSettings
    live: bool
    recording: Recording | None


_Order = DecodeRate | ClipOrder


class DecoderDied(Exception):
    """The process ended by itself. traceback: of the error that ended it, empty where there was none."""

    def __init__(self, traceback: str = "") -> None:
        super().__init__(traceback)
        self.traceback = traceback


class DecodingProcess:
    """Opens one source after another, in a process of its own that `kill` ends whatever it is doing.

    It ends by itself when this process does. `adjust` may be called from another thread than the rest.
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
        self._sending = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(
        self,
        source: Location,
        decode: DecodeSettings,
        sampling: SamplingSettings,
        *,
        live: bool,
        recording: Recording | None = None,
    ) -> None:
        """Have it open a source as `VideoSource` does: `Opened`, `DecodingProgress`, `Closed` follow, after
        `WaitsForKeyFrame` where there is none yet.

        Raises DecoderDied.
        """
        self._send(_Request(source, decode, sampling, live, recording))

    def adjust(self, effort: DecodeRate) -> None:
        """Have it go on with another effort; the next source begins with what its settings say. Raises DecoderDied."""
        self._send(effort)

    def cut(self, order: ClipOrder) -> None:
        """Have it cut a clip: `EvidenceClip` follows. Raises DecoderDied."""
        self._send(order)

    def receive(self, timeout: float) -> Message | None:
        """The next message; None if there is none within `timeout` seconds. Raises DecoderDied."""
        try:
            if not self._connection.poll(timeout):
                return None
            message: Message | _Crashed = self._connection.recv()
        except (EOFError, OSError):
            raise DecoderDied from None
        if isinstance(message, _Crashed):
            raise DecoderDied(message.traceback)
        return message

    def kill(self) -> None:
        """End it at once. May be called more than once."""
        self._process.kill()
        self._process.wait()
        with self._sending:
            self._connection.close()

    def _send(self, order: _Request | _Order) -> None:
        with self._sending:
            try:
                self._connection.send(order)
            except OSError:
                raise DecoderDied from None


def _search_path() -> str:
    """For the new process to import this very package, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join((root, before)) if before else root


def main() -> None:
    """Serve requests on the socket whose number is the first argument, until its other end closes."""
    connection = Connection(int(sys.argv[1]))
    requests: SimpleQueue[_Request] = SimpleQueue()
    orders: SimpleQueue[_Order] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests, orders), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        try:
            while True:
                _serve(requests.get(), orders, connection)
        except Exception:  # noqa: BLE001 - whatever it is, the other process logs it
            connection.send(_Crashed(traceback.format_exc()))


def _listen(connection: Connection, requests: SimpleQueue[_Request], orders: SimpleQueue[_Order]) -> None:
    """On a thread of its own, so that this process ends with the other one even where the decoder hangs."""
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        if isinstance(order, _Request):
            requests.put(order)
        else:
            orders.put(order)


def _serve(request: _Request, orders: SimpleQueue[_Order], connection: Connection) -> None:
    from streamwatch.sources.video import VideoSource

    counts = FrameCounts()
    clips: list[ClipOrder] = []
    try:
        with VideoSource(
            request.source,
            request.decode,
            request.sampling,
            live=request.live,
            recording=request.recording,
            on_wait=lambda: connection.send(WaitsForKeyFrame()),
        ) as source:
            connection.send(Opened(source.codec, source.width, source.height, source.duration, source.video_tracks))
            reported_at = time.monotonic()
            try:
                for picture in source.decoded():
                    while not orders.empty():
                        order = orders.get()
                        if isinstance(order, ClipOrder):
                            clips.append(order)
                        else:
                            source.adjust(order.fps, spare=order.spare)
                    for clip in [clip for clip in clips if clip.end <= utc_now()]:
                        clips.remove(clip)
                        connection.send(_cut(source, clip))
                    if picture.sampled:
                        frame = Frame(
                            source.source_id, picture.index, picture.pts, picture.wall_time, picture.to_image()
                        )
                    elif time.monotonic() - reported_at > BEAT:
                        frame = None
                    else:
                        continue
                    connection.send(DecodingProgress(source.counts, picture.pts, frame))
                    reported_at = time.monotonic()
            finally:
                counts = source.counts
                for clip in clips:
                    connection.send(_cut(source, clip))
    except SourceError as error:
        connection.send(Closed(error, counts))
    else:
        connection.send(Closed(None, counts))


def _cut(source: VideoSource, order: ClipOrder) -> EvidenceClip:
    try:
        cut = source.cut(order.start, order.end)
    except SourceError as error:
        return EvidenceClip(source.source_id, order.alert_id, None, failure=str(error))
    return EvidenceClip(source.source_id, order.alert_id, cut.data, cut.start, cut.end)
