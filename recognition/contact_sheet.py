"""One strip per face: photograph, landmarks and mesh, texture, mask, frontal view."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import draw_overlay, frontal_view
from facerec.landmarks.crop import Roi, cut
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Image
from facerec.recognition.recognizer import DescribedFace

TILE = 224
"""Side of each picture of the strip, px."""


def contact_row(face: DescribedFace, model: FaceModel, tile: int = TILE) -> Image:
    """(tile, 5 tile, 3): the face's part of the photograph, overlay, texture, mask, frontal view."""
    roi = Roi.around(face.face.box, 1.9)
    photo = face.face.image
    overlay = draw_overlay(photo, face.fitted, face.face.landmarks, model)
    chart = cv2.resize(face.texture.pixels, (tile, tile), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(face.texture.mask, (tile, tile), interpolation=cv2.INTER_AREA)
    view = frontal_view(face.texture, face.fitted, model, tile)
    return np.hstack([cut(photo, roi, tile), cut(overlay, roi, tile), chart, mask, view])


def join_rows(rows: Sequence[Image], columns: int | None = None) -> Image:
    """Strips below each other, in `columns` columns (as many as keep the sheet about square when None)."""
    if not rows:
        raise InvalidInputError("expected at least one strip; got none")
    if columns is None:
        height, width = rows[0].shape[:2]
        columns = max(1, round((len(rows) * height / width) ** 0.5))
    blank = np.full_like(rows[0], 255)
    padded = [*rows, *[blank] * (-len(rows) % columns)]
    return np.vstack([np.hstack(padded[k : k + columns]) for k in range(0, len(padded), columns)])
