"""Spherical-harmonics light: what was put in comes out."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.frontalize.light import estimate_light, harmonics, shading
from facerec.landmarks.errors import InvalidInputError


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo (2000, 3), normals (2000, 3) turned to the camera, and a light (9, 3)."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(2000, 3))
    normals[:, 2] = -np.abs(normals[:, 2])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = np.zeros((9, 3))
    light[0] = [0.8, 0.7, 0.6]
    light[1:4] = rng.normal(0, 0.2, (3, 3))
    light[4:] = rng.normal(0, 0.03, (5, 3))
    return rng.uniform(0.3, 0.8, (2000, 3)), normals, light


def test_harmonics_are_orthogonal_over_the_sphere() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(200_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    basis = harmonics(normals)
    gram = basis.T @ basis / len(basis)
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_a_known_light_is_found(seed: int) -> None:
    albedo, normals, light = scene(seed)
    pixels = albedo * shading(normals, light)
    found = estimate_light(pixels, albedo, normals, np.ones(2000))
    np.testing.assert_allclose(shading(normals, found), shading(normals, light), rtol=0.05, atol=0.01)
    # Towards the camera the bands say nearly the same; across it they do not.
    np.testing.assert_allclose(found[1:3], light[1:3], atol=0.02)


def test_highlights_and_beards_hardly_move_the_light() -> None:
    albedo, normals, light = scene(5)
    pixels = albedo * shading(normals, light)
    pixels[:150], pixels[150:300] = 1.0, 0.0
    found = estimate_light(pixels, albedo, normals, np.ones(2000))
    off = np.abs(shading(normals, found) - shading(normals, light)).mean()
    # A plain least-squares fit is the yardstick.
    plain = np.zeros((9, 3))
    for c in range(3):
        plain[:, c] = np.linalg.lstsq(harmonics(normals) * albedo[:, c, None], pixels[:, c], rcond=None)[0]
    assert off < 0.03
    assert off < 0.5 * np.abs(shading(normals, plain) - shading(normals, light)).mean()


def test_points_of_weight_zero_do_not_count() -> None:
    albedo, normals, light = scene(6)
    pixels = albedo * shading(normals, light)
    weight = (np.arange(2000) < 1000).astype(float)
    pixels[1000:] = 0.5
    found = estimate_light(pixels, albedo, normals, weight)
    np.testing.assert_array_equal(found, estimate_light(pixels[:1000], albedo[:1000], normals[:1000], np.ones(1000)))


def test_too_few_points_are_refused() -> None:
    albedo, normals, _ = scene(0)
    with pytest.raises(InvalidInputError, match="at least 20 lit points; got 19"):
        estimate_light(albedo[:19], albedo[:19], normals[:19], np.ones(19))


def test_shading_never_falls_to_black() -> None:
    light = np.zeros((9, 3))
    light[3] = -1.0
    np.testing.assert_allclose(shading(np.array([[0.0, 0.0, 1.0]]), light), 0.05)
