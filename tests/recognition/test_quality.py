"""A face's quality: each component moves as its name says, and the one number the way that spoils a face."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.synthesize import SyntheticPhoto, photograph, synthetic_people
from facerec.frontalize.texture import lift_texture
from facerec.frontalize.types import Camera, FittedFace
from facerec.landmarks.types import Box, Face, Image, Landmarks
from facerec.recognition.quality import EYE_DISTANCE, SIGNS, UNIFIED, FaceQuality, QualityRule, measure_quality

FRONTAL, TURNED = 11, 17


@pytest.fixture(scope="module")
def photos() -> dict[int, SyntheticPhoto]:
    (person,) = synthetic_people(1, 3)
    return {pose: photograph(person, pose, np.random.default_rng(pose)) for pose in (FRONTAL, TURNED)}


def quality(photo: SyntheticPhoto, image: Image | None = None, confidence: float = 0.9) -> FaceQuality:
    """The quality of a rendered face whose fit is as good as its truth."""
    image = photo.image if image is None else image
    model = FaceModel.load()
    angles = Camera.from_angles(photo.yaw, photo.pitch, 0.0)
    flat = angles.project(model.landmarks())[:, :2]
    scale = float(np.ptp(photo.points[:, 1]) / np.ptp(flat[:, 1]))
    camera = Camera(angles.rotation, photo.points.mean(axis=0) - scale * flat.mean(axis=0), scale)
    fitted = FittedFace(np.zeros(3), np.zeros(2), camera, 1.0, photo.points, np.ones(68, bool))
    marks = Landmarks(photo.points.astype(np.float32), np.full(68, confidence, np.float32), np.ones(68, bool))
    return measure_quality(Face(image, Box.around(photo.points), marks), fitted, lift_texture(image, fitted, model))


def test_the_eye_distance_is_that_of_the_model() -> None:
    points = FaceModel.load().landmarks()
    assert np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0)) == pytest.approx(EYE_DISTANCE, 0.01)


def test_pose_size_and_margins_are_those_of_the_face(photos: dict[int, SyntheticPhoto]) -> None:
    frontal, turned = quality(photos[FRONTAL]), quality(photos[TURNED])
    assert abs(frontal.yaw) < 5
    assert 50 < turned.yaw < 70
    seen = photos[FRONTAL].points
    eyes = np.linalg.norm(seen[36:42].mean(axis=0) - seen[42:48].mean(axis=0))
    assert frontal.eye_distance == pytest.approx(eyes, rel=0.1)
    assert turned.eye_distance == pytest.approx(frontal.eye_distance, rel=0.15)  # as it would be seen from the front
    assert turned.visible_share < frontal.visible_share
    left = photos[FRONTAL].image[:, int(seen[:, 0].min()) + 10 :]
    moved = replace(photos[FRONTAL], image=left, points=seen - [int(seen[:, 0].min()) + 10, 0])
    assert frontal.margin_left > 0.3 > 0 > quality(moved).margin_left


def test_blur_darkness_and_glare_are_measured(photos: dict[int, SyntheticPhoto]) -> None:
    photo = photos[FRONTAL]
    plain = quality(photo)
    blurred = quality(photo, np.asarray(cv2.GaussianBlur(photo.image, (0, 0), 4), dtype=np.uint8))
    assert blurred.sharpness < 0.5 * plain.sharpness
    dark = quality(photo, (photo.image * 0.1).astype(np.uint8))
    assert dark.underexposed > 0.9 > plain.underexposed
    assert dark.dynamic_range < plain.dynamic_range
    # Brighter still, and the patches of one colour that result count as not seen.
    glaring = quality(photo, np.clip(photo.image.astype(int) * 4, 0, 255).astype(np.uint8))
    assert glaring.overexposed > 0.1 > plain.overexposed
    assert glaring.cut > plain.cut  # what is blown out to one colour counts as not seen
    assert quality(photo, np.full_like(photo.image, 128)).sharpness == 0.0


def test_the_one_number_falls_with_each_thing_that_spoils_a_face(photos: dict[int, SyntheticPhoto]) -> None:
    plain = quality(photos[FRONTAL])
    assert plain.unified > quality(photos[TURNED]).unified
    assert plain.unified > quality(photos[FRONTAL], confidence=0.5).unified
    assert plain.unified > replace(plain, cut=0.6, visible_share=0.3).unified
    assert plain.unified > replace(plain, sharpness=0.3 * plain.sharpness).unified
    assert plain.unified > replace(plain, overexposed=plain.overexposed + 0.5).unified
    assert 0 <= replace(plain, confidence=0.0, sharpness=0.0).unified <= plain.unified <= 1


def test_no_component_of_the_rule_counts_against_what_it_means(photos: dict[int, SyntheticPhoto]) -> None:
    assert len(UNIFIED.weights) == len(SIGNS) == len(QualityRule.features(quality(photos[FRONTAL])))
    assert (np.array(UNIFIED.weights) * SIGNS >= 0).all()


def test_answers_have_the_components_without_the_pose(photos: dict[int, SyntheticPhoto]) -> None:
    said = quality(photos[FRONTAL]).as_json()
    assert set(said) == set(FaceQuality.__dataclass_fields__) - {"yaw", "pitch", "roll"}
    assert all(isinstance(value, float) for value in said.values())
