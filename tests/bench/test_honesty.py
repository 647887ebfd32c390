"""The matrix of honest footage: each kind is what its name says, and a new fake is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamwatch.bench.honesty import CLEAN, KINDS, Cell, Footage, bench_honesty, read_footage, rows
from streamwatch.records import Label
from streamwatch.sources import VideoSource
from tests.support import media
from tests.support.builders import make_verdict

REMARKS = {
    "interlaced": {"interlaced: one field of each picture"},
    "anamorphic": {"pixels 8:3: made square"},
    "HDR": {"HDR (PQ): tone-mapped"},
    "mirrored": {"mirrored by its display matrix: mirrored back"},
}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    clip = media.encode(tmp_path_factory.mktemp("clip") / "a.mp4", frames=60, fps=20, width=256, height=144, crf=10)
    return read_footage(clip, 2.0)


def test_footage_is_the_beginning_of_a_clip(footage: Footage) -> None:
    assert len(footage.images) == 40
    assert footage.rate == 20
    assert footage.images[0].shape == (144, 256, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_video_that_shows_the_same(kind: str, footage: Footage, tmp_path: Path) -> None:
    with VideoSource(KINDS[kind](footage, tmp_path)) as video:
        images = [picture.to_image() for picture in video.decoded()]
        assert video.counts.remarks == REMARKS.get(kind, set())
    assert len(images) == {"interlaced": 20, "truncated": len(images), "lossy": len(images)}.get(kind, 40)
    assert (len(images) < 40) is (kind in ("interlaced", "truncated"))
    error = float(np.abs(images[0].astype(int) - footage.images[0]).mean())
    assert error < 8


def test_a_clip_in_every_kind_is_compared_with_itself(tmp_path: Path) -> None:
    clip = media.encode(tmp_path / "a.mp4", frames=10, crf=10)
    seen: list[str] = []

    def analyse(path: str) -> SimpleNamespace:
        seen.append(Path(path).stem)
        fake = "blended" in path
        label, score = (Label.FAKE, 0.95) if fake else (Label.REAL, 0.25)
        return SimpleNamespace(verdict=make_verdict(label=label, score=score))

    (tmp_path / "copies").mkdir()
    analyser: Any = SimpleNamespace(analyse=analyse)
    cells = list(bench_honesty([clip], analyser, tmp_path / "copies", kinds=["blended", "mirrored"]))
    assert seen == ["clean", "blended", "mirrored"]
    assert list((tmp_path / "copies").iterdir()) == []
    clean, blended, mirrored = rows(cells)
    assert (clean.kind, clean.new_fakes, clean.labels) == (CLEAN, (), Counter({Label.REAL: 1}))
    assert blended.new_fakes == ("a.mp4",)
    assert blended.shift == blended.largest == pytest.approx(0.7)
    assert mirrored.new_fakes == ()


def test_a_clip_that_is_fake_as_it_is_is_no_new_fake() -> None:
    cells = [Cell("a", kind, Label.FAKE, 0.9, "") for kind in (CLEAN, "lossy")]
    cells += [Cell("b", CLEAN, Label.NO_FACE, None, ""), Cell("b", "lossy", Label.FAKE, 0.9, "")]
    assert rows(cells)[1].new_fakes == ("b",)
    assert rows(cells)[1].shift == 0
