"""Photographs of one person share a shape, which several views tell better than one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, fit_batch, landmark_modes
from facerec.frontalize.gauss_newton import initial_estimate, normal_equations
from facerec.frontalize.types import Camera

# The benchmark that measures it holds it; benchmarks are scripts, so it is loaded by its path.
_PLACE = Path(__file__).parents[2] / "benchmarks" / "joint_fit.py"
_SPEC = importlib.util.spec_from_file_location("joint_fit", _PLACE)
assert _SPEC
assert _SPEC.loader
joint_fit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(joint_fit)
fit_jointly = joint_fit.fit_jointly


def views(model: FaceModel, shape: np.ndarray, yaws: tuple[float, ...], seed: int = 0) -> np.ndarray:
    """(V, 68, 2) landmarks with an expression of each view's own and 1 mm of noise."""
    rng = np.random.default_rng(seed)
    points = []
    for yaw in yaws:
        surface = model.landmarks(shape, 0.3 * rng.standard_normal(10))
        placed = Camera.from_angles(yaw, 0, 0, 1.0, (100.0, 100.0)).project(surface)[:, :2]
        points.append(placed + rng.standard_normal((68, 2)))
    return np.stack(points)


def test_one_photograph_gives_what_the_single_fit_gives(model: FaceModel) -> None:
    points = views(model, np.array([1.0, -1.0]), (25.0,))
    alone, joint = (f(points, np.ones((1, 68)), model) for f in (fit_batch, fit_jointly))
    np.testing.assert_allclose(joint.shape, alone.shape, atol=1e-8)
    np.testing.assert_allclose(joint.points, alone.points, atol=1e-6)


def test_eliminating_cameras_gives_the_step_of_the_whole_system(model: FaceModel) -> None:
    # The slow twin: all unknowns of all views in one dense system, first round.
    settings = FitSettings(iterations=3)
    points = views(model, np.array([1.0, -1.0, 0.5]), (0.0, 60.0))
    weights = np.ones((2, 68))
    k, e = settings.identity_modes, settings.expression_modes
    modes = landmark_modes(model, k, e)
    now = initial_estimate(points, weights, model.landmark_mean, k + e)
    for round_index in range(3):
        normal, gradient = normal_equations(
            now, points, weights, model.landmark_mean[None], modes, settings.noise(), False
        )
        own = 6 + e
        whole, right = np.zeros((k + 2 * own, k + 2 * own)), np.zeros(k + 2 * own)
        for v in range(2):
            rows = np.r_[k + v * own : k + v * own + 6, 0:k, k + v * own + 6 : k + (v + 1) * own]
            whole[np.ix_(rows, rows)] += normal[v]
            right[rows] += gradient[v]
        whole[range(k), range(k)] -= 1.0
        right[:k] += now.coefficients[0, :k]
        solved = np.linalg.solve(whole, right)
        step = np.stack(
            [
                np.r_[solved[k + v * own : k + v * own + 6], solved[:k], solved[k + v * own + 6 : k + (v + 1) * own]]
                for v in range(2)
            ]
        )
        if round_index < 2:
            step[:, 6:] = 0.0
        now = now.moved(step)
    found = fit_jointly(points, weights, model, settings)
    np.testing.assert_allclose(found.shape, now.coefficients[:, :k], atol=1e-6)
    np.testing.assert_allclose(found.expression, now.coefficients[:, k:], atol=1e-6)
    np.testing.assert_allclose(found.rotation, now.rotation, atol=1e-8)


def test_several_views_give_a_better_shape_than_each_alone(model: FaceModel) -> None:
    rng = np.random.default_rng(3)
    alone, together = [], []
    for seed in range(4):
        shape = rng.standard_normal(30)
        points = views(model, shape, (-60.0, 0.0, 30.0, 80.0), seed)
        truth = model.landmarks(shape)

        def off(found: np.ndarray, truth: np.ndarray = truth) -> float:
            surface = model.landmarks(found)
            return float(np.linalg.norm(surface - surface.mean(0) - truth + truth.mean(0), axis=1).mean())

        single = fit_batch(points, np.ones((4, 68)), model)
        joint = fit_jointly(points, np.ones((4, 68)), model)
        np.testing.assert_allclose(joint.shape, joint.shape[:1].repeat(4, axis=0))
        alone.append(np.mean([off(s) for s in single.shape]))
        together.append(off(joint.shape[0]))
    assert np.mean(together) < 0.85 * np.mean(alone)
