"""Lost and broken data: what is decoded all the same, what is not sampled, and for how long."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path

import av
import numpy as np
import pytest

from streamwatch.bench.loopback.rtsp_server import serve_rtsp
from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.records import UnseenCause
from streamwatch.sources.clocks import MAX_REORDERED, MAX_STEP_DISCONTINUOUS, MediaClock
from streamwatch.sources.coverage import UnseenTime
from streamwatch.sources.damage import DamageTracker
from streamwatch.sources.h264 import HeaderReader
from streamwatch.sources.video import DecodedFrame, VideoSource
from tests.support import media

PACKET = 188
ALL = SamplingSettings(fps=25.0, min_frames=0)


def noise(number: int) -> np.ndarray:
    """A picture that moves everywhere, and takes several packets of a transport stream."""
    return np.roll(np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8), number, axis=1)


def noisy_clip(path: Path, *, keyframe_every: int = 25, frames: int = 100, b_frames: bool = True) -> Path:
    images = (noise(number) for number in range(frames))
    return media.encode(path, images=images, frames=frames, keyframe_every=keyframe_every, b_frames=b_frames)


def lossy(source: Path, target: Path, lost: Callable[[int], bool]) -> Path:
    """A transport stream without some of the packets of its video, which are counted from 0."""
    data, kept, number = source.read_bytes(), io.BytesIO(), 0
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        video = (packet[1] & 31) << 8 | packet[2] == 0x100
        if not (video and lost(number)):
            kept.write(packet)
        number += video
    target.write_bytes(kept.getvalue())
    return target


def without(source: Path, target: Path, lost: Collection[int]) -> Path:
    """A file without some of its packets, which are counted from 0 in order of decoding; timestamps stay."""
    with av.open(str(source)) as there, av.open(str(target), "w") as here:
        stream = here.add_stream_from_template(there.streams.video[0])
        for number, packet in enumerate(there.demux(video=0)):
            if packet.dts is not None and number not in lost:
                packet.stream = stream
                here.mux(packet)
    return target


def decoder_gives(path: Path) -> int:
    pictures = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                pictures += len(packet.decode())
            except av.error.InvalidDataError:
                continue
    return pictures


def read(path: Path, **settings: int) -> tuple[list[DecodedFrame], VideoSource]:
    with VideoSource(str(path), DecodeSettings(**settings), ALL) as source:
        return list(source.decoded()), source


@pytest.mark.parametrize("b_frames", [False, True], ids=["in order", "reordered"])
@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_is_sampled_from_lost_packets_to_the_next_key_frame(
    b_frames: bool, threads: int, tmp_path: Path
) -> None:
    clean = noisy_clip(tmp_path / "clean.ts", b_frames=b_frames)
    whole, _ = read(clean)
    packets = sum(packet[1] & 31 == 1 and packet[2] == 0 for packet in _packets(clean))
    hole = packets * 3 // 8  # in the middle of the second of four groups of pictures
    path = lossy(clean, tmp_path / "lossy.ts", lambda number: number == hole)
    pictures, source = read(path, threads=threads)

    assert len(pictures) == decoder_gives(path) >= 99
    times = [picture.pts for picture in pictures]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(whole[-1].pts, abs=0.02)
    spoiled = [picture.pts for picture in pictures if not picture.sampled]
    assert 1.2 < spoiled[0] < 1.8
    assert spoiled[-1] == pytest.approx(1.96, abs=0.05 if b_frames else 0.01)
    earlier = 2 if b_frames else 0  # decoded before the damage, and shown after it
    assert 0 <= round((spoiled[-1] - spoiled[0]) * 25) + 1 - len(spoiled) <= earlier
    assert source.counts.corrupt >= 1
    assert source.counts.unseen == {UnseenCause.DAMAGED: pytest.approx(len(spoiled) / 25, abs=0.01)}
    originals = {round(picture.pts * 25): picture for picture in whole}
    for picture in pictures:
        if picture.sampled:
            assert np.array_equal(picture.to_image(), originals[round(picture.pts * 25)].to_image())


def _packets(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05])
def test_lost_packets_do_not_stretch_time(share: float, seed: int, tmp_path: Path) -> None:
    clean = noisy_clip(tmp_path / "clean.ts", keyframe_every=50)
    chance = np.random.default_rng(seed)
    path = lossy(clean, tmp_path / "lossy.ts", lambda number: number > 50 and chance.random() < share)
    pictures, source = read(path)
    assert len(pictures) == decoder_gives(path)
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
    for picture in pictures:
        time = picture._picture.time
        assert time is not None
        assert picture.pts == pytest.approx(time - start, abs=0.041)
    assert source.end is not None
    assert source.end <= 4.05


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_lost_picture_is_known_by_the_numbers_of_the_others(suffix: str, tmp_path: Path) -> None:
    clip = noisy_clip(tmp_path / f"whole.{suffix}", b_frames=False)
    pictures, _ = read(without(clip, tmp_path / f"hole.{suffix}", {30}))
    spoiled = [round(picture.pts * 25) for picture in pictures if picture.spoiled]
    assert spoiled == list(range(31, 50))
    clean, _ = read(clip)
    assert not any(picture.spoiled for picture in clean)


def test_pictures_that_nobody_refers_to_are_not_missed(tmp_path: Path) -> None:
    clip = noisy_clip(tmp_path / "whole.mp4", b_frames=True)
    header = HeaderReader(_extradata(clip))
    with av.open(str(clip)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    referred_to = [packet[4] & 0x60 != 0 for packet in packets]
    first = next(number for number in range(30, 50) if not referred_to[number])
    kept = [packet for number, packet in enumerate(packets) if number != first]
    assert not referred_to[first]
    assert not any(header.read(packet).gap for packet in kept)


def _extradata(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata or b""


@pytest.mark.parametrize("data", [b"", b"\0\0\1", b"\1\2\3", b"\0\0\1\x67", b"\0\0\1\x65" * 3, bytes(range(256))])
def test_headers_that_make_no_sense_say_nothing(data: bytes) -> None:
    reader = HeaderReader(data)
    header = reader.read(data)
    assert not header.gap
    assert header.recovery is None


def test_refreshed_pictures_are_whole_again_after_a_recovery_point(tmp_path: Path) -> None:
    path = tmp_path / "whole.mp4"
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "bf": "0", "threads": "1", "intra-refresh": "1", "g": "20"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(number), format="rgb24")))
        container.mux(stream.encode(None))
    assert sum(picture._picture.key_frame for picture in read(path)[0]) == 1
    pictures, _ = read(without(path, tmp_path / "hole.mp4", {50}))
    spoiled = [round(picture.pts * 25) for picture in pictures if picture.spoiled]
    assert spoiled[0] == 51
    assert len(spoiled) == spoiled[-1] - 50
    assert 60 <= spoiled[-1] < 95, "one whole refresh later"


def test_lost_rtp_packets_spoil_what_comes_up_to_the_next_key_frame(tmp_path: Path) -> None:
    clip = noisy_clip(tmp_path / "clip.mp4", b_frames=False, keyframe_every=50, frames=150)
    settings = DecodeSettings(open_timeout=5, read_timeout=5, probe_seconds=0.2)
    # About four packets a picture: one of a picture in the second group.
    with serve_rtsp(clip, lost=lambda number: number == 300) as url, VideoSource(url, settings, ALL) as source:
        pictures = list(source.decoded())
    spoiled = [picture.pts for picture in pictures if picture.spoiled]
    assert spoiled
    assert not any(picture.sampled for picture in pictures if picture.spoiled)
    assert len(spoiled) == round((spoiled[-1] - spoiled[0]) * 25) + 1
    after = next(picture for picture in pictures if picture.pts > spoiled[-1])
    assert after._picture.key_frame
    assert source.counts.unseen[UnseenCause.DAMAGED] == pytest.approx(len(spoiled) / 25, abs=0.1)


def test_concatenated_transport_streams_are_as_long_as_their_pictures(tmp_path: Path) -> None:
    late = media.encode(tmp_path / "late.ts", frames=25, container_options={"output_ts_offset": "3600"})
    path = media.concatenated(tmp_path / "both.ts", late, media.encode(tmp_path / "early.ts", frames=25))
    with VideoSource(str(path), sampling=SamplingSettings(fps=2.0, min_frames=16)) as source:
        frames = list(source.frames())
        assert source.duration is not None
        assert source.duration > 3600
    assert source.counts.decoded == 50
    assert source.end == pytest.approx(2.0, abs=0.05)
    assert len(frames) >= 14, "as many as for a file of two seconds"


# --- the parts


def test_damage_lasts_to_the_next_whole_key_frame() -> None:
    tracker = DamageTracker(patience=100)
    tracker.note(3)
    tracker.note(3)
    tracker.note(5, counted=False)
    assert [tracker.spoils(number, key=number in (0, 5, 8)) for number in range(10)] == [
        *[False] * 3,
        *[True] * 5,
        *[False] * 2,
    ]
    assert tracker.count == 1


def test_pictures_shown_before_a_key_frame_do_not_spoil_what_follows_it() -> None:
    tracker = DamageTracker(patience=100)
    tracker.note(6)  # decoded after the key frame 5, and shown before it
    shown = [(4, False), (6, False), (5, True), (7, False)]
    assert [tracker.spoils(number, key=key) for number, key in shown] == [False, True, False, False]


def test_without_key_frames_damage_ends_in_time() -> None:
    tracker = DamageTracker(patience=5)
    tracker.note(1)
    assert [tracker.spoils(number, key=False) for number in range(9)] == [False, *[True] * 6, *[False] * 2]


def test_key_frames_far_apart_are_waited_for() -> None:
    tracker = DamageTracker(patience=5)
    for number in range(21):
        tracker.spoils(number, key=number in (0, 20))
    tracker.note(21)
    assert tracker.spoils(55, key=False)
    assert not tracker.spoils(62, key=False)


def test_a_recovery_point_heals_what_came_before_it() -> None:
    tracker = DamageTracker(patience=100)
    tracker.note(3)
    tracker.note_recovery(5, 4)
    assert [tracker.spoils(number, key=False) for number in range(11)] == [
        *[False] * 3,
        *[True] * 6,
        *[False] * 2,
    ]
    tracker.note(11)
    tracker.note_recovery(12, 4)
    tracker.note(14)
    assert tracker.spoils(16, key=False), "damaged while it was refreshed"


def test_pictures_that_damage_delayed_are_no_jump() -> None:
    clock = MediaClock(frame_rate=25, max_step=MAX_STEP_DISCONTINUOUS)
    assert [clock.advance(time) for time in (0.0, 4.0)] == [0.0, 4.0]
    for number in range(MAX_REORDERED):
        assert clock.advance(1.0 + number / 25, spoiled=True) == 4.0
        assert not clock.jumped
    assert clock.advance(4.04) == pytest.approx(4.04)
    clock.advance(1.0)
    assert clock.jumped


def test_a_jump_within_damage_is_one_in_the_end() -> None:
    clock = MediaClock(frame_rate=25, max_step=MAX_STEP_DISCONTINUOUS)
    clock.advance(100.0)
    jumps = []
    for number in range(MAX_REORDERED + 3):
        clock.advance(number / 25, spoiled=True)
        jumps.append(clock.jumped)
    assert jumps == [*[False] * MAX_REORDERED, True, False, False]


def test_gaps_and_damage_are_told_apart() -> None:
    unseen = UnseenTime(0.04, start=10.0, until=30.0)
    assert unseen.end is None
    for pts, spoiled in ((10.0, False), (10.04, True), (11.0, True), (12.0, False), (13.9, False), (19.0, False)):
        unseen.add(pts, spoiled=spoiled, lasts=0.0)
    unseen.finish()
    assert unseen.end == pytest.approx(19.04)
    assert unseen.seconds == {
        UnseenCause.DAMAGED: pytest.approx(1.96),
        UnseenCause.MISSING: pytest.approx(5.06 + 10.96),
    }


def test_a_picture_that_says_how_long_it_is_shown_leaves_no_gap() -> None:
    unseen = UnseenTime(0.04)
    unseen.add(0.0, spoiled=False, lasts=7.0)
    unseen.add(7.0, spoiled=False, lasts=0.04)
    unseen.add(7.04, spoiled=True, lasts=0.04)
    assert unseen.seconds == {UnseenCause.DAMAGED: pytest.approx(0.04)}
