"""From landmarks to textures, many faces at once: the fast path through the 3-D stage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, FittedSurface, fit_surfaces
from facerec.frontalize.texture import TEXTURE_SIZE, lift_geometry
from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.frontalize.visibility import VisibilitySettings
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Face, Image


def fit_and_lift(
    faces: Sequence[Face],
    model: FaceModel,
    settings: FitSettings | None = None,
    size: int = TEXTURE_SIZE,
    workers: int | None = None,
) -> list[tuple[FittedFace, FaceTexture] | UnusablePhotoError]:
    """Fit faces and lift their textures: `fit_face` and `lift_texture` of each, with the surface computed once.

    Args:
        faces: with 68 landmarks each.
        model: the face model.
        settings: see `FitSettings`.
        size: texels a side.
        workers: threads; the number of cores when None. The answers do not depend on it.

    Returns:
        For each face its fit and texture, or the error `fit_face` would raise.
    """
    workers = workers or os.cpu_count() or 1
    if workers < 1:
        raise InvalidInputError(f"expected at least one worker; got {workers}")

    def some(chosen: Sequence[Face]) -> list[tuple[FittedFace, FaceTexture] | UnusablePhotoError]:
        found = fit_surfaces([face.landmarks for face in chosen], model, settings)
        return [
            (surface.without_surface(), lift_surface(face.image, surface, size))
            if isinstance(surface, FittedSurface)
            else surface
            for face, surface in zip(chosen, found, strict=True)
        ]

    # Some faces at a time: enough for the batched solver, and every core gets its share.
    share = max(1, min(16, -(-len(faces) // workers)))
    parts = [faces[k : k + share] for k in range(0, len(faces), share)]
    if len(parts) < 2 or workers == 1:
        return [answer for part in parts for answer in some(part)]
    with ThreadPoolExecutor(workers) as pool:
        return [answer for answers in pool.map(some, parts) for answer in answers]


def lift_surface(image: Image, surface: FittedSurface, size: int = TEXTURE_SIZE) -> FaceTexture:
    """`lift_texture` of a face whose surface and view are at hand: the z-buffer is the slow part of both."""
    visible = surface.view.nodes(VisibilitySettings())
    return lift_geometry(image, surface.geometry, surface.camera, visible, size)
