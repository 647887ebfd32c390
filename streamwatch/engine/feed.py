"""The frames of a live source: read on a thread, reconnected when it breaks, dropped when they grow stale."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from streamwatch.config import LiveSettings, Settings
from streamwatch.errors import SourceError
from streamwatch.records import Frame, FrameCounts
from streamwatch.sources import VideoSource, is_url, redact

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """What happened to a stream: `connected`, `lost` (with the reason and the seconds to the next try) or
    `ended`.
    """

    at: datetime
    source: str
    kind: str
    message: str = ""
    retry_in: float | None = None


def backoff(settings: LiveSettings, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before the first, second… reconnect: doubling from `backoff_first` up to `backoff_max`.

    Each is drawn between half of the step and the whole of it, so that many streams of one server that
    came back do not all return at the same instant. chance: draws from 0..1.
    """
    for attempt in itertools.count():
        step = min(settings.backoff_max, settings.backoff_first * 2.0 ** min(attempt, 60))
        yield step * (0.5 + 0.5 * chance())


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
    """Reads a stream on a thread until it is told to stop, and reconnects; a file, once.

    Frames of a later connection go on in media time and index: `pts` is seconds since the first frame of the
    first connection, with the pauses in between.

    failure: the latest error; None after a connection that works.
    """

    def __init__(
        self,
        url: str,
        settings: Settings,
        *,
        listen: Callable[[StreamEvent], None] = lambda event: None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.is_file = not is_url(url)
        self.name = redact(url)
        self.failure: SourceError | None = None
        self.failures = 0
        self.duration: float | None = None
        self.started_at: datetime | None = None
        stale_after = None if self.is_file else settings.live.stale_after
        self.frames = FrameQueue(stale_after, settings.sampling.fps, clock)
        self._url = url
        self._settings = settings
        self._listen = listen
        self._clock = clock
        self._stop = threading.Event()
        self._past = FrameCounts()
        self._source: VideoSource | None = None
        self._began: float | None = None
        self._last_pts = 0.0
        self._next_index = 0
        self._thread = threading.Thread(target=self._run, name=f"feed {self.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, patience: float = 1.0) -> None:
        """Stop reading and close the queue. A read that blocks ends by its own timeout, in the background."""
        self._stop.set()
        self.frames.close()
        self._thread.join(patience)

    @property
    def counts(self) -> FrameCounts:
        """Frames decoded, sampled, dropped and damaged so far, over all connections."""
        source = self._source
        present = source.counts if source is not None else FrameCounts()
        sampled, dropped = self.frames.counts
        return FrameCounts(
            decoded=self._past.decoded + present.decoded,
            sampled=sampled,
            dropped=dropped,
            corrupt=self._past.corrupt + present.corrupt,
        )

    def _run(self) -> None:
        waits = backoff(self._settings.live)
        while not self._stop.is_set():
            before = self.frames.counts
            try:
                self._read_once()
                self.failure = None
                message = "the server ended the stream"
            except SourceError as error:
                self.failure = error
                message = str(error)
            if self.is_file:
                break
            if self.frames.counts > before:
                waits = backoff(self._settings.live)
            if self._stop.is_set():
                break
            self.failures += 1
            wait = next(waits)
            self._tell("lost", message, wait)
            self._stop.wait(wait)
        self.frames.close()
        self._tell("ended")

    def _read_once(self) -> None:
        with VideoSource(self._url, self._settings.decode, self._settings.sampling, live=not self.is_file) as source:
            self._source = source
            self.duration = source.duration
            try:
                self._tell("connected", f"{source.codec} {source.width}×{source.height}")
                self._pass_on(source)
            finally:
                counts = source.counts
                self._past = FrameCounts(
                    decoded=self._past.decoded + counts.decoded, corrupt=self._past.corrupt + counts.corrupt
                )
                self._source = None

    def _pass_on(self, source: VideoSource) -> None:
        offset: float | None = None
        first_index = self._next_index
        for frame in source.frames():
            if offset is None:
                offset = self._join(frame)
            self._last_pts = frame.pts + offset
            self._next_index = first_index + frame.index + 1
            self.frames.put(replace(frame, pts=self._last_pts, index=first_index + frame.index))
            if self._stop.is_set():
                return

    def _join(self, first: Frame) -> float:
        """What is to be added to the media time of a connection that begins with this frame."""
        if self._began is None:
            self._began = self._clock() - first.pts
            if first.wall_time is not None:
                self.started_at = first.wall_time - timedelta(seconds=first.pts)
            return 0.0
        earliest = self._last_pts + 1.0 / self._settings.sampling.fps
        return max(self._clock() - self._began, earliest) - first.pts

    def _tell(self, kind: str, message: str = "", retry_in: float | None = None) -> None:
        self._listen(StreamEvent(datetime.now(timezone.utc), self.name, kind, message, retry_in))
