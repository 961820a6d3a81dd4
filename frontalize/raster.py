"""A z-buffer rasteriser for triangle meshes, vectorised in torch, without a compiled extension."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

_FAR = torch.iinfo(torch.int64).max
_DEPTH_STEPS = float(2**30)
_SLICE = 2_000_000  # candidate pixels looked at together: bounds the memory, some 200 MB

# Slack of the inside test: without it rounding would leave gaps along edges that two triangles share.
_EDGE = {torch.float64: -1e-9, torch.float32: -1e-4}


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
    device: str = "cpu",
    cull: bool = False,
) -> Raster:
    """Draw a mesh: for each pixel centre the nearest triangle that covers it.

    Args:
        vertices: (V, 3): x, y in px (the centre of the top-left pixel is (0, 0)), depth (smaller is nearer).
        triangles: (F, 3).
        height, width: size of the picture, px.
        device: where the arithmetic runs.
        cull: leave out triangles that turn their back: those whose corners run clockwise as one sees the picture (the
            face model's front faces run counter-clockwise).

    Returns:
        `Raster`. Ties in depth (to 2^-30 of the depth range) go to the smaller triangle index.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise InvalidInputError(f"expected vertices (V, 3); got {vertices.shape}")
    mesh = _Mesh(vertices, _index(triangles, device), height, width, cull)
    points = torch.as_tensor(np.ascontiguousarray(vertices[:, 2]), dtype=torch.float64, device=device)
    near, far = (float(points.min()), float(points.max())) if len(points) else (0.0, 0.0)
    step = _DEPTH_STEPS / max(far - near, 1e-9)
    count = max(len(triangles), 1)
    best = torch.full((height * width,), _FAR, dtype=torch.int64, device=device)
    for row, at, depth in mesh.covered():
        key = ((depth - near) * step).clamp(min=0).to(torch.int64) * count + mesh.drawn[row]
        best.scatter_reduce_(0, at, key, reduce="amin")
    hit = torch.nonzero(best != _FAR).flatten()
    owner = best[hit] % count
    triangle = torch.full((height * width,), -1, dtype=torch.int64, device=device)
    weights = torch.zeros((height * width, 3), dtype=torch.float64, device=device)
    depth = torch.full((height * width,), float("inf"), dtype=torch.float64, device=device)
    triangle[hit] = owner
    row = torch.searchsorted(mesh.drawn, owner)
    w1, w2 = mesh.barycentric(row, hit % width, torch.div(hit, width, rounding_mode="floor"))
    weights[hit] = torch.stack([1 - w1 - w2, w1, w2], dim=-1)
    depth[hit] = mesh.depth(row, w1, w2)
    return Raster(
        triangle.reshape(height, width).cpu().numpy(),
        weights.reshape(height, width, 3).cpu().numpy(),
        depth.reshape(height, width).cpu().numpy(),
    )


def depth_buffers(
    vertices: NDArray[np.floating], triangles: NDArray[np.int64], height: int, width: int, device: str = "cpu"
) -> NDArray[np.float32]:
    """Depth of B meshes of one topology: `rasterize(...).depth` of each, without finding out whose depth it is.

    In single precision: a pixel centre within a ten-thousandth of a triangle's edge may count as covered.

    Args:
        vertices: (B, V, 3), as `rasterize` takes them.
        triangles: (F, 3).
        height, width: size of each picture, px.
        device: where the arithmetic runs.

    Returns:
        (B, H, W) float32 depth of the nearest triangle at each pixel centre, +inf on the background.
    """
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise InvalidInputError(f"expected vertices (B, V, 3); got {vertices.shape}")
    index = _index(triangles, device)
    best = torch.full((len(vertices), height * width), float("inf"), dtype=torch.float32, device=device)
    # One mesh after the other: the arrays of one fit into a core's cache, those of thirty do not.
    for row, points in zip(best, vertices, strict=True):
        for _, at, depth in _Mesh(points, index, height, width, cull=False, dtype=torch.float32).covered():
            row.scatter_reduce_(0, at, depth, reduce="amin")
    return np.asarray(best.reshape(-1, height, width).cpu().numpy())


def _index(triangles: NDArray[np.int64], device: str) -> torch.Tensor:
    """(3, F) corners of the triangles, each a contiguous row."""
    return torch.as_tensor(np.ascontiguousarray(triangles.T), dtype=torch.int64, device=device).reshape(3, -1)


def _taken(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """`values[at]` of a row of numbers, three times as fast."""
    return values.index_select(0, at.flatten()).reshape(at.shape)


class _Mesh:
    """The triangles of a mesh that may cover a pixel centre, and which pixels they are.

    Every quantity is a contiguous row of numbers, one a triangle: three times as fast as arrays of corners.
    """

    def __init__(
        self,
        vertices: NDArray[np.floating],
        index: torch.Tensor,
        height: int,
        width: int,
        cull: bool,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        flat = torch.as_tensor(np.ascontiguousarray(vertices.T), dtype=dtype, device=index.device)
        self._edge = _EDGE[dtype]
        (ax, bx, cx), (ay, by, cy) = _taken(flat[0], index), _taken(flat[1], index)
        x0 = torch.minimum(torch.minimum(ax, bx), cx).ceil().clamp(min=0)
        x1 = torch.maximum(torch.maximum(ax, bx), cx).floor().clamp(max=width - 1)
        y0 = torch.minimum(torch.minimum(ay, by), cy).ceil().clamp(min=0)
        y1 = torch.maximum(torch.maximum(ay, by), cy).floor().clamp(max=height - 1)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # y grows downwards: a positive area runs clockwise.
        self.drawn = torch.nonzero((x1 >= x0) & (y1 >= y0) & (area < -1e-12 if cull else area.abs() > 1e-12)).flatten()
        keep = self.drawn
        self._width = width
        self._x0, self._y0 = _taken(x0, keep).to(torch.int64), _taken(y0, keep).to(torch.int64)
        self._across = _taken(x1, keep).to(torch.int64) - self._x0 + 1
        self._count = self._across * (_taken(y1, keep).to(torch.int64) - self._y0 + 1)
        # Weight of the second and third corner at (x, y): linear in x - ax and y - ay.
        corners = torch.stack([ax, ay, bx, by, cx, cy, area]).index_select(1, keep)
        self._ax, self._ay, bx, by, cx, cy, area = corners
        inverse = 1.0 / area
        self._second = (cy - self._ay) * inverse, (self._ax - cx) * inverse
        self._third = (self._ay - by) * inverse, (bx - self._ax) * inverse
        self._z = _taken(flat[2], index.index_select(1, keep))

    def covered(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Every pixel centre in every drawn triangle, in slices: row of `drawn`, row * width + column, depth."""
        end = self._count.cumsum(0)
        first = 0
        while first < len(end):
            # As many triangles as fill a slice, at least one.
            before = int(end[first - 1]) if first else 0
            last = max(first + 1, int(torch.searchsorted(end, before + _SLICE)))
            own = self._count[first:last]
            which = torch.repeat_interleave(torch.arange(first, last, device=end.device), own)
            offset = torch.arange(before, before + len(which), device=end.device) - _taken(end - self._count, which)
            across = _taken(self._across, which)
            down = torch.div(offset, across, rounding_mode="floor")
            px, py = _taken(self._x0, which) + offset - down * across, _taken(self._y0, which) + down
            second, third = self.barycentric(which, px, py)
            inside = torch.nonzero(
                (second + third <= 1 - self._edge) & (second >= self._edge) & (third >= self._edge)
            ).flatten()
            which = _taken(which, inside)
            depth = self.depth(which, _taken(second, inside), _taken(third, inside))
            yield which, _taken(py * self._width + px, inside), depth
            first = last

    def barycentric(self, row: torch.Tensor, px: torch.Tensor, py: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (N,) of the second and third corner of drawn triangle `row` (N,) at pixels (N,)."""
        dx, dy = px - _taken(self._ax, row), py - _taken(self._ay, row)
        (second_x, second_y), (third_x, third_y) = self._second, self._third
        return (
            _taken(second_x, row) * dx + _taken(second_y, row) * dy,
            _taken(third_x, row) * dx + _taken(third_y, row) * dy,
        )

    def depth(self, row: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
        """(N,) depth in drawn triangle `row` (N,) at these weights."""
        a, b, c = self._z.index_select(1, row)
        depth: torch.Tensor = (1 - second - third) * a + second * b + third * c
        return depth
