"""Files that cannot be seen as a whole: what their verdicts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamwatch.pipeline.analyser import Analyser, SegmentPlan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.records import ImageArray, Label, UnseenCause, VideoVerdict
from streamwatch.sources import Location
from tests.support import media
from tests.support.square_faces import RedDetector, SquareFinder, plan

GREY, RED = (100, 100, 100), (230, 70, 70)


def pictures(colour: tuple[int, int, int], number: int) -> list[ImageArray]:
    """A square that is a face, real where it is grey and forged where it is red."""
    image = np.zeros((96, 160, 3), np.uint8)
    image[24:72, 40:88] = colour
    return [image] * number


def clip(path: Path, colour: tuple[int, int, int] = GREY, frames: int = 200) -> Path:
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else None
    images = pictures(colour, frames)
    # At a constant rate of bytes a cut of the bytes is one of the time too: all pictures are key frames.
    return media.encode(path, images=images, frames=frames, keyframe_every=1, container_options=options)


def verdict(path: Path, **sections: object) -> VideoVerdict:
    analyser = Analyser(plan(**sections), LocalClient(RedDetector()), face_detector=SquareFinder())
    return analyser.analyse(str(path)).verdict


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_breaks_off_is_not_called_real(suffix: str, threads: int, tmp_path: Path) -> None:
    whole = clip(tmp_path / f"whole.{suffix}")
    decode = {"threads": threads}
    assert verdict(whole, decode=decode).label is Label.REAL
    assert verdict(whole, decode=decode).reason == ""
    found = verdict(media.truncated(whole, tmp_path / f"cut.{suffix}", 0.4), decode=decode)
    assert found.label is Label.INCONCLUSIVE
    assert found.duration is not None
    assert 2.0 < found.duration < 4.0
    assert found.duration == pytest.approx(found.frames.decoded / 25, abs=0.05)
    assert found.reason == f"ends at 0:{found.duration:04.1f} of 0:08.0"


def test_a_file_that_breaks_off_without_a_face_may_have_had_one(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mkv", (0, 0, 0))
    assert verdict(whole).label is Label.NO_FACE
    assert verdict(media.truncated(whole, tmp_path / "cut.mkv", 0.4)).label is Label.INCONCLUSIVE


def test_what_is_forged_before_a_file_breaks_off_stays_fake(tmp_path: Path) -> None:
    found = verdict(media.truncated(clip(tmp_path / "whole.mkv", RED), tmp_path / "cut.mkv", 0.4))
    assert found.label is Label.FAKE
    assert found.reason.startswith("ends at 0:0")


def test_how_much_may_go_unseen_is_a_setting(tmp_path: Path) -> None:
    cut = media.truncated(clip(tmp_path / "whole.mkv"), tmp_path / "cut.mkv", 0.4)
    found = verdict(cut, fusion={"unseen_share": 0.9})
    assert found.label is Label.REAL
    assert found.reason.startswith("ends at 0:0")


def test_a_gap_in_the_middle_is_said(tmp_path: Path) -> None:
    times = [number / 25 for number in range(200) if not 75 <= number < 150]
    path = media.encode(tmp_path / "gap.mkv", times=times, images=pictures(GREY, len(times)), keyframe_every=1)
    found = verdict(path)
    assert found.label is Label.INCONCLUSIVE
    assert found.reason == "3.0 s not analysed: missing"
    assert found.duration == pytest.approx(8.0, abs=0.05)


def test_a_picture_that_stays_is_no_gap(tmp_path: Path) -> None:
    times = [number / 25 for number in range(200) if not 75 <= number < 150]
    path = media.encode(tmp_path / "slide.mp4", times=times, images=pictures(GREY, len(times)), keyframe_every=1)
    assert verdict(path).label is Label.REAL


def test_where_all_is_damaged_there_is_no_verdict_but_a_reason(tmp_path: Path) -> None:
    whole = media.encode(tmp_path / "whole.ts", images=pictures(GREY, 100), frames=100, keyframe_every=200)
    data = whole.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    video = [number for number, packet in enumerate(packets) if (packet[1] & 31, packet[2]) == (1, 0)]
    kept = [packet for number, packet in enumerate(packets) if number != video[4]]  # of the only key frame
    path = tmp_path / "lossy.ts"
    path.write_bytes(b"".join(kept))
    found = verdict(path)
    assert found.label is Label.INCONCLUSIVE
    assert found.frames.sampled == 0
    assert found.frames.decoded >= 98
    assert found.reason.startswith(f"{found.frames.unseen[UnseenCause.DAMAGED]:.1f} s not analysed: damaged")


def test_transport_streams_one_after_the_other_are_as_long_as_they_are(tmp_path: Path) -> None:
    parts = []
    for number, offset in enumerate((3600, 0)):
        parts.append(
            media.encode(
                tmp_path / f"{number}.ts",
                images=pictures(GREY, 25),
                frames=25,
                container_options={"output_ts_offset": str(offset)},
            )
        )
    found = verdict(media.concatenated(tmp_path / "both.ts", *parts), sampling={"fps": 2.0, "min_frames": 16})
    assert found.duration == pytest.approx(2.0, abs=0.05)
    assert found.frames.decoded == 50
    assert found.frames.sampled >= 14


def test_the_parts_of_a_file_that_breaks_off_say_so_too(tmp_path: Path) -> None:
    path = media.truncated(clip(tmp_path / "whole.mkv"), tmp_path / "cut.mkv", 0.4)
    analyser = Analyser(plan(), LocalClient(RedDetector()), face_detector=SquareFinder())
    subject = plan().subject(str(path), None)
    cut = analyser.begin(subject, Location(path), trace=False, segment=1.0)
    assert isinstance(cut, SegmentPlan)
    parts = [analyser.analyse_segment(subject, Location(path), segment) for segment in cut.segments]
    found = analyser.fuse(subject, cut, [part for part in parts if isinstance(part, bytes)]).verdict
    alone = verdict(path)
    assert (found.label, found.reason) == (alone.label, alone.reason)
    assert found.duration == pytest.approx(alone.duration)


def test_triage_knows_where_a_file_ends(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mkv")
    triage = {"triage": True, "fps": 2.0}
    assert verdict(whole, sampling=triage).label is Label.REAL
    found = verdict(media.truncated(whole, tmp_path / "cut.mkv", 0.4), sampling=triage)
    assert found.label is Label.INCONCLUSIVE
    assert found.reason.startswith("ends at 0:0")
