"""The frames of a live source: connected again when it breaks, decoders ended that hang, stale frames dropped."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from streamwatch.config import Settings
from streamwatch.errors import SourceError, SourceTimeout, StreamwatchError, WorkerLost
from streamwatch.logs import RemoteTraceback
from streamwatch.records import DropReason, EvidenceClip, Frame, FrameCounts
from streamwatch.sources import is_url, redact
from streamwatch.sources.process import (
    ClipOrder,
    Closed,
    DecoderDied,
    DecodingProcess,
    DecodingProgress,
    Effort,
    Opened,
)
from streamwatch.sources.recorder import Recording
from streamwatch.sources.states import Cause, StreamMachine, StreamState, Transition, cause_of

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

TICK = 0.1
"""Seconds between two looks at a decoder that says nothing."""

DELAY = 10.0
"""Seconds from a face to the alert that it opens for which packets are kept, beyond those of the clip."""

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
        """No frames come any more; those that wait may still be had."""
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
    """Reads a stream until it is told to stop, and reconnects; a file, once. A thread waits for a process that decodes.

    Frames of a later connection go on in media time and index: `pts` is seconds since the first frame of the
    first connection, with the pauses in between; or since `started_at`, where a predecessor had read the stream.

    The decoder is judged by the time since media time last moved, whether it says something or not: after
    `live.stalled_after` seconds the stream counts as stalled, and some time after `decode.read_timeout` the process is
    killed.

    on_clip: hears what becomes of the clips that `cut` asked for. machine: the state of the stream. failure: the latest
    error; None after a connection that works. crash: the unexpected error that ended the thread.
    """

    def __init__(
        self,
        url: str,
        settings: Settings,
        *,
        listen: Callable[[Transition], None] = lambda transition: None,
        on_clip: Callable[[EvidenceClip], None] = lambda clip: None,
        clock: Clock = time.monotonic,
        started_at: datetime | None = None,
    ) -> None:
        self._on_clip = on_clip
        self.is_file = not is_url(url)
        self.name = redact(url)
        self.machine = StreamMachine(self.name, settings.live, listen=listen, clock=clock)
        self.failure: StreamwatchError | None = None
        self.crash: Exception | None = None
        self.duration: float | None = None
        self.started_at = started_at
        stale_after = None if self.is_file else settings.live.stale_after
        self.frames = FrameQueue(stale_after, settings.sampling.fps, clock)
        self._url = url
        self._settings = settings
        self._effort = Effort(settings.sampling.fps)
        self._clock = clock
        self._stop = threading.Event()
        self._process: DecodingProcess | None = None
        self._tally = FrameCounts(), FrameCounts()
        self._began: float | None = None
        self._heard_at: float | None = None
        self._last_pts = 0.0
        self._next_index = 0
        self._thread = threading.Thread(target=self._run, name=f"feed {self.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """Stop reading, close the queue, end the process."""
        self._stop.set()
        self.frames.close()
        self._thread.join(patience)

    def adjust(self, effort: Effort) -> None:
        """Sample and decode with another effort from now on, over all connections."""
        self._effort = effort
        process = self._process
        if process is not None:
            with contextlib.suppress(DecoderDied):
                process.adjust(effort)

    def cut(self, order: ClipOrder) -> None:
        """Have a clip cut from what was received."""
        process = self._process
        try:
            if process is None:
                raise DecoderDied
            process.cut(order)
        except DecoderDied:
            self._on_clip(EvidenceClip(self.name, order.alert_id, None, failure="the stream was not connected"))

    @property
    def counts(self) -> FrameCounts:
        """Frames decoded, sampled, dropped and damaged so far, over all connections."""
        past, present = self._tally
        sampled, dropped = self.frames.counts
        return replace(
            past + present,
            sampled=sampled,
            dropped=dropped,
            dropped_by={DropReason.STALE: dropped} if dropped else {},
        )

    def silence(self, now: float) -> float:
        """Seconds, at the instant `now` of the clock, for which no new picture had come; 0 for a file, or before the
        first one.
        """
        return 0.0 if self.is_file or self._heard_at is None else max(0.0, now - self._heard_at)

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
            self._end_process()
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
            self._end_process()
            self.failure = WorkerLost(f"{self.name}: the process that decoded it died")
            return Cause.CRASHED, str(self.failure)
        finally:
            past, present = self._tally
            self._tally = past + present, FrameCounts()
        self.failure = None
        return Cause.ENDED, "" if self.is_file else "the server ended the stream"

    def _read(self) -> None:
        settings = self._settings
        if self._process is None:
            self._process = DecodingProcess()
        process = self._process
        live, alerts = not self.is_file, settings.alerts
        recording = None
        if live and alerts.clip_max_bytes:
            recording = Recording(alerts.clip_before + alerts.clip_after + DELAY, alerts.clip_max_bytes)
        process.open(self._url, settings.decode, settings.sampling, live=live, recording=recording)
        if self._effort != Effort(settings.sampling.fps):
            process.adjust(self._effort)
        reached, offset = -math.inf, None
        first_index = self._next_index
        silent = 0.0
        while not self._stop.is_set():
            asked = self._clock()
            message = process.receive(TICK)
            silent += self._clock() - asked
            if isinstance(message, Closed):
                self._tally = self._tally[0], message.counts
                if message.error is not None:
                    raise message.error
                return
            if isinstance(message, EvidenceClip):
                self._on_clip(message)
            elif isinstance(message, Opened):
                silent = 0.0
                self.duration = message.duration
                self.machine.connected(f"{message.codec} {message.width}×{message.height}")
            elif isinstance(message, DecodingProgress):
                self._tally = self._tally[0], message.counts
                if message.pts > reached:
                    reached, silent = message.pts, 0.0
                    self._heard_at = self._clock()
                    if self.machine.state is StreamState.STALLED:
                        self.machine.resumed()
                if message.frame is not None:
                    offset = self._join(message.frame) if offset is None else offset
                    self._pass_on(message.frame, offset, first_index)
            self._judge(silent)

    def _judge(self, silent: float) -> None:
        """Say that the stream stalls, or end a decoder that keeps to no limit."""
        decode, live = self._settings.decode, self._settings.live
        if self.machine.state is StreamState.CONNECTING:
            limit = decode.open_timeout + decode.read_timeout
        else:
            limit = decode.read_timeout
        if silent > limit + GRACE:
            self._end_process()
            raise SourceTimeout(
                f"{self.name}: no new picture for {limit:g} s; its decoder was ended", "check the sender"
            )
        if self.machine.state is StreamState.RUNNING and silent > live.stalled_after:
            self.machine.stalled(f"no new picture for {live.stalled_after:g} s")

    def _pass_on(self, frame: Frame, offset: float, first_index: int) -> None:
        self._last_pts = frame.pts + offset
        self._next_index = first_index + frame.index + 1
        self.frames.put(replace(frame, pts=self._last_pts, index=first_index + frame.index))

    def _join(self, first: Frame) -> float:
        """What is to be added to the media time of a connection that begins with this frame."""
        if self._began is None:
            offset = 0.0
            if first.wall_time is not None:
                if self.started_at is None:
                    self.started_at = first.wall_time - timedelta(seconds=first.pts)
                offset = max(0.0, (first.wall_time - self.started_at).total_seconds() - first.pts)
            self._began = self._clock() - first.pts - offset
            return offset
        earliest = self._last_pts + 1.0 / self._settings.sampling.fps
        return max(self._clock() - self._began, earliest) - first.pts

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
