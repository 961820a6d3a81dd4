"""Normalised views: where the face stands in them, what is shown of it, and what is not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.recognition.views import (
    ARCFACE_FRAME,
    DLIB_FRAME,
    ViewFrame,
    filled_view,
    frontal_camera,
    frontal_pixels,
    photo_view,
    seen_shares,
)

FRAMES = [DLIB_FRAME, ARCFACE_FRAME]


def fitted(yaw: float = 0.0, roll: float = 0.0, scale: float = 1.3) -> FittedFace:
    model = FaceModel.load()
    camera = replace(Camera.from_angles(yaw, 0.0, roll), translation=np.array([200.0, 160.0]), scale=scale)
    points = camera.project(model.landmarks())[:, :2]
    nothing = np.zeros(model.identity.shape[0]), np.zeros(model.expression.shape[0])
    return FittedFace(*nothing, camera, 0.0, points, np.ones(68, bool))


def dotted(points: np.ndarray) -> np.ndarray:
    picture = np.zeros((330, 420, 3), np.uint8)
    for x, y in points:
        cv2.circle(picture, (round(16 * x), round(16 * y)), 48, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return picture


def middle_of(view: np.ndarray) -> np.ndarray:
    weight = view[..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    return np.asarray(np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum())


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("roll", [0.0, 25.0, -40.0])
@pytest.mark.parametrize("scale", [0.5, 1.3, 3.0])
def test_a_frontal_faces_landmarks_lie_where_the_frame_wants_them(frame: ViewFrame, roll: float, scale: float) -> None:
    face = fitted(roll=roll, scale=scale)
    for group, target in zip(frame.groups, frame.targets, strict=True):
        spot = face.points[list(group)].mean(axis=0)
        if not (10 < spot[0] < 410 and 10 < spot[1] < 320):
            continue
        found = middle_of(photo_view(dotted(spot[None]), face, frame))
        # The mean face is not the network's mean face: a few pixels in a view of a hundred.
        assert np.linalg.norm(found - target) < 0.045 * frame.size


def test_a_faces_yaw_leaves_scale_and_middle_of_its_photo_view() -> None:
    model, spots = FaceModel.load(), []
    for yaw in (-80.0, 0.0, 80.0):
        face = fitted(yaw)
        groups = [face.points[list(g)].mean(axis=0) for g in DLIB_FRAME.groups]
        spots.append(middle_of(photo_view(dotted(np.mean(groups, axis=0)[None]), face, DLIB_FRAME)))
    np.testing.assert_allclose(spots[0], spots[1], atol=1.0)
    np.testing.assert_allclose(spots[2], spots[1], atol=1.0)
    assert frontal_camera(DLIB_FRAME, model).scale == pytest.approx(0.83, abs=0.01)


def test_beyond_the_pictures_border_the_rim_is_repeated() -> None:
    face = fitted()
    view = photo_view(np.full((180, 210, 3), (10, 200, 90), np.uint8), face, DLIB_FRAME)
    assert view.shape == (150, 150, 3)
    assert (view == (10, 200, 90)).all()


def test_a_large_photograph_does_not_alias() -> None:
    face = fitted(scale=6.0)
    face = replace(face, camera=replace(face.camera, translation=face.camera.translation * 3), points=face.points + 400)
    stripes = np.zeros((1000, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    view = photo_view(stripes, face, DLIB_FRAME).astype(int)
    assert abs(view - 127).max() < 40


def half_seen(left: bool, right: bool) -> FaceTexture:
    visible = np.zeros((256, 256), np.float32)
    visible[:, :128] = left
    visible[:, 128:] = right
    pixels = np.random.default_rng(0).integers(1, 256, (256, 256, 3), dtype=np.uint8)
    return FaceTexture(np.where(visible[..., None] > 0, pixels, 0).astype(np.uint8), visible)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_mirrored_texture_gives_the_mirrored_view(frame: ViewFrame) -> None:
    texture = half_seen(True, True)
    other = FaceTexture(texture.pixels[:, ::-1].copy(), texture.visible[:, ::-1].copy())
    (one, seen), (two, seen_too) = frontal_pixels(texture, frame), frontal_pixels(other, frame)
    np.testing.assert_array_equal(seen, seen_too[:, ::-1])
    assert np.abs(one.astype(int) - two[:, ::-1].astype(int)).max() <= 1


def test_only_what_was_seen_is_shown_with_its_share() -> None:
    pixels, seen = frontal_pixels(half_seen(True, False), DLIB_FRAME)
    assert not pixels[~seen].any()
    assert not seen[:, 77:].any()
    left, right = seen_shares(seen, DLIB_FRAME)
    assert left > 0.97
    assert right < 0.03
    both = seen_shares(np.stack([seen, seen[:, ::-1]]), DLIB_FRAME)
    np.testing.assert_allclose(both[1], both[0][::-1], atol=1e-6)


def test_an_unseen_half_is_filled_from_its_twin_and_never_over_what_was_seen() -> None:
    pixels, seen = frontal_pixels(half_seen(True, False), DLIB_FRAME)
    whole = filled_view(pixels, seen, "whole", DLIB_FRAME)
    np.testing.assert_array_equal(whole[seen], pixels[seen])
    fresh = ~seen & seen[:, ::-1]
    np.testing.assert_array_equal(whole[fresh], pixels[:, ::-1][fresh])
    unknown = ~seen & ~seen[:, ::-1]
    assert (whole[unknown] == DLIB_FRAME.neutral).all()
    # Of the other half nothing is known: its look is empty but for the middle column's rim.
    other = filled_view(pixels, seen, "right", DLIB_FRAME)
    assert (other == DLIB_FRAME.neutral).all(axis=2).mean() > 0.97


@pytest.mark.parametrize("frame", FRAMES)
def test_a_sides_look_shows_nothing_of_the_other_side(frame: ViewFrame) -> None:
    pixels, seen = frontal_pixels(half_seen(True, True), frame)
    for look in ("left", "right"):
        view = filled_view(pixels, seen, look, frame)
        np.testing.assert_array_equal(view, view[:, ::-1])
    middle = frame.size // 2
    np.testing.assert_array_equal(
        filled_view(pixels, seen, "right", frame)[:, middle:][seen[:, middle:]], pixels[:, middle:][seen[:, middle:]]
    )
