"""The fit finds the camera and the face behind landmarks, one or many at a time, and says when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, face_size, fit_batch, fit_face
from facerec.frontalize.synthesize import UHDB31_POSES
from facerec.frontalize.types import Camera
from facerec.frontalize.visibility import landmark_visibility
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Landmarks

Truth = tuple[list[Camera], np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def truth(model: FaceModel) -> Truth:
    """A different face in each of the 21 poses: cameras, exact points (21, 68, 2), visible (21, 68)."""
    rng = np.random.default_rng(0)
    cameras, points, visible = [], [], []
    for k, (_, yaw, pitch) in enumerate(UHDB31_POSES):
        shape, expression = 0.5 * rng.standard_normal(30), 0.2 * rng.standard_normal(10)
        camera = Camera.from_angles(yaw, pitch, float(rng.uniform(-10, 10)), 0.6 + 0.1 * k, (100.0 + k, 140.0))
        cameras.append(camera)
        points.append(camera.project(model.landmarks(shape, expression))[:, :2])
        visible.append(landmark_visibility(model, shape, expression, camera))
    return cameras, np.stack(points), np.stack(visible)


def as_landmarks(points: np.ndarray, visible: np.ndarray | None = None) -> Landmarks:
    seen = np.ones(68, dtype=bool) if visible is None else visible
    return Landmarks(points.astype(np.float32), np.ones(68, dtype=np.float32), seen)


def test_exact_points_give_the_camera_and_the_landmarks_back_in_all_poses(model: FaceModel, truth: Truth) -> None:
    cameras, points, visible = truth
    weights = np.where(visible, 1.0, FitSettings().hidden_weight)
    fit = fit_batch(points, weights, model)
    for k, camera in enumerate(cameras):
        found = fit.camera(k)
        np.testing.assert_allclose(found.angles, camera.angles, atol=1.5, err_msg=str(UHDB31_POSES[k]))
        assert found.scale == pytest.approx(camera.scale, rel=0.1)  # a large face and a near one look alike
        off = np.linalg.norm(fit.points[k] - points[k], axis=1) / camera.scale  # mm
        assert np.sqrt((off[visible[k]] ** 2).mean()) < 1.0
        assert fit.residual[k] < 0.01 * face_size(camera)


def test_the_mean_face_is_found_almost_exactly(model: FaceModel) -> None:
    cameras = [Camera.from_angles(yaw, pitch, 3.0, 1.3, (90.0, 80.0)) for _, yaw, pitch in UHDB31_POSES]
    points = np.stack([c.project(model.landmarks())[:, :2] for c in cameras])
    fit = fit_batch(points, np.ones((21, 68)), model)
    for k, camera in enumerate(cameras):
        np.testing.assert_allclose(fit.camera(k).angles, camera.angles, atol=0.05)
        np.testing.assert_allclose(fit.points[k], points[k], atol=0.05)
    assert np.abs(fit.shape).max() < 0.05


def test_a_batch_gives_what_one_face_at_a_time_gives(model: FaceModel, truth: Truth) -> None:
    _, points, visible = truth
    chosen = [0, 4, 10, 15, 20]
    weights = visible[chosen].astype(float)
    together = fit_batch(points[chosen], weights, model)
    for k, row in enumerate(chosen):
        alone = fit_batch(points[row : row + 1], weights[k : k + 1], model)
        for name in ("rotation", "translation", "scale", "shape", "expression", "points", "residual"):
            np.testing.assert_allclose(getattr(alone, name)[0], getattr(together, name)[k], atol=1e-6, err_msg=name)


def test_points_of_weight_zero_and_missing_points_do_not_count(model: FaceModel, truth: Truth) -> None:
    _, points, _ = truth
    frontal = points[10:11]
    weights = np.ones((1, 68))
    weights[0, :17] = 0
    plain = fit_batch(frontal, weights, model)
    astray, missing = frontal.copy(), frontal.copy()
    astray[0, :17] += 500
    missing[0, :17] = np.nan
    for other in (fit_batch(astray, weights, model), fit_batch(missing, np.ones((1, 68)), model)):
        np.testing.assert_allclose(other.shape, plain.shape)
        np.testing.assert_allclose(other.points, plain.points)


def test_one_stray_landmark_hardly_moves_the_fit(model: FaceModel, truth: Truth) -> None:
    cameras, points, _ = truth
    stray = points[10].copy()
    stray[54] += [0, 60]
    found = fit_batch(stray[None], np.ones((1, 68)), model)
    np.testing.assert_allclose(found.camera(0).angles, cameras[10].angles, atol=3)
    off = np.linalg.norm(found.points[0] - points[10], axis=1)
    assert np.delete(off, [53, 54, 55, 56]).max() < 6


def test_a_scaled_and_shifted_picture_gives_the_same_face(model: FaceModel, truth: Truth) -> None:
    _, points, _ = truth
    one = fit_batch(points[7:8], np.ones((1, 68)), model)
    other = fit_batch(4 * points[7:8] + [1000, -200], np.ones((1, 68)), model)
    np.testing.assert_allclose(one.shape, other.shape, atol=1e-4)
    np.testing.assert_allclose(one.camera(0).angles, other.camera(0).angles, atol=1e-3)
    assert other.scale[0] == pytest.approx(4 * one.scale[0], rel=1e-5)


def test_fit_face_gives_the_pose_the_points_and_the_visibility(model: FaceModel, truth: Truth) -> None:
    cameras, points, visible = truth
    for k in (1, 10, 13):
        fitted = fit_face(as_landmarks(points[k], visible[k]), model)
        np.testing.assert_allclose(fitted.camera.angles, cameras[k].angles, atol=2)
        assert fitted.points.shape == (68, 2)
        assert fitted.residual < 0.01 * face_size(cameras[k])
        assert (fitted.visible == visible[k]).mean() > 0.9


@pytest.mark.parametrize(
    "garbage",
    [
        lambda points, rng: rng.uniform(0, 200, (68, 2)),
        lambda points, rng: np.full((68, 2), 50.0),
        lambda points, rng: points[rng.permutation(68)],
    ],
    ids=["anywhere", "all in one place", "shuffled"],
)
def test_landmarks_that_are_no_face_are_called_unstable(
    model: FaceModel, truth: Truth, garbage: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> None:
    points = garbage(truth[1][10], np.random.default_rng(0))
    with pytest.raises(UnusablePhotoError) as caught:
        fit_face(as_landmarks(points), model)
    assert caught.value.reason == "fit_unstable"
    assert "%" in caught.value.detail


def test_too_few_visible_landmarks_and_impossible_shapes_are_called_unstable(model: FaceModel, truth: Truth) -> None:
    frontal = truth[1][10]
    with pytest.raises(UnusablePhotoError, match=r"fit_unstable: 11 visible landmarks, at least 12"):
        fit_face(as_landmarks(frontal, np.arange(68) < 11), model)
    with pytest.raises(UnusablePhotoError, match=r"fit_unstable: .*standard deviations"):
        fit_face(as_landmarks(frontal), model, replace(FitSettings(), max_shape=0.01))


def test_wrong_input_is_refused(model: FaceModel, truth: Truth) -> None:
    points = truth[1]
    with pytest.raises(InvalidInputError, match=r"expected points \(B, 68, 2\)"):
        fit_batch(points[:, :60], np.ones((21, 60)), model)
    with pytest.raises(InvalidInputError, match=r"expected points \(B, 68, 2\)"):
        fit_batch(points, np.ones((20, 68)), model)
    with pytest.raises(InvalidInputError, match="at least six"):
        fit_batch(points[:1], (np.arange(68) < 5).astype(float)[None], model)
    other = Landmarks(np.zeros((21, 2), np.float32), np.ones(21, np.float32), np.ones(21, bool), "aflw21")
    with pytest.raises(InvalidInputError, match="ibug68; got aflw21"):
        fit_face(other, model)
