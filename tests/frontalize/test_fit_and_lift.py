"""The batched path gives what one face at a time gives."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FittedSurface, fit_face, fit_surfaces
from facerec.frontalize.texture import lift_surface, lift_texture
from facerec.frontalize.types import Camera, FittedFace
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.types import Box, Face, Landmarks


def faces(model: FaceModel) -> list[Face]:
    rng = np.random.default_rng(0)
    out = []
    for yaw in (-80, -20, 5, 40, 75):
        image = rng.integers(0, 256, (260, 240, 3), dtype=np.uint8)
        camera = Camera.from_angles(yaw, 0, 0, 1.1, (120.0, 110.0))
        points = camera.project(model.landmarks(rng.standard_normal(20)))[:, :2].astype(np.float32)
        landmarks = Landmarks(points, np.full(68, 0.9, np.float32), np.ones(68, dtype=bool))
        out.append(Face(image, Box.around(points), landmarks))
    flat = Landmarks(np.full((68, 2), 5, np.float32), np.ones(68, np.float32), np.ones(68, dtype=bool))
    return [*out, Face(out[0].image, Box(0, 0, 9, 9), flat)]


def test_faces_fitted_at_once_are_fitted_and_lifted_like_each_alone(model: FaceModel) -> None:
    given = faces(model)
    surfaces = fit_surfaces([face.landmarks for face in given], model)
    assert len(surfaces) == 6
    assert isinstance(surfaces[5], UnusablePhotoError)
    for face, surface in zip(given[:5], surfaces[:5], strict=True):
        assert isinstance(surface, FittedSurface)
        texture = lift_surface(face.image, surface, 64)
        alone = fit_face(face.landmarks, model)
        np.testing.assert_allclose(surface.points, alone.points, atol=1e-6)
        np.testing.assert_array_equal(surface.visible, alone.visible)
        lifted = lift_texture(face.image, alone, model, 64)
        np.testing.assert_array_equal(texture.pixels, lifted.pixels)
        np.testing.assert_allclose(texture.visible, lifted.visible, atol=1e-6)
    assert fit_surfaces([], model) == []


def test_a_fit_is_kept_without_its_surface(model: FaceModel) -> None:
    (surface,) = fit_surfaces([faces(model)[0].landmarks], model)
    assert isinstance(surface, FittedSurface)
    kept = surface.without_surface()
    assert type(kept) is FittedFace
    assert all(getattr(kept, field.name) is getattr(surface, field.name) for field in fields(FittedFace))
