"""Quarter turns of a photograph, and the conversion of faces found in a turned picture to the original one.

A turn by a quarter moves whole pixels, so nothing is resampled and the way back is exact.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box, Face, Image, Landmarks, check_image

QUARTER_TURNS = (90, 180, 270)
"""Degrees clockwise that a photograph is turned by to look for faces that do not stand upright in it."""


def turned_image(image: Image, degrees: int) -> Image:
    """(H, W, 3) turned clockwise by a multiple of 90 degrees: (H, W, 3) or (W, H, 3), contiguous."""
    quarters = _quarters(degrees)
    check_image(image)
    if not quarters:
        return np.ascontiguousarray(image)
    ways = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
    # A sixth of the time of copying numpy's view.
    return np.asarray(cv2.rotate(image, ways[quarters - 1]), dtype=np.uint8)


def points_before_turn(points: NDArray[np.floating], image: Image, degrees: int) -> NDArray[np.float32]:
    """Points (..., 2), px of `turned_image(image, degrees)`, as px of `image`."""
    height, width = image.shape[:2]
    x, y = points[..., 0], points[..., 1]
    ways = ((x, y), (y, height - 1 - x), (width - 1 - x, height - 1 - y), (width - 1 - y, x))
    return np.stack(ways[_quarters(degrees)], axis=-1).astype(np.float32)


def face_before_turn(face: Face, image: Image, degrees: int) -> Face:
    """A face of `turned_image(image, degrees)` as a face of `image`: picture, box, points, and `turned`."""
    box, marks = face.box, face.landmarks
    corners = points_before_turn(np.array([[box.x0, box.y0], [box.x1, box.y1]]), image, degrees)
    points = points_before_turn(marks.points, image, degrees)
    return Face(
        image,
        Box.around(corners, box.score),
        Landmarks(points, marks.confidence, marks.visible, marks.markup),
        degrees % 360,
    )


def _quarters(degrees: int) -> int:
    if degrees % 90:
        raise InvalidInputError(f"expected a multiple of 90 degrees; got {degrees}")
    return degrees // 90 % 4
