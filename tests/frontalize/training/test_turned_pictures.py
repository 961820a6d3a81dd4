from pathlib import Path

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import render_head
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.training.occluders import (
    draw_mask,
    draw_sunglasses,
    put_cap_on,
    put_hand_on,
    put_on,
)
from facerec.frontalize.training.turned_pictures import FittedPicture, TurnSettings, turned_picture, worn_picture
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.packs import HIDDEN, NOT_ANNOTATED, VISIBLE
from facerec.landmarks.training.picture_set import PictureSet
from facerec.landmarks.types import Image

RIGHT_EYE, MOUTH = slice(36, 42), slice(48, 68)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="module")
def photograph(model: FaceModel) -> FittedPicture:
    """A rendered person from the front, as if fitted."""
    rng = np.random.default_rng(3)
    shape, expression = rng.standard_normal(len(model.identity)), np.zeros(len(model.expression))
    camera = Camera(Camera.from_angles(5.0, 0.0, 0.0).rotation, np.array([100.0, 110.0]), 0.7)
    head = render_head(
        model, shape, expression, camera, TextureModel.load().paint(np.zeros(len(TextureModel.load().modes))), 200, 200
    )
    return FittedPicture(head.pixels, shape, expression, camera, "somebody", "made-up")


@pytest.fixture(scope="module")
def walls() -> list[Image]:
    return [np.full((120, 160, 3), 90, dtype=np.uint8)]


def test_a_turned_face_has_its_points_within_the_picture_at_the_pose_it_states(
    photograph: FittedPicture, model: FaceModel, walls: list[Image]
) -> None:
    settings = TurnSettings(side=128, face=(45.0, 75.0))
    pitches = []
    for seed in range(12):
        turned = turned_picture(photograph, model, walls, np.random.default_rng(seed), settings)
        assert turned.image.shape == (128, 128, 3)
        low, high = turned.points.min(axis=0), turned.points.max(axis=0)
        assert 40 < (high - low).max() < 80, "the face's longer side, a perspective camera's"
        assert (low > -10).all()
        assert (high < 138).all()
        assert abs(turned.pose[0]) <= settings.max_yaw
        assert (turned.state != NOT_ANNOTATED).sum() + (turned.state[:27] == NOT_ANNOTATED).sum() == 68
        pitches.append(abs(float(turned.pose[1])))
    assert max(pitches) > 45
    assert max(pitches) <= settings.max_pitch


def test_faces_can_be_turned_far_and_wear_masks_alone(
    photograph: FittedPicture, model: FaceModel, walls: list[Image]
) -> None:
    settings = TurnSettings(side=96, face=(40.0, 60.0), min_yaw=60.0, worn=1.0, masks=1.0, hair=0.0)
    mouth_seen, yaws = 0, []
    for seed in range(8):
        turned = turned_picture(photograph, model, walls, np.random.default_rng(seed), settings)
        yaws.append(float(turned.pose[0]))
        mouth_seen += int((turned.state[MOUTH] == VISIBLE).sum())
    assert all(60 <= abs(yaw) <= settings.max_yaw for yaw in yaws)
    assert min(yaws) < 0 < max(yaws)
    assert mouth_seen == 0


def test_a_pose_that_shows_hardly_a_landmark_is_drawn_again(
    photograph: FittedPicture, model: FaceModel, walls: list[Image]
) -> None:
    settings = TurnSettings(side=96, face=(40.0, 60.0), worn=0.0, hair=0.0)
    for seed in range(12):
        turned = turned_picture(photograph, model, walls, np.random.default_rng(seed), settings)
        assert (turned.state != HIDDEN).sum() >= settings.min_landmarks


def test_a_photograph_without_the_face_is_refused(model: FaceModel, walls: list[Image]) -> None:
    away = Camera(Camera.from_angles(0.0, 0.0, 0.0).rotation, np.array([-900.0, 0.0]), 0.7)
    none = np.zeros(len(model.identity)), np.zeros(len(model.expression))
    empty = FittedPicture(np.zeros((50, 50, 3), np.uint8), *none, away, "nobody", "made-up")
    with pytest.raises(InvalidInputError, match="is seen"):
        turned_picture(empty, model, walls, np.random.default_rng(0))


def test_sunglasses_hide_the_eyes_and_a_mask_the_mouth(model: FaceModel) -> None:
    for seed in range(6):
        glasses = draw_sunglasses(model, np.random.default_rng(seed)).hides(model)
        mask = draw_mask(model, np.random.default_rng(seed)).hides(model)
        assert glasses[36:48].all()
        assert not glasses[MOUTH].any()
        assert mask[MOUTH].all()
        assert not mask[36:48].any()


def test_what_is_worn_changes_the_picture_where_it_lies_and_nowhere_else(
    photograph: FittedPicture, model: FaceModel
) -> None:
    occluder = draw_sunglasses(model, np.random.default_rng(1))
    image = put_on(photograph.image, occluder, model, photograph.shape, photograph.expression, photograph.camera)
    points = photograph.camera.project(model.landmarks(photograph.shape, photograph.expression))[:, :2]
    changed = np.abs(image.astype(int) - photograph.image).max(axis=2) > 8
    eye, chin = points[RIGHT_EYE].mean(axis=0).round().astype(int), points[8].round().astype(int)
    assert changed[eye[1], eye[0]]
    assert not changed[chin[1] - 6 : chin[1] + 3].any()
    worn = worn_picture(photograph, model, np.random.default_rng(4))
    assert (worn.state == NOT_ANNOTATED).all()
    np.testing.assert_allclose(worn.points, points, atol=1e-3)


def test_cap_and_hand_cover_a_part_of_the_face(photograph: FittedPicture, model: FaceModel) -> None:
    points = photograph.camera.project(model.landmarks(photograph.shape, photograph.expression))[:, :2]
    mouth = points[MOUTH].mean(axis=0).round().astype(int)
    forehead = (points[17:27].mean(axis=0) + 0.3 * (points[17:27].mean(axis=0) - points[8])).round().astype(int)
    capped = put_cap_on(photograph.image, points, np.random.default_rng(2))
    assert (capped[forehead[1], forehead[0]] != photograph.image[forehead[1], forehead[0]]).any()
    np.testing.assert_array_equal(capped[mouth[1], mouth[0]], photograph.image[mouth[1], mouth[0]])
    covered = put_hand_on(photograph.image, points, np.random.default_rng(2))
    share = (covered != photograph.image).any(axis=2).mean()
    assert 0.01 < share < 0.4


def test_a_picture_set_comes_back_from_disk_and_packs_its_faces(
    photograph: FittedPicture, model: FaceModel, walls: list[Image], tmp_path: Path
) -> None:
    settings = TurnSettings(side=128, face=(60.0, 70.0), worn=0.0)
    made = [turned_picture(photograph, model, walls, np.random.default_rng(k), settings) for k in range(3)]
    PictureSet.gather(made).save(tmp_path / "set.npz")
    back = PictureSet.load(tmp_path / "set.npz")
    assert len(back) == 3
    for one, other in zip(made, back, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        assert np.abs(one.image.astype(int) - other.image).mean() < 6
        assert (other.person, other.source) == ("somebody", "turned-made-up")
    pack = back.pack()
    assert (np.isfinite(pack.points).all(axis=2) == (pack.state != NOT_ANNOTATED)).all()
    assert set(np.unique(pack.state)) <= {NOT_ANNOTATED, VISIBLE, HIDDEN}
    (tmp_path / "other.npz").write_bytes(b"no set")
    with pytest.raises(InvalidInputError, match="picture set"):
        PictureSet.load(tmp_path / "other.npz")
