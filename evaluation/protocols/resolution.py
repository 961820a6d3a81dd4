"""UHDB31's resolutions: published experiments sample its pictures of 1024 x 1224 px down by area, to R256 and R128."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage

from facerec.evaluation.protocols.recognition import RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Image

RESOLUTIONS = {"R1024": (1024, 1224), "R256": (256, 306), "R128": (128, 153)}
"""(width, height) px by name: whole, a quarter and an eighth of the edge."""


def at_resolution(protocol: RecognitionProtocol, name: str) -> RecognitionProtocol:
    """`protocol` on its pictures sampled down by area to resolution `name`.

    Whole multiples only: then every new pixel is the mean of a block of old ones, and sampling down in two steps is the
    same as in one.

    Raises:
        InvalidInputError: no such resolution, or a picture is not a whole multiple of it (1024 x 1224 is of all).
    """
    for picture in protocol.pictures:
        with contextlib.suppress(OSError):  # an unreadable picture is a failed probe like any other
            reduction(picture.path, name)
    pictures = tuple(replace(picture, size=RESOLUTIONS[name]) for picture in protocol.pictures)
    return replace(protocol, pictures=pictures, settings=protocol.settings | {"resolution": name})


def reduction(path: Path, name: str) -> int:
    """How many pixels of an edge of the picture become one at resolution `name`.

    Raises:
        OSError: the picture cannot be read.
        InvalidInputError: no such resolution, or the picture is no whole multiple of it.
    """
    if name not in RESOLUTIONS:
        raise InvalidInputError(f"expected a resolution of {', '.join(RESOLUTIONS)}; got {name!r}")
    width, height = RESOLUTIONS[name]
    with PilImage.open(path) as header:
        size = header.size
    factor = size[0] // width
    if not factor or size != (factor * width, factor * height):
        raise InvalidInputError(
            f"expected pictures of 1024 x 1224 px, or a whole multiple of {width} x {height}, to sample down to "
            f"{name}; {path} has {size[0]} x {size[1]}"
        )
    return factor


def sample_down(image: Image, size: tuple[int, int] | None) -> Image:
    """`image` sampled down by area to `size` (width, height), px; as it is for None.

    Raises:
        UnusablePhotoError: it is smaller than that.
    """
    if size is None or (image.shape[1], image.shape[0]) == size:
        return image
    width, height = size
    if image.shape[1] < width or image.shape[0] < height:
        said = f"expected at least {width} x {height} px to sample down from; got {image.shape[1]} x {image.shape[0]}"
        raise UnusablePhotoError("unreadable", said)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
