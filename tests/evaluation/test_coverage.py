import numpy as np
import pytest

from streamwatch.detectors.card import Limits
from streamwatch.evaluation.coverage import JudgedFaces, abstention, accuracy_by_coverage, trusts
from streamwatch.evaluation.levels import Proportion
from streamwatch.records import FaceQuality


def counts(found: Proportion | None) -> tuple[int, int]:
    assert found is not None
    return found.count, found.of


def quality(side: float = 100.0, sharpness: float = 200.0, pose: float = 0.1) -> FaceQuality:
    return FaceQuality(side, sharpness, pose, 1.0)


def test_accuracy_rises_as_the_least_trusted_leave() -> None:
    coverage, accuracy = accuracy_by_coverage([True, False, False, True], [0.1, 0.9, 0.8, 0.2])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(accuracy, [1, 1, 2 / 3, 0.5])


def test_items_of_equal_trust_leave_together() -> None:
    coverage, accuracy = accuracy_by_coverage([True, False, False], [0.5, 0.5, 0.1])
    np.testing.assert_allclose(coverage, [2 / 3, 1])
    np.testing.assert_allclose(accuracy, [0.5, 2 / 3])


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="equal length"):
        accuracy_by_coverage([True], [0.1, 0.2])
    with pytest.raises(ValueError, match="not empty"):
        accuracy_by_coverage([], [])


def test_errors_are_counted_within_and_beyond_each_limit() -> None:
    qualities = (quality(), quality(), quality(side=20), quality(sharpness=1), quality(pose=0.95, sharpness=1))
    faces = JudgedFaces(np.array([True, False, True, True, False]), np.array([0.9, 0.8, 0.7, 0.2, 0.9]), qualities)
    found = abstention(faces, Limits(48.0, 10.0, 0.9))
    assert counts(found.within) == (1, 2)
    assert counts(found.too_small) == (0, 1)
    assert counts(found.too_blurred) == (2, 2)
    assert counts(found.turned_away) == (1, 1)
    assert abstention(faces, Limits(0.0)).too_small is None


def test_every_trust_has_a_value_per_face() -> None:
    faces = JudgedFaces(np.array([True, False]), np.array([0.9, 0.5]), (quality(), quality(pose=0.6)))
    assert all(len(values) == 2 for values in trusts(faces).values())
    assert trusts(faces)["certainty of the score"][1] == 0
    assert np.argmax(trusts(faces)["frontal pose"]) == 0
