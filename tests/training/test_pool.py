"""Made pairs are used several times, evenly and far apart, and keeping them changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from streamwatch.training.data import MadePair, PairDataset, PairSource, Reuse, as_coarse_as_each_other
from streamwatch.training.pool import PairPool
from tests.support.face_datasets import SIDE, portrait

BOX = (12.0, 4.0, 116.0, 124.0)


class Drawn:
    """A source of pairs that counts how often each was made."""

    def __init__(self) -> None:
        self.made: Counter[int] = Counter()

    def make(self, number: int) -> MadePair:
        self.made[number] += 1
        rng = np.random.default_rng(number)
        real, fake = portrait(), portrait(int(rng.integers(1, 9)))
        mask = None if number % 3 == 0 else rng.integers(0, 256, (SIDE, SIDE), np.uint8)
        return MadePair("hull", real, fake, mask, (BOX, BOX), (0.9, 1.1), str(number), True, (Path("a"), Path("b")))


def same(one: MadePair, other: MadePair) -> bool:
    pictures = zip((one.real, one.fake, one.mask), (other.real, other.fake, other.mask), strict=True)
    return all(b is None if a is None else b is not None and np.array_equal(a, b) for a, b in pictures) and (
        (one.kind, one.boxes, one.zooms, one.source, one.related, one.files)
        == (other.kind, other.boxes, other.zooms, other.source, other.related, other.files)
    )


@pytest.mark.parametrize(("times", "lag"), [(1, 0), (2, 3), (4, 5)])
def test_every_pair_serves_as_many_items_a_lag_apart(times: int, lag: int) -> None:
    reuse = Reuse(times, lag)
    numbers = [reuse.number(index) for index in range(40 * times)]
    settled = range(times * lag, 40 - times * lag)
    uses = {number: [i // times for i, n in enumerate(numbers) if n == number] for number in settled}
    assert all(at == [number + use * lag for use in range(times)] for number, at in uses.items())
    newest = [index // times for index in range(len(numbers))]
    assert all(0 <= new - number < reuse.window for new, number in zip(newest, numbers, strict=True))


def test_a_pool_gives_what_its_source_gives_and_makes_it_once(tmp_path: Path) -> None:
    source = Drawn()
    pool = PairPool(source, tmp_path, "key", 8)
    first = [pool.make(number) for number in range(6)]
    again = [pool.make(number) for number in range(6)]
    assert max(source.made.values()) == 1
    assert all(same(a, b) and same(a, Drawn().make(n)) for n, (a, b) in enumerate(zip(first, again, strict=True)))


def test_a_pool_keeps_no_more_than_its_capacity(tmp_path: Path) -> None:
    source = Drawn()
    pool = PairPool(source, tmp_path, "key", 4)
    for number in range(12):
        pool.make(number)
    assert len(list(tmp_path.iterdir())) == 4
    pool.make(8)
    pool.make(7)
    assert source.made[8] == 1
    assert source.made[7] == 2


def test_pairs_of_another_source_and_damaged_ones_are_made_anew(tmp_path: Path) -> None:
    PairPool(Drawn(), tmp_path, "other", 4).make(0)
    source = Drawn()
    pool = PairPool(source, tmp_path, "key", 4)
    assert same(pool.make(0), Drawn().make(0))
    assert source.made[0] == 1
    for content in (b"", b"PK\x03\x04 no archive", (tmp_path / "0.npz").read_bytes()[:2000]):
        (tmp_path / "0.npz").write_bytes(content)
        assert same(pool.make(0), Drawn().make(0))
    assert source.made[0] == 4


def test_items_are_the_same_with_a_pool_and_without(tmp_path: Path) -> None:
    from streamwatch.faces.crops import CropGeometry

    def items(source: PairSource) -> list[np.ndarray]:
        data = PairDataset(source, CropGeometry(1.0), 64, 1, 12, reuse=Reuse(3, 2))
        return [data[index]["images"].numpy() for index in range(12)]

    for one, other in zip(items(Drawn()), items(PairPool(Drawn(), tmp_path, "key", 8)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_two_crops_the_finer_one_is_made_as_coarse_as_the_other() -> None:
    sharp = np.asarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)), np.uint8)
    fine, coarse = as_coarse_as_each_other([sharp, sharp], [200, 32])
    assert fine.std() < 0.7 * sharp.std()
    np.testing.assert_array_equal(coarse, sharp)
    assert all(np.array_equal(image, sharp) for image in as_coarse_as_each_other([sharp, sharp], [200, 64]))
