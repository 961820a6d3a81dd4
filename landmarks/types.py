"""The values that travel through the landmark stage: a box, landmarks, a face.

Pixel convention everywhere: the centre of the top-left pixel is (0, 0), x grows to the right, y grows downwards.
Images are RGB, uint8, of shape (H, W, 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


def check_image(image: Image) -> Image:
    """Return `image` when it is (H, W, 3) uint8 and not empty; raise `InvalidInputError` otherwise."""
    if not isinstance(image, np.ndarray):
        raise InvalidInputError(
            f"expected an image, an array of shape (H, W, 3), uint8, RGB; got {describe_value(image)}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InvalidInputError(f"expected an image of shape (H, W, 3), uint8, RGB; got {image.shape}, {image.dtype}")
    return image


def describe_value(value: object) -> str:
    """The type and the value, short enough for a message."""
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True, eq=False)
class Box:
    """An upright face box: the tight box of the face's 68 landmarks, the hidden ones included.

    Attributes:
        x0, y0, x1, y1: left, top, right and bottom edge, px; x0 < x1, y0 < y1. May reach outside the picture.
        score: the detector's confidence in [0, 1]; 1 for a box given by hand.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0

    def __post_init__(self) -> None:
        values = (self.x0, self.y0, self.x1, self.y1, self.score)
        if not np.isfinite(values).all() or self.x1 <= self.x0 or self.y1 <= self.y0:
            raise InvalidInputError(f"expected a finite box with x0 < x1 and y0 < y1; got {values}")
        if not 0.0 <= self.score <= 1.0:
            raise InvalidInputError(f"expected a box score in [0, 1]; got {self.score}")

    def __repr__(self) -> str:
        return f"Box({self.x0:.1f}, {self.y0:.1f}, {self.x1:.1f}, {self.y1:.1f}, score={self.score:.2f})"

    @property
    def width(self) -> float:
        """x1 - x0, px."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """y1 - y0, px."""
        return self.y1 - self.y0

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the middle, px."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`, in [0, 1]."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / (self.width * self.height + other.width * other.height - w * h)

    @staticmethod
    def around(points: NDArray[np.floating], score: float = 1.0) -> Box:
        """Tight box of the finite rows of `points` (N, 2), px. Needs two points that span an area."""
        finite = points[np.isfinite(points).all(axis=1)]
        if len(finite) < 2:
            raise InvalidInputError(f"expected at least two finite points; got {len(finite)}")
        (x0, y0), (x1, y1) = finite.min(axis=0), finite.max(axis=0)
        return Box(float(x0), float(y0), float(x1), float(y1), score)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The landmarks of one face.

    Attributes:
        points: (N, 2) float32, px.
        confidence: (N,) float32 in [0, 1], how sure the network is of the place.
        visible: (N,) bool, whether the camera sees the point (False: hidden by the face itself or by something else).
        markup: name of the markup the rows follow, e.g. "ibug68" (see `facerec.landmarks.markup`).
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    visible: NDArray[np.bool_]
    markup: str = "ibug68"

    def __post_init__(self) -> None:
        n = len(self.points)
        if self.points.shape != (n, 2) or self.confidence.shape != (n,) or self.visible.shape != (n,):
            raise InvalidInputError(
                "expected points (N, 2), confidence (N,) and visible (N,); got "
                f"{self.points.shape}, {self.confidence.shape}, {self.visible.shape}"
            )
        if not np.isfinite(self.points).all():
            raise InvalidInputError("expected finite landmark points; got NaN or infinity")

    def __repr__(self) -> str:
        n = len(self.points)
        sure = f", mean confidence {float(self.confidence.mean()):.2f}" if n else ""
        return f"Landmarks({n} of {self.markup}, {int(self.visible.sum())} visible{sure})"


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photograph: the picture, where the face is, its landmarks.

    Attributes:
        image: (H, W, 3) uint8 RGB, the whole photograph.
        box: the detector's box, px.
        landmarks: the located landmarks, px in `image`.
        turned: degrees clockwise by which the photograph was turned to find the face: 0, 90, 180 or 270. `image`, box
            and landmarks are the photograph's own, so a face that was found at 90 lies there with its forehead to the
            left.
    """

    image: Image
    box: Box
    landmarks: Landmarks
    turned: int = 0

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Face({width} x {height} px, {self.box!r}, {self.landmarks!r})"
