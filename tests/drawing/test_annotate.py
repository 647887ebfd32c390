"""The annotated clip: what is drawn where, and that the rest of the clip is kept."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamwatch.drawing.annotate import (
    BRIDGE,
    HOLD,
    Drawing,
    FaceTimeline,
    Mark,
    ScoreStrip,
    annotate,
    draw_mark,
    overlay_mask,
    score_colour,
)
from streamwatch.drawing.muxing import Mp4Writer, Part
from streamwatch.errors import ConfigError, SourceNotFound, SourceUnreadable, StreamwatchError
from streamwatch.records import (
    Box,
    FaceTrace,
    ImageArray,
    Label,
    MaskCoverage,
    Span,
    VideoVerdict,
)
from streamwatch.sources import VideoSource
from streamwatch.sources.segments import Segment
from tests.support import media
from tests.support.builders import make_track, make_verdict

BOX = (40.0, 20.0, 80.0, 70.0)
REGION = (20.0, 5.0, 100.0, 85.0)


def trace(
    pts: float, *, track: int = 1, box: Box = BOX, probability: float = 0.9, mask: ImageArray | None = None
) -> FaceTrace:
    return FaceTrace(round(pts * 25), pts, track, box, REGION, probability, mask)


def verdict(*, label: Label = Label.FAKE, spans: tuple[Span, ...] = (), duration: float = 2.0) -> VideoVerdict:
    return make_verdict(label=label, duration=duration, tracks=(make_track(end=duration, label=label, spans=spans),))


def pictures(path: Path) -> list[tuple[float, ImageArray]]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in frames]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return media.encode(tmp_path / "clip.mp4", frames=50, audio=True)


def test_the_clip_shows_pictures_as_a_player_does(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "tall.mp4", frames=5, width=80, aspect=Fraction(2), rotation=180)
    annotate(path, [], verdict(duration=0.2), tmp_path / "marked.mp4")
    with av.open(str(tmp_path / "marked.mp4")) as container:
        frame = next(container.decode(video=0))
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)
    assert frame.width == 160
    image = frame.to_ndarray(format="rgb24")
    assert image[80:92, :, 0].mean() > 150  # the red band, which is on top as it is stored


def test_every_picture_and_the_sound_are_kept(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "marked.mp4"
    annotate(clip, [trace(t / 2) for t in range(4)], verdict(), output)
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width == 160
        assert stream.height > 96
        assert stream.height % 2 == 0
    before, after = pictures(clip), pictures(output)
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-3)
    assert sound(output) == sound(clip)
    assert [path.name for path in output.parent.iterdir()] == ["marked.mp4"]


def test_picture_is_untouched_where_nothing_is_drawn(clip: Path, tmp_path: Path) -> None:
    annotate(clip, [trace(t / 2) for t in range(4)], verdict(), tmp_path / "marked.mp4")
    (_, before), (_, after) = pictures(clip)[25], pictures(tmp_path / "marked.mp4")[25]
    corner = np.s_[80:96, 120:160]
    assert np.abs(after[corner].astype(int) - before[corner]).mean() < 4
    edge = after[45, 39:42].astype(int).mean(axis=0)
    assert edge[0] > edge[1] + 80, "the box of a score of 0.9 is red"


def test_times_of_a_variable_frame_rate_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 1.3, 2.0]
    clip = media.encode(tmp_path / "vfr.mp4", times=times, b_frames=False)
    annotate(clip, [], verdict(), tmp_path / "marked.mp4")
    assert [time for time, _ in pictures(tmp_path / "marked.mp4")] == pytest.approx(times, abs=2e-3)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"width": 161, "height": 97, "pixel_format": "yuv444p"}, (160, 96)),
        ({"rotation": 90}, (96, 160)),
        ({"width": 1440, "height": 64, "frames": 2}, (1280, 56)),
    ],
    ids=["odd", "rotated", "large"],
)
def test_size(tmp_path: Path, options: dict[str, object], size: tuple[int, int]) -> None:
    clip = media.encode(tmp_path / "clip.mp4", **{"frames": 5, **options})  # type: ignore[arg-type]
    annotate(clip, [trace(0.0)], verdict(), tmp_path / "marked.mp4")
    (_, picture), *_ = pictures(tmp_path / "marked.mp4")
    assert picture.shape[1] == size[0]
    strip = ScoreStrip(FaceTimeline([]), verdict(), 2.0, size[0], size[1])
    assert picture.shape[0] == size[1] + strip.height


SLOWER = [number / 25 for number in range(20)] + [0.8 + number / 2 for number in range(10)]


@pytest.mark.parametrize(
    ("options", "cuts"),
    [({"frames": 70}, [0, 20, 40]), ({"times": SLOWER}, [0, 10, 20])],
    ids=["steady", "slower after a cut"],
)
def test_parts_join_to_the_clip_from_one_piece(tmp_path: Path, options: dict[str, object], cuts: list[int]) -> None:
    clip = media.encode(tmp_path / "clip.mp4", audio=True, **options)  # type: ignore[arg-type]
    times = [time for time, _ in pictures(clip)]
    traces = [trace(t, box=(30 + 20 * t, 20, 70 + 20 * t, 70)) for t in np.arange(0, times[-1] + 0.5, 0.5)]
    annotate(clip, traces, verdict(), tmp_path / "whole.mp4")
    with VideoSource(str(clip)) as video:
        segments = video.segments(0.8)
    drawing = Drawing(clip, traces, verdict(), tmp_path / "marked.mp4")
    shares: list[float] = []
    parts = [drawing.draw(segment, length=0.8, progress=shares.append) for segment in reversed(segments)][::-1]
    starts = [round(times[cut] * 90_000) for cut in cuts]
    assert [part.start for part in parts if part is not None] == pytest.approx(starts, abs=1)
    assert 0.9 < max(shares) <= 1.0
    assert not drawing.output.exists()
    drawing.join(parts)
    drawing.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "marked.mp4", "whole.mp4"]

    whole, found = pictures(tmp_path / "whole.mp4"), pictures(drawing.output)
    assert [time for time, _ in found] == pytest.approx([time for time, _ in whole], abs=1.5 / 90_000)
    assert sound(drawing.output) == sound(clip)
    for (time, mine), (_, theirs) in zip(found, whole, strict=True):
        assert np.abs(mine.astype(int) - theirs).mean() < 3
        row = mine[45, :, 0].astype(int) - mine[45, :, 1]
        assert row[: round(50 + 20 * time)].argmax() == pytest.approx(30 + 20 * time, abs=2), "the left edge of the box"
    with av.open(str(drawing.output)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [packet.pts for packet in packets if packet.is_keyframe]
    assert set(starts) <= {key + off for key in keys for off in (-1, 0, 1) if key is not None}
    assert all(packet.dts < after.dts <= after.pts for packet, after in pairwise(packets))


def test_a_part_without_pictures_and_one_that_does_not_fit(clip: Path, tmp_path: Path) -> None:
    drawing = Drawing(clip, [], verdict(), tmp_path / "marked.mp4")
    assert drawing.draw(Segment(start=10**9, first=0.0, before=1.0)) is None
    first = drawing.draw(Segment(end=8000))
    other = tmp_path / "other.mp4"
    with Mp4Writer(other, (64, 64)) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8), 0.0)
    with pytest.raises(StreamwatchError, match=r"other\.mp4: was encoded with other parameters"):
        drawing.join([first, None, Part(other, 90_000)])
    with pytest.raises(SourceNotFound, match=r"gone\.mp4"):
        drawing.join([Part(tmp_path / "gone.mp4", 0)])
    assert not drawing.output.exists()


def test_sound_that_mp4_cannot_carry_is_left_out(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        tone = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for number in range(5):
            image = av.VideoFrame.from_ndarray(media.picture(number, 64, 64), format="rgb24")
            container.mux(video.encode(image))
        noise = av.AudioFrame.from_ndarray(np.ones((1, 1600), np.int16), format="s16", layout="mono")
        noise.sample_rate, noise.pts, noise.time_base = 8000, 0, Fraction(1, 8000)
        container.mux([*tone.encode(noise), *tone.encode(None), *video.encode(None)])
    annotate(clip, [], verdict(), tmp_path / "marked.mp4")
    with av.open(str(tmp_path / "marked.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_failure_leaves_no_file_and_no_earlier_result_destroyed(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video " * 50, encoding="utf-8")
    output = tmp_path / "marked.mp4"
    output.write_bytes(b"earlier")
    with pytest.raises(SourceUnreadable, match=r"text\.mp4"):
        annotate(text, [], verdict(), output)
    with pytest.raises(SourceNotFound, match=r"nowhere\.mp4"):
        annotate(tmp_path / "nowhere.mp4", [], verdict(), output)
    assert output.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["marked.mp4", "text.mp4"]


def test_a_link_in_the_place_of_the_parts_is_not_followed(clip: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0.mp4").write_bytes(b"somebody's")
    (tmp_path / ".marked.mp4.parts").symlink_to(elsewhere)
    annotate(clip, [], verdict(), tmp_path / "marked.mp4")
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {"0.mp4": b"somebody's"}
    assert (tmp_path / "marked.mp4").stat().st_mode & 0o777 == 0o600


def test_output_that_cannot_be_written_is_named(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file/marked\.mp4: cannot be written"):
        annotate(clip, [], verdict(), tmp_path / "file" / "marked.mp4")


def test_box_moves_evenly_between_scored_faces() -> None:
    low = np.zeros((4, 4), np.uint8)
    timeline = FaceTimeline(
        [
            trace(0.0, box=(0, 0, 10, 10), probability=0.2, mask=low),
            trace(0.5, box=(20, 10, 30, 20), probability=0.6, mask=low + 200),
        ]
    )
    (mark,) = timeline.at(0.125)
    assert mark.box == pytest.approx((5.0, 2.5, 15.0, 12.5))
    assert mark.probability == pytest.approx(0.3)
    assert mark.mask is not None
    assert set(mark.mask.ravel().tolist()) == {50}


def test_box_is_not_drawn_where_nobody_looked() -> None:
    timeline = FaceTimeline([trace(0.0), trace(1.0), trace(1.0 + BRIDGE + 0.5), trace(0.9, track=2)])
    assert [mark.track_id for mark in timeline.at(0.9)] == [1, 2]
    assert [mark.track_id for mark in timeline.at(1.0 + HOLD - 0.01)] == [1]
    assert timeline.at(1.0 + HOLD + 0.01) == []
    assert [len(stretch) for stretch in timeline.stretches(1)] == [2, 1]


def test_a_forged_face_carries_where_its_mask_lies() -> None:
    mouth = MaskCoverage(0.5, 0.38, 0.0, 0.1, 0.9, 0.2, 0.0)
    plain = Mark(1, (60.0, 60.0, 100.0, 110.0), REGION, 0.9, None)
    shown = []
    for mark in (plain, replace(plain, coverage=mouth), replace(plain, coverage=replace(mouth, face=0.0))):
        picture = np.full((120, 320, 3), 100, np.uint8)
        draw_mark(picture, mark, 1.0, 1.0)
        shown.append(picture)
    plates = [np.argwhere((picture[:60] != 100).any(axis=2)) for picture in shown]
    assert plates[1][:, 0].min() < plates[0][:, 0].min(), "a second line"
    assert plates[1][:, 1].max() > plates[2][:, 1].max(), "longer words, wider plate"
    assert (shown[0][112:] == shown[1][112:]).all()
    timeline = FaceTimeline([trace(0.0), replace(trace(1.0), coverage=mouth)])
    assert [timeline.at(pts)[0].coverage for pts in (0.4, 0.6, 1.1)] == [None, mouth, mouth]


def test_a_plate_stays_inside_of_the_picture() -> None:
    whole = MaskCoverage(0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    pictures = []
    for left in (20.0, 290.0):
        picture = np.full((120, 320, 3), 100, np.uint8)
        draw_mark(picture, Mark(1, (left, 4.0, left + 20, 8.0), REGION, 0.9, None, whole), 1.0, 1.0)
        pictures.append(np.argwhere((picture[12:] != 100).any(axis=2))[:, 1])
    inside, moved = pictures
    assert np.ptp(moved) == np.ptp(inside)
    assert moved.max() <= 319
    assert moved.min() < 290


def test_mask_is_heat_inside_its_region_only() -> None:
    picture = np.full((60, 80, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    overlay_mask(picture, mask, (-20.0, 10.0, 20.0, 50.0))
    changed = np.argwhere((picture != 100).any(axis=2))
    assert changed[:, 0].min() == 10
    assert changed[:, 0].max() == 49
    assert changed[:, 1].max() == 19
    hottest = picture[30, 10].astype(int)
    assert hottest[0] > 150
    assert hottest[0] > hottest[2]


@pytest.mark.parametrize("region", [(-50.0, 0.0, -10.0, 40.0), (90.0, 0.0, 130.0, 40.0), (5.2, 5.2, 5.3, 5.3)])
def test_mask_outside_of_the_picture_or_without_area(region: Box) -> None:
    picture = np.full((60, 80, 3), 100, np.uint8)
    overlay_mask(picture, np.full((8, 8), 255, np.uint8), region)
    assert (picture == 100).all()


def test_colour_runs_from_green_to_red() -> None:
    real, doubtful, fake = (score_colour(value) for value in (0.0, 0.5, 1.0))
    assert real[1] > real[0]
    assert fake[0] > 2 * fake[1]
    assert real[0] < doubtful[0]
    assert fake[1] < doubtful[1]


def test_strip_shades_the_span_and_moves_the_playhead() -> None:
    shown = ScoreStrip(
        FaceTimeline([trace(t / 2) for t in range(20)]),
        verdict(spans=(Span(4.0, 6.0, 0.99, 0.9),), duration=10.0),
        10.0,
        640,
        360,
    )
    early, late = shown.at(1.0), shown.at(9.0)
    row = shown.height - 30
    reddish = np.flatnonzero(early[row, :, 0].astype(int) > early[row, :, 2].astype(int) + 30)
    assert 0.38 < reddish.min() / 640 < 0.47
    assert 0.58 < reddish.max() / 640 < 0.65
    white = [np.flatnonzero((strip[row] == 255).all(axis=1)).mean() / 640 for strip in (early, late)]
    assert white == pytest.approx([0.13, 0.89], abs=0.04)


@pytest.mark.parametrize("label", list(Label))
def test_every_label_has_a_strip(label: Label) -> None:
    strip = ScoreStrip(FaceTimeline([]), verdict(label=label), 0.0, 320, 180).at(0.0)
    assert strip.shape == (72, 320, 3)
    assert cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY).std() > 5
