"""The metric per cell: what it learns, and that its cosine is the short form of the likelihood ratio."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.metric import CellMetric
from facerec.recognition.training.metric import CellModel, learn_cell, learn_metric, plda_score


def people(count: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (N, 20): the first eight numbers tell people apart, the others vary within a person."""
    rng = np.random.default_rng(seed)
    centres = np.concatenate([rng.normal(0, 2.0, (count, 8)), rng.normal(0, 0.2, (count, 12))], axis=1)
    within = np.array([0.5] * 8 + [2.0] * 12)
    vectors = np.repeat(centres, each, axis=0) + rng.normal(0, 1, (count * each, 20)) * within
    return vectors, np.repeat([f"p{k}" for k in range(count)], each)


def test_the_likelihood_ratio_is_that_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(1)
    model = CellModel(rng.normal(0, 1, 4), np.linalg.qr(rng.normal(0, 1, (4, 4)))[0], np.array([5.0, 2.0, 0.5, 0.0]))
    x, y = rng.normal(0, 1, (3, 4)), rng.normal(0, 1, (2, 4))
    expected = np.zeros((3, 2))
    for i, j in np.ndindex(3, 2):
        a, b = (x[i] - model.mean) @ model.basis, (y[j] - model.mean) @ model.basis
        for d, psi in enumerate(model.psi):
            pair = np.array([a[d], b[d]])
            same, other = np.array([[1 + psi, psi], [psi, 1 + psi]]), np.eye(2) * (1 + psi)
            expected[i, j] += sum(
                sign * -0.5 * (pair @ np.linalg.solve(cov, pair) + np.log(np.linalg.det(cov)))
                for sign, cov in ((1, same), (-1, other))
            )
    np.testing.assert_allclose(plda_score(model, x, y), expected, atol=1e-9)


def test_what_tells_people_apart_counts_more() -> None:
    model = learn_cell(*people(300, 4), ridge=0.0)
    assert model.psi[7] > 5
    assert model.psi[8] < 0.2
    # The eight directions lie in the first eight numbers.
    directions = np.abs(model.basis[:, :8] / np.linalg.norm(model.basis[:, :8], axis=0))
    assert directions[8:].max() < 0.25


def test_strangers_are_told_apart_better_than_by_the_plain_cosine() -> None:
    vectors, person = people(200, 4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cells = np.repeat(unit[:, None], 3, axis=1).astype(np.float32)
    seen = np.ones(cells.shape[:2], bool)
    metric = learn_metric(cells, seen, person)
    fresh, names = people(60, 4, seed=9)
    plain = (fresh / np.linalg.norm(fresh, axis=1, keepdims=True)).astype(np.float32)
    moved = metric(np.repeat(plain[:, None], 3, axis=1), np.ones((len(plain), 3), bool))[:, 0]
    same = (names[:, None] == names[None])[np.triu_indices(len(names), 1)]

    def hits(v: np.ndarray) -> float:
        score = (v @ v.T)[np.triu_indices(len(v), 1)]
        return float((score[same] > np.quantile(score[~same], 0.99)).mean())

    assert hits(moved) > hits(plain) + 0.1


def test_cells_keep_unit_length_and_unseen_ones_stay_nothing() -> None:
    rng = np.random.default_rng(0)
    metric = CellMetric(rng.normal(0, 0.1, (3, 5)).astype(np.float32), rng.normal(0, 1, (3, 4, 5)).astype(np.float32))
    cells = rng.normal(0, 1, (2, 3, 5)).astype(np.float32)
    seen = np.array([[True, False, True], [True, True, False]])
    moved = metric(cells * seen[..., None], seen)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), seen.astype(float), atol=1e-5)
    part = metric.of_cells([2])
    np.testing.assert_allclose(part(cells[:1, 2:], seen[:1, 2:]), moved[:1, 2:], atol=1e-6)
    again = CellMetric.of(metric.arrays())
    assert again is not None
    np.testing.assert_array_equal(again.transform, metric.transform)
    assert CellMetric.of({}) is None


def test_shapes_and_too_few_people_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="means"):
        CellMetric(np.zeros((3, 5), np.float32), np.zeros((3, 5, 4), np.float32))
    with pytest.raises(InvalidInputError, match="two people"):
        learn_cell(np.eye(3), np.array(["a", "b", "c"]), 0.1)
