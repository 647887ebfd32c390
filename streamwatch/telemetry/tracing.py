"""Every n-th frame, traced through all stages, as OpenTelemetry spans."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamwatch.config import TracingSettings
from streamwatch.distribution import install_extra
from streamwatch.errors import ConfigError
from streamwatch.live.watch import WatchOutput
from streamwatch.records import FrameTimes, VideoVerdict
from streamwatch.sources.clocks import utc_now

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

STAGES = ("decode", "find faces", "score", "fuse", "store")
"""From capture to the worker, to the faces' crops, to their scores, to the verdict, to its commit."""


class FrameTracer:
    """Makes a trace of every frame that comes with its times: a root span `frame`, and one below it for each stage.

    names: what a source (credentials masked) is called. now: gives the present UTC instant.
    """

    def __init__(self, exporter: SpanExporter, names: Mapping[str, str], now: Callable[[], datetime] = utc_now) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(resource=Resource.create({"service.name": "streamwatch"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Any = self._provider.get_tracer("streamwatch")
        self._names = names
        self._now = now

    def receive(self, item: WatchOutput) -> None:
        """Export the frame traces of an output of the watch, if it is a verdict."""
        if isinstance(item, VideoVerdict):
            stored = self._now()
            for times in item.times:
                self._trace(self._names.get(item.source, item.source), times, stored)

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()

    def _trace(self, stream: str, times: FrameTimes, stored: datetime) -> None:
        from opentelemetry.trace import set_span_in_context

        moments = (times.captured, times.taken, times.found, times.scored, times.delivered, stored)
        values = {"stream": stream, "frame": times.frame_index, "faces": times.faces}
        attributes = {f"streamwatch.{name}": value for name, value in values.items()}
        root = self._tracer.start_span("frame", start_time=_nanoseconds(moments[0]), attributes=attributes)
        below = set_span_in_context(root)
        for stage, start, end in zip(STAGES, moments[:-1], moments[1:], strict=True):
            span = self._tracer.start_span(stage, context=below, start_time=_nanoseconds(start))
            span.end(_nanoseconds(max(start, end)))
        root.end(_nanoseconds(stored))


@contextlib.contextmanager
def trace_frames(settings: TracingSettings, names: Mapping[str, str]) -> Iterator[FrameTracer]:
    """Export over OTLP (HTTP) for the time of the context: to `tracing.endpoint`, or where OpenTelemetry's variables
    say. Raises ConfigError where the extra is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ConfigError("tracing.every: OpenTelemetry is missing", install_extra("otel")) from None
    tracer = FrameTracer(OTLPSpanExporter(endpoint=settings.endpoint), names)
    try:
        yield tracer
    finally:
        tracer.close()


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)
