"""Landmark packs of faces that nobody annotated, with the points that a landmark network locates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.crop import grey
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.training.packs import HIDDEN, VISIBLE, LandmarkPack, PackedFace, rough_yaw
from facerec.landmarks.types import Box, Landmarks

LEAST_CONFIDENCE = 0.6
"""Faces of a lower mean confidence are left out: nobody has looked whether their points are right."""


class EachLocator(Protocol):
    """What locates one face in each of several pictures, as `Landmarker` does."""

    def locate_each(self, planes: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> list[Landmarks]:
        """Landmarks in pictures (H, W) uint8 grey, one box each."""
        ...


def pack_located(pictures: Sequence[tuple[Path, Box, str]], landmarker: EachLocator, batch: int = 32) -> LandmarkPack:
    """Pack pictures of one face each.

    A face is located in its box, and again in the box of its own landmarks. Points that the network holds for hidden
    are packed as hidden.

    Args:
        pictures: file, rough box of the face (px) and name of the set of each.
        landmarker: locates 68 points.
        batch: pictures at once.

    Raises:
        InvalidInputError: no face is located surely enough (`LEAST_CONFIDENCE`).
    """

    def faces() -> Iterator[PackedFace]:
        for first in range(0, len(pictures), batch):
            read = []
            for path, box, source in pictures[first : first + batch]:
                try:
                    read.append((read_image(path), box, source))
                except UnusablePhotoError:
                    continue
            planes = [grey(image) for image, _, _ in read]
            rough = landmarker.locate_each(planes, [box for _, box, _ in read])
            found = landmarker.locate_each(planes, [Box.around(mark.points) for mark in rough])
            for (image, _, source), mark in zip(read, found, strict=True):
                if mark.confidence.mean() >= LEAST_CONFIDENCE:
                    state = np.where(mark.visible, VISIBLE, HIDDEN).astype(np.int8)
                    yaw = rough_yaw(mark.points)
                    yield PackedFace.cut_from(
                        image, mark.points, state, Box.around(mark.points), yaw, f"located-{source}"
                    )

    return LandmarkPack.gather(faces())
