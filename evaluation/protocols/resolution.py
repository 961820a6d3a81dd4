"""UHDB31's resolutions: published experiments sample its pictures of 1024 x 1224 px down by area, to R256 and R128."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image as PilImage

from facerec.evaluation.protocols.recognition import RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError

RESOLUTIONS = {"R1024": (1024, 1224), "R256": (256, 306), "R128": (128, 153)}
"""(width, height) px by name: whole, a quarter and an eighth of the edge."""


def at_resolution(protocol: RecognitionProtocol, name: str) -> RecognitionProtocol:
    """`protocol` on its pictures sampled down by area to resolution `name`.

    Whole multiples only: then every new pixel is the mean of a block of old ones, and sampling down in two steps is the
    same as in one.

    Raises:
        InvalidInputError: no such resolution, or a picture is not a whole multiple of it (1024 x 1224 is of all).
    """
    if name not in RESOLUTIONS:
        raise InvalidInputError(f"expected a resolution of {', '.join(RESOLUTIONS)}; got {name!r}")
    width, height = RESOLUTIONS[name]
    for picture in protocol.pictures:
        try:
            with PilImage.open(picture.path) as header:
                size = header.size
        except OSError:
            continue  # an unreadable picture is a failed probe like any other
        factor = size[0] // width
        if not factor or size != (factor * width, factor * height):
            raise InvalidInputError(
                f"expected pictures of 1024 x 1224 px, or a whole multiple of {width} x {height}, to sample down to "
                f"{name}; {picture.path} has {size[0]} x {size[1]}"
            )
    pictures = tuple(replace(picture, size=(width, height)) for picture in protocol.pictures)
    return replace(protocol, pictures=pictures, settings=protocol.settings | {"resolution": name})
