"""Camera angles mean what the conventions say, and come back from the rotation."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.frontalize.types import Camera, FaceTexture
from facerec.landmarks.errors import InvalidInputError

NOSE = np.array([0.0, 0.0, -50.0])
RIGHT_CHEEK = np.array([60.0, 0.0, 0.0])


def test_a_frontal_camera_keeps_x_right_y_down_and_the_nose_nearest() -> None:
    camera = Camera.from_angles(0, 0, 0, scale=2.0, translation=(10.0, 20.0))
    np.testing.assert_allclose(camera.project(np.array([[1.0, 2.0, 3.0]])), [[12.0, 24.0, 6.0]])
    assert camera.project(NOSE[None])[0, 2] < camera.project(RIGHT_CHEEK[None])[0, 2]


def test_positive_yaw_points_the_nose_to_the_right_of_the_image() -> None:
    assert Camera.from_angles(30, 0, 0).project(NOSE[None])[0, 0] == pytest.approx(25.0)


def test_positive_pitch_points_the_nose_up() -> None:
    assert Camera.from_angles(0, 30, 0).project(NOSE[None])[0, 1] == pytest.approx(-25.0)


def test_positive_roll_turns_the_picture_clockwise() -> None:
    x, y, _ = Camera.from_angles(0, 0, 30).project(RIGHT_CHEEK[None])[0]
    assert (x, y) == (pytest.approx(60 * np.cos(np.pi / 6)), pytest.approx(30.0))


@pytest.mark.parametrize("yaw", [-120.0, -90.0, -30.0, 0.0, 17.0, 90.0])
@pytest.mark.parametrize("pitch", [-60.0, 0.0, 30.0])
@pytest.mark.parametrize("roll", [-100.0, 0.0, 25.0])
def test_angles_come_back_from_the_rotation(yaw: float, pitch: float, roll: float) -> None:
    camera = Camera.from_angles(yaw, pitch, roll)
    np.testing.assert_allclose(camera.angles, (yaw, pitch, roll), atol=1e-9)
    assert (camera.yaw, camera.pitch, camera.roll) == camera.angles
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1.0)


def test_projection_is_scale_times_turn_plus_shift_and_leaves_its_input_alone() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 5, 3))
    before = points.copy()
    camera = Camera.from_angles(40, -20, 10, 1.7, (3.0, -4.0))
    slow = np.array([[1.7 * (camera.rotation @ p) + [3.0, -4.0, 0.0] for p in row] for row in points])
    np.testing.assert_allclose(camera.project(points), slow)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize(
    "arguments",
    [
        (np.eye(2), np.zeros(2), 1.0),
        (np.eye(3), np.zeros(3), 1.0),
        (np.eye(3), np.zeros(2), 0.0),
        (np.eye(3) * np.nan, np.zeros(2), 1.0),
    ],
)
def test_a_camera_that_is_none_is_refused(arguments: tuple[np.ndarray, np.ndarray, float]) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        Camera(*arguments)


def test_a_texture_of_the_wrong_form_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(T, T, 3\)"):
        FaceTexture(np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8), np.float32))
    with pytest.raises(InvalidInputError, match="uint8"):
        FaceTexture(np.zeros((8, 8, 3)), np.zeros((8, 8), np.float32))  # type: ignore[arg-type]
