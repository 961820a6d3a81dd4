"""Places: what annotators and the network mean by the points is learnt, and the fit takes it off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, FitSettings, annotated_points, fit_batch, landmark_modes
from facerec.frontalize.gauss_newton import Estimate, solve
from facerec.frontalize.landmark_places import LandmarkPlaces, linear_shares
from facerec.frontalize.training.landmark_places import (
    LocatedHeads,
    PlacesTraining,
    learn_annotated,
    learn_located,
    upright,
)
from facerec.frontalize.types import Camera, FittedFace
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR

POSES = [(yaw, pitch) for yaw in (-80.0, -40.0, 0.0, 25.0, 70.0) for pitch in (-25.0, 0.0, 20.0)]


def pull(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """(N, 68, 2) mm, mirror-symmetric: everything drops with pitch, the jaw moves inwards with yaw."""
    out = np.zeros((len(yaw), 68, 2))
    out[..., 1] = 0.1 * pitch[:, None]
    out[:, :17, 0] = -0.05 * yaw[:, None]
    return out


def known() -> LandmarkPlaces:
    yaw, pitch = np.array([0.0, 45.0, 90.0]), np.array([-40.0, 0.0, 40.0])
    grid = [a.ravel() for a in np.meshgrid(yaw, pitch, indexing="ij")]
    return LandmarkPlaces(yaw, pitch, pull(*grid).reshape(3, 3, 68, 2))


def standing(model: FaceModel, poses: list[tuple[float, float]]) -> tuple[np.ndarray, Estimate]:
    """Points (N, 68, 2) of mean faces under cameras of these poses, and the cameras."""
    cameras = [Camera.from_angles(yaw, pitch, 7.0, 1.4, (100.0, 90.0)) for yaw, pitch in poses]
    points = np.stack([c.project(model.landmarks())[:, :2] for c in cameras])
    return points, Estimate(
        np.stack([c.rotation for c in cameras]),
        np.stack([c.translation for c in cameras]),
        np.array([c.scale for c in cameras]),
        np.zeros((len(cameras), 0)),
    )


def test_the_mirrored_pose_has_the_mirrored_places() -> None:
    for places in (known(), LandmarkPlaces.load("annotated"), LandmarkPlaces.load("located")):
        yaw, pitch = np.array([0.0, 13.0, 40.0, 88.0]), np.array([5.0, -31.0, 22.0, 0.0])
        mirrored = places.upright(-yaw, pitch)[:, IBUG68_MIRROR] * [-1.0, 1.0]
        np.testing.assert_allclose(places.upright(yaw, pitch), mirrored, atol=1e-5)


def test_places_are_linear_between_the_poses_of_the_table_and_hold_beyond() -> None:
    yaw, pitch = np.array([0.0, 45.0, 10.0, 130.0]), np.array([40.0, -40.0, 10.0, -70.0])
    expected = pull(np.array([0.0, 45.0, 10.0, 90.0]), np.array([40.0, -40.0, 10.0, -40.0]))
    np.testing.assert_allclose(known().upright(yaw, pitch), expected, atol=1e-12)


def test_a_shift_turns_with_roll_and_grows_with_scale(model: FaceModel) -> None:
    cameras = [Camera.from_angles(30, 10, roll, 2.0) for roll in (0.0, 90.0)]
    now = Estimate(np.stack([c.rotation for c in cameras]), np.zeros((2, 2)), np.full(2, 2.0), np.zeros((2, 0)))
    held, turned = known().shift(now)
    np.testing.assert_allclose(held, 2.0 * known().upright(np.array([30.0]), np.array([10.0]))[0], atol=1e-9)
    # Clockwise: what pointed to the right points down.
    np.testing.assert_allclose(turned, np.stack([-held[:, 1], held[:, 0]], axis=1), atol=1e-9)
    np.testing.assert_allclose(upright(turned[None], now.rotation[1:], now.scale[1:])[0], held / 2.0, atol=1e-9)


def test_the_fit_finds_the_camera_behind_points_that_lie_elsewhere(model: FaceModel) -> None:
    points, truth = standing(model, POSES)
    settings = FitSettings()
    modes = landmark_modes(model, 40, 20)
    moved, weights = points + known().shift(truth), np.ones(points.shape[:2])
    found = solve(moved, weights, model.landmark_mean[None], modes, settings.noise(), 12, known().shift)
    plain = solve(moved, weights, model.landmark_mean[None], modes, settings.noise(), 12)
    off, without = (np.abs(np.array(e.angles()) - np.array(truth.angles())).max() for e in (found, plain))
    assert off < 0.1
    assert without > 1.0


def test_located_points_are_fitted_after_subtracting_their_offsets(model: FaceModel) -> None:
    points, truth = standing(model, POSES)
    located = points + LandmarkPlaces.load("located").shift(truth)
    fit = fit_batch(located, np.ones(points.shape[:2]), model, LOCATED)
    off = [np.array(fit.camera(k).angles) - np.array(truth.angles())[:, k] for k in range(len(points))]
    assert np.abs(off).max() < 1.0
    assert fit.residual.max() < 1.0
    assert np.linalg.norm(fit.points - points, axis=2).max() < 1.5


def test_annotated_points_are_the_fitted_ones_moved_to_the_annotators_places(
    model: FaceModel, stand: Callable[..., FittedFace]
) -> None:
    places = LandmarkPlaces.load("annotated")
    for yaw in (-50.0, 0.0, 50.0):
        fitted = stand(yaw=yaw, pitch=10.0, scale=2.0)
        off = (annotated_points(fitted) - fitted.points) / 2.0
        np.testing.assert_allclose(off, places.upright(np.array([yaw]), np.array([10.0]))[0], atol=1e-9)
        # The jaw is what moves; the corners of the eyes are the same points for all.
        jaw, eyes = (np.linalg.norm(off[rows], axis=1).mean() for rows in (range(17), [36, 39, 42, 45]))
        assert jaw > 2 * eyes


def test_offsets_of_located_points_are_learnt_from_heads_with_truth() -> None:
    rng = np.random.default_rng(0)
    yaw, pitch = rng.uniform(-95, 95, 300), rng.uniform(-40, 40, 300)
    off = pull(yaw, pitch) + 0.5 * rng.standard_normal((300, 68, 2))
    learnt = learn_located(LocatedHeads(off, yaw, pitch))
    at = np.array([-80.0, -20.0, 35.0, 88.0]), np.array([10.0, -30.0, 30.0, 0.0])
    np.testing.assert_allclose(learnt.upright(*at), pull(*at), atol=0.6)


def test_annotators_offsets_are_learnt_from_faces_without_truth(model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    poses = [(float(rng.uniform(-85, 85)), float(rng.uniform(-15, 15))) for _ in range(80)]
    points, truth = standing(model, poses)
    moved = np.zeros((68, 3))
    moved[:17, 1], moved[17:27, 1] = 8.0, -5.0  # jaw down, brows up
    points = points + 1.4 * (moved @ truth.rotation.transpose(0, 2, 1))[..., :2]
    points[:10, 40:] = np.nan
    learnt = learn_annotated(points, model, PlacesTraining(rounds=3))
    for yaw, pitch in ((0.0, 0.0), (60.0, 0.0), (-30.0, 20.0)):
        expected = (moved @ Camera.from_angles(yaw, pitch, 0.0).rotation.T)[:, :2]
        found = learnt.upright(np.array([yaw]), np.array([pitch]))[0]
        assert np.linalg.norm(found - expected, axis=1).mean() < 0.7 * np.linalg.norm(expected, axis=1).mean()


def test_wrong_tables_and_wrong_heads_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"expected offset \(Y, P, 68, 2\)"):
        LandmarkPlaces(np.array([0.0, 45.0]), np.array([0.0]), np.zeros((2, 2, 68, 2)))
    with pytest.raises(InvalidInputError, match="ascending"):
        LandmarkPlaces(np.array([10.0, 45.0]), np.array([0.0]), np.zeros((2, 1, 68, 2)))
    with pytest.raises(InvalidInputError, match="at least 20 heads"):
        learn_located(LocatedHeads(np.zeros((5, 68, 2)), np.zeros(5), np.zeros(5)))


def test_offsets_lie_on_straight_lines_between_the_tables_poses_and_stay_at_its_rim() -> None:
    knots = np.array([-40.0, 0.0, 10.0, 40.0])
    values = np.array([-90.0, -40.0, -15.0, 0.0, 7.0, 10.0, 39.0, 40.0, 55.0])
    for k, row in enumerate(np.eye(4)):
        np.testing.assert_allclose(linear_shares(values, knots)[:, k], np.interp(values, knots, row), atol=1e-15)
    np.testing.assert_array_equal(linear_shares(values, knots[:1]), np.ones((9, 1)))
