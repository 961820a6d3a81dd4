"""Reading grey levels at places that a shape decides: shape-indexed patches and pixel differences.

Everything here is differentiable in the places and in the picture, so an error at a later stage of a cascade reaches
the shape of the stage before (Liu et al., DSSD, Eqs. 17-22). The picture is read bilinearly; its derivative along a
place is that of the bilinear surface, which `image_gradient` (Sobel, as the paper has it) approximates on smooth
pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from facerec.landmarks.errors import InvalidInputError

PATCH_SIZE = 30
"""Side of a shape-indexed patch, px (the paper's: D = 900)."""


def sample(images: Tensor, at: Tensor) -> Tensor:
    """Grey levels X(p) at places between pixels; the border repeats outside.

    Args:
        images: (N, S, S) float.
        at: (N, M, 2) x, y in px.

    Returns:
        (N, M), differentiable in both arguments.
    """
    if images.ndim != 3 or at.ndim != 3 or at.shape[2] != 2 or len(at) != len(images):
        raise InvalidInputError(
            f"expected images (N, H, W) and places (N, M, 2); got {tuple(images.shape)}, {tuple(at.shape)}"
        )
    last = at.new_tensor([images.shape[2] - 1, images.shape[1] - 1])
    grid = (at * (2 / last) - 1).unsqueeze(1)
    read = functional.grid_sample(images.unsqueeze(1), grid, padding_mode="border", align_corners=True)
    return read[:, 0, 0]


def patches(images: Tensor, points: Tensor, size: int = PATCH_SIZE) -> Tensor:
    """Square patches centred on landmarks, read at every pixel distance: X(p + d) for d in -(size - 1) / 2 ... .

    Args:
        images: (N, S, S) float.
        points: (N, L, 2) px.
        size: side, px.

    Returns:
        (N, L, size, size).
    """
    steps = torch.arange(size, dtype=points.dtype, device=points.device) - (size - 1) / 2
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(-1, 2)
    n, count = points.shape[:2]
    at = (points.unsqueeze(2) + offsets).reshape(n, -1, 2)
    return sample(images, at).reshape(n, count, size, size)


def pixel_differences(images: Tensor, points: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Random difference features phi(p, X) = X(p + d1) - X(p + d2) (Eq. 18).

    Args:
        images: (N, S, S) float.
        points: (N, M, 2) px, the landmark of each feature.
        first, second: offsets d1, d2, (M, 2) or (N, M, 2) px.

    Returns:
        (N, M).
    """
    return sample(images, points + first) - sample(images, points + second)


def image_gradient(images: Tensor) -> Tensor:
    """Sobel gradient of pictures (N, S, S) -> (N, 2, S, S): d/dx, d/dy in grey levels per pixel; the border repeats."""
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    return functional.conv2d(functional.pad(images.unsqueeze(1), (1, 1, 1, 1), mode="replicate"), kernels)
