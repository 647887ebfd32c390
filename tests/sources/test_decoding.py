"""A container's packets, and the pictures in them, below what `VideoSource` makes of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwatch.config import DecodeSettings
from streamwatch.errors import SourceUnreadable
from streamwatch.sources import Location
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.decoding import PictureDecoder
from streamwatch.sources.packets import PacketReader
from streamwatch.sources.segments import Segment
from tests.support import media


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
