from __future__ import annotations

from math import comb, sqrt

import numpy as np
import pytest

from facerec.evaluation.intervals import holm, mcnemar, wilson
from facerec.landmarks.errors import InvalidInputError


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (5, 10), (97, 100), (265, 400)])
def test_wilson_bounds_are_the_roots_of_the_score_equation(successes: int, trials: int) -> None:
    # The interval holds the shares p with |successes / trials - p| <= z sqrt(p (1 - p) / trials).
    for bound in wilson(successes, trials):
        distance = abs(successes / trials - bound)
        assert distance == pytest.approx(1.959964 * sqrt(bound * (1 - bound) / trials), rel=1e-6)


def test_wilson_matches_the_textbook_values() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_stays_within_zero_and_one() -> None:
    assert wilson(0, 20)[0] == 0.0
    assert wilson(0, 20)[1] == pytest.approx(0.1611, abs=5e-5)
    assert wilson(20, 20)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(InvalidInputError, match="successes <= trials"):
        wilson(11, 10)


def test_wilson_widens_with_confidence() -> None:
    narrow, wide = wilson(30, 50, 0.9), wilson(30, 50, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_mcnemar_is_the_exact_binomial_test() -> None:
    first = np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 3)
    second = np.array([False] * 8 + [True] * 2 + [True] * 5 + [False] * 3)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second, result.both, result.neither) == (8, 2, 5, 3)
    assert result.p_value == pytest.approx(2 * sum(comb(10, k) for k in range(3)) / 2**10)


def test_mcnemar_of_equal_systems_is_no_evidence() -> None:
    answers = np.array([True, False, True])
    assert mcnemar(answers, answers).p_value == 1.0
    assert mcnemar([True, False], [False, True]).p_value == 1.0


def test_mcnemar_refuses_different_trials() -> None:
    with pytest.raises(InvalidInputError, match="same trials"):
        mcnemar([True], [True, False])


def test_holm_adjusts_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
