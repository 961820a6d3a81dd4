"""Pictures of the stages between a photograph and its signature."""

from __future__ import annotations

from pathlib import Path

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import draw_overlay, frontal_view
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Image
from facerec.recognition.recognizer import DescribedFace


def stage_pictures(face: DescribedFace, model: FaceModel, size: int = 224, neutral: bool = False) -> dict[str, Image]:
    """The stages of a described face by their names.

    Args:
        face: the face.
        model: the face model it was fitted with.
        size: side of the frontal view, px.
        neutral: show it without its expression.

    Returns:
        "overlay" (landmarks and mesh on the photograph), "texture" (UV chart), "mask" (what the camera saw), "frontal";
        (H, W, 3) uint8 RGB each.
    """
    return {
        "overlay": draw_overlay(face.face.image, face.fitted, face.face.landmarks, model),
        "texture": face.texture.pixels,
        "mask": face.texture.mask,
        "frontal": frontal_view(face.texture, face.fitted, model, size, neutral),
    }


def write_stages(
    face: DescribedFace, model: FaceModel, folder: Path, name: str, size: int = 224, neutral: bool = False
) -> list[Path]:
    """Write `stage_pictures` to FOLDER/NAME.STAGE.png; the folder is made when it is not there. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for stage, picture in stage_pictures(face, model, size, neutral).items():
        written.append(folder / f"{name}.{stage}.png")
        write_image(written[-1], picture)
    return written
