"""One strip per face: photograph, landmarks and mesh, texture, mask, frontal view, under what it is called."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.landmarks.crop import Roi, framed
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Image
from facerec.recognition.recognizer import DescribedFace
from facerec.recognition.stage_pictures import stage_pictures

TILE = 224
"""Side of each picture of the strip, px."""

LABEL = 22
"""Height of the line above a strip, px."""

_LETTER = 9  # px: the width of one
_AROUND = 1.9  # sides of the box: hair, chin and ears are seen


def contact_row(face: DescribedFace, model: FaceModel, label: str, neutral: bool = False, tile: int = TILE) -> Image:
    """A face's part of the photograph, overlay, texture, mask and frontal view, below `label`.

    Args:
        face: the face.
        model: the face model it was fitted with.
        label: what is written above; of one that is too long the end is kept, where a path has the file's name.
        neutral: show the frontal view without expression.
        tile: side of each picture, px.

    Returns:
        (LABEL + tile, 5 tile, 3) uint8 RGB.
    """
    roi = Roi.around(face.face.box, _AROUND)
    stages = stage_pictures(face, model, tile, neutral)
    chart, mask = (cv2.resize(stages[name], (tile, tile), interpolation=cv2.INTER_AREA) for name in ("texture", "mask"))
    photo, overlay = (framed(picture, roi, tile) for picture in (face.face.image, stages["overlay"]))
    line = np.full((LABEL, 5 * tile, 3), 255, dtype=np.uint8)
    # OpenCV's letters are ASCII; the records have names as they are written.
    text, most = label.encode("ascii", "replace").decode(), 5 * tile // _LETTER
    text = text if len(text) <= most else f"...{text[len(text) - most + 3 :]}"
    cv2.putText(line, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([line, np.hstack([photo, overlay, chart, mask, stages["frontal"]])])


def join_rows(rows: Sequence[Image], columns: int | None = None) -> Image:
    """Strips in their order, from left to right and then below each other.

    In `columns` columns, as many as keep the sheet about square when None.
    """
    if not rows:
        raise InvalidInputError("expected at least one strip; got none")
    if columns is None:
        height, width = rows[0].shape[:2]
        columns = max(1, round((len(rows) * height / width) ** 0.5))
    blank = np.full_like(rows[0], 255)
    padded = [*rows, *[blank] * (-len(rows) % columns)]
    return np.vstack([np.hstack(padded[k : k + columns]) for k in range(0, len(padded), columns)])
