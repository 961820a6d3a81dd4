"""Light on a face: order-two spherical harmonics (Ramamoorthi & Hanrahan 2001) on the surface normals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]


def harmonics(normals: NDArray[np.floating]) -> Floats:
    """(..., 9) real spherical harmonics up to order two at unit normals (..., 3), without their constants."""
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    one = np.ones_like(x)
    return np.stack([one, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], axis=-1).astype(np.float64)


def estimate_light(
    pixels: NDArray[np.floating],
    albedo: NDArray[np.floating],
    normals: NDArray[np.floating],
    weight: NDArray[np.floating],
) -> Floats:
    """Light (9, 3) for which pixels = albedo * (harmonics(normals) @ light), by robust ridge regression.

    Args:
        pixels: (N, 3) colours in [0, 1].
        albedo: (N, 3) expected colours under white light, in [0, 1].
        normals: (N, 3) in the camera's frame.
        weight: (N,) >= 0.

    Raises:
        InvalidInputError: fewer than 20 points of positive weight.
    """
    keep = weight > 0
    if int(keep.sum()) < 20:
        raise InvalidInputError(f"expected at least 20 lit points; got {int(keep.sum())}")
    basis, w = harmonics(normals[keep]), weight[keep]
    light = np.zeros((9, 3))
    for channel in range(3):
        design = basis * albedo[keep, channel, None]
        target = pixels[keep, channel]
        robust = w.copy()
        # The shading of an unlit face is flat: the ridge pulls towards that, harder for the finer bands.
        ridge = np.diag([1e-6, *[2e-3] * 3, *[1e-2] * 5]) * w.sum() * float((albedo[keep, channel] ** 2).mean())
        for _ in range(4):
            left = design.T @ (robust[:, None] * design) + ridge
            light[:, channel] = np.linalg.solve(left, design.T @ (robust * target))
            residual = np.abs(design @ light[:, channel] - target)
            robust = w / (1 + (residual / 0.08) ** 2)  # 0.08: highlights, hair and glasses lie farther out
    return light


def shading(normals: NDArray[np.floating], light: Floats) -> Floats:
    """(..., 3) shading of unit normals (..., 3) under `light` (9, 3), at least 0.05 (ambient light is never zero)."""
    return np.asarray(np.maximum(harmonics(normals) @ light, 0.05))
