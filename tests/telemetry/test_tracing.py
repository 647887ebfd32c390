"""Traces of frames, exported over HTTP to a real server and read with OpenTelemetry's own messages."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from streamwatch.config import TracingSettings
from streamwatch.live.frame_times import FrameTraces
from streamwatch.records import Frame, FrameTimes, VideoVerdict
from streamwatch.telemetry.tracing import STAGES, trace_frames
from tests.support.builders import make_verdict

NOW = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
SOURCE = "rtsp://***@cam/one"


def verdict(*times: FrameTimes) -> VideoVerdict:
    return make_verdict(SOURCE, times=times)


def test_a_frame_becomes_a_trace_with_a_span_for_each_stage() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    requests: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    moments = [NOW + timedelta(seconds=seconds) for seconds in (0.0, 0.1, 0.2, 0.3, 0.5)]
    endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    with trace_frames(TracingSettings(every=1, endpoint=endpoint), {SOURCE: "studio 1"}) as tracer:
        tracer.receive(verdict(FrameTimes(12, 2, *moments)))
    server.shutdown()
    server.server_close()
    thread.join(5)
    spans = [
        span
        for request in requests
        for part in request.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]
    (root,) = [span for span in spans if span.name == "frame"]
    stages = {span.name: span for span in spans if span.name != "frame"}
    assert tuple(stages) == STAGES
    assert all(span.parent_span_id == root.span_id and span.trace_id == root.trace_id for span in stages.values())
    lasted = {name: (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for name, span in stages.items()}
    assert [lasted[name] for name in STAGES[:4]] == pytest.approx([0.1, 0.1, 0.1, 0.2])
    assert {item.key: item.value.string_value or item.value.int_value for item in root.attributes} == {
        "streamwatch.stream": "studio 1",
        "streamwatch.frame": 12,
        "streamwatch.faces": 2,
    }


def frame(index: int) -> Frame:
    return Frame(SOURCE, index, index / 2, NOW, np.zeros((4, 4, 3), np.uint8))


def test_one_frame_in_so_many_is_followed_to_its_last_face() -> None:
    now = NOW
    traces = FrameTraces(3, lambda: now)
    for index in range(6):
        traces.start(frame(index))
        now += timedelta(seconds=1)
        traces.record_faces(index, faces=2 if index == 0 else 0)
    traces.record_score(0)
    (empty,) = traces.finished()
    assert (empty.frame_index, empty.faces, empty.scored) == (3, 0, empty.found)
    traces.record_score(0)
    (times,) = traces.finished()
    assert (times.frame_index, times.faces) == (0, 2)
    assert (times.taken, times.found, times.scored) == (NOW, NOW + timedelta(seconds=1), now)
    assert traces.finished() == ()


def test_nothing_is_traced_unless_it_is_asked_for() -> None:
    traces = FrameTraces(0)
    traces.start(frame(0))
    traces.record_faces(0, 0)
    assert traces.finished() == ()
