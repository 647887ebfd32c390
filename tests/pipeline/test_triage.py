"""Triage: what key frames leave in doubt is analysed in full, and the rest is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamwatch.config import DecodeSettings, Settings
from streamwatch.fusion import Policy
from streamwatch.pipeline.analyser import Analyser, SegmentPlan
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.triage import FAR, doubtful_windows, longest_gap, sample_key_frames
from streamwatch.records import FaceQuality, FrameRecord, Label
from streamwatch.sources import Location
from streamwatch.sources.keyframes import KeyFrame, key_pictures, read_key_frames
from streamwatch.sources.pixels import PictureConverter
from streamwatch.sources.video import VideoSource
from tests.support.face_clips import face_clip, face_picture
from tests.support.media import encode
from tests.support.score_clients import Brighter
from tests.support.small_detectors import settings_for, untrained_detector

DECODE = DecodeSettings()


def key_frames_at(*moments: float) -> list[KeyFrame]:
    return [KeyFrame(round(pts * 1000), round(pts * 25), pts, pts - 0.04) for pts in moments]


def face(frame: KeyFrame, probability: float, track: int = 1, side: float = 100.0) -> FrameRecord:
    box = (0.0, 0.0, side, side)
    return FrameRecord(track, frame.index, frame.pts, box, 0.99, 0.0, probability, FaceQuality(side, 200.0, 0.1, 1.0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_detector(tmp_path_factory.mktemp("triage"))


@pytest.fixture(scope="module")
def policy(weights: Path) -> Policy:
    return Plan.resolve(settings_for(weights)).policy


def settings(weights: Path, *, triage: bool) -> Settings:
    return settings_for(weights, sampling={"fps": 4.0, "triage": triage})


# --- key frames


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_key_frames_are_pictures_of_the_file(suffix: str, tmp_path: Path) -> None:
    path = str(encode(tmp_path / f"clip.{suffix}", frames=60, keyframe_every=13))
    with VideoSource(path) as video:
        place = video.place()
        whole = [(picture.pts, picture.to_image()) for picture in video.decoded()]
    assert place is not None
    frames, end = read_key_frames(Location(path), DECODE, place[0])
    assert end == pytest.approx(2.4, abs=0.05)
    assert [frame.index for frame in frames] == [0, 13, 26, 39, 52]
    assert [frame.pts for frame in frames] == [whole[frame.index][0] for frame in frames]
    assert [frame.before for frame in frames[1:]] == [whole[frame.index - 1][0] for frame in frames[1:]]
    shown = list(key_pictures(Location(path), DECODE, frames[1:4], PictureConverter()))
    assert [frame for frame, _ in shown] == frames[1:4]
    for frame, image in shown:
        assert np.array_equal(image, whole[frame.index][1])


def test_key_frames_that_cannot_be_located_are_none(tmp_path: Path) -> None:
    path = str(encode(tmp_path / "clip.ts", frames=60))
    assert not read_key_frames(Location(path), DECODE, 0.0).frames


# --- doubts


def test_nothing_is_left_in_doubt_where_every_look_is_clear(policy: Policy) -> None:
    frames = key_frames_at(*range(8))
    records = [face(frame, 0.1) for frame in frames]
    assert doubtful_windows(frames, {frame.index for frame in frames}, records, policy, 8.0, 0) == []
    assert doubtful_windows(frames, {frame.index for frame in frames}, [], policy, 8.0, 0) == []


def test_a_doubt_is_looked_at_from_the_look_before_to_the_one_after(policy: Policy) -> None:
    frames = key_frames_at(*range(10))
    seen = {frame.index for frame in frames}
    records = [face(frame, 0.6 if number in (3, 7) else 0.1) for number, frame in enumerate(frames)]
    windows = doubtful_windows(frames, seen, records, policy, 10.0, 0)
    assert [(each.start.pts, each.end and each.end.pts) for each in windows] == [(2, 4), (6, 8)]
    assert [each.holds(number * 25) for each in windows[:1] for number in range(5)] == [False, False, True, True, False]
    assert windows[0].segment(0.5, 0.1).before == frames[2].before
    assert windows[0].segment(0.5, 0.1).index == frames[2].index
    clear = [face(frame, 0.1) for frame in frames]
    (last,) = doubtful_windows(frames, seen, [face(frames[-1], 0.6), *clear], policy, 10.0, 0)
    assert (last.start, last.end) == (frames[-2], None)
    (first,) = doubtful_windows(frames, seen, [face(frames[0], 0.6), *clear], policy, 10.0, 0)
    assert first.segment(0.0, 0.0).start is None
    assert first.seconds(10.0) == 1.0


def test_faces_that_carry_no_weight_leave_no_doubt(policy: Policy) -> None:
    frames = key_frames_at(*range(8))
    records = [face(frame, 0.9, side=policy.limits.min_face_side - 1) for frame in frames]
    assert doubtful_windows(frames, {frame.index for frame in frames}, records, policy, 8.0, 0) == []


def test_what_could_not_be_decoded_or_lies_far_apart_is_in_doubt(policy: Policy) -> None:
    frames = key_frames_at(0, 1, 2, 3, 4 + FAR)
    seen = {frame.index for frame in frames} - {frames[1].index}
    windows = doubtful_windows(frames, seen, [face(frame, 0.1) for frame in frames], policy, 5 + FAR, 0)
    assert [(each.start.pts, each.end and each.end.pts) for each in windows] == [(0, 2), (3, 4 + FAR)]


def test_short_tracks_are_in_doubt_only_where_there_are_no_others(policy: Policy) -> None:
    frames = key_frames_at(*range(12))
    seen = {frame.index for frame in frames}
    brief = [face(frame, 0.1, track=2) for frame in frames[8:10]]
    (window,) = doubtful_windows(frames, seen, brief, policy, 12.0, 0)
    assert (window.start.pts, window.end and window.end.pts) == (7, 10)
    assert doubtful_windows(frames, seen, [*brief, *(face(frame, 0.1) for frame in frames[:6])], policy, 12.0, 0) == []


def test_long_windows_are_cut(policy: Policy) -> None:
    frames = key_frames_at(*range(12))
    records = [face(frame, 0.9) for frame in frames]
    windows = doubtful_windows(frames, {frame.index for frame in frames}, records, policy, 12.0, 5.0)
    assert [(each.start.pts, each.end and each.end.pts) for each in windows] == [(0, 5), (5, 10), (10, None)]


def test_no_more_key_frames_than_asked_for() -> None:
    assert [frame.pts for frame in sample_key_frames(key_frames_at(0, 0.2, 0.5, 0.6, 1.3), 2.0)] == [
        0,
        0.5,
        1.3,
    ]
    assert longest_gap(key_frames_at(0, 2, 5)) == pytest.approx(4.5)
    assert longest_gap(key_frames_at(0)) == 0


# --- files


def test_a_doubtful_file_gets_the_verdict_of_a_full_look(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    images = (face_picture(number) // (1 if 120 <= number < 180 else 2) for number in range(280))
    encode(path, fps=10, frames=280, images=images, width=256, height=192, keyframe_every=10)
    full, triaged = (
        Analyser(Plan.resolve(settings(weights, triage=triage)), Brighter()).analyse(str(path), sha256="a" * 64).verdict
        for triage in (False, True)
    )
    assert triaged.label is full.label is Label.FAKE
    assert triaged.frames.analysed < 0.7 * full.frames.analysed
    spans = [[(s.start, s.end) for track in verdict.tracks for s in track.spans] for verdict in (full, triaged)]
    assert spans[1] == pytest.approx(np.array(spans[0]), abs=0.3)
    assert triaged.policy == f"{full.policy} triage"
    with VideoSource(str(path)) as video:
        times = [picture.pts for picture in video.decoded()]
    assert [record.pts for record in triaged.scores] == [times[record.frame_index] for record in triaged.scores]
    assert all(item.pts == times[item.frame_index] for alert in triaged.alerts for item in alert.evidence)
    keys = [(record.frame_index, record.track_id) for record in triaged.scores]
    assert len(set(keys)) == len(keys)


def test_a_clear_file_is_only_skimmed(weights: Path, tmp_path: Path) -> None:
    images = (face_picture(number) // 2 for number in range(200))
    path = encode(tmp_path / "dark.mp4", fps=10, frames=200, images=images, width=256, height=192, keyframe_every=20)
    plan = Plan.resolve(settings(weights, triage=True))
    analyser, subject = Analyser(plan, Brighter()), plan.subject(str(path), None)
    cut = analyser.begin(subject, Location(path), trace=False, segment=5.0)
    assert isinstance(cut, SegmentPlan)
    assert cut.segments == ()
    verdict = analyser.fuse(subject, cut, []).verdict
    assert (verdict.label, verdict.frames.analysed, len(verdict.tracks)) == (Label.REAL, 10, 1)
    assert analyser.analyse(str(path)).verdict.score == verdict.score


@pytest.mark.parametrize("name", ["short.mp4", "in doubt.mp4", "restarts.ts"])
def test_other_files_are_looked_at_as_without_triage(name: str, weights: Path, tmp_path: Path) -> None:
    seconds, every = {"short.mp4": (2.0, 10), "in doubt.mp4": (8.0, 10), "restarts.ts": (8.0, 10)}[name]
    path = str(face_clip(tmp_path / name, seconds=seconds, keyframe_every=every))
    full, triaged = (
        Analyser(Plan.resolve(settings(weights, triage=triage)), Brighter()).analyse(path).verdict
        for triage in (False, True)
    )
    assert (triaged.label, triaged.score, triaged.frames) == (full.label, full.score, full.frames)


def test_triage_is_a_setting_of_the_result_and_changes_no_older_one(weights: Path) -> None:
    plain, triaged = (settings(weights, triage=triage) for triage in (False, True))
    assert plain.digest() == settings_for(weights).digest() != triaged.digest()
