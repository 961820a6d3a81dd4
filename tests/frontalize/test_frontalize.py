"""The batched path gives what one face at a time gives, however many threads."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import fit_face
from facerec.frontalize.frontalize import fit_and_lift
from facerec.frontalize.texture import lift_texture
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
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


@pytest.mark.parametrize("workers", [1, 2])
def test_many_faces_at_once_are_fitted_and_lifted_like_each_alone(model: FaceModel, workers: int) -> None:
    given = faces(model)
    answers = fit_and_lift(given, model, size=64, workers=workers)
    assert len(answers) == 6
    assert isinstance(answers[5], UnusablePhotoError)
    for face, answer in zip(given[:5], answers[:5], strict=True):
        assert not isinstance(answer, UnusablePhotoError)
        fitted, texture = answer
        alone = fit_face(face.landmarks, model)
        np.testing.assert_allclose(fitted.points, alone.points, atol=1e-6)
        np.testing.assert_array_equal(fitted.visible, alone.visible)
        lifted = lift_texture(face.image, alone, model, 64)
        np.testing.assert_array_equal(texture.pixels, lifted.pixels)
        np.testing.assert_allclose(texture.visible, lifted.visible, atol=1e-6)


def test_no_faces_give_no_textures_and_no_workers_are_refused(model: FaceModel) -> None:
    assert fit_and_lift([], model) == []
    with pytest.raises(InvalidInputError, match="at least one worker; got -1"):
        fit_and_lift([], model, workers=-1)
