"""Metrics of a running watch, as Prometheus scrapes them."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.cluster.histogram import SECONDS, Histogram
from streamwatch.cluster.statistics import DetectorLoad
from streamwatch.config import MetricsSettings
from streamwatch.errors import ConfigError
from streamwatch.live.latency import FaceAges
from streamwatch.live.watch import WatchOutput
from streamwatch.records import Alert, AlertKind, AlertPhase, FrameCounts, VideoVerdict
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.states import DOWN, Cause, StreamState, Transition


@dataclass(slots=True)
class _Stream:
    """What is known of one stream. captured: when its newest frame with a stored face was."""

    state: StreamState = StreamState.CONNECTING
    frames: FrameCounts = field(default_factory=FrameCounts)
    reconnects: Counter[Cause] = field(default_factory=Counter)
    captured: datetime | None = None


class WatchMetrics(Collector):
    """Collects metrics from the output of a watch.

    A stream's series begin with its first verdict or change of state, under its name, and end when it has stopped.

    names: what a source (credentials masked) is called. now: gives the present UTC instant.
    """

    def __init__(self, names: Mapping[str, str], now: Callable[[], datetime] = utc_now) -> None:
        self._names = names
        self._now = now
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._ages = FaceAges()
        self._latency = Histogram(SECONDS)
        self._load: DetectorLoad | None = None
        self._alerts: Counter[AlertKind] = Counter()
        self._open: dict[str, AlertKind] = {}

    def receive(self, item: WatchOutput) -> None:
        """Count an output of the watch."""
        with self._lock:
            if isinstance(item, VideoVerdict):
                self._receive_verdict(item)
            elif isinstance(item, Transition):
                self._receive_transition(item)
            elif isinstance(item, Alert):
                self._receive_alert(item)
            elif isinstance(item, DetectorLoad):
                self._load = item

    def _receive_verdict(self, verdict: VideoVerdict) -> None:
        stream = self._streams.setdefault(verdict.source, _Stream())
        stream.frames = verdict.frames
        for age in self._ages.new_ages(verdict, self._now()):
            self._latency.observe(age)
        captured = [score.wall_time for score in verdict.scores if score.wall_time is not None]
        stream.captured = max(captured, default=stream.captured)

    def _receive_transition(self, change: Transition) -> None:
        stream = self._streams.setdefault(change.source, _Stream())
        stream.state = change.state
        if change.state in DOWN and change.cause is not None:
            stream.reconnects[change.cause] += 1

    def _receive_alert(self, alert: Alert) -> None:
        if alert.phase is AlertPhase.NEW:
            self._alerts[alert.kind] += 1
        if alert.end is None:
            self._open[alert.id] = alert.kind
        else:
            self._open.pop(alert.id, None)

    def collect(self) -> Iterator[Metric]:
        """The current metrics."""
        with self._lock:
            metrics = [
                *self._of_streams(),
                *self._of_alerts(),
                *self._of_batches(),
                _histogram(*_LATENCY, self._latency),
            ]
        yield from metrics

    def _of_streams(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("streamwatch_stream_up", "Whether pictures come (1) or not (0).", labels=["stream"])
        lag = GaugeMetricFamily(
            "streamwatch_lag_seconds", "Age of the newest frame with a stored face.", labels=["stream"]
        )
        frames = CounterMetricFamily(
            "streamwatch_frames", "Frames, by the stage that they have reached.", labels=["stream", "stage"]
        )
        dropped = CounterMetricFamily(
            "streamwatch_frames_dropped", "Sampled frames that were not analysed.", labels=["stream", "reason"]
        )
        reconnects = CounterMetricFamily(
            "streamwatch_reconnects", "Connections that were lost, or failed.", labels=["stream", "cause"]
        )
        now = self._now()
        for source, stream in self._streams.items():
            if stream.state is StreamState.STOPPED:
                continue
            name = self._names.get(source, source)
            up.add_metric([name], float(stream.state is StreamState.RUNNING))
            if stream.captured is not None:
                lag.add_metric([name], (now - stream.captured).total_seconds())
            for stage in ("decoded", "sampled", "analysed"):
                frames.add_metric([name, stage], getattr(stream.frames, stage))
            for reason, count in stream.frames.dropped_by.items():
                dropped.add_metric([name, str(reason)], count)
            for cause, count in stream.reconnects.items():
                reconnects.add_metric([name, str(cause)], count)
        yield from (up, lag, frames, dropped, reconnects)

    def _of_alerts(self) -> Iterator[Metric]:
        opened = CounterMetricFamily("streamwatch_alerts", "Alerts that opened.", labels=["kind"])
        still = GaugeMetricFamily("streamwatch_alerts_open", "Alerts that are open.", labels=["kind"])
        by_kind = Counter(self._open.values())
        for kind in AlertKind:
            opened.add_metric([str(kind)], self._alerts[kind])
            still.add_metric([str(kind)], by_kind[kind])
        yield from (opened, still)

    def _of_batches(self) -> Iterator[Metric]:
        parts = () if self._load is None else self._load.counts
        total = BatchCounts.sum(parts)
        yield _histogram("streamwatch_batch_faces", "Faces in a batch of the detector.", total.sizes)
        yield _histogram("streamwatch_batch_wait_seconds", "Wait of a frame's faces for their batch.", total.waits)
        yield _histogram("streamwatch_inference_seconds", "Time that scoring a batch takes.", total.times)
        yield CounterMetricFamily("streamwatch_inference_busy_seconds", "Time spent scoring.", value=total.busy)


_LATENCY = ("streamwatch_verdict_latency_seconds", "From the capture of a face to its stored verdict.")


def _histogram(name: str, documentation: str, histogram: Histogram) -> HistogramMetricFamily:
    passed, buckets = 0, []
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        passed += count
        buckets.append((bound, float(passed)))
    return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=histogram.total)


@contextlib.contextmanager
def serve_metrics(settings: MetricsSettings, collectors: Iterable[Collector]) -> Iterator[int]:
    """Answer `GET /metrics` for the time of the context; gives the port. Raises ConfigError where it is taken."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    try:
        server, thread = start_http_server(settings.port or 0, settings.host, registry)
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise ConfigError(f"metrics: {place} cannot be listened on ({error.strerror})", "choose another port") from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
