"""The z-buffer agrees with a slow ray caster, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.raster import depth_buffers, rasterize
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError


def cast(corners: np.ndarray, x: float, y: float) -> tuple[int, float]:
    """Nearest of the triangles (F, 3, 3) under one pixel centre and its depth; -1 and infinity on the background."""
    sides = np.stack([corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]], axis=2)
    along = np.linalg.solve(sides, ([x, y] - corners[:, 0, :2])[..., None])[..., 0]
    weights = np.stack([1 - along.sum(axis=1), along[:, 0], along[:, 1]], axis=1)
    depth = np.where(weights.min(axis=1) >= 0, (weights * corners[:, :, 2]).sum(axis=1), np.inf)
    nearest = int(depth.argmin())
    return (nearest, float(depth[nearest])) if np.isfinite(depth[nearest]) else (-1, np.inf)


@pytest.mark.parametrize("seed", range(4))
def test_the_z_buffer_equals_a_ray_caster_on_random_triangles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Small and large ones, some partly or wholly outside the picture.
    centres = rng.uniform(-6, 36, (30, 1, 2))
    corners = centres + rng.normal(size=(30, 3, 2)) * rng.choice([1.0, 4.0, 12.0], (30, 1, 1))
    corners = np.concatenate([corners, rng.uniform(-50, 50, (30, 3, 1))], axis=2)
    height, width = 24, 30
    raster = rasterize(corners.reshape(-1, 3), np.arange(90).reshape(30, 3), height, width)
    found = [[cast(corners, x, y) for x in range(width)] for y in range(height)]
    np.testing.assert_array_equal(raster.triangle, [[owner for owner, _ in row] for row in found])
    np.testing.assert_allclose(raster.depth, [[depth for _, depth in row] for row in found], atol=1e-6)
    assert (raster.triangle < 0).any()
    assert len(np.unique(raster.triangle)) > 8


@pytest.mark.parametrize("yaw", [0.0, 55.0, 90.0])
def test_the_z_buffer_of_a_turned_face_equals_a_ray_caster(model: FaceModel, yaw: float) -> None:
    # Thousands of triangles, many of them seen edge-on or hidden behind the nose.
    placed = Camera.from_angles(yaw, 10, 5, 0.12, (16.0, 14.0)).project(model.mean.reshape(-1, 3))
    raster = rasterize(placed, model.triangles, 30, 32)
    corners = placed[model.triangles]
    sides = np.stack([corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]], axis=2)
    corners = corners[np.abs(np.linalg.det(sides)) > 1e-12]
    for y, x in [(y, x) for y in range(1, 30, 4) for x in range(1, 32, 4)]:
        found = cast(corners, x, y)[1]
        assert raster.depth[y, x] == pytest.approx(found, abs=1e-6)
    assert np.isfinite(raster.depth).any()


def test_depth_buffers_of_a_batch_are_the_rasters_depths(model: FaceModel) -> None:
    cameras = [Camera.from_angles(yaw, 0, 0, 0.2, (32.0, 30.0)) for yaw in (0.0, 70.0)]
    placed = np.stack([camera.project(model.mean.reshape(-1, 3)) for camera in cameras])
    depths = depth_buffers(placed, model.triangles, 60, 64)
    for points, depth in zip(placed, depths, strict=True):
        exact = rasterize(points, model.triangles, 60, 64).depth
        # Single precision: single pixel centres right on the silhouette may fall to either side.
        assert (np.isfinite(depth) != np.isfinite(exact)).sum() <= 2
        both = np.isfinite(depth) & np.isfinite(exact)
        np.testing.assert_allclose(depth[both], exact[both], rtol=1e-5, atol=1e-2)
    with pytest.raises(InvalidInputError, match=r"\(B, V, 3\)"):
        depth_buffers(placed[0], model.triangles, 60, 64)


def test_barycentric_weights_sum_to_one_and_interpolate_the_pixel_itself() -> None:
    rng = np.random.default_rng(7)
    vertices = rng.uniform(0, 20, (30, 3))
    triangles = rng.permutation(30).reshape(10, 3)
    raster = rasterize(vertices, triangles, 20, 20)
    hit = raster.triangle >= 0
    assert hit.any()
    assert (~hit).any()
    np.testing.assert_allclose(raster.weights[hit].sum(axis=1), 1.0)
    assert raster.weights[hit].min() > -1e-8
    assert (raster.weights[~hit] == 0).all()
    assert np.isinf(raster.depth[~hit]).all()
    y, x = np.nonzero(hit)
    there = raster.interpolate(vertices, triangles)
    np.testing.assert_allclose(there[hit], np.stack([x, y, raster.depth[hit]], axis=1), atol=1e-6)
    assert (there[~hit] == 0).all()


def test_of_two_triangles_at_one_depth_the_first_is_drawn() -> None:
    square = np.array([[0.0, 0, 1], [9, 0, 1], [0, 9, 1], [0.0, 0, 1], [9, 0, 1], [0, 9, 1], [30, 30, 9]])
    one, other = [0, 1, 2], [3, 4, 5]
    for order in ([one, other], [other, one]):
        raster = rasterize(square, np.array(order), 10, 10)
        assert set(np.unique(raster.triangle)) == {-1, 0}


def test_neighbours_leave_no_gap_along_their_shared_edge() -> None:
    turn = np.deg2rad(23)
    corners = np.array([[-8.0, -8], [8, -8], [8, 8], [-8, 8]])
    corners = corners @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + 15.5
    vertices = np.concatenate([corners, np.zeros((4, 1))], axis=1)
    raster = rasterize(vertices, np.array([[0, 1, 2], [0, 2, 3]]), 31, 31)
    filled = raster.triangle >= 0
    for row in filled:
        inside = np.flatnonzero(row)
        assert len(inside) == 0 or row[inside[0] : inside[-1] + 1].all()


def test_culling_keeps_the_front_of_the_face(model: FaceModel) -> None:
    placed = model.mean.reshape(-1, 3) * 0.2 + [32, 30, 0]
    whole = rasterize(placed, model.triangles, 70, 64)
    front = rasterize(placed, model.triangles, 70, 64, cull=True)
    back = rasterize(placed, model.triangles[:, ::-1], 70, 64, cull=True)
    same = (whole.triangle == front.triangle).mean()
    assert same > 0.98
    assert (back.triangle >= 0).mean() < 0.3 * (front.triangle >= 0).mean()


def test_no_triangles_and_flat_ones_give_an_empty_picture() -> None:
    vertices = np.array([[1.0, 1, 0], [5, 5, 1], [8, 8, 2]])
    for triangles in (np.zeros((0, 3), dtype=np.int64), np.array([[0, 1, 2]])):
        raster = rasterize(vertices, triangles, 10, 10)
        assert (raster.triangle == -1).all()
        assert np.isinf(raster.depth).all()


def test_vertices_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(V, 3\)"):
        rasterize(np.zeros((4, 2)), np.array([[0, 1, 2]]), 4, 4)
