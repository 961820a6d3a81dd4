"""The two public-domain portraits that installed packages contain, for the self test and the demo."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PilImage

from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image

if TYPE_CHECKING:
    from facerec.frontalize.face_model import FaceModel
    from facerec.recognition.recognizer import DescribedFace

GRACE_HOPPER = "Grace Hopper"
"""Rear Admiral Grace Hopper, official portrait, United States Navy; a sample picture of matplotlib."""

EILEEN_COLLINS = "Eileen Collins"
"""Astronaut Eileen Collins, official portrait, NASA; a sample picture of scikit-image."""


def installed_portraits() -> dict[str, Image]:
    """The installed portraits, by the person's name; a package that is not installed adds none."""
    found: dict[str, Image] = {}
    for person, path in ((GRACE_HOPPER, grace_hopper_file()), (EILEEN_COLLINS, _eileen_collins())):
        if path is not None and path.is_file():
            try:
                found[person] = read_image(path)
            except UnusablePhotoError:  # a packager replaced the sample; then the portrait is missing
                continue
    return found


def grace_hopper_file() -> Path | None:
    """Where her portrait is, if matplotlib is installed."""
    folder = _package_folder("matplotlib")  # not imported: that takes half a second
    return None if folder is None else folder / "mpl-data" / "sample_data" / "grace_hopper.jpg"


def _eileen_collins() -> Path | None:
    # The file is read directly, because `skimage.data.astronaut()` would download a missing file.
    folder = _package_folder("skimage")
    return None if folder is None else folder / "data" / "astronaut.png"


def _package_folder(name: str) -> Path | None:
    package = find_spec(name)
    return None if package is None or package.origin is None else Path(package.origin).parent


def altered_copies(image: Image) -> dict[str, Image]:
    """Altered copies of a portrait, (H, W, 3) uint8 RGB each, by the alteration, as they occur in practice."""
    picture = PilImage.fromarray(image)
    width, height = picture.size

    def through_jpeg(quality: int) -> PilImage.Image:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        return PilImage.open(stream).convert("RGB")

    copies = {
        "mirrored": picture.transpose(PilImage.Transpose.FLIP_LEFT_RIGHT),
        # Positive angles of Pillow are counter-clockwise.
        "rotated 15 degrees": picture.rotate(-15, PilImage.Resampling.BICUBIC, fillcolor=(128, 128, 128)),
        "rotated -25 degrees": picture.rotate(25, PilImage.Resampling.BICUBIC, fillcolor=(128, 128, 128)),
        "cropped": picture.crop((width // 8, 0, width - width // 8, round(0.7 * height))),
        "darker": picture.point(lambda value: 0.35 * value),
        "JPEG quality 30": through_jpeg(30),
        "JPEG quality 10": through_jpeg(10),
        "grey": picture.convert("L").convert("RGB"),
        "a quarter of the size": picture.resize((width // 4, height // 4), PilImage.Resampling.LANCZOS),
    }
    return {name: np.array(copy, dtype=np.uint8) for name, copy in copies.items()}


def turned(face: DescribedFace, model: FaceModel, yaw: float, side: int = 320) -> Image:
    """The fitted head rendered again at `yaw` degrees on grey, (side, side, 3): texture of the photograph, new pose.

    Parts that the photograph did not show are filled from the mirrored side of the face.
    """
    from facerec.frontalize.render import blended_texture, render_head
    from facerec.frontalize.types import Camera

    plain = Camera.from_angles(yaw, 0.0, 0.0)
    points = plain.project(model.landmarks(face.fitted.shape, face.fitted.expression))[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.45 * side / float((high - low).max())  # the landmarks fill about half the picture, as in a portrait
    camera = Camera(plain.rotation, (side - 1) / 2 - scale * (low + high) / 2, scale)
    rendering = render_head(
        model,
        face.fitted.shape,
        face.fitted.expression,
        camera,
        blended_texture(face.texture),
        side,
        side,
        supersample=2,
    )
    alpha = rendering.alpha[..., None]
    return np.asarray(np.rint(rendering.pixels * alpha + 128 * (1 - alpha)), dtype=np.uint8)
