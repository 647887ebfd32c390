"""Pairs of web clips: by method, scene and picture; and dev sets that share nothing with what is trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from streamwatch.errors import ConfigError
from streamwatch.training.dev import check_apart
from streamwatch.training.prepare import Picture
from streamwatch.training.web import web_pairs


def picture(scene: str, frame: int, method: str = "", clip: str = "", side: float = 100) -> Picture:
    name = f"{scene}-{method or 'real'}-{clip}-{frame}.jpg"
    box, landmarks = (0.0, 0.0, side, side), np.zeros((468, 2), np.float32)
    return Picture(Path(name), bool(method), "train", scene, box, landmarks, method, clip, f"{scene}#{frame}")


@pytest.fixture
def pictures() -> list[Picture]:
    many = [picture(f"many{n}", f, "Many", f"many{n}") for n in range(9) for f in range(2)]
    return [
        *(picture("paired", frame, clip="honest") for frame in range(4)),
        *(picture("paired", frame, "Sync", "forged") for frame in (1, 2)),
        *many,
        *(picture("alone", frame, "Few", "alone") for frame in range(30)),
        *(picture("other", frame, clip="other", side=side) for frame, side in enumerate((30, 100, 400))),
    ]


def test_a_fake_goes_with_its_own_moment_and_without_one_with_any_of_its_scene(pictures) -> None:
    related, _ = web_pairs([*pictures, picture("paired", 99, "Late", "late")])
    rng = np.random.default_rng(0)
    drawn = [related.draw_related(rng) for _ in range(60)]
    assert {fake.method for _, fake in drawn} == {"Sync", "Late"}
    assert all(real.source == fake.source == "paired" and not real.fake for real, fake in drawn)
    assert all(real.moment == fake.moment for real, fake in drawn if fake.method == "Sync")
    assert len({real.moment for real, fake in drawn if fake.method == "Late"}) > 1


def test_methods_are_drawn_by_the_root_of_their_clips_whatever_their_pictures(pictures) -> None:
    _, alone = web_pairs(pictures)
    rng = np.random.default_rng(0)
    drawn = Counter(alone.draw_any(rng)[1].method for _ in range(800))
    assert set(drawn) == {"Many", "Few"}
    assert drawn["Many"] / drawn["Few"] == pytest.approx(3, rel=0.2)


def test_the_partner_of_another_scene_is_of_like_size(pictures) -> None:
    _, alone = web_pairs(pictures)
    rng = np.random.default_rng(0)
    sides = Counter(alone.draw_any(rng)[0].side for _ in range(200))
    assert sides[100] > 180, "of eight real pictures one of the fake's own size is nearly always among"


def test_sets_without_fakes_or_reals_give_no_pairs(pictures) -> None:
    assert not any(web_pairs([p for p in pictures if not p.fake]))
    assert not any(web_pairs([p for p in pictures if p.fake]))


@pytest.mark.parametrize(
    ("clip", "scene", "method", "said"),
    [("honest", "x", "", "clip 'honest'"), ("x", "other", "", "scene 'other'"), ("x", "y", "Sync", "method 'Sync'")],
)
def test_what_chooses_is_not_trained_on(pictures, clip, scene, method, said) -> None:
    dev = SimpleNamespace(picture=SimpleNamespace(clip=clip, scene=scene, method=method, path=Path("dev.jpg")))
    with pytest.raises(ConfigError, match=rf"data\.dev: the {said} of dev\.jpg"):
        check_apart(pictures, [dev])
    check_apart(pictures, [SimpleNamespace(picture=SimpleNamespace(clip="x", scene="y", method="", path=Path("d")))])
