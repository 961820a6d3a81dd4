import numpy as np
import pytest

from facerec.evaluation.landmark_errors import ced, failure_rate, nme, normaliser
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.shape_errors import box_size, mean_distance, nrmse, pupil_distance


def shape(seed: int = 0, count: int = 68) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 100, (count, 2))


def test_nrmse_is_the_mean_distance_over_the_pupil_distance() -> None:
    """Eq. 24, written out point by point."""
    truth, located = shape(0), shape(1)
    left, right = truth[36:42].mean(axis=0), truth[42:48].mean(axis=0)
    expected = sum(np.hypot(*(located[i] - truth[i])) for i in range(68)) / 68 / np.hypot(*(left - right))
    assert np.isclose(nrmse(located, truth), expected)
    assert np.isclose(nme(located, truth, "pupil"), expected)
    assert np.isclose(pupil_distance(truth), normaliser(truth, "pupil"))
    assert np.isclose(box_size(truth), normaliser(truth, "box"))


def test_cofw_annotates_the_pupils_themselves() -> None:
    truth = shape(0, 29)
    assert np.isclose(pupil_distance(truth), np.hypot(*(truth[16] - truth[17])))


def test_points_that_are_not_annotated_do_not_count() -> None:
    truth = np.stack([shape(0), shape(2)])
    located = truth + 3.0
    truth[0, :10] = np.nan
    assert np.allclose(mean_distance(located, truth), np.hypot(3, 3))
    truth[0, 40] = np.nan
    assert np.isnan(nrmse(located, truth)[0])
    assert np.isfinite(nrmse(located, truth)[1])


def test_the_ced_counts_errors_that_are_not_larger() -> None:
    """Eq. 25 the right way round: at l the share of pictures whose error is at most l; it rises."""
    errors = np.array([0.02, 0.05, 0.08, 0.2, np.inf])
    assert ced(errors, np.array([0.01, 0.05, 0.1, 1.0])).tolist() == [0.0, 0.4, 0.6, 0.8]
    assert failure_rate(errors, 0.1) == 0.4


def test_a_markup_without_known_pupils_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="29, 68, 194"):
        pupil_distance(np.zeros((5, 2)))
