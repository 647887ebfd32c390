"""A container's packets, and the pictures in them, below what `VideoSource` makes of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from av.packet import Packet
from av.stream import Stream

from streamwatch.config import DecodeSettings
from streamwatch.errors import SourceTimeout, SourceUnreadable
from streamwatch.sources import Location
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.decoding import PictureDecoder
from streamwatch.sources.packets import PacketReader
from streamwatch.sources.segments import Segment
from tests.support import media
from tests.support.clocks import Clock


def test_a_picture_that_was_only_looked_at_does_not_count(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=3)
    decoder = PictureDecoder(PacketReader(Location(path), DecodeSettings()), Segment())
    first = decoder.first
    assert first is not None
    assert decoder.decoded == 0
    assert decoder.next_picture() is first
    assert decoder.first is None
    timestamps = [decoder.timestamp(first)]
    while (picture := decoder.next_picture()) is not None:
        timestamps.append(decoder.timestamp(picture))
    assert timestamps == pytest.approx([0.0, 0.04, 0.08])
    assert decoder.decoded == 3
    decoder.close()
    decoder.close()


def test_a_part_without_pictures_is_no_error_where_a_whole_file_is(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=10)
    decoder = PictureDecoder(PacketReader(Location(path), DecodeSettings()), Segment(start=10**9))
    assert decoder.next_picture() is None
    assert decoder.decoded == 0
    decoder.close()
    whole = PacketReader(Location(path), DecodeSettings())
    with pytest.raises(SourceUnreadable, match="no picture could be decoded"):
        PictureDecoder(whole, Segment(end=-1))
    whole.close()


def test_nothing_can_be_cut_where_nothing_is_recorded(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=3)
    decoder = PictureDecoder(PacketReader(Location(path), DecodeSettings()), Segment())
    with pytest.raises(SourceUnreadable, match="nothing of it is kept"):
        decoder.cut(utc_now(), utc_now())
    decoder.close()


class LateReader(PacketReader):
    """A stream that is met right after its first key frame; a packet takes `pause` seconds."""

    def __init__(self, path: Path, settings: DecodeSettings, clock: Clock, pause: float, *, keys: bool = True) -> None:
        super().__init__(Location(path), settings)
        self.streamed = True
        self._clock, self._pause, self._keys = clock, pause, keys

    def packets(self) -> Iterator[tuple[Packet[Stream], bool]]:
        for number, (packet, lost) in enumerate(super().packets()):
            self._clock.now += self._pause
            if number and (self._keys or not packet.is_keyframe):
                yield packet, lost


def late(
    path: Path, monkeypatch: pytest.MonkeyPatch, on_wait: Callable[[], None], *, keys: bool = True
) -> PictureDecoder:
    clock = Clock()
    monkeypatch.setattr("streamwatch.sources.patience.time", SimpleNamespace(monotonic=clock))
    media.encode(path, frames=80, keyframe_every=60, b_frames=False)
    settings = DecodeSettings(read_timeout=10, key_frame_timeout=70)
    return PictureDecoder(LateReader(path, settings, clock, 1.0, keys=keys), Segment(), on_wait=on_wait)


def test_a_stream_is_waited_for_until_its_first_key_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[None] = []
    decoder = late(tmp_path / "a.ts", monkeypatch, lambda: waits.append(None))
    first = decoder.first
    assert first is not None
    assert first.frame.key_frame
    assert 50 <= len(waits) <= 60
    decoder.close()


def test_a_stream_without_key_frames_is_given_up_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceTimeout, match=r"no key frame within 70 s"):
        late(tmp_path / "a.ts", monkeypatch, lambda: None, keys=False)
