"""Pictures that the page shows: the photograph, and a crop and a frontal view of each face, of bounded size."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np

from facerec.cli.service.groups import signature_text
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import frontal_view
from facerec.landmarks.types import Box, Image
from facerec.recognition.identification import ProbeFace

PHOTO_SIDE = 1280  # px: the largest side on the page; about 250 KB of JPEG
CROP_SIDE = 160  # px: of a crop and a frontal view; some 7 KB of JPEG each
_CROP_MARGIN = 0.25  # of the box's longer side, so that hair and chin are seen
_QUALITY = 85


def photo_picture(photo: Image) -> dict[str, Any]:
    """The upright photograph, no larger than `PHOTO_SIDE`: {"width", "height" (of the original), "picture"}."""
    height, width = photo.shape[:2]
    return {"width": width, "height": height, "picture": _jpeg(_shrink(photo, PHOTO_SIDE))}


def face_pictures(photo: Image, probe: ProbeFace) -> dict[str, Any]:
    """What lies between the photograph and the answer: landmarks (points and visibility), pictures (crop and frontal
    view) and the signature (`groups.signature_text`).

    A face that was not described has no landmarks and no frontal view; a photograph without a face has no crop either.
    """
    pictures: dict[str, str] = {}
    landmarks, signature = None, ""
    if probe.box is not None:
        pictures["crop"] = _jpeg(_shrink(_crop(photo, probe.box), CROP_SIDE))
    if probe.described is not None:
        face = probe.described
        landmarks = {
            "points": np.round(np.asarray(face.face.landmarks.points, dtype=np.float64), 1).tolist(),
            "visible": face.face.landmarks.visible.tolist(),
        }
        pictures["frontal"] = _jpeg(_shrink(frontal_view(face.texture, face.fitted, FaceModel.load()), CROP_SIDE))
        signature = signature_text(face.signature)
    return {"landmarks": landmarks, "signature": signature, "pictures": pictures}


def png(picture: Image) -> bytes:
    """`picture` as the bytes of a PNG file."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1])


def face_frontal(texture: Any, fitted: Any) -> bytes:
    """The frontal view of a fitted face and its texture, PNG."""
    return png(frontal_view(texture, fitted, FaceModel.load()))


def _crop(photo: Image, box: Box) -> Image:
    height, width = photo.shape[:2]
    half = max(box.width, box.height) * (0.5 + _CROP_MARGIN)
    middle_x, middle_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    left, top = max(0, int(middle_x - half)), max(0, int(middle_y - half))
    right, bottom = min(width, int(middle_x + half) + 1), min(height, int(middle_y + half) + 1)
    if right <= left or bottom <= top:  # a box beside the photograph
        return photo[:1, :1]
    return photo[top:bottom, left:right]


def _shrink(picture: Image, side: int) -> Image:
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = [max(1, round(length * scale)) for length in (picture.shape[1], picture.shape[0])]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _jpeg(picture: Image) -> str:
    flags = [int(cv2.IMWRITE_JPEG_QUALITY), _QUALITY]
    data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), flags)[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
