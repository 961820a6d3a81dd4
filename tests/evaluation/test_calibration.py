from __future__ import annotations

from math import exp, log2

import numpy as np
import pytest

from facerec.evaluation.calibration import calibration_error, cllr, cross_fitted, fit_logistic, reliability
from facerec.landmarks.errors import InvalidInputError

NAN = float("nan")


def made_up(seed: int, n: int = 400, apart: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.2
    return rng.normal(np.where(same, apart, 0.0), 1.0), same


def test_scikit_learn_fits_the_same_map() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    scores, same = made_up(0)
    reference = linear.LogisticRegression(C=1e6, class_weight="balanced", tol=1e-9).fit(scores[:, None], same)
    assert fit_logistic(scores, same) == pytest.approx((reference.coef_[0, 0], reference.intercept_[0]), rel=5e-3)


def test_the_map_of_two_normal_kinds_is_their_log_likelihood_ratio() -> None:
    # For N(d, 1) against N(0, 1) the log-likelihood ratio is d s - d^2 / 2, whatever the share of genuine pairs.
    scores, same = made_up(1, 200_000)
    assert fit_logistic(scores, same) == pytest.approx((1.5, -1.125), abs=0.03)


def test_kinds_that_a_score_separates_have_a_finite_map() -> None:
    slope, offset = fit_logistic(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert np.isfinite(slope)
    assert slope * 0.9 + offset > 2 > -2 > slope * 0.1 + offset


def test_failed_pairs_do_not_affect_the_map() -> None:
    scores, same = made_up(2)
    padded = np.concatenate([scores, np.full(50, NAN)])
    assert fit_logistic(padded, np.concatenate([same, np.ones(50, bool)])) == fit_logistic(scores, same)
    with pytest.raises(InvalidInputError, match="both kinds"):
        fit_logistic(np.array([0.5, NAN]), np.array([True, False]))


def test_each_fold_is_mapped_by_the_others() -> None:
    scores, same = made_up(3)
    folds = [str(i % 3) for i in range(len(scores))]
    ratios = cross_fitted(scores, same, folds)
    for name in "012":
        inside = np.array([fold == name for fold in folds])
        slope, offset = fit_logistic(scores[~inside], same[~inside])
        np.testing.assert_allclose(ratios[inside], slope * scores[inside] + offset)


def slow_cllr(ratios: np.ndarray, same: np.ndarray) -> float:
    genuine = [log2(1 + exp(-r)) for r, s in zip(ratios, same, strict=True) if s]
    impostor = [log2(1 + exp(r)) for r, s in zip(ratios, same, strict=True) if not s]
    return (sum(genuine) / len(genuine) + sum(impostor) / len(impostor)) / 2


def test_cllr_equals_the_sum_over_pairs() -> None:
    scores, same = made_up(4)
    assert cllr(scores, same) == pytest.approx(slow_cllr(scores, same))
    assert np.isnan(cllr(scores[same], same[same]))


def test_failed_pairs_cost_a_bit_each_and_stay_in_the_denominator() -> None:
    same = np.array([True, True, False, False])
    perfect = np.array([50.0, 50.0, -50.0, -50.0])
    assert cllr(perfect, same) == pytest.approx(0.0, abs=1e-9)
    lost = cross_fitted(np.array([NAN, 1.0, 0.0, 0.0]), same, ["a"] * 4)
    assert lost[0] == 0.0
    assert cllr(np.where([True, False, False, False], 0.0, perfect), same) == pytest.approx(0.25)


def slow_reliability(ratios: np.ndarray, same: np.ndarray, bins: int) -> list[tuple[int, float, float]]:
    found = []
    for index in range(bins):
        genuine = impostor = 0.0
        total = predicted = 0.0
        n = 0
        for ratio, kind in zip(ratios, same, strict=True):
            probability = 1 / (1 + exp(-ratio))
            if not (index / bins <= probability < (index + 1) / bins or (index == bins - 1 and probability == 1)):
                continue
            weight = 1 / same.sum() if kind else 1 / (~same).sum()
            n += 1
            genuine, impostor = genuine + weight * kind, impostor + weight * (not kind)
            total, predicted = total + weight, predicted + weight * probability
        if n:
            found.append((n, predicted / total, genuine / (genuine + impostor)))
    return found


def test_reliability_equals_counting_pairs_by_bin() -> None:
    ratios, same = made_up(5)
    found = reliability(ratios, same)
    expected = slow_reliability(ratios, same, 10)
    assert sum(one.n for one in found) == len(same)
    assert sum(one.weight for one in found) == pytest.approx(1.0)
    for one, (n, predicted, observed) in zip(found, expected, strict=True):
        assert one.n == n
        assert (one.predicted, one.observed) == pytest.approx((predicted, observed))
    slow = sum(one.weight * abs(p - o) for one, (_, p, o) in zip(found, expected, strict=True))
    assert calibration_error(found) == pytest.approx(slow)


def test_true_ratios_are_calibrated_and_exaggerated_ones_are_not() -> None:
    scores, same = made_up(6, 50_000)
    truth = 1.5 * scores - 1.125
    assert calibration_error(reliability(truth, same)) < 0.02
    assert calibration_error(reliability(4 * truth, same)) > 0.08
    assert cllr(4 * truth, same) > cllr(truth, same)


def test_one_kind_alone_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="both kinds"):
        reliability(np.zeros(3), np.ones(3, bool))


def test_min_cllr_is_that_of_isotonic_regression_and_failed_pairs_cost_a_bit() -> None:
    from sklearn.isotonic import IsotonicRegression

    from facerec.evaluation.calibration import least_cllr

    rng = np.random.default_rng(0)
    same = np.repeat([True, False], [80, 300])
    scores = np.round(rng.normal(size=380) + 1.5 * same, 1)
    failed = rng.random(380) < 0.2
    weight = np.where(same, 1 / same[~failed].sum(), 1 / (~same[~failed]).sum())
    posterior = IsotonicRegression().fit(scores[~failed], same[~failed], weight[~failed]).predict(scores[~failed])
    posterior = np.clip(posterior, 1e-300, 1 - 1e-16)
    ratios = np.zeros(380)
    ratios[~failed] = np.log(posterior / (1 - posterior))
    with_failed = np.where(failed, np.nan, scores)
    assert least_cllr(with_failed, same) == pytest.approx(cllr(ratios, same), abs=1e-6)
    assert least_cllr(with_failed, same) <= cllr(cross_fitted(with_failed, same, ["a"] * 380), same)
    assert least_cllr(np.where(same, 2.0, 1.0), same) == pytest.approx(0, abs=1e-9)
    assert least_cllr(np.full(380, np.nan), same) == pytest.approx(1)


def test_tippett_shares_are_counts_above_each_ratio() -> None:
    from facerec.evaluation.calibration import tippett

    ratios, same = np.log(10) * np.array([2.0, 1.0, -1.0, -2.0]), np.array([True, False, True, False])
    found = tippett(ratios, same, 5)
    assert found["llr"] == pytest.approx([-2, -1, 0, 1, 2])
    assert found["genuine"] == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert found["impostor"] == [0.5, 0.5, 0.5, 0.0, 0.0]
