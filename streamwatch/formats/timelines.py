"""Alerts on the time line of their source, for players and editing programs.

WebVTT is written here (W3C, "WebVTT: The Web Video Text Tracks Format", section 4.1); OpenTimelineIO and its adapters
write the rest: a CMX 3600 edit decision list, Final Cut Pro's XML, and OpenTimelineIO's own JSON.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamwatch.distribution import install_extra
from streamwatch.enums import StrEnum
from streamwatch.errors import LibraryMissing
from streamwatch.plain import plain
from streamwatch.records import AlertKind
from streamwatch.sources import Location
from streamwatch.store.loading import AlertRow


class TimelineFormat(StrEnum):
    """How a time line is written; the value is also the suffix of its file."""

    VTT = "vtt"
    OTIO = "otio"
    EDL = "edl"
    FCPXML = "fcpxml"


_ADAPTERS = {TimelineFormat.OTIO: "otio_json", TimelineFormat.EDL: "cmx_3600", TimelineFormat.FCPXML: "fcpx_xml"}


@dataclass(frozen=True, slots=True, eq=False)
class SourceTimeline:
    """A source with its forgeries in order of time. duration: seconds, None where it is not known."""

    source: str
    duration: float | None
    alerts: tuple[AlertRow, ...]

    @property
    def length(self) -> float:
        """Seconds: the duration, or where the last alert ends."""
        return self.duration or max((alert.end or alert.start for alert in self.alerts), default=0.0)


def timelines(alerts: Iterable[AlertRow], durations: dict[int, float | None]) -> Iterator[SourceTimeline]:
    """One for each verdict that has forgeries. durations: of the verdicts, by their ids."""
    found: dict[int, list[AlertRow]] = {}
    for alert in alerts:
        if alert.kind is AlertKind.FORGERY:
            found.setdefault(alert.verdict_id, []).append(alert)
    for verdict_id, mine in found.items():
        ordered = tuple(sorted(mine, key=lambda alert: (alert.start, alert.id)))
        yield SourceTimeline(ordered[0].source, durations.get(verdict_id), ordered)


def write_timeline(timeline: SourceTimeline, form: TimelineFormat, rate: float) -> str:
    """The text of a time line. rate: frames per second of its time codes; WebVTT has none.

    Raises LibraryMissing where the extra `timelines` is not installed.
    """
    if form is TimelineFormat.VTT:
        return "".join(_vtt(timeline))
    try:
        import opentimelineio
    except ImportError:
        raise LibraryMissing("OpenTimelineIO is missing", install_extra("timelines")) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the adapters' own
        text: str = opentimelineio.adapters.write_to_string(_timeline(timeline, form, rate), _ADAPTERS[form])
    return text


def file_names(sources: Sequence[str], suffix: str) -> list[str]:
    """A file name for each source: its own with another suffix, and a number where that comes more than once."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for source in sources:
        last = source.rstrip("/").rsplit("/", 1)[-1] if Location(source).is_url else Path(source).name
        stem = re.sub(r"[^\w.-]+", "_", Path(last).stem).strip(".") or "source"
        seen[stem] = number = seen.get(stem, 0) + 1
        names.append(f"{stem}{f'-{number}' if number > 1 else ''}.{suffix}")
    return names


def _vtt(timeline: SourceTimeline) -> Iterator[str]:
    yield "WEBVTT\n"
    for alert in timeline.alerts:
        end = max(alert.start if alert.end is None else alert.end, alert.start + 0.001)
        words = _words(alert).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"\n{alert.id}\n{_clock(alert.start)} --> {_clock(end)}\n{words}\n"


def _words(alert: AlertRow) -> str:
    track = "" if alert.track_id is None else f", track {alert.track_id}"
    peak = "" if alert.peak is None else f", peak {alert.peak:.2f}"
    review = "" if alert.review_label is None else f", reviewed: {alert.review_label}"
    return f"{alert.label}{track}{peak}{review}"


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def _timeline(timeline: SourceTimeline, form: TimelineFormat, rate: float) -> Any:
    """One clip, the whole source, with a marker for each alert. In an edit list a marker has no length: its name says
    where it ends.
    """
    from opentimelineio import opentime, schema

    def instant(seconds: float) -> Any:
        return opentime.RationalTime(round(seconds * rate), rate)

    # An edit list goes by lines: a name with a line break would add events to it.
    source = plain(timeline.source) if form is TimelineFormat.EDL else timeline.source
    whole = opentime.TimeRange(instant(0.0), instant(timeline.length))
    title = Path(source).name or source
    location = Location(source)
    place = source if location.is_url else location.path.absolute().as_uri()
    clip = schema.Clip(title, schema.ExternalReference(place, whole), whole)
    for alert in timeline.alerts:
        end = alert.start if alert.end is None else alert.end
        name = _words(alert)
        if form is TimelineFormat.EDL:
            name += f", until {instant(end).to_timecode(rate)}"
        marked = opentime.TimeRange(instant(alert.start), instant(end - alert.start))
        about = {"id": alert.id, "peak": alert.peak, "mean": alert.mean, "start": alert.start, "end": alert.end}
        clip.markers.append(schema.Marker(name, marked, color="RED", metadata={"streamwatch": about}))
    made = schema.Timeline(title)
    made.tracks.append(schema.Track("V1", [clip], kind="Video"))
    return made
