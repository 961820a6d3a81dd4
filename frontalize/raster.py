"""A z-buffer rasteriser for triangle meshes, vectorised in numpy, without a compiled extension."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

_FAR = np.iinfo(np.int64).max
_DEPTH_STEPS = float(2**30)
_SLICE = 2_000_000  # candidate pixels looked at together: bounds the memory, some 200 MB

# Slack of the inside test: without it rounding would leave gaps along edges that two triangles share.
_EDGE = {np.dtype(np.float64): -1e-9, np.dtype(np.float32): -1e-4}


@dataclass(frozen=True, eq=False)
class Raster:
    """What each pixel sees.

    Attributes:
        triangle: (H, W) int64, index of the nearest triangle; -1: background.
        weights: (H, W, 3) float64 barycentric coordinates in it; 0 on the background.
        depth: (H, W) float64, the depth there (same unit as the input's third column); +inf on the background.
    """

    triangle: NDArray[np.int64]
    weights: NDArray[np.float64]
    depth: NDArray[np.float64]

    def interpolate(self, values: NDArray[np.floating], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
        """(H, W, D) values interpolated from vertices (V, D); 0 on the background."""
        out = np.zeros((*self.triangle.shape, values.shape[1]))
        hit = self.triangle >= 0
        corners = values[triangles[self.triangle[hit]]]
        out[hit] = np.einsum("nkd,nk->nd", corners, self.weights[hit])
        return out


def rasterize(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.int64],
    height: int,
    width: int,
    cull: bool = False,
) -> Raster:
    """Draw a mesh: for each pixel centre the nearest triangle that covers it.

    Args:
        vertices: (V, 3): x, y in px (the centre of the top-left pixel is (0, 0)), depth (smaller is nearer).
        triangles: (F, 3).
        height, width: size of the picture, px.
        cull: leave out triangles that turn their back: those whose corners run clockwise as one sees the picture (the
            face model's front faces run counter-clockwise).

    Returns:
        `Raster`. Ties in depth (to 2^-30 of the depth range) go to the smaller triangle index.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise InvalidInputError(f"expected vertices (V, 3); got {vertices.shape}")
    mesh = _Mesh(vertices, _index(triangles), height, width, cull)
    z = np.asarray(vertices[:, 2], dtype=np.float64)
    near, far = (float(z.min()), float(z.max())) if len(z) else (0.0, 0.0)
    step = _DEPTH_STEPS / max(far - near, 1e-9)
    count = max(len(triangles), 1)
    best = np.full(height * width, _FAR, dtype=np.int64)
    for row, at, depth in mesh.covered():
        key = np.maximum((depth - near) * step, 0.0).astype(np.int64) * count + mesh.drawn[row]
        np.minimum.at(best, at, key)
    hit = np.flatnonzero(best != _FAR)
    owner = best[hit] % count
    triangle = np.full(height * width, -1, dtype=np.int64)
    weights = np.zeros((height * width, 3))
    nearest = np.full(height * width, np.inf)
    triangle[hit] = owner
    row = np.searchsorted(mesh.drawn, owner)
    w1, w2 = mesh.barycentric(row, hit % width, hit // width)
    weights[hit] = np.stack([1 - w1 - w2, w1, w2], axis=-1)
    nearest[hit] = mesh.depth(row, w1, w2)
    return Raster(triangle.reshape(height, width), weights.reshape(height, width, 3), nearest.reshape(height, width))


def depth_buffers(
    vertices: NDArray[np.floating], triangles: NDArray[np.int64], height: int, width: int
) -> NDArray[np.float32]:
    """Depth of B meshes of one topology: `rasterize(...).depth` of each, without finding out whose depth it is.

    In single precision: a pixel centre within a ten-thousandth of a triangle's edge may count as covered.

    Args:
        vertices: (B, V, 3), as `rasterize` takes them.
        triangles: (F, 3).
        height, width: size of each picture, px.

    Returns:
        (B, H, W) float32 depth of the nearest triangle at each pixel centre, +inf on the background.
    """
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise InvalidInputError(f"expected vertices (B, V, 3); got {vertices.shape}")
    index = _index(triangles)
    best = np.full((len(vertices), height * width), np.inf, dtype=np.float32)
    # One mesh after the other: the arrays of one fit into a core's cache, those of thirty do not.
    for row, points in zip(best, vertices, strict=True):
        for _, at, depth in _Mesh(points.astype(np.float32), index, height, width, cull=False).covered():
            np.minimum.at(row, at, depth)
    return best.reshape(-1, height, width)


def _index(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """(3, F) corners of the triangles, each a contiguous row."""
    return np.ascontiguousarray(triangles.T, dtype=np.int64).reshape(3, -1)


class _Mesh:
    """The triangles of a mesh that may cover a pixel centre, and which pixels they are.

    Every quantity is a contiguous row of numbers, one a triangle, in the precision of the vertices.
    """

    def __init__(
        self, vertices: NDArray[np.floating], index: NDArray[np.int64], height: int, width: int, cull: bool
    ) -> None:
        flat = np.ascontiguousarray(vertices.T)
        flat = flat if flat.dtype == np.float32 else flat.astype(np.float64)
        self._edge = _EDGE[flat.dtype]
        (ax, bx, cx), (ay, by, cy) = flat[0].take(index), flat[1].take(index)
        x0 = np.maximum(np.ceil(np.minimum(np.minimum(ax, bx), cx)), 0)
        x1 = np.minimum(np.floor(np.maximum(np.maximum(ax, bx), cx)), width - 1)
        y0 = np.maximum(np.ceil(np.minimum(np.minimum(ay, by), cy)), 0)
        y1 = np.minimum(np.floor(np.maximum(np.maximum(ay, by), cy)), height - 1)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # y grows downwards: a positive area runs clockwise.
        turned = area < -1e-12 if cull else np.abs(area) > 1e-12
        self.drawn = keep = np.flatnonzero((x1 >= x0) & (y1 >= y0) & turned)
        self._width = width
        self._x0, self._y0 = x0.take(keep), y0.take(keep)
        self._across = (x1.take(keep) - self._x0 + 1).astype(np.int64)
        self._count = self._across * (y1.take(keep) - self._y0 + 1).astype(np.int64)
        # Weight of the second and third corner at (x, y): linear in x - ax and y - ay.
        self._ax, self._ay, bx, by, cx, cy, area = (v.take(keep) for v in (ax, ay, bx, by, cx, cy, area))
        inverse = 1 / area
        self._second = (cy - self._ay) * inverse, (self._ax - cx) * inverse
        self._third = (self._ay - by) * inverse, (bx - self._ax) * inverse
        self._z = flat[2].take(index[:, keep])

    def covered(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]]:
        """Every pixel centre in every drawn triangle, in slices: row of `drawn`, row * width + column, depth."""
        end = self._count.cumsum()
        first = 0
        while first < len(end):
            # As many triangles as fill a slice, at least one.
            before = int(end[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(end, before + _SLICE)))
            which = np.repeat(np.arange(first, last), self._count[first:last])
            offset = np.arange(before, before + len(which)) - (end - self._count).take(which)
            across = self._across.take(which)
            down = offset // across
            px, py = self._x0.take(which) + (offset - down * across), self._y0.take(which) + down
            px, py = px.astype(self._x0.dtype), py.astype(self._x0.dtype)
            second, third = self.barycentric(which, px, py)
            inside = np.flatnonzero((second + third <= 1 - self._edge) & (second >= self._edge) & (third >= self._edge))
            which = which.take(inside)
            at = py.take(inside).astype(np.int64) * self._width + px.take(inside).astype(np.int64)
            yield which, at, self.depth(which, second.take(inside), third.take(inside))
            first = last

    def barycentric(
        self, row: NDArray[np.int64], px: NDArray[Any], py: NDArray[Any]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Weights (N,) of the second and third corner of drawn triangle `row` (N,) at pixels (N,)."""
        dx, dy = px - self._ax.take(row), py - self._ay.take(row)
        (second_x, second_y), (third_x, third_y) = self._second, self._third
        return second_x.take(row) * dx + second_y.take(row) * dy, third_x.take(row) * dx + third_y.take(row) * dy

    def depth(
        self, row: NDArray[np.int64], second: NDArray[np.floating], third: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """(N,) depth in drawn triangle `row` (N,) at these weights."""
        a, b, c = (z.take(row) for z in self._z)
        return np.asarray((1 - second - third) * a + second * b + third * c)
