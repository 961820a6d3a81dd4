from collections.abc import Callable

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.initial_shapes import (
    InitialShapes,
    InitialShapeSettings,
    complete_shapes,
    gradient_histograms,
    in_pixels,
    normalised,
)
from facerec.landmarks.training.packs import LandmarkPack

SMALL = InitialShapeSettings(centres=40, starts=3, spread=6, side=50)


def blobs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Crops (N, 50, 50) with a bright square whose corners are the shape (N, 4, 2)."""
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(0.35, 0.65, (n, 1, 2)), rng.uniform(0.1, 0.25, (n, 1, 1))
    shapes = (centre + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])).astype(np.float32)
    place = (np.arange(50) + 0.5) / 50
    inside = (np.abs(place - centre[..., 0]) < half[..., 0])[:, None, :] & (
        np.abs(place - centre[..., 1]) < half[..., 0]
    )[:, :, None]
    return inside.astype(np.float32) - inside.mean(axis=(1, 2), keepdims=True).astype(np.float32), shapes


def test_normalised_shapes_come_back_in_pixels() -> None:
    points = np.array([[0.0, 199.0], [-0.5, 99.5]])
    assert np.allclose(normalised(points, 200), [[0.0025, 0.9975], [0, 0.5]])
    assert np.allclose(in_pixels(normalised(points, 200), 200), points, atol=1e-4)


def test_missing_points_are_filled_with_what_the_others_say() -> None:
    """Shapes on a three-dimensional linear family: the hidden points follow from the others."""
    rng = np.random.default_rng(0)
    full = (0.5 + 0.1 * rng.standard_normal((400, 3)) @ rng.standard_normal((3, 20)) / 3).reshape(400, 10, 2)
    known = np.ones((400, 10), dtype=bool)
    known[:200, 7:] = False
    filled = complete_shapes(np.where(known[:, :, None], full, 0).astype(np.float32), known)
    assert np.array_equal(filled[known], full[known].astype(np.float32))
    error = np.abs(filled - full)[~known].mean()
    by_mean = np.abs(full - full[200:].mean(axis=0))[~known].mean()
    assert error < 0.15 * by_mean


def test_a_point_that_no_face_has_is_refused() -> None:
    known = np.ones((5, 3), dtype=bool)
    known[:, 1] = False
    with pytest.raises(InvalidInputError, match=r"\[1\]"):
        complete_shapes(np.zeros((5, 3, 2), dtype=np.float32), known)


def test_a_face_begins_nearer_to_itself_than_at_the_mean_shape() -> None:
    crops, shapes = blobs(300)
    initial = InitialShapes.learn(crops, shapes, SMALL, seed=0)
    fresh, truth = blobs(50, seed=1)
    starts = initial.starts(fresh)
    assert starts.shape == (50, 3, 4, 2)
    off = np.linalg.norm(starts - truth[:, None], axis=-1).mean()
    assert off < 0.6 * np.linalg.norm(initial.mean - truth, axis=-1).mean()


def test_starts_are_cluster_centres_the_nearest_first_and_drawn_ones_come_from_the_spread() -> None:
    crops, shapes = blobs(300)
    initial = InitialShapes.learn(crops, shapes, SMALL, seed=0)
    starts = initial.starts(crops[:5])
    distance = np.linalg.norm((starts - initial.rough(crops[:5])[:, None]).reshape(5, 3, -1), axis=2)
    assert (np.diff(distance, axis=1) >= -1e-6).all()
    allowed = initial.centres[initial.nearest(crops[:5], 6)]
    drawn = initial.starts(crops[:5], np.random.default_rng(0))
    for face in range(5):
        assert all(any(np.array_equal(one, other) for other in allowed[face]) for one in drawn[face])
        assert len({one.tobytes() for one in drawn[face]}) == 3


def test_the_same_seed_gives_the_same_centres(make_pack: Callable[..., LandmarkPack]) -> None:
    crops, shapes = blobs(100)
    one, other = (InitialShapes.learn(crops, shapes, SMALL, seed=3) for _ in range(2))
    assert np.array_equal(one.centres, other.centres)
    assert np.array_equal(one.regression, other.regression)


def test_histograms_do_not_change_with_contrast_and_turn_with_the_picture() -> None:
    crops, _ = blobs(3)
    plain = gradient_histograms(crops, 4, 8)
    assert np.allclose(plain, gradient_histograms(3 * crops + 1, 4, 8), atol=1e-4)
    turned = gradient_histograms(np.ascontiguousarray(np.rot90(crops, axes=(1, 2))), 4, 8)
    maps, back = plain.reshape(3, 8, 4, 4), turned.reshape(3, 8, 4, 4)
    # A quarter turn against the clock moves each direction by two of the eight bins.
    assert np.allclose(np.roll(np.rot90(maps, axes=(2, 3)), -2, axis=1), back, atol=1e-4)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="odd"):
        InitialShapeSettings(starts=4)
    with pytest.raises(InvalidInputError, match="at least 6"):
        InitialShapes.learn(np.zeros((5, 50, 50), np.float32), np.zeros((5, 4, 2), np.float32), SMALL, seed=0)
