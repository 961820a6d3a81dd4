"""The shipped face model is upright, mirror-symmetric and linear in its coefficients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel, bilinear_weights, grid_triangles
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR


def test_the_mean_face_is_its_own_mirror_image(model: FaceModel) -> None:
    np.testing.assert_array_equal(model.mean[:, ::-1] * [-1.0, 1.0, 1.0], model.mean)
    mean = model.landmarks()
    np.testing.assert_allclose(mean[IBUG68_MIRROR] * [-1, 1, 1], mean, atol=0.1)


def test_landmark_pairs_lie_mirrored_in_the_chart(model: FaceModel) -> None:
    np.testing.assert_allclose(model.landmark_uv[IBUG68_MIRROR], model.landmark_uv * [-1, 1] + [1, 0], atol=1e-6)


def test_the_face_looks_along_minus_z_and_stands_upright(model: FaceModel) -> None:
    points = model.landmarks()
    nose, chin, brow = points[30], points[8], points[27]
    assert nose[2] < points[[0, 16], 2].min() - 50
    assert brow[1] < nose[1] < chin[1]
    # The image's left is the chart's left: rows 36-41 are the eye on the left of a frontal picture.
    assert points[36:42, 0].max() < 0 < points[42:48, 0].min()
    assert model.landmark_uv[36:42, 0].max() < 0.5
    assert 40 < np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0)) < 80  # mm between the eyes


def test_geometry_is_linear_in_the_coefficients(model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 7))
    e = rng.normal(size=4)
    mean = model.geometry()
    np.testing.assert_array_equal(mean, model.mean)
    both = model.geometry(p + q, e)
    parts = (model.geometry(p) - mean) + (model.geometry(q) - mean) + (model.geometry(None, e) - mean)
    np.testing.assert_allclose(both - mean, parts, rtol=0, atol=1e-4)  # single precision, mm
    slow = mean + sum(c * model.identity[k].astype(float) for k, c in enumerate(p))
    np.testing.assert_allclose(model.geometry(p), slow, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        model.skull_geometry(p) - model.skull,
        sum(c * model.skull_identity[k].astype(float) for k, c in enumerate(p)),
        atol=1e-4,
    )


def test_landmarks_are_the_geometry_at_their_chart_positions(model: FaceModel) -> None:
    rng = np.random.default_rng(1)
    p, e = rng.normal(size=10), rng.normal(size=5)
    sampled = bilinear_weights(model.landmark_uv, model.size) @ model.geometry(p, e).reshape(-1, 3)
    np.testing.assert_allclose(model.landmarks(p, e), sampled, atol=1e-6)


def test_bilinear_weights_reproduce_affine_functions_up_to_the_border() -> None:
    uv = np.array([[0.0, 0.0], [1.0, 1.0], [0.31, 0.77], [0.5, 1.0]])
    row, column = np.meshgrid(np.arange(9) / 8, np.arange(9) / 8, indexing="ij")
    weights = bilinear_weights(uv, 9)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights @ (2 * column - 3 * row).ravel(), 2 * uv[:, 0] - 3 * uv[:, 1], atol=1e-12)


@pytest.mark.parametrize("size", [5, 97])
def test_grid_triangles_cover_the_grid_once_all_one_way_round_and_mirror(size: int) -> None:
    triangles = grid_triangles(size)
    at = np.stack([triangles % size, triangles // size], axis=2)
    edge_1, edge_2 = at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]
    # Counter-clockwise as one sees the chart: with y down, the cross product is negative.
    assert (edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0] == -1).all()
    assert len(triangles) == 2 * (size - 1) ** 2
    mirrored = triangles // size * size + (size - 1 - triangles % size)
    assert {frozenset(t) for t in mirrored.tolist()} == {frozenset(t) for t in triangles.tolist()}


def test_too_many_coefficients_and_wrong_arrays_are_refused(model: FaceModel) -> None:
    with pytest.raises(InvalidInputError, match=f"at most {len(model.identity)} coefficients"):
        model.geometry(np.zeros(len(model.identity) + 1))
    with pytest.raises(InvalidInputError, match="landmark_uv"):
        dataclasses.replace(model, landmark_uv=model.landmark_uv[:-1])
