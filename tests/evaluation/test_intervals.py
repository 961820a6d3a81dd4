from __future__ import annotations

from math import comb, sqrt

import numpy as np
import pytest

from facerec.evaluation.intervals import bootstrap_pairs, bootstrap_people, holm, mcnemar, wilson
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


def test_bootstrap_draws_people_not_pictures() -> None:
    # Ten people with fifty equal pictures each: five hundred values, but only ten independent ones.
    hits = np.repeat([1.0, 0.0], 250)
    people = [str(i // 50) for i in range(500)]
    low, high = bootstrap_people(hits, people, np.random.default_rng(0))
    assert low == pytest.approx(0.2, abs=0.05)
    assert high == pytest.approx(0.8, abs=0.05)
    alone = bootstrap_people(hits, [str(i) for i in range(500)], np.random.default_rng(0))
    assert alone[1] - alone[0] < 0.1


def test_bootstrap_matches_a_loop_over_resamples() -> None:
    rng = np.random.default_rng(3)
    values = rng.random(12)
    people = list("aabbbcddddee")
    drawn = np.random.default_rng(7).integers(0, 5, size=(200, 5))
    names = sorted(set(people))
    means = []
    for row in drawn:
        sample = [v for i in row for v, p in zip(values, people, strict=True) if p == names[i]]
        means.append(sum(sample) / len(sample))
    expected = np.percentile(means, [2.5, 97.5])
    assert bootstrap_people(values, people, np.random.default_rng(7), resamples=200) == pytest.approx(tuple(expected))


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


def test_bootstrap_of_pairs_matches_a_loop_over_drawn_people() -> None:
    values = np.random.default_rng(3).random(9)
    first, second = list("aabbccdda"), list("aabccdddb")
    rng = np.random.default_rng(7)
    means = []
    for _ in range(100):
        drawn = [sorted("abcd")[i] for i in rng.integers(0, 4, size=4)]
        total = weights = 0.0
        for value, one, other in zip(values, first, second, strict=True):
            times = drawn.count(one) * (1 if one == other else drawn.count(other))
            total, weights = total + times * value, weights + times
        if weights:
            means.append(total / weights)
    expected = np.percentile(means, [2.5, 97.5])
    found = bootstrap_pairs(values, first, second, np.random.default_rng(7), resamples=100)
    assert found == pytest.approx(tuple(expected))


def test_people_with_many_pairs_widen_the_interval_over_pairs() -> None:
    values = np.repeat([1.0, 0.0], 100)
    people = [str(i // 20) for i in range(200)]
    low, high = bootstrap_pairs(values, people, people, np.random.default_rng(0), 500)
    assert high - low > 2 * (wilson(100, 200)[1] - wilson(100, 200)[0])
    with pytest.raises(InvalidInputError, match="either side"):
        bootstrap_pairs([1.0], ["a"], [], np.random.default_rng(0))


def test_holm_adjusts_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
