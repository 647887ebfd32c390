"""The frames of a live source: connected again when it breaks, decoders ended that hang, stale frames dropped."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from streamwatch.config import Settings
from streamwatch.errors import SourceError, SourceTimeout, StreamwatchError, WorkerLost
from streamwatch.live.decoder import StreamDecoder
from streamwatch.live.silence import SilenceMonitor
from streamwatch.live.timeline import Timeline
from streamwatch.logs import RemoteTraceback
from streamwatch.records import DropReason, EvidenceClip, Frame, FrameCounts
from streamwatch.sources import Location
from streamwatch.sources.process import (
    ClipOrder,
    Closed,
    DecodeRate,
    DecoderDied,
    DecodingProgress,
    Opened,
    WaitsForKeyFrame,
)
from streamwatch.sources.states import Cause, StreamMachine, StreamState, Transition, cause_of

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

TICK = 0.1
"""Seconds between two looks at a decoder that says nothing."""

GRACE = 0.5
"""Seconds beyond its own limits after which a decoder must be hanging."""


class FrameQueue:
    """Sampled frames between the reading thread and the analysis.

    With a staleness budget (live) the oldest frame is dropped once it has waited for longer, or where there
    are more than the budget can hold. Without (files) `put` waits for room and nothing is dropped.

    stale_after: seconds, None for files. fps: of the sampling."""

    def __init__(self, stale_after: float | None, fps: float, clock: Clock = time.monotonic) -> None:
        self._stale_after = stale_after
        self._most = 4 if stale_after is None else math.ceil(stale_after * fps) + 1
        self._clock = clock
        self._frames: deque[tuple[float, Frame]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._sampled = self._dropped = 0

    def put(self, frame: Frame) -> None:
        """Add a frame. A closed queue takes none, and counts none."""
        with self._changed:
            while self._stale_after is None and len(self._frames) >= self._most and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            self._sampled += 1
            self._frames.append((self._clock(), frame))
            if len(self._frames) > self._most:
                self._drop_oldest()
            self._changed.notify_all()

    def get(self, timeout: float) -> Frame | None:
        """The oldest frame that is not stale; None if there is none within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout)
            while self._frames and self._stale(self._frames[0][0]):
                self._drop_oldest()
            if not self._frames:
                return None
            frame = self._frames.popleft()[1]
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """No frames come any more; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def counts(self) -> tuple[int, int]:
        """Frames put and frames dropped so far."""
        with self._changed:
            return self._sampled, self._dropped

    @property
    def exhausted(self) -> bool:
        """Closed and empty."""
        with self._changed:
            return self._closed and not self._frames

    def _stale(self, arrived: float) -> bool:
        return self._stale_after is not None and self._clock() - arrived > self._stale_after

    def _drop_oldest(self) -> None:
        self._frames.popleft()
        self._dropped += 1


class Feed:
    """Reads a stream until it is stopped, and reconnects; a file, once. A thread waits for a process that decodes.

    Frames of a later connection go on in media time and index: `pts` is seconds since the first frame of the
    first connection, with the pauses in between; or since `started_at`, where a predecessor had read the stream.

    The decoder is judged by the time since media time last moved, whether it says something or not: after
    `live.stalled_after` seconds, or three of its usual intervals between pictures, the stream counts as stalled, and
    some time after `decode.read_timeout` the process is killed.

    on_clip: receives the result of every clip that `cut` ordered. machine: the state of the stream. failure: the latest
    error; None after a connection that works. crash: the unexpected error that ended the thread.
    """

    def __init__(
        self,
        source: Location,
        settings: Settings,
        *,
        listen: Callable[[Transition], None] = lambda transition: None,
        on_clip: Callable[[EvidenceClip], None] = lambda clip: None,
        clock: Clock = time.monotonic,
        started_at: datetime | None = None,
    ) -> None:
        live = source.is_url
        self.name = source.name
        self.machine = StreamMachine(self.name, settings.live, listen=listen, clock=clock)
        self.failure: StreamwatchError | None = None
        self.crash: Exception | None = None
        self._opened: Opened | None = None
        stale_after = settings.live.stale_after if live else None
        self.frames = FrameQueue(stale_after, settings.sampling.fps, clock)
        self._on_clip = on_clip
        self._decoder = StreamDecoder(source, settings, live=live)
        self._timeline = Timeline(settings.sampling.fps, started_at, clock)
        self._silence = SilenceMonitor(settings, clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {self.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """Stop reading, close the queue, end the process."""
        self._stop.set()
        self.frames.close()
        self._thread.join(patience)

    def adjust(self, effort: DecodeRate) -> None:
        """Sample and decode with another effort from now on, over all connections."""
        self._decoder.adjust(effort)

    def cut(self, order: ClipOrder) -> None:
        """Have a clip cut from what was received."""
        try:
            self._decoder.cut(order)
        except DecoderDied:
            self._on_clip(EvidenceClip(self.name, order.alert_id, None, failure="the stream was not connected"))

    @property
    def is_file(self) -> bool:
        """Whether it has an end, and waits for whoever takes its frames."""
        return not self._decoder.live

    @property
    def duration(self) -> float | None:
        """Of a file, seconds; None before it is open."""
        return None if self._opened is None else self._opened.duration

    @property
    def video_tracks(self) -> int:
        """How many the newest connection has, of which one is decoded."""
        return 1 if self._opened is None else self._opened.video_tracks

    @property
    def started_at(self) -> datetime | None:
        """UTC instant of media second 0; None before the first frame, and for a file."""
        return self._timeline.started_at

    @property
    def counts(self) -> FrameCounts:
        """Frames decoded, sampled, dropped and damaged so far, over all connections."""
        sampled, dropped = self.frames.counts
        return replace(
            self._decoder.counts,
            sampled=sampled,
            dropped=dropped,
            dropped_by={DropReason.STALE: dropped} if dropped else {},
        )

    def silence(self, now: float) -> float:
        """Seconds, at the instant `now` of the clock, for which no new picture had come; 0 for a file, or before the
        first one.
        """
        return 0.0 if self.is_file else self._silence.since_picture(now)

    @property
    def interval(self) -> float:
        """Media seconds that usually pass between two pictures; see `SilenceMonitor`."""
        return self._silence.interval

    @property
    def stalled_after(self) -> float:
        """Seconds without a new picture after which the stream counts as stalled."""
        return self._silence.stalled_after

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                cause, message = self._connect()
                if self._stop.is_set():
                    break
                if self.is_file:
                    self.machine.stop(cause, message)
                    break
                wait = self.machine.lost(cause, message)
                if self._stop.wait(wait):
                    break
                self.machine.retry()
        except Exception as error:  # noqa: BLE001 - for the thread that analyses the frames, which ends with it
            self.crash = error
        finally:
            self._decoder.end()
            self.frames.close()
            if self.crash is None:
                self.machine.stop()

    def _connect(self) -> tuple[Cause, str]:
        """Read one connection to its end; why it ended."""
        try:
            self._read()
        except SourceError as error:
            self.failure = error
            return cause_of(error, connected=self.machine.state is not StreamState.CONNECTING), str(error)
        except DecoderDied as died:
            if died.traceback:
                logger.error("%s: its decoder failed", self.name, exc_info=RemoteTraceback(died.traceback))
            self._decoder.end()
            self.failure = WorkerLost(f"{self.name}: the process that decoded it died")
            return Cause.CRASHED, str(self.failure)
        self.failure = None
        return Cause.ENDED, "" if self.is_file else "the server ended the stream"

    def _read(self) -> None:
        self._timeline.connect()
        self._silence.connect()
        self._decoder.connect()
        while not self._stop.is_set():
            message = self._silence.count(lambda: self._decoder.receive(TICK))
            if isinstance(message, Closed):
                if message.error is not None:
                    raise message.error
                return
            if message is not None:
                self._handle(message)
            self._judge()

    def _handle(self, message: Opened | WaitsForKeyFrame | DecodingProgress | EvidenceClip) -> None:
        if isinstance(message, EvidenceClip):
            self._on_clip(message)
        elif isinstance(message, WaitsForKeyFrame):
            self._silence.wait_on()
            self.machine.waits("packets come; waits for a key frame")
        elif isinstance(message, Opened):
            self._silence.opened()
            self._opened = message
            self.machine.connected(f"{message.codec} {message.width}×{message.height}")
        else:
            if self._silence.reach(message.pts) and self.machine.state is StreamState.STALLED:
                self.machine.resumed()
            if message.frame is not None:
                self.frames.put(self._timeline.place(message.frame))

    def _judge(self) -> None:
        """Say that the stream stalls, or end a decoder that keeps to no limit."""
        silence = self._silence
        if silence.seconds > silence.limit + GRACE:
            self._decoder.end()
            raise SourceTimeout(
                f"{self.name}: no new picture for {silence.limit:g} s; its decoder was ended", "check the sender"
            )
        if self.machine.state is StreamState.RUNNING and silence.seconds > silence.stalled_after:
            self.machine.stalled(f"no new picture for {silence.stalled_after:g} s")
