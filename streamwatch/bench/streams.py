"""Many live streams at once on this machine: what is held, how late, at what cost; and with faults.

A real RTSP server in a process of its own serves one clip as so many streams, each behind a proxy that can fail, and
the real `watch` follows them into a real store. Of every face that was analysed it is taken how long it was on its way,
from the estimated instant of its capture to the return of the call that committed it. Every few seconds processor time,
memory (PSS: pages that processes share count once) and open files of all processes are read.

With faults, every `FAULT_EVERY` seconds one stream, or an actor, or the store, is broken in turn and repaired
`FAULT_LASTS` seconds later (the store: `LOCK_LASTS`). A fault is detected when its stream is first reported as not
running; it is over when the stream runs again, counted from the repair (from the fault itself for what nobody repairs:
a cut line, a killed process).
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from streamwatch.bench.loopback.lab import Lab, open_lab
from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.cluster.statistics import DetectorLoad
from streamwatch.config import Settings
from streamwatch.demo import ClipPlan, make_clip
from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing
from streamwatch.live.latency import FaceAges
from streamwatch.live.outbox import OperatorNotice
from streamwatch.live.watch import iter_watch
from streamwatch.records import FrameCounts, Label, VideoVerdict
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.states import DOWN, StreamState, Transition
from streamwatch.store import Filters, Store

SAMPLE_EVERY = 5.0
FAULT_EVERY = 12.0
FAULT_LASTS = 6.0
LOCK_LASTS = 30.0
WARM_UP = 0.1
"""Share of the run that is left out of the slopes."""

ON_LINE = ("refuse", "cut", "black_hole", "throttle", "delay", "corrupt")
ON_PROCESS = ("kill_decoder", "stop_decoder", "kill_worker", "kill_detector", "kill_writer", "lock_store")
HARMLESS = ("delay", "corrupt", "kill_detector", "kill_writer", "lock_store")
"""Faults through which a stream may go on running."""
UNREPAIRED = ("cut", "kill_decoder", "kill_worker", "kill_detector", "kill_writer")

ROLES = ("decoders", "workers", "detectors", "store", "watch", "Ray", "RTSP server")


@dataclass(frozen=True, slots=True)
class StreamResult:
    """One stream over the run. stored: its faces in the store. unaccounted: frames that are in no count. reconnects: by
    cause.
    """

    frames: FrameCounts
    stored: int
    unaccounted: int
    reconnects: dict[str, int]
    label: Label


@dataclass(frozen=True, slots=True)
class FaultResult:
    """A fault on one stream. Seconds; None: it was not reported, or did not end, before the next one began."""

    kind: str
    stream: int
    detected: float | None
    cause: str | None
    recovered: float | None


@dataclass(frozen=True, slots=True)
class Growth:
    """A quantity over the run, after the warm-up: at first and at last by the line through it, and per hour."""

    first: float
    last: float

    @property
    def share(self) -> float:
        return self.last / self.first - 1 if self.first else 0.0


@dataclass(frozen=True, slots=True)
class StreamsResult:
    """What `bench_streams` measured.

    seconds: from the first frame of all streams to the end. latencies: 50th, 95th and 100th percentile from capture to
    store, seconds. cores: processor time per second by role. memory, files: of all processes but the server's; bytes
    and open files. by_role: the same two of each role.
    """

    streams: tuple[StreamResult, ...]
    seconds: float
    fps: float
    latencies: tuple[float, float, float]
    batches: BatchCounts
    utilisation: float
    cores: dict[str, float]
    memory: Growth
    files: Growth
    by_role: dict[str, tuple[Growth, Growth]]
    faults: tuple[FaultResult, ...] = ()
    notices: tuple[str, ...] = ()


def bench_streams(
    count: int,
    settings: Settings,
    seconds: float,
    *,
    clip: Path | None = None,
    faults: bool = False,
    progress: Callable[[str], None] = lambda what: None,
) -> StreamsResult:
    """Watch `count` streams for `seconds`. clip: H.264 in MP4 without B-pictures; default: one face, 640×360, 25 fps.

    Raises LibraryMissing where the extra `bench` is not installed, and what `iter_watch` raises.
    """
    with tempfile.TemporaryDirectory(prefix="streamwatch-bench-") as folder:
        if clip is None:
            progress("making the clip")
            clip = Path(folder) / "clip.mp4"
            make_clip(clip, ClipPlan(seconds=18.0, forged=(99.0, 99.0), live=True))
        store = f"sqlite:///{folder}/bench.db"
        settings = settings.model_copy(update={"store": settings.store.model_copy(update={"url": store})})
        with open_lab(clip, count) as lab:
            return _Bench(lab, settings, seconds, faults, progress).run()


@dataclass
class _Watched:
    """What was received of one stream."""

    state: StreamState = StreamState.CONNECTING
    last: VideoVerdict | None = None
    changes: list[tuple[float, Transition]] = field(default_factory=list)


class _Bench:
    def __init__(
        self, lab: Lab, settings: Settings, seconds: float, faults: bool, progress: Callable[[str], None]
    ) -> None:
        self._lab = lab
        self._settings = settings
        self._seconds = seconds
        self._with_faults = faults
        self._progress = progress
        self._streams = {url: _Watched() for url in lab.urls}
        self._ages = FaceAges()
        self._latencies: list[float] = []
        self._loads: list[tuple[float, DetectorLoad]] = []
        self._notices: list[str] = []
        self._began: float | None = None

    def run(self) -> StreamsResult:
        processes = _Processes(self._lab.pid)
        faults = _Faults(self._lab, self._settings, self._streams)
        self._progress("starting")
        watch = iter_watch(self._lab.urls, self._settings, seconds=None)
        with contextlib.closing(watch), processes:
            for item in watch:
                now = time.monotonic()
                self._receive(item, now)
                if self._began is None:
                    if all(stream.last and stream.last.frames.analysed for stream in self._streams.values()):
                        self._began = now
                        self._latencies.clear()
                        processes.begin()
                        if self._with_faults:
                            faults.start()
                    continue
                self._progress(f"{now - self._began:.0f} of {self._seconds:.0f} s")
                if now - self._began >= self._seconds:
                    break
            faults.stop()
            ended = time.monotonic()
            usage = processes.read()
        assert self._began is not None
        return self._result(ended - self._began, usage, faults.results)

    def _receive(self, item: Any, now: float) -> None:
        if isinstance(item, VideoVerdict):
            self._streams[item.source].last = item
            self._latencies += self._ages.new_ages(item, utc_now())
        elif isinstance(item, Transition):
            self._streams[item.source].state = item.state
            self._streams[item.source].changes.append((now, item))
        elif isinstance(item, DetectorLoad):
            self._loads.append((now, item))
        elif isinstance(item, OperatorNotice):
            self._notices.append(item.message)

    def _result(self, seconds: float, usage: _Usage, faults: list[FaultResult]) -> StreamsResult:
        counts, utilisation = self._batches()
        low, high, most = np.percentile(self._latencies, [50, 95, 100]) if self._latencies else (0.0, 0.0, 0.0)
        return StreamsResult(
            streams=tuple(self._stream(url) for url in self._lab.urls),
            seconds=seconds,
            fps=self._settings.sampling.fps,
            latencies=(float(low), float(high), float(most)),
            batches=counts,
            utilisation=utilisation,
            cores=usage.cores,
            memory=usage.memory,
            files=usage.files,
            by_role=usage.by_role,
            faults=tuple(faults),
            notices=tuple(self._notices),
        )

    def _stream(self, url: str) -> StreamResult:
        """From the store, where the last verdict of the ended watch is."""
        with Store.open(self._settings.store.url) as store:
            (row,) = [row for row in store.verdicts(Filters()) if row.verdict.source == url]
            stored = len(store.verdict(row.id).scores)
        frames = row.verdict.frames
        changes = [change for _, change in self._streams[url].changes if change.state in DOWN]
        return StreamResult(
            frames=frames,
            stored=stored,
            unaccounted=frames.decoded - frames.not_sampled - frames.analysed - frames.dropped,
            reconnects=dict(Counter(str(change.cause) for change in changes)),
            label=row.verdict.label,
        )

    def _batches(self) -> tuple[BatchCounts, float]:
        """The detectors' counts together, and the share of their time in which they scored."""
        if not self._loads:
            return BatchCounts(), 0.0
        total = BatchCounts.sum(self._loads[-1][1].counts)
        (first_at, first), (last_at, last) = self._loads[0], self._loads[-1]
        busy = sum(each.busy for each in last.counts) - sum(each.busy for each in first.counts)
        span = (last_at - first_at) * last.lanes * len(last.counts)
        return total, max(0.0, busy / span) if span else 0.0


@dataclass(frozen=True)
class _Usage:
    cores: dict[str, float]
    memory: Growth
    files: Growth
    by_role: dict[str, tuple[Growth, Growth]]


class _Processes:
    """Reads what all processes below this one use, on a thread."""

    def __init__(self, server: int) -> None:
        try:
            import psutil
        except ImportError:
            raise LibraryMissing("psutil is missing", install_extra("bench")) from None
        self._psutil: Any = psutil
        self._server = server
        self._seen: dict[tuple[str, int, float], float] = {}
        self._before: dict[str, float] = {}
        self._began = 0.0
        self._samples: list[tuple[float, dict[str, tuple[int, int]]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def begin(self) -> None:
        self._sample()
        self._before, self._began = self._by_role(), time.monotonic()
        self._samples.clear()
        self._thread.start()

    def read(self) -> _Usage:
        self._over.set()
        self._thread.join()
        self._sample()
        seconds = time.monotonic() - self._began
        spent = self._by_role()
        times = np.array([at for at, _ in self._samples])
        roles = [role for role in ROLES if role != "RTSP server"]
        used = np.array([[usage.get(role, (0, 0)) for role in roles] for _, usage in self._samples], float)
        by_role = {
            role: (_growth(times, used[:, number, 0]), _growth(times, used[:, number, 1]))
            for number, role in enumerate(roles)
        }
        return _Usage(
            cores={role: (spent.get(role, 0.0) - self._before.get(role, 0.0)) / seconds for role in ROLES},
            memory=_growth(times, used[:, :, 0].sum(axis=1)),
            files=_growth(times, used[:, :, 1].sum(axis=1)),
            by_role=by_role,
        )

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_EVERY):
            self._sample()

    def _sample(self) -> None:
        used: dict[str, tuple[int, int]] = {}
        here = self._psutil.Process()
        for process in (here, *here.children(recursive=True)):
            with contextlib.suppress(self._psutil.Error):
                role = self._role(process)
                spent = process.cpu_times()
                self._seen[role, process.pid, process.create_time()] = spent.user + spent.system
                memory, files = used.get(role, (0, 0))
                used[role] = memory + process.memory_full_info().pss, files + process.num_fds()
        self._samples.append((time.monotonic() - self._began, used))

    def _by_role(self) -> dict[str, float]:
        spent: dict[str, float] = defaultdict(float)
        for (role, _, _), seconds in self._seen.items():
            spent[role] += seconds
        return spent

    def _role(self, process: Any) -> str:
        if process.pid == self._server:
            return "RTSP server"
        command = " ".join(process.cmdline())
        marks = {
            "streamwatch.sources.process": "decoders",
            "ray::StreamWorker": "workers",
            "ray::DetectorActor": "detectors",
            "ray::StoreWriter": "store",
            "ray::AlertCourier": "store",
        }
        found = next((role for mark, role in marks.items() if mark in command), None)
        return found or ("watch" if process.pid == self._psutil.Process().pid else "Ray")


def _growth(times: Any, values: Any) -> Growth:
    """Ends of the line through what came after the warm-up."""
    late = times >= WARM_UP * times[-1]
    times, values = times[late], values[late]
    if len(times) < 2:
        return Growth(float(values[0]), float(values[0]))
    slope, base = np.polyfit(times, values, 1)
    return Growth(float(base + slope * times[0]), float(base + slope * times[-1]))


class _Faults:
    """Breaks and repairs in turn, on a thread."""

    def __init__(self, lab: Lab, settings: Settings, streams: dict[str, _Watched]) -> None:
        self._lab = lab
        self._settings = settings
        self._streams = list(streams.values())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self.results: list[FaultResult] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        for number, kind in enumerate(itertools.cycle(ON_LINE + ON_PROCESS)):
            stream = number % len(self._streams)
            if self._over.wait(FAULT_EVERY / 2):
                return
            known = len(self._streams[stream].changes)
            broken = time.monotonic()
            repair = self._break(kind, stream)
            self._over.wait(LOCK_LASTS if kind == "lock_store" else FAULT_LASTS)
            repair()
            repaired = broken if kind in UNREPAIRED else time.monotonic()
            if self._over.wait(FAULT_EVERY / 2):
                return  # too soon to judge this one
            self.results.append(self._judge(kind, stream, known, broken, repaired))

    def _judge(self, kind: str, stream: int, known: int, broken: float, repaired: float) -> FaultResult:
        changes = self._streams[stream].changes[known:]
        detected = next(((at, change) for at, change in changes if change.state is not StreamState.RUNNING), None)
        if detected is None:
            return FaultResult(kind, stream, None, None, 0.0 if kind in HARMLESS else None)
        causes = [change.cause for _, change in changes if change.state is StreamState.BACKING_OFF]
        cause = causes[0] if causes else detected[1].cause
        back = max((at for at, change in changes if change.state is StreamState.RUNNING), default=None)
        running = self._streams[stream].state is StreamState.RUNNING
        recovered = max(0.0, back - repaired) if back is not None and running else None
        return FaultResult(kind, stream, detected[0] - broken, None if cause is None else str(cause), recovered)

    def _break(self, kind: str, stream: int) -> Callable[[], None]:
        """Break something; how to repair it."""
        import psutil

        if kind in ON_LINE:
            self._lab.send(stream, kind)
            return lambda: self._lab.send(stream, "restore")
        if kind == "lock_store":
            locked = sqlite3.connect(self._settings.store.url.removeprefix("sqlite:///"), isolation_level=None)
            locked.execute("BEGIN IMMEDIATE")
            return locked.close
        victim = self._victim(kind, stream)
        if victim is None:
            raise RuntimeError(f"{kind}: there is no such process")
        if kind == "stop_decoder":
            victim.suspend()

            def resume() -> None:
                with contextlib.suppress(psutil.Error):
                    victim.resume()

            return resume
        victim.kill()
        return lambda: None

    def _victim(self, kind: str, stream: int) -> Any:
        import psutil

        below = psutil.Process().children(recursive=True)
        if kind in ("kill_detector", "kill_writer"):
            name = {"kill_detector": "ray::DetectorActor", "kill_writer": "ray::StoreWriter"}[kind]
            return next((process for process in below if name in _command(process)), None)
        port = urlsplit(self._lab.urls[stream]).port
        for process in below:
            with contextlib.suppress(psutil.Error):
                ports = {link.raddr.port for link in process.net_connections() if link.raddr}
                if port in ports and "streamwatch.sources.process" in _command(process):
                    return process.parent() if kind == "kill_worker" else process
        return None


def _command(process: Any) -> str:
    import psutil

    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
