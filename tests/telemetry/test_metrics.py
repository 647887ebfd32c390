"""Metrics, scraped over HTTP and read with Prometheus' own parser."""

from __future__ import annotations

import urllib.request
from datetime import datetime, timedelta, timezone

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamwatch.bench.loopback.rtsp_server import free_port
from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.cluster.statistics import DetectorLoad
from streamwatch.config import MetricsSettings
from streamwatch.errors import ConfigError
from streamwatch.fusion import Subject
from streamwatch.live.outbox import OperatorNotice
from streamwatch.records import (
    Alert,
    AlertKind,
    DropReason,
    FrameCounts,
    FrameRecord,
    Label,
    ModelRef,
    VideoVerdict,
)
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.telemetry.metrics import WatchMetrics, serve_metrics
from tests.support.builders import make_alert, make_record, make_verdict

NOW = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
ONE, TWO = "rtsp://***@cam/one", "rtsp://cam/two"
SUBJECT = Subject(ONE, None, ModelRef("m", "b" * 64), "c" * 64, "policy")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: WatchMetrics) -> Samples:
    port = free_port()
    with serve_metrics(MetricsSettings(port=port), [metrics]):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"streamwatch_{name}", tuple(sorted(labels.items()))))


def change(state: StreamState, cause: Cause | None = None, source: str = ONE) -> Transition:
    return Transition(NOW, source, StreamState.CONNECTING, state, cause)


def score(index: int, age: float) -> FrameRecord:
    return make_record(index, wall_time=NOW - timedelta(seconds=age))


def verdict(*scores: FrameRecord, dropped: int = 0) -> VideoVerdict:
    counts = FrameCounts(100, 10, 10 - dropped, dropped, 0, {DropReason.STALE: dropped} if dropped else {})
    return make_verdict(ONE, label=Label.REAL, score=0.1, frames=counts, tracks=(), scores=scores)


def alert(name: str, revision: int, end: float | None = None, kind: AlertKind = AlertKind.FORGERY) -> Alert:
    return make_alert(name, ONE, end=end, revision=revision, kind=kind)


@pytest.fixture
def metrics() -> WatchMetrics:
    return WatchMetrics({ONE: "studio 1"}, now=lambda: NOW)


def test_streams_by_the_names_of_the_settings(metrics: WatchMetrics) -> None:
    metrics.receive(change(StreamState.RUNNING))
    metrics.receive(change(StreamState.FAILED, Cause.AUTHENTICATION, source=TWO))
    metrics.receive(verdict(score(1, 4.0), score(2, 0.4), dropped=3))
    samples = scrape(metrics)
    assert value(samples, "stream_up", stream="studio 1") == 1
    assert value(samples, "stream_up", stream=TWO) == 0
    assert value(samples, "frames_total", stream="studio 1", stage="decoded") == 100
    assert value(samples, "frames_total", stream="studio 1", stage="analysed") == 7
    assert value(samples, "frames_dropped_total", stream="studio 1", reason="stale") == 3
    assert value(samples, "reconnects_total", stream=TWO, cause="authentication") == 1
    assert value(samples, "lag_seconds", stream="studio 1") == pytest.approx(0.4)
    assert not any("***" in label for _, labels in samples for _, label in labels)


def test_a_stream_that_stopped_has_no_series(metrics: WatchMetrics) -> None:
    metrics.receive(change(StreamState.RUNNING))
    metrics.receive(change(StreamState.STOPPED))
    assert value(scrape(metrics), "stream_up", stream="studio 1") is None


def test_a_frame_counts_once_in_the_latency(metrics: WatchMetrics) -> None:
    metrics.receive(verdict(score(1, 1.2), score(2, 0.4)))
    metrics.receive(verdict(score(1, 1.2), score(2, 0.4), score(3, 0.2)))
    samples = scrape(metrics)
    assert value(samples, "verdict_latency_seconds_count") == 3
    assert value(samples, "verdict_latency_seconds_sum") == pytest.approx(1.8)
    assert value(samples, "verdict_latency_seconds_bucket", le="0.5") == 2


def test_alerts_are_counted_when_they_open(metrics: WatchMetrics) -> None:
    for item in (alert("a", 1), alert("a", 2), alert("b", 1), alert("b", 2, end=3.0)):
        metrics.receive(item)
    samples = scrape(metrics)
    assert value(samples, "alerts_total", kind="forgery") == 2
    assert value(samples, "alerts_open", kind="forgery") == 1
    assert value(samples, "alerts_total", kind="down") == 0


def test_batches_of_all_detectors_together(metrics: WatchMetrics) -> None:
    counts = [BatchCounts(), BatchCounts()]
    for each in counts:
        each.sizes.observe(3)
        each.times.observe(0.04)
    metrics.receive(DetectorLoad(NOW, tuple(counts), lanes=2))
    metrics.receive(OperatorNotice(NOW, "said to people only"))
    samples = scrape(metrics)
    assert value(samples, "batch_faces_count") == 2
    assert value(samples, "batch_faces_bucket", le="3.0") == 2
    assert value(samples, "batch_faces_bucket", le="2.0") == 0
    assert value(samples, "inference_seconds_sum") == pytest.approx(0.08)
    assert value(samples, "inference_busy_seconds_total") == pytest.approx(0.08)


def test_a_port_that_is_taken_is_a_clear_error(metrics: WatchMetrics) -> None:
    settings = MetricsSettings(port=free_port())
    with (
        serve_metrics(settings, [metrics]),
        pytest.raises(ConfigError, match=r"metrics: 127\.0\.0\.1:\d+ cannot be listened on .* another port"),
        serve_metrics(settings, [WatchMetrics({})]),
    ):
        pass
