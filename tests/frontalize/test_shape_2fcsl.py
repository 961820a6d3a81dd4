"""2FCSL: from landmarks to a shape nearer to the truth than the mean face, the same from both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, fit_batch
from facerec.frontalize.gauss_newton import Estimate
from facerec.frontalize.shape_2fcsl import Shape2FCSL, upright_residual
from facerec.frontalize.training.shape_2fcsl import Training2FCSL, coupling_errors, learn_2fcsl
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR

METHOD = FitSettings(method="2fcsl")


def faces(model: FaceModel, yaw: float, count: int = 6) -> tuple[np.ndarray, np.ndarray, Camera]:
    rng = np.random.default_rng(2)
    camera = Camera.from_angles(yaw, 5.0, 4.0, 1.3, (120.0, 110.0))
    surfaces = np.stack([model.landmarks(rng.standard_normal(40), 0.3 * rng.standard_normal(20)) for _ in range(count)])
    return camera.project(surfaces)[..., :2], surfaces, camera


@pytest.mark.parametrize("yaw", [0.0, 45.0, -80.0])
def test_it_finds_the_camera_and_a_shape_nearer_than_the_mean_face(model: FaceModel, yaw: float) -> None:
    points, surfaces, camera = faces(model, yaw)
    fit = fit_batch(points, np.ones((6, 68)), model, METHOD)
    for k in range(6):
        np.testing.assert_allclose(fit.camera(k).angles, camera.angles, atol=6)
    found = np.stack([model.landmarks(s, e) for s, e in zip(fit.shape, fit.expression, strict=True)])

    def off(a: np.ndarray) -> float:
        return float(
            np.linalg.norm(a - a.mean(1, keepdims=True) - surfaces + surfaces.mean(1, keepdims=True), axis=2).mean()
        )

    assert off(found) < 0.85 * off(np.broadcast_to(model.landmark_mean, surfaces.shape))


def test_the_mirrored_residual_gets_the_mirrored_sparse_shape() -> None:
    left_over = np.random.default_rng(1).standard_normal((3, 68, 2))
    yaw, pitch = np.array([20.0, 50.0, 85.0]), np.array([-10.0, 0.0, 30.0])
    learnt = Shape2FCSL.load()
    one = learnt.sparse_shape(left_over, yaw, pitch)
    other = learnt.sparse_shape(left_over[:, IBUG68_MIRROR] * [-1.0, 1.0], -yaw, pitch)
    np.testing.assert_allclose(other[:, IBUG68_MIRROR] * [-1.0, 1.0, 1.0], one, atol=1e-9)


def test_a_batch_gives_what_one_face_at_a_time_gives(model: FaceModel) -> None:
    points, _, _ = faces(model, 20.0, 3)
    together = fit_batch(points, np.ones((3, 68)), model, METHOD)
    for k in range(3):
        alone = fit_batch(points[k : k + 1], np.ones((1, 68)), model, METHOD)
        np.testing.assert_allclose(alone.points[0], together.points[k], atol=1e-6)


def test_the_residual_does_not_know_scale_place_or_roll(model: FaceModel) -> None:
    points, _, camera = faces(model, 30.0, 1)
    other = Camera.from_angles(30.0, 5.0, -25.0, 3.0, (7.0, -9.0))
    surface = faces(model, 30.0, 1)[1]
    residuals = []
    for view, seen in ((camera, points), (other, other.project(surface)[..., :2])):
        estimate = Estimate(view.rotation[None], view.translation[None], np.array([view.scale]), np.zeros((1, 0)))
        residuals.append(upright_residual(estimate, seen, model.landmark_mean)[0])
    np.testing.assert_allclose(residuals[0], residuals[1], atol=1e-9)


def test_interpolation_meets_the_learnt_poses_and_stays_between_them() -> None:
    learnt = Shape2FCSL.load()
    left_over = np.random.default_rng(0).standard_normal((1, 68, 2))
    at = [
        learnt.sparse_shape(left_over, np.array([yaw]), np.zeros(1))
        for yaw in (learnt.yaw[1], learnt.yaw[1:3].mean(), learnt.yaw[2])
    ]
    np.testing.assert_allclose(at[1], (at[0] + at[2]) / 2, atol=1e-9)


def test_training_is_repeatable_and_beats_the_mean_face(model: FaceModel) -> None:
    small = Training2FCSL(
        yaw=(0, 45, 90), pitch=(-30, 30), samples=250, dictionary_samples=300, atoms=80, atoms_used=10, epochs=1
    )
    one, other = learn_2fcsl(model, small), learn_2fcsl(model, small)
    np.testing.assert_array_equal(one.sparse_atoms, other.sparse_atoms)
    np.testing.assert_array_equal(one.inward, other.inward)
    errors = coupling_errors(one, model, seed=4, count=40)
    assert errors["sparse_mm"] < 0.95 * errors["mean_face_mm"]
    again = Shape2FCSL.from_stored(one.stored())
    np.testing.assert_allclose(again.dense_atoms, one.dense_atoms, rtol=2e-3, atol=1e-4)
    assert again.atoms_used == 10


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    learnt = Shape2FCSL.load()
    with pytest.raises(InvalidInputError, match="expected inward"):
        replace(learnt, offset=learnt.offset[:-1])
