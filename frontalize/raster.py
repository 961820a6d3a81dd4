"""A z-buffer rasteriser for triangle meshes, vectorised in torch, without a compiled extension."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

_FAR = torch.iinfo(torch.int64).max
_DEPTH_STEPS = float(2**30)


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
        corners = values[triangles[np.maximum(self.triangle, 0)]]
        out = (corners * self.weights[..., None]).sum(axis=2)
        out[self.triangle < 0] = 0.0
        return np.asarray(out)


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
    points = torch.as_tensor(np.ascontiguousarray(vertices), dtype=torch.float64, device=device)
    index = torch.as_tensor(np.ascontiguousarray(triangles), dtype=torch.int64, device=device)
    corner = points[index]
    x, y = corner[..., 0], corner[..., 1]
    x0 = torch.ceil(x.amin(dim=1)).clamp(min=0)
    x1 = torch.floor(x.amax(dim=1)).clamp(max=width - 1)
    y0 = torch.ceil(y.amin(dim=1)).clamp(min=0)
    y1 = torch.floor(y.amax(dim=1)).clamp(max=height - 1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    alive = (x1 >= x0) & (y1 >= y0) & (area.abs() > 1e-12)
    if cull:
        alive &= area < 0  # y grows downwards: a positive area runs clockwise
    near, far = points[:, 2].min(), points[:, 2].max()
    step = _DEPTH_STEPS / max(float(far - near), 1e-9)
    best = torch.full((height * width,), _FAR, dtype=torch.int64, device=device)
    extent = torch.maximum(x1 - x0, y1 - y0) + 1
    reach = 2
    while bool(alive.any()):
        now = torch.nonzero(alive & (extent <= reach)).flatten()
        alive[now] = False
        # Triangles of like size share one candidate window; large windows go in slices, so memory stays bounded.
        for part in torch.split(now, max(1, 2_000_000 // (reach * reach))):
            offset = torch.arange(reach, device=device, dtype=torch.float64)
            px = (x0[part, None, None] + offset[None, None, :]).expand(-1, reach, -1)
            py = (y0[part, None, None] + offset[None, :, None]).expand(-1, -1, reach)
            w1, w2 = _barycentric(corner[part], area[part], px, py)
            w0 = 1 - w1 - w2
            inside = (w0 >= -1e-9) & (w1 >= -1e-9) & (w2 >= -1e-9)
            inside &= (px <= x1[part, None, None]) & (py <= y1[part, None, None])
            z = corner[part][:, :, 2]
            depth = w0 * z[:, 0, None, None] + w1 * z[:, 1, None, None] + w2 * z[:, 2, None, None]
            key = ((depth - near) * step).clamp(min=0).to(torch.int64) * len(index) + part[:, None, None]
            at = (py * width + px).to(torch.int64)
            best.scatter_reduce_(0, at[inside], key[inside], reduce="amin")
        reach *= 2
    hit = best != _FAR
    triangle = torch.where(hit, best % max(len(index), 1), -1)
    owner = triangle.clamp(min=0)
    rows = torch.arange(height * width, device=device)
    px, py = (rows % width).to(torch.float64), torch.div(rows, width, rounding_mode="floor").to(torch.float64)
    weights = torch.zeros((height * width, 3), dtype=torch.float64, device=device)
    depth = torch.full((height * width,), float("inf"), dtype=torch.float64, device=device)
    if len(index):
        w1, w2 = _barycentric(corner[owner], area[owner], px[:, None, None], py[:, None, None])
        found = torch.stack([1 - w1 - w2, w1, w2], dim=-1)[:, 0, 0]
        weights[hit] = found[hit]
        depth[hit] = (found * corner[owner][:, :, 2]).sum(dim=1)[hit]
    return Raster(
        triangle.reshape(height, width).cpu().numpy(),
        weights.reshape(height, width, 3).cpu().numpy(),
        depth.reshape(height, width).cpu().numpy(),
    )


def _barycentric(
    corner: torch.Tensor, area: torch.Tensor, px: torch.Tensor, py: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the second and third corner (F, h, w) at pixels (F, h, w) of triangles (F, 3, 3)."""
    ax, ay = corner[:, 0, 0, None, None], corner[:, 0, 1, None, None]
    bx, by = corner[:, 1, 0, None, None] - ax, corner[:, 1, 1, None, None] - ay
    cx, cy = corner[:, 2, 0, None, None] - ax, corner[:, 2, 1, None, None] - ay
    dx, dy = px - ax, py - ay
    safe = torch.where(area.abs() > 1e-12, area, torch.ones_like(area))[:, None, None]
    return (dx * cy - cx * dy) / safe, (bx * dy - dx * by) / safe
