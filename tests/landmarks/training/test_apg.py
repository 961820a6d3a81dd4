from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.apg import (
    RegressionStatistics,
    SharableSettings,
    learn_sharable,
    minimize_l1,
    objective,
    shrink,
    split_detectors,
)


def faces(seed: int = 0, n: int = 60, landmarks: int = 4, width: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, L, D), targets (N, L, 2) by two latent detectors plus noise, known (N, L)."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, landmarks, width))
    detectors = rng.standard_normal((width, 2)) @ rng.standard_normal((2, 2 * landmarks))
    targets = np.einsum("nld,dlc->nlc", features, detectors.reshape(width, landmarks, 2))
    return features, targets + 0.3 * rng.standard_normal(targets.shape), rng.random((n, landmarks)) < 0.9


def statistics(seed: int = 0) -> RegressionStatistics:
    return RegressionStatistics.of(*faces(seed))


def split_solver(value: Any, start: np.ndarray, weight: float) -> np.ndarray:
    """z = a - b with a, b >= 0 makes the l1 norm linear, so a bounded quasi-Newton method solves it to the end."""

    def of(both: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = both.reshape(2, *start.shape)
        reached, gradient = value(a - b)
        slope = np.stack([gradient + weight, weight - gradient])
        return reached + weight * both.sum(), slope.reshape(-1)

    begin = np.stack([np.maximum(start, 0), np.maximum(-start, 0)]).reshape(-1)
    found = minimize(
        of,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(begin),
        options={"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-10},
    )
    a, b = found.x.reshape(2, *start.shape)
    return np.asarray(a - b)


def test_shrinking_is_the_proximal_map_of_the_l1_norm() -> None:
    assert shrink(np.array([-3.0, -0.5, 0.0, 0.2, 2.0]), 0.5).tolist() == [-2.5, 0.0, 0.0, 0.0, 1.5]
    rng = np.random.default_rng(0)
    z, other = rng.standard_normal((2, 50))

    def value(x: np.ndarray) -> float:
        return float(0.5 * ((x - z) ** 2).sum() + 0.3 * np.abs(x).sum())

    best = shrink(z, 0.3)
    assert all(value(best) <= value(best + t * (other - best)) for t in (1e-3, 0.1, 1.0, -0.1))


def test_trust_weighs_faces_like_copies_of_them() -> None:
    features, targets, known = faces()
    twice = np.concatenate([features, features[:3]]), np.concatenate([targets, targets[:3]])
    copied = RegressionStatistics.of(*twice, np.ones((len(features) + 3, 4), dtype=bool))
    trust = np.ones((len(features), 4))
    trust[:3] = 2.0
    weighed = RegressionStatistics.of(features, targets, np.ones_like(known), trust)
    share = (len(features) + 3) / len(features)
    for name in ("gram", "cross", "power"):
        assert np.allclose(getattr(weighed, name), share * getattr(copied, name))


def test_the_loss_is_half_the_mean_squared_error_of_each_task() -> None:
    features, targets, known = faces()
    rng = np.random.default_rng(1)
    w = rng.standard_normal((6, 8))
    error = targets - np.einsum("nld,dlc->nlc", features, w.reshape(6, 4, 2))
    expected = 0.5 * sum((error[known[:, k], k] ** 2).mean(axis=0).sum() for k in range(4))
    value, gradient = RegressionStatistics.of(features, targets, known).loss(w)
    assert np.isclose(value, expected)
    for i, j in ((0, 0), (3, 5), (5, 7)):
        step = np.zeros_like(w)
        step[i, j] = 1e-6
        slope = (statistics().loss(w + step)[0] - statistics().loss(w - step)[0]) / 2e-6
        assert np.isclose(gradient[i, j], slope, rtol=1e-5)


def test_moments_add_up_over_batches() -> None:
    features, targets, known = faces(0)
    trust = np.random.default_rng(1).random(known.shape)
    whole = RegressionStatistics.of(features, targets, known, trust)
    parts = (slice(0, 7), slice(7, 8), slice(8, None))
    added = RegressionStatistics.over(
        RegressionStatistics.of(features[part], targets[part], known[part], trust[part]) for part in parts
    )
    for name in ("gram", "cross", "power", "faces"):
        assert np.allclose(getattr(added, name), getattr(whole, name))
    with pytest.raises(InvalidInputError, match="at least one batch"):
        RegressionStatistics.over([])


@pytest.mark.parametrize("weight", [0.0, 0.02, 0.2])
def test_the_solver_finds_what_a_generic_convex_solver_finds(weight: float) -> None:
    moments = statistics()
    rng = np.random.default_rng(2)
    start = rng.standard_normal((6, 8))
    found = minimize_l1(start, moments.loss, weight, iterations=5000, tolerance=1e-14)
    reference = split_solver(moments.loss, start, weight)
    assert np.isclose(found.objective[-1], moments.loss(reference)[0] + weight * np.abs(reference).sum(), rtol=1e-7)
    assert np.allclose(found.at, reference, atol=1e-3)
    if weight:
        assert ((found.at == 0) == (np.abs(reference) < 1e-5)).mean() > 0.95


def test_each_turn_solves_its_own_problem() -> None:
    """P with C fixed and C with P fixed (Eqs. 9 and 11) against the generic solver, ridge term included."""
    moments, settings = statistics(), SharableSettings(beta=0.03, gamma=0.05, mu=0.02, rounds=1, iterations=4000)
    rng = np.random.default_rng(3)
    basis, weights = rng.standard_normal((6, 3)), rng.standard_normal((3, 8))
    found = learn_sharable(moments, basis, weights, settings)

    def of_basis(p: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = moments.loss(p @ weights)
        return value + settings.mu * (p**2).sum(), gradient @ weights.T + 2 * settings.mu * p

    def of_weights(c: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = moments.loss(found.basis @ c)
        return value, found.basis.T @ gradient

    best_basis = split_solver(of_basis, basis, settings.beta)
    reached, expected = (objective(moments, p, weights, settings) for p in (found.basis, best_basis))
    assert np.isclose(reached, expected, rtol=1e-3)
    best_weights = split_solver(of_weights, weights, settings.gamma)
    assert np.isclose(found.objective[-1], objective(moments, found.basis, best_weights, settings), rtol=1e-4)


def test_the_objective_never_rises() -> None:
    rng = np.random.default_rng(4)
    start = 3 * rng.standard_normal((6, 8))
    values = np.array(minimize_l1(start, statistics().loss, 0.05, iterations=300, tolerance=0.0).objective)
    assert (np.diff(values) <= 0).all()
    assert values[-1] < values[0]
    turns = learn_sharable(
        statistics(), rng.standard_normal((6, 3)), rng.standard_normal((3, 8)), SharableSettings(rounds=8)
    ).objective
    assert (np.diff(turns) <= 1e-12).all()


def test_larger_l1_weights_leave_more_zeros_in_their_own_matrix() -> None:
    rng = np.random.default_rng(5)
    basis, weights = rng.standard_normal((6, 4)), rng.standard_normal((4, 8))
    shares = {
        (beta, gamma): learn_sharable(
            statistics(), basis, weights, SharableSettings(beta=beta, gamma=gamma, mu=0.0, rounds=15)
        ).sparsity
        for beta, gamma in ((0.0, 0.0), (0.2, 0.01), (0.01, 0.2))
    }
    assert shares[0.0, 0.0] == (0.0, 0.0)
    assert shares[0.2, 0.01][0] > shares[0.0, 0.0][0]
    assert shares[0.01, 0.2][1] > shares[0.0, 0.0][1]


def test_as_many_latent_detectors_as_the_rank_reproduce_the_regressions() -> None:
    rng = np.random.default_rng(6)
    detectors = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 8))
    basis, weights = split_detectors(detectors, 2)
    assert np.allclose(basis @ weights, detectors)
    assert np.allclose(basis.T @ basis, np.eye(2))
    wide, more = split_detectors(detectors, 9)
    assert wide.shape == (6, 9)
    assert np.allclose(wide @ more, detectors)


def test_a_landmark_that_no_face_knows_asks_for_nothing() -> None:
    features, targets, known = faces()
    known[:, 2] = False
    moments = RegressionStatistics.of(features, targets, known)
    found = learn_sharable(moments, np.ones((6, 3)), np.ones((3, 8)), SharableSettings(gamma=0.1))
    assert not found.weights[:, 4:6].any()
    assert found.weights[:, :4].any()


def test_wrong_input_is_refused() -> None:
    features, targets, known = faces()
    with pytest.raises(InvalidInputError, match="targets"):
        RegressionStatistics.of(features, targets[:, :2], known)
    with pytest.raises(InvalidInputError, match="weights >= 0"):
        SharableSettings(beta=-1.0)
    with pytest.raises(InvalidInputError, match="weight"):
        minimize_l1(np.zeros((1, 1)), statistics().loss, -1.0)
