"""Square crops around a face box, and the affine maps between picture, crop and augmented crop.

A crop pixel u and a picture pixel x (both counted from pixel centres) are tied by x = centre + (u - (size - 1) / 2) *
side / size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box

ROI_SIZE = 160
"""Side of GoDP's grey input, px (the paper's)."""

ROI_SCALE = 1.25
"""Side of the ROI over the longer side of the tight landmark box: an eighth of the face is left around it on each
side, so a box that is off by a tenth still holds every point."""

PACK_SIZE = 192
PACK_SCALE = 1.5
"""Training packs keep a wider crop at the same px per face size (192 / 1.5 = 160 / 1.25), so turning, shifting and
scaling find picture and not padding, and the identity augmentation resamples nothing."""


@dataclass(frozen=True, eq=False)
class Roi:
    """A square region of a picture.

    Attributes:
        center_x, center_y: middle of the square, px.
        side: length of its side, px, > 0.
    """

    center_x: float
    center_y: float
    side: float

    def __post_init__(self) -> None:
        if not np.isfinite((self.center_x, self.center_y, self.side)).all() or self.side <= 0:
            raise InvalidInputError(
                f"expected a finite square of positive side; got ({self.center_x}, {self.center_y}), side {self.side}"
            )

    @staticmethod
    def around(box: Box, scale: float = ROI_SCALE) -> Roi:
        """The square centred on `box` with side scale * max(width, height)."""
        x, y = box.center
        return Roi(x, y, scale * max(box.width, box.height))

    def to_crop(self, points: NDArray[np.floating], size: int) -> NDArray[np.float32]:
        """Picture px (..., 2) to px of the crop of `size` px."""
        center = np.array([self.center_x, self.center_y])
        return np.asarray((points - center) * (size / self.side) + (size - 1) / 2, dtype=np.float32)

    def to_picture(self, points: NDArray[np.floating], size: int) -> NDArray[np.float32]:
        """Px (..., 2) of the crop of `size` px to picture px: the inverse of `to_crop`."""
        center = np.array([self.center_x, self.center_y])
        return np.asarray((points - (size - 1) / 2) * (self.side / size) + center, dtype=np.float32)


def cut(image: NDArray[np.uint8], roi: Roi, size: int) -> NDArray[np.uint8]:
    """Resample a square of a picture.

    Shrinking averages areas: the crop is sampled n times as fine as asked for, n = ceil(side / size), and n x n
    samples are averaged, so no picture pixel is skipped. Outside the picture its edge pixels are repeated.

    Args:
        image: (H, W) grey or (H, W, 3) RGB, uint8.
        roi: the square, picture px.
        size: side of the result, px.

    Returns:
        (size, size) or (size, size, 3) uint8.
    """
    if image.ndim not in (2, 3) or image.dtype != np.uint8 or image.size == 0:
        raise InvalidInputError(
            f"expected a grey (H, W) or RGB (H, W, 3) uint8 image; got {image.shape}, {image.dtype}"
        )
    # 16 samples per pixel and axis are beyond what the eye or the network can tell from exact areas; it bounds the
    # memory.
    fine = size * min(max(1, ceil(roi.side / size)), 16)
    step = roi.side / fine
    half = (fine - 1) / 2
    to_picture = np.array(
        [[step, 0.0, roi.center_x - half * step], [0.0, step, roi.center_y - half * step]], dtype=np.float64
    )
    sampled = cv2.warpAffine(
        image, to_picture, (fine, fine), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    if fine != size:
        sampled = cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(sampled, dtype=np.uint8)


def framed(image: NDArray[np.uint8], roi: Roi, size: int) -> NDArray[np.uint8]:
    """`cut` for people to look at: white outside the picture, where `cut` repeats its edge for the networks."""
    picture = cut(image, roi, size)
    height, width = image.shape[:2]
    steps = (np.arange(size) - (size - 1) / 2) * (roi.side / size)
    for axis, (centre, length) in enumerate(((roi.center_y, height), (roi.center_x, width))):
        outside = (centre + steps < -0.5) | (centre + steps > length - 0.5)
        np.moveaxis(picture, axis, 0)[outside] = 255
    return picture


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 luma of an (H, W, 3) RGB picture."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InvalidInputError(f"expected an RGB image (H, W, 3) uint8; got {image.shape}, {image.dtype}")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def cut_grey(image: NDArray[np.uint8], roi: Roi, size: int) -> NDArray[np.uint8]:
    """`cut(grey(image), roi, size)` of an RGB picture; only what the square shows is turned grey.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) uint8, grey already.
        roi: the square, px of `image`.
        size: side of the answer, px.

    Returns:
        (size, size) uint8.
    """
    if image.ndim == 2:
        return cut(image, roi, size)
    height, width = image.shape[:2]
    # Two pixels beyond the square on each side: as far as bilinear samples reach.
    half = roi.side / 2 + 2
    left, top = (int(np.clip(floor(v - half), 0, n - 1)) for v, n in ((roi.center_x, width), (roi.center_y, height)))
    right, bottom = (
        int(np.clip(ceil(v + half) + 1, low + 1, n))
        for v, low, n in ((roi.center_x, left, width), (roi.center_y, top, height))
    )
    here = Roi(roi.center_x - left, roi.center_y - top, roi.side)
    return cut(grey(image[top:bottom, left:right]), here, size)


def normalized(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey crops (N, H, W) to (N, 1, H, W) of zero mean and unit deviation each; `godp.normalize_roi` in torch."""
    x = crops.astype(np.float32)
    mean = x.mean(axis=(1, 2), keepdims=True)
    # The floor of 8 grey levels keeps an empty crop from becoming amplified noise.
    deviation = np.maximum(x.std(axis=(1, 2), keepdims=True), np.float32(8.0))
    return np.asarray((x - mean) / deviation, dtype=np.float32)[:, None]


def warp_matrix(
    size_in: int,
    size_out: int,
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirrored: bool = False,
) -> NDArray[np.float64]:
    """The (2, 3) map from px of a square crop to px of an augmented, smaller one of the same centre.

    Args:
        size_in, size_out: sides, px.
        degrees: turn, clockwise in the picture.
        scale: > 1 makes the face larger.
        shift: (x, y), px of the output, added last.
        mirrored: flip left and right before anything else.
    """
    turn = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    offset = np.full(2, (size_out - 1) / 2) + np.array(shift) - linear @ np.full(2, (size_in - 1) / 2)
    return np.hstack([linear, offset[:, None]])


def apply_matrix(matrix: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Map (..., 2) points by a (2, 3) affine matrix; NaN stays NaN."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float32)
