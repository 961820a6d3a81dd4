from __future__ import annotations

import numpy as np
import pytest

from facerec.evaluation.verification import (
    accuracy,
    auc,
    best_threshold,
    by_folds,
    det,
    eer,
    roc,
    tar_at_far,
    worst_scores,
)
from facerec.landmarks.errors import InvalidInputError

NAN = float("nan")


def made_up(seed: int, failures: float = 0.1, step: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.random(120) < 0.5
    scores = np.round(rng.normal(np.where(same, 0.5, 0.3), 0.15) / step) * step
    scores[rng.random(120) < failures] = NAN
    return scores, same


def slow_auc(scores: np.ndarray, same: np.ndarray) -> float:
    total = 0.0
    for genuine, fine in zip(scores[same], ~np.isnan(scores[same]), strict=True):
        for impostor in scores[~same]:
            if not fine or np.isnan(impostor):
                continue  # a failed genuine pair beats nobody, a failed impostor pair is beaten by nobody
            total += 1.0 if genuine > impostor else 0.5 if genuine == impostor else 0.0
    return float(total / (same.sum() * (~same).sum()))


@pytest.mark.parametrize("seed", range(5))
def test_auc_equals_counting_every_pair_of_pairs(seed: int) -> None:
    scores, same = made_up(seed)
    assert auc(scores, same) == pytest.approx(slow_auc(scores, same))


@pytest.mark.parametrize("seed", range(3))
def test_auc_is_the_area_under_the_roc_without_failures(seed: int) -> None:
    scores, same = made_up(seed, failures=0.0)
    curve = roc(scores, same)
    area = float(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1]) / 2))
    assert auc(scores, same) == pytest.approx(area)


def test_equal_scores_for_all_pairs_are_chance() -> None:
    assert auc(np.zeros(4), np.array([True, True, False, False])) == 0.5


def test_scikit_learn_agrees_on_auc_and_roc() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, same = made_up(9, failures=0.0)
    assert auc(scores, same) == pytest.approx(metrics.roc_auc_score(same, scores))
    far, tar, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    curve = roc(scores, same)
    np.testing.assert_allclose(curve.far, far)
    np.testing.assert_allclose(curve.tar, tar)


def test_roc_equals_counting_at_every_threshold() -> None:
    scores, same = made_up(3)
    filled = worst_scores(scores, same)
    curve = roc(scores, same)
    for threshold, far, tar in zip(curve.thresholds, curve.far, curve.tar, strict=True):
        assert far == pytest.approx(np.mean(filled[~same] >= threshold))
        assert tar == pytest.approx(np.mean(filled[same] >= threshold))


@pytest.mark.parametrize("kind", [True, False])
def test_a_failed_pair_never_raises_a_figure(kind: bool) -> None:
    scores, same = made_up(1, failures=0.0)
    threshold = best_threshold(scores, same)
    for index in np.flatnonzero(same == kind):
        lost = scores.copy()
        lost[index] = NAN
        assert auc(lost, same) <= auc(scores, same)
        assert eer(lost, same) >= eer(scores, same) - 1e-12
        assert accuracy(lost, same, threshold) <= accuracy(scores, same, threshold)


def test_failed_pairs_stay_in_the_denominator() -> None:
    scores = np.array([0.9, NAN, 0.1, NAN])
    same = np.array([True, True, False, False])
    assert accuracy(scores, same, 0.5) == 0.5
    assert auc(scores, same) == 0.25


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        ([0.9, 0.8, 0.7, 0.2], [0.1, 0.15, 0.3, 0.05], 0.25),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
        ([NAN, NAN], [NAN, NAN], 1.0),
    ],
)
def test_eer_of_small_cases(genuine: list[float], impostor: list[float], expected: float) -> None:
    same = np.array([True] * len(genuine) + [False] * len(impostor))
    assert eer(np.array(genuine + impostor), same) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_eer_lies_between_the_rates_around_the_crossing(seed: int) -> None:
    scores, same = made_up(seed)
    curve = roc(scores, same)
    worse = np.maximum(curve.far, 1 - curve.tar).min()
    better = np.minimum(curve.far, 1 - curve.tar).max()
    assert better - 1e-12 <= eer(scores, same) <= worse + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_best_threshold_is_as_good_as_any(seed: int) -> None:
    scores, same = made_up(seed)
    best = accuracy(scores, same, best_threshold(scores, same))
    known = scores[~np.isnan(scores)]
    for threshold in [*known, known.max() + 1, known.min() - 1]:
        assert accuracy(scores, same, threshold) <= best + 1e-12


def test_each_fold_uses_the_threshold_of_the_others() -> None:
    # In fold a everything scores 0.5 higher than in fold b, so either fold's threshold is useless in the other.
    scores = np.array([0.9, 0.7, 0.4, 0.2])
    same = np.array([True, False, True, False])
    a, b = by_folds(scores, same, ["a", "a", "b", "b"])
    assert a.threshold == pytest.approx(0.3)
    assert b.threshold == pytest.approx(0.8)
    assert a.accuracy == b.accuracy == 0.5
    assert a.auc == b.auc == 1.0
    assert auc(scores, same) == 0.75


def test_thresholds_come_from_all_other_folds_together() -> None:
    scores, same = made_up(2)
    folds = [str(i % 3) for i in range(len(scores))]
    for fold in by_folds(scores, same, folds):
        others = np.array([name != fold.fold for name in folds])
        assert fold.threshold == best_threshold(scores[others], same[others])
        assert fold.accuracy == accuracy(scores[~others], same[~others], fold.threshold)
        assert fold.n == 40


def test_a_fold_without_a_threshold_is_wrong_throughout() -> None:
    results = by_folds(np.array([NAN, NAN, 0.9, 0.1]), np.array([True, False, True, False]), list("aabb"))
    assert [fold.accuracy for fold in results] == [0.0, 0.0]


def test_tar_at_far_equals_trying_every_threshold() -> None:
    scores, same = made_up(4, failures=0.02)
    filled = worst_scores(scores, same)
    for point in tar_at_far(scores, same, [0.1, 0.3]):
        tars = [
            np.mean(filled[same] >= t)
            for t in [*filled[np.isfinite(filled)], np.inf]
            if np.mean(filled[~same] >= t) <= point.target_far
        ]
        assert point.tar == pytest.approx(max(tars))
        assert point.far <= point.target_far


def test_far_targets_that_too_few_impostors_support_are_left_out() -> None:
    scores, same = made_up(4, failures=0.0)
    assert [p.target_far for p in tar_at_far(scores, same, [0.001, 0.1])] == [0.1]


def test_roc_without_impostors_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="both kinds"):
        roc(np.array([0.1]), np.array([True]))


@pytest.mark.parametrize("seed", range(3))
def test_det_is_the_least_miss_rate_at_every_false_accept_rate(seed: int) -> None:
    scores, same = made_up(seed)
    filled = worst_scores(scores, same)
    curve = det(scores, same)
    everything = [
        (np.mean(filled[~same] >= t), np.mean(filled[same] < t)) for t in [*filled[np.isfinite(filled)], np.inf]
    ]
    for far, frr in zip(curve.far, curve.frr, strict=True):
        assert frr == pytest.approx(min(other for one, other in everything if one <= far + 1e-12))
        assert any(one == pytest.approx(far) and other == pytest.approx(frr) for one, other in everything)
    assert (np.diff(curve.far) > 0).all()
    assert (np.diff(curve.frr) < 0).all()


def test_failed_pairs_keep_the_det_away_from_zero() -> None:
    scores, same = np.array([0.9, NAN, 0.1, NAN]), np.array([True, True, False, False])
    curve = det(scores, same)
    assert curve.far.min() == 0.5
    assert curve.frr.min() == 0.5
