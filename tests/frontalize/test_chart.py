"""The unwrapping has no folds, is mirror-symmetric, and carries functions on the mesh to the grid exactly."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.frontalize.chart import UnwrapSettings, boundary_loops, close_holes, grid_operator, unwrap
from facerec.frontalize.face_model import grid_triangles
from facerec.landmarks.errors import InvalidInputError

SIDE = 13


def bowl() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A face-like bump with a nose, symmetric in x: vertices, triangles, first chart positions."""
    along = np.linspace(-1, 1, SIDE)
    x, y = np.meshgrid(along, along)
    z = 0.8 * (x**2 + 0.6 * y**2) - 0.9 * np.exp(-(x**2 + y**2) / 0.08)
    vertices = np.stack([50 * x, 60 * y, 50 * z], axis=2).reshape(-1, 3)
    uv = np.stack([(x + 1) / 2, (y + 1) / 2], axis=2).reshape(-1, 2)
    return vertices, grid_triangles(SIDE), uv


def with_mouth(triangles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The triangles without a wide slot below the nose."""
    centre = vertices[triangles].mean(axis=1)
    kept: np.ndarray = triangles[~((np.abs(centre[:, 0]) < 26) & (centre[:, 1] > 20) & (centre[:, 1] < 30))]
    return kept


def signed_areas(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    area: np.ndarray = ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])) / 2
    return area


def test_the_unwrapping_fills_the_square_without_folds() -> None:
    vertices, triangles, first = bowl()
    uv = unwrap(vertices, triangles, first)
    areas = signed_areas(uv, triangles) * np.sign(signed_areas(first, triangles))
    assert areas.min() > 0
    assert areas.sum() == pytest.approx(1.0)
    assert (uv.min(axis=0) == 0).all()
    assert (uv.max(axis=0) == 1).all()


def test_mirror_twins_lie_mirrored_in_the_chart() -> None:
    vertices, triangles, first = bowl()
    uv = unwrap(vertices, triangles, first).reshape(SIDE, SIDE, 2)
    np.testing.assert_allclose(uv[:, ::-1], uv * [-1, 1] + [1, 0], atol=1e-12)


def test_the_reweighting_evens_out_the_scale() -> None:
    vertices, triangles, first = bowl()
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    surface = np.linalg.norm(np.cross(b - a, c - a), axis=1)

    def uneven(rounds: int) -> float:
        uv = unwrap(vertices, triangles, first, UnwrapSettings(rounds=rounds, smoothing=0))
        return float(np.log(np.abs(signed_areas(uv, triangles)) / surface).std())

    assert uneven(5) < 0.7 * uneven(0)


def test_the_outer_loop_comes_first_and_holes_after() -> None:
    vertices, triangles, _ = bowl()
    loops = boundary_loops(with_mouth(triangles, vertices))
    assert len(loops) == 2
    assert len(loops[0]) == 4 * (SIDE - 1)
    assert (np.abs(vertices[loops[1], 1] - 25) < 6).all()


def test_closing_a_hole_leaves_one_loop_and_every_triangle_the_right_way_round() -> None:
    vertices, triangles, first = bowl()
    torn = with_mouth(triangles, vertices)
    added = close_holes(vertices, torn)
    assert len(added)
    whole = np.concatenate([torn, added])
    assert len(boundary_loops(whole)) == 1
    # Each directed edge belongs to one triangle only: neighbours agree on the front.
    edges = np.concatenate([whole[:, [0, 1]], whole[:, [1, 2]], whole[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    uv = unwrap(vertices, whole, first)
    areas = signed_areas(uv, torn) * np.sign(signed_areas(first, torn))
    assert areas.min() > 0


def test_a_mesh_with_a_hole_is_refused() -> None:
    vertices, triangles, first = bowl()
    with pytest.raises(InvalidInputError, match="one boundary loop; got 2"):
        unwrap(vertices, with_mouth(triangles, vertices), first)


@pytest.mark.parametrize("hole", [False, True])
def test_the_grid_operator_has_rows_that_sum_to_one_and_reproduces_affine_functions(hole: bool) -> None:
    vertices, triangles, first = bowl()
    uv = unwrap(vertices, triangles, first)
    centre = uv[triangles].mean(axis=1)
    holes = (np.abs(centre - [0.5, 0.7]) < [0.2, 0.06]).all(axis=1) & hole
    assert holes.any() == hole
    size = 21
    operator = grid_operator(uv, triangles, holes, size)
    np.testing.assert_allclose(np.asarray(operator.sum(axis=1)).ravel(), 1.0, atol=1e-9)
    v, u = np.meshgrid(np.arange(size) / (size - 1), np.arange(size) / (size - 1), indexing="ij")
    values = 3 * uv[:, 0] - 2 * uv[:, 1] + 5
    np.testing.assert_allclose(operator @ values, (3 * u - 2 * v + 5).ravel(), atol=1e-8)


def test_nodes_inside_a_hole_take_nothing_from_vertices_only_the_hole_has() -> None:
    vertices, triangles, first = bowl()
    uv = unwrap(vertices, triangles, first)
    middle = int(np.abs(uv - [0.5, 0.7]).sum(axis=1).argmin())
    holes = (triangles == middle).any(axis=1)
    operator = grid_operator(uv, triangles, holes, 41)
    assert np.abs(operator[:, [middle]]).max() < 1e-9
    assert np.abs(grid_operator(uv, triangles, np.zeros_like(holes), 41)[:, [middle]]).max() > 0.3


def test_a_chart_that_does_not_fill_the_square_is_refused() -> None:
    _, triangles, uv = bowl()
    with pytest.raises(InvalidInputError, match="lie in no triangle"):
        grid_operator(uv * 0.9, triangles, np.zeros(len(triangles), dtype=bool), 11)
