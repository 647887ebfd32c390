"""The score over media time as a drawing: numbers and paths, which the template writes as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from streamwatch.fusion import Policy
from streamwatch.fusion.quality import unusable
from streamwatch.records import FrameRecord, TrackVerdict, VideoVerdict
from streamwatch.times import media_time

STYLES = 6
"""Colours of tracks that the style sheet has; the strongest tracks get them, the rest shares a grey."""

GAP = 2.5
"""A line breaks where a face was not seen for more than so many steps between analysed frames."""

LANES = 12
"""Tracks with a lane of their own below the plot."""

_LEFT, _RIGHT, _TOP, _HEIGHT, _AXIS, _LANE = 40, 16, 14, 220, 26, 18
_PIXELS_PER_TICK = 80
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_PIXELS_PER_DOT = 6
"""Faces are drawn as dots too where analysed frames lie as far apart."""


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A grid line: its place in pixels, and what stands beside it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of media time in pixels; title: what it is."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """Paths of a track's scores, and of a dot for each face where those are far enough apart.

    style: `track-1` … or `track-other`.
    """

    style: str
    path: str
    dots: str


@dataclass(frozen=True, slots=True)
class Lane:
    """When a track's face was seen, and where it looked forged. y: its middle."""

    y: float
    name: str
    style: str
    seen: tuple[Band, ...]
    forged: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Pixels of an SVG picture, `width` × `height`; scores are drawn from `left` to `right` and `bottom` to `top`.

    ignored: path of faces that carried no weight. more: tracks without a lane. description: the plot in words.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    times: tuple[AxisTick, ...]
    levels: tuple[AxisTick, ...]
    fake: AxisTick
    real: AxisTick
    forged: tuple[Band, ...]
    lines: tuple[Line, ...]
    ignored: str
    lanes: tuple[Lane, ...]
    more: int
    description: str


def by_strength(tracks: Iterable[TrackVerdict]) -> list[TrackVerdict]:
    """The highest score first; tracks without one last."""
    return sorted(tracks, key=lambda track: (-1.0 if track.score is None else track.score, track.faces), reverse=True)


def styles(tracks: Iterable[TrackVerdict]) -> dict[int, str]:
    """The style of each track, by its id."""
    ranked = enumerate(by_strength(tracks), start=1)
    return {track.track_id: f"track-{rank}" if rank <= STYLES else "track-other" for rank, track in ranked}


def draw(verdict: VideoVerdict, policy: Policy, width: float) -> Plot | None:
    """The plot of a verdict, `width` pixels wide; None where no face was scored."""
    if not verdict.scores:
        return None
    length = max(verdict.duration or 0.0, verdict.scores[-1].pts, 0.1)
    canvas = _Canvas(length, width, GAP * length / max(1, verdict.frames.analysed))
    ranked, style = by_strength(verdict.tracks), styles(verdict.tracks)
    points: dict[int, list[FrameRecord]] = {track.track_id: [] for track in ranked}
    for record in verdict.scores:
        points.setdefault(record.track_id, []).append(record)
    dotted = (canvas.right - canvas.left) / max(1, verdict.frames.analysed) >= _PIXELS_PER_DOT
    lines, ignored = [], []
    for track_id, records in reversed(points.items()):  # the strongest is drawn last, above the others
        usable = [record for record in records if unusable(record.quality, policy.limits) is None]
        dots = canvas.dots(usable) if dotted else ""
        lines.append(Line(style.get(track_id, "track-other"), canvas.path(usable), dots))
        ignored += [record for record in records if unusable(record.quality, policy.limits) is not None]
    lanes = [
        Lane(
            y=canvas.bottom + _AXIS + _LANE * (number + 0.5),
            name=str(track.track_id),
            style=style[track.track_id],
            seen=tuple(canvas.seen(points[track.track_id])),
            forged=tuple(canvas.forged(track)),
        )
        for number, track in enumerate(ranked[:LANES])
    ]
    return Plot(
        width=width,
        height=canvas.bottom + _AXIS + _LANE * len(lanes) + 4,
        left=canvas.left,
        right=canvas.right,
        top=canvas.top,
        bottom=canvas.bottom,
        times=tuple(canvas.ticks()),
        levels=tuple(AxisTick(canvas.y(level), f"{level:g}") for level in (0, 0.25, 0.5, 0.75, 1)),
        fake=AxisTick(canvas.y(policy.fake), f"fake from {policy.fake:.2f}"),
        real=AxisTick(canvas.y(policy.real), f"real up to {policy.real:.2f}"),
        forged=tuple(band for track in ranked for band in canvas.forged(track)),
        lines=tuple(lines),
        ignored=canvas.dots(ignored),
        lanes=tuple(lanes),
        more=len(ranked) - len(lanes),
        description=_describe(ranked, length),
    )


class _Canvas:
    """From seconds and scores to pixels. gap: seconds without a face at which a line breaks."""

    def __init__(self, length: float, width: float, gap: float) -> None:
        self.left, self.right = float(_LEFT), width - _RIGHT
        self.top, self.bottom = float(_TOP), float(_TOP + _HEIGHT)
        self._length = length
        self._gap = gap

    def x(self, seconds: float) -> float:
        return round(self.left + (self.right - self.left) * min(1.0, max(0.0, seconds / self._length)), 1)

    def y(self, score: float) -> float:
        return round(self.bottom - (self.bottom - self.top) * score, 1)

    def path(self, records: Sequence[FrameRecord]) -> str:
        """Lines from face to face, broken at gaps; a face alone is a dot."""
        return "".join(self._stretch(list(self._thinned(stretch))) for stretch in self._stretches(records))

    def dots(self, records: Iterable[FrameRecord]) -> str:
        return "".join(dict.fromkeys(f"M{self.x(item.pts)} {self.y(item.probability)}h0" for item in records))

    def seen(self, records: Sequence[FrameRecord]) -> Iterator[Band]:
        for stretch in self._stretches(records):
            yield self._band(stretch[0].pts, stretch[-1].pts, "seen")

    def forged(self, track: TrackVerdict) -> Iterator[Band]:
        for span in track.spans:
            yield self._band(span.start, span.end, f"track {track.track_id} looks forged")

    def ticks(self) -> Iterator[AxisTick]:
        most = max(1.0, (self.right - self.left) / _PIXELS_PER_TICK)
        step = next((step for step in _STEPS if self._length / step <= most), self._length)
        for number in range(int(self._length / step + 1e-9) + 1):
            text = media_time(number * step)
            yield AxisTick(self.x(number * step), text if step < 1 else text.removesuffix(".0"))

    def _band(self, start: float, end: float, what: str) -> Band:
        x = self.x(start)
        return Band(x, max(2.0, round(self.x(end) - x, 1)), f"{what}: {media_time(start)}–{media_time(end)}")

    def _stretches(self, records: Sequence[FrameRecord]) -> Iterator[list[FrameRecord]]:
        stretch: list[FrameRecord] = []
        for record in records:
            if stretch and record.pts - stretch[-1].pts > self._gap:
                yield stretch
                stretch = []
            stretch.append(record)
        if stretch:
            yield stretch

    def _thinned(self, stretch: Sequence[FrameRecord]) -> Iterator[FrameRecord]:
        """Where there are more faces than pixels, the lowest and the highest score of each pixel."""
        if len(stretch) <= 2 * (self.right - self.left):
            yield from stretch
            return
        columns: dict[int, list[FrameRecord]] = {}
        for record in stretch:
            columns.setdefault(int(self.x(record.pts)), []).append(record)
        for column in columns.values():
            ends = {min(column, key=_score), max(column, key=_score)}
            yield from sorted(ends, key=lambda record: record.pts)

    def _stretch(self, records: Sequence[FrameRecord]) -> str:
        points = [f"{self.x(item.pts)} {self.y(item.probability)}" for item in records]
        return f"M{'L'.join(points)}" if len(points) > 1 else f"M{points[0]}h0"


def _score(record: FrameRecord) -> float:
    return record.probability


def _describe(tracks: Sequence[TrackVerdict], length: float) -> str:
    sentences = [f"Score of each face over {media_time(length)} of media time, 0 to 1."]
    for track in tracks[:LANES]:
        score = "no score" if track.score is None else f"score {track.score:.2f}"
        when = f"{media_time(track.start)} to {media_time(track.end)}"
        sentences.append(f"Track {track.track_id}, {when}: {track.label}, {score}.")
        sentences += [f"Looks forged from {media_time(span.start)} to {media_time(span.end)}." for span in track.spans]
    if len(tracks) > LANES:
        sentences.append(f"{len(tracks) - LANES} more tracks.")
    return " ".join(sentences)
