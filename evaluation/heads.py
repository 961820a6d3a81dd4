"""Pictures of the mean head in each pose of a report's grid."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PilImage

if TYPE_CHECKING:
    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.texture_model import TextureModel

_EDGE = 96
"""px; twice the size at which a desktop shows them, so that they stay sharp in print."""

# px per mm: the head with its skull, about 250 mm, fills the picture.
_SCALE = _EDGE / 255

# Colours of a palette picture: fewer show bands in the cheeks; 21 heads stay under 150 kB.
_COLOURS = 255

# The texture model's mean is dark without light on it.
_BRIGHTER = 1.3


def mean_heads(
    angles: Iterable[tuple[float, float]], model: FaceModel, texture: TextureModel
) -> dict[tuple[float, float], str]:
    """The mean head of the models, no real person, as PNG data URIs with a transparent background.

    Args:
        angles: (yaw, pitch) to render, degrees.
        model, texture: whose means are shown.
    """
    from facerec.frontalize.render import render_head
    from facerec.frontalize.types import Camera

    paint = np.clip(_BRIGHTER * texture.paint(np.zeros(len(texture.modes))), 0, 255)
    center = model.geometry(None, None).reshape(-1, 3).mean(axis=0)
    # The skull reaches back from the face, so the head turns about a point behind it to stay in the picture.
    center = center + np.array([0.0, -12.0, 45.0])
    heads: dict[tuple[float, float], str] = {}
    for yaw, pitch in angles:
        turned = Camera.from_angles(yaw, pitch, 0.0, _SCALE)
        middle = turned.project(center[None])[0, :2]
        camera = Camera(turned.rotation, np.full(2, (_EDGE - 1) / 2) - middle, _SCALE)
        head = render_head(model, None, None, camera, paint, _EDGE, _EDGE, supersample=2)
        alpha = np.rint(255 * head.alpha).astype(np.uint8)
        heads[yaw, pitch] = _uri(np.dstack([head.pixels, alpha]))
    return heads


def _uri(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    picture = PilImage.fromarray(pixels, "RGBA").quantize(_COLOURS, PilImage.Quantize.FASTOCTREE)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
