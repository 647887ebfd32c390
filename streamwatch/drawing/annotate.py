"""A clip that shows what streamwatch saw: boxes, track labels, masks over the faces, the score over time.

A face above the policy's threshold carries how much of it the mask covers, and where. The pictures are those of
the source at its own times, with a strip below them: one line per track, the spans that looked forged shaded, and
a playhead. H.264 in MP4, with the source's sound where MP4 can carry it.
"""

from __future__ import annotations

import bisect
import contextlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from streamwatch.config import DecodeSettings
from streamwatch.drawing.muxing import CLOCK, Mp4Writer, Part, join
from streamwatch.errors import ConfigError
from streamwatch.files import PRIVATE, make_private_folder
from streamwatch.fusion.regions import brief
from streamwatch.records import Box, FaceTrace, ImageArray, Label, MaskCoverage, VideoVerdict
from streamwatch.sources.segments import Segment
from streamwatch.sources.video import VideoSource

MAX_SIDE = 1280
"""Longer side of the picture part, pixels; larger sources are scaled down, for players and patience."""

BRIDGE = 1.5
"""Between scored faces of a track that are closer than this (seconds) the box is interpolated."""

HOLD = 0.25
"""Seconds that a box stays before the first and after the last scored face of a stretch."""

FONT = cv2.FONT_HERSHEY_DUPLEX
BACKGROUND = (24, 26, 30)
GRID = (70, 74, 80)
INK = (235, 235, 235)
TRACK_COLOURS = ((86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 158, 115), (240, 228, 66), (213, 94, 0))
"""Okabe and Ito's palette: distinguishable by colour-blind eyes too."""

LABEL_COLOURS = {
    Label.FAKE: (222, 60, 48),
    Label.REAL: (52, 168, 83),
    Label.INCONCLUSIVE: (240, 170, 40),
    Label.NO_FACE: (140, 146, 155),
    Label.ERROR: (140, 146, 155),
}


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """An annotated clip that is to be made in parts, here or in several processes: `draw` each, `join` them, `clear`.

    output: of the clip (MP4); it appears under this name only when it is complete. Beside it is a hidden folder with
    the parts, which all those processes must reach.
    """

    source: Path
    traces: Sequence[FaceTrace]
    verdict: VideoVerdict
    output: Path
    decode: DecodeSettings = field(default_factory=DecodeSettings)

    def draw(
        self,
        segment: Segment | None = None,
        *,
        length: float | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Part | None:
        """Draw and encode the pictures of a segment, or of the whole; None where it has none.

        length: of the segment, about, seconds. progress: called with the share that is done.
        Raises SourceError where the source cannot be read and ConfigError where the output cannot be written.
        """
        with self._writing():
            if self._folder.is_symlink():  # laid by somebody who wants the parts elsewhere
                self._folder.unlink()
            make_private_folder(self._folder)
            return self._draw(segment or Segment(), length, progress)

    def join(self, parts: Sequence[Part | None]) -> None:
        """Make the clip from its parts, with the source's sound where MP4 can carry it. Raises as `draw` does."""
        with self._writing():
            whole = self._folder / "whole.mp4"
            join([part for part in parts if part is not None], self.source, whole)
            whole.chmod(PRIVATE)
            whole.replace(self.output)

    def clear(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return self.output.with_name(f".{self.output.name}.parts")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{self.output}: cannot be written ({reason})", "name another place") from None

    def _draw(self, segment: Segment, length: float | None, progress: Callable[[float], None]) -> Part | None:
        # Two threads as for the encoder: pictures are drawn one by one, in between.
        decode = self.decode.model_copy(update={"threads": 2})
        timeline = FaceTimeline(self.traces)
        with VideoSource(str(self.source), decode) as video:  # the first picture of the file decides on the size
            shrink = min(1.0, MAX_SIDE / max(video.width, video.height))
            width, height = _even(video.width * shrink), _even(video.height * shrink)
            duration = self.verdict.duration or video.duration or timeline.end
        strip = ScoreStrip(timeline, self.verdict, duration, width, height)
        path = self._folder / f"{segment.start or 0}.mp4"
        start: int | None = None
        with contextlib.ExitStack() as stack:
            video = stack.enter_context(VideoSource(str(self.source), decode, segment=segment))
            writer = stack.enter_context(Mp4Writer(path, (width, height + strip.height)))
            for decoded in video.decoded():
                start = round(decoded.pts / CLOCK) if start is None else start
                began = float(start * CLOCK)
                image = decoded.to_image()
                scale_x, scale_y = width / image.shape[1], height / image.shape[0]
                if image.shape[:2] != (height, width):
                    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                for mark in timeline.at(decoded.pts):
                    draw_mark(image, mark, scale_x, scale_y)
                writer.write(np.vstack([image, strip.at(decoded.pts)]), decoded.pts - began)
                progress(min(1.0, (decoded.pts - began) / (length or duration or 1.0)))
        return None if start is None else Part(path, start)


def annotate(source: Path, traces: Sequence[FaceTrace], verdict: VideoVerdict, output: Path) -> None:
    """Write `source` with the marks of `traces` and the strip of `verdict` to `output` (MP4).

    The file appears under its name only when it is complete. Raises SourceError where the source cannot be
    read and ConfigError where the output cannot be written.
    """
    drawing = Drawing(source, traces, verdict, output)
    try:
        drawing.join([drawing.draw()])
    finally:
        drawing.clear()


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What to draw for one face at one instant; as FaceTrace, between two of them."""

    track_id: int
    box: Box
    region: Box
    probability: float
    mask: ImageArray | None
    coverage: MaskCoverage | None = None


class FaceTimeline:
    """The scored faces of a source by track and time."""

    def __init__(self, traces: Sequence[FaceTrace]) -> None:
        tracks: dict[int, list[FaceTrace]] = defaultdict(list)
        for trace in sorted(traces, key=lambda t: t.pts):
            tracks[trace.track_id].append(trace)
        self.tracks = dict(sorted(tracks.items()))
        self._times = {track: [t.pts for t in faces] for track, faces in self.tracks.items()}

    @property
    def end(self) -> float:
        return max((times[-1] for times in self._times.values()), default=0.0)

    def at(self, pts: float) -> list[Mark]:
        """The marks to draw at media time `pts`, by track id."""
        marks = (self._mark(track, pts) for track in self.tracks)
        return [mark for mark in marks if mark is not None]

    def stretches(self, track: int) -> Iterator[list[FaceTrace]]:
        """The faces of a track, parted where it was out of sight for longer than `BRIDGE`."""
        stretch: list[FaceTrace] = []
        for trace in self.tracks[track]:
            if stretch and trace.pts - stretch[-1].pts > BRIDGE:
                yield stretch
                stretch = []
            stretch.append(trace)
        yield stretch

    def _mark(self, track: int, pts: float) -> Mark | None:
        faces = self.tracks[track]
        after = bisect.bisect_right(self._times[track], pts)
        left = faces[after - 1] if after > 0 else None
        right = faces[after] if after < len(faces) else None
        if left and right and right.pts - left.pts <= BRIDGE:
            return _between(left, right, (pts - left.pts) / (right.pts - left.pts))
        for face in (left, right):
            if face and abs(face.pts - pts) <= HOLD:
                return Mark(track, face.box, face.region, face.probability, face.mask, face.coverage)
        return None


def _between(left: FaceTrace, right: FaceTrace, share: float) -> Mark:
    def mix(a: float, b: float) -> float:
        return a + (b - a) * share

    def mix_box(a: Box, b: Box) -> Box:
        return (mix(a[0], b[0]), mix(a[1], b[1]), mix(a[2], b[2]), mix(a[3], b[3]))

    if left.mask is not None and right.mask is not None and left.mask.shape == right.mask.shape:
        mask: ImageArray | None = cv2.addWeighted(left.mask, 1 - share, right.mask, share, 0).astype(np.uint8)
    else:
        mask = left.mask if share < 0.5 else right.mask
    return Mark(
        track_id=left.track_id,
        box=mix_box(left.box, right.box),
        region=mix_box(left.region, right.region),
        probability=mix(left.probability, right.probability),
        mask=mask,
        coverage=(left if share < 0.5 else right).coverage,
    )


def overlay_mask(picture: ImageArray, mask: ImageArray, region: Box, strength: float = 0.6) -> None:
    """Lay `mask` (h×w uint8) as heat over the part `region` of `picture` (H×W×3 RGB), in place.

    Where the mask is 0 the picture stays as it is; where it is 255 the heat covers `strength` of it.
    """
    x0, y0, x1, y1 = (round(value) for value in region)
    height, width = picture.shape[:2]
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if right <= left or bottom <= top:
        return
    weight = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    weight = weight[top - y0 : bottom - y0, left - x0 : right - x0]
    heat = cv2.cvtColor(cv2.applyColorMap(weight, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = weight[..., None].astype(np.float32) * (strength / 255)
    part = picture[top:bottom, left:right]
    part[:] = np.rint(part * (1 - share) + heat * share).astype(np.uint8)


def draw_mark(picture: ImageArray, mark: Mark, scale_x: float, scale_y: float) -> None:
    """Draw one face on `picture`, in place; the scales lead from the frame's pixels to the picture's."""
    if mark.mask is not None:
        overlay_mask(picture, mark.mask, _scaled(mark.region, scale_x, scale_y))
    x0, y0, x1, y1 = (round(value) for value in _scaled(mark.box, scale_x, scale_y))
    size = _text_scale(picture.shape[0])
    colour = score_colour(mark.probability)
    thickness = max(2, round(picture.shape[0] / 270))
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness, cv2.LINE_AA)
    lines = [f"#{mark.track_id}  {mark.probability:.2f}"]
    if mark.coverage is not None:
        lines.append(f"mask {brief(mark.coverage)}")
    _draw_plate(picture, lines, x0 - thickness // 2, y0, size, colour)


def _draw_plate(
    picture: ImageArray, lines: Sequence[str], left: int, bottom: int, size: float, colour: tuple[int, int, int]
) -> None:
    """Lines of text on a plate above row `bottom`, or below it where the picture ends; moved left to be whole."""
    extents = [cv2.getTextSize(line, FONT, size, 1) for line in lines]
    width = max(extent[0] for extent, _ in extents)
    height, base = max(extent[1] for extent, _ in extents), max(base for _, base in extents)
    pad = max(3, height // 3)
    pitch = height + base + pad
    total = len(lines) * pitch + pad
    top = bottom - total if bottom >= total else bottom
    left = min(max(left, 0), max(picture.shape[1] - 1 - width - 2 * pad, 0))
    cv2.rectangle(picture, (left, top), (left + width + 2 * pad, top + total), colour, cv2.FILLED)
    for number, line in enumerate(lines):
        origin = (left + pad, top + pad + height + number * pitch)
        cv2.putText(picture, line, origin, FONT, size, (0, 0, 0), 1, cv2.LINE_AA)


def score_colour(probability: float) -> tuple[int, int, int]:
    """Green for 0 over amber at 0.5 to red for 1."""
    real, middle, fake = (np.array(LABEL_COLOURS[k]) for k in (Label.REAL, Label.INCONCLUSIVE, Label.FAKE))
    share = min(max(probability, 0.0), 1.0) * 2
    mixed = real + (middle - real) * share if share <= 1 else middle + (fake - middle) * (share - 1)
    red, green, blue = (round(float(value)) for value in mixed)
    return red, green, blue


class ScoreStrip:
    """The score over time as a picture of W×`height`; `at` adds the playhead."""

    def __init__(
        self, timeline: FaceTimeline, verdict: VideoVerdict, duration: float, width: int, picture_height: int
    ) -> None:
        self.height = _even(min(max(round(picture_height * 0.2), 72), 180))
        self._size = _text_scale(picture_height)
        self._duration = max(duration, 1e-3)
        (label_width, label_height), _ = cv2.getTextSize("0.0", FONT, self._size * 0.8, 1)
        (_, header_height), base = cv2.getTextSize("0", FONT, self._size, 1)
        self._left, self._right = label_width + 12, width - 10
        self._top = header_height + base + label_height // 2 + 10
        self._bottom = self.height - label_height // 2 - 6
        self._still = np.full((self.height, width, 3), BACKGROUND, np.uint8)
        self._draw_spans(verdict)
        self._draw_grid()
        for track in timeline.tracks:
            self._draw_track(timeline, track)
        self._draw_header(timeline, verdict)

    def at(self, pts: float) -> ImageArray:
        """The strip with the playhead at media time `pts`."""
        strip: ImageArray = self._still.copy()
        x = self._x(pts)
        cv2.line(strip, (x, self._top), (x, self._bottom), (255, 255, 255), 2)
        clock = f"{_clock(pts)} / {_clock(self._duration)}"
        (width, _), _ = cv2.getTextSize(clock, FONT, self._size, 1)
        self._write(strip, clock, self._right - width, INK)
        return strip

    def _x(self, pts: float) -> int:
        share = min(max(pts / self._duration, 0.0), 1.0)
        return round(self._left + share * (self._right - self._left))

    def _y(self, probability: float) -> int:
        return round(self._bottom - probability * (self._bottom - self._top))

    def _draw_spans(self, verdict: VideoVerdict) -> None:
        tint = np.array(LABEL_COLOURS[Label.FAKE], np.float32)
        for track in verdict.tracks:
            for span in track.spans:
                part = self._still[self._top : self._bottom, self._x(span.start) : self._x(span.end) + 1]
                part[:] = np.rint(part * 0.65 + tint * 0.35).astype(np.uint8)

    def _draw_grid(self) -> None:
        for value in (0.0, 0.5, 1.0):
            y = self._y(value)
            cv2.line(self._still, (self._left, y), (self._right, y), GRID, 1)
            text, size = f"{value:.1f}", self._size * 0.8
            (_, height), _ = cv2.getTextSize(text, FONT, size, 1)
            cv2.putText(self._still, text, (4, y + height // 2), FONT, size, INK, 1, cv2.LINE_AA)

    def _draw_track(self, timeline: FaceTimeline, track: int) -> None:
        colour = _track_colour(track)
        for stretch in timeline.stretches(track):
            points = np.array([(self._x(t.pts), self._y(t.probability)) for t in stretch], np.int32)
            cv2.polylines(self._still, [points], False, colour, 2, cv2.LINE_AA)
            for x, y in points:
                cv2.circle(self._still, (int(x), int(y)), 2, colour, cv2.FILLED, cv2.LINE_AA)

    def _draw_header(self, timeline: FaceTimeline, verdict: VideoVerdict) -> None:
        text = verdict.label.value.upper().replace("_", " ")
        if verdict.score is not None:
            text += f" {verdict.score:.2f}"
        x = self._left
        x += self._write(self._still, text, x, LABEL_COLOURS[verdict.label]) + 16
        for track in timeline.tracks:
            name = f"#{track}"
            if x > self._left + (self._right - self._left) * 0.55:
                break
            x += self._write(self._still, name, x, _track_colour(track)) + 10

    def _write(self, strip: ImageArray, text: str, x: int, colour: tuple[int, int, int]) -> int:
        """Write into the header line; returns the width of the text."""
        (width, height), _ = cv2.getTextSize(text, FONT, self._size, 1)
        cv2.putText(strip, text, (x, height + 6), FONT, self._size, colour, 1, cv2.LINE_AA)
        return int(width)


def _track_colour(track: int) -> tuple[int, int, int]:
    return TRACK_COLOURS[(track - 1) % len(TRACK_COLOURS)]


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60):02d}:{seconds % 60:04.1f}"


def _text_scale(picture_height: int) -> float:
    return min(max(picture_height / 800, 0.4), 1.2)


def _scaled(box: Box, x: float, y: float) -> Box:
    return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)
