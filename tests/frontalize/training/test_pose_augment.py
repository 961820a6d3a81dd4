"""Training faces at all poses: exact landmarks, the right ones count, the same for a seed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.render import render_head
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.training.pose_augment import PoseSettings, SourceFace, pose_augmented, rendered_faces
from facerec.frontalize.types import Camera
from facerec.landmarks.training.packs import HIDDEN, NOT_ANNOTATED, VISIBLE, LandmarkPack


@pytest.fixture(autouse=True)
def plain_paint(monkeypatch: pytest.MonkeyPatch, red_blue: np.ndarray) -> None:
    """A made-up texture model: the shipped one is trained on photographs."""
    model = TextureModel(red_blue.astype(np.float32), np.full((2, 256, 256, 3), 5.0, np.float32))
    monkeypatch.setattr(TextureModel, "load", staticmethod(lambda: model))


def test_made_up_people_are_framed_and_their_near_half_is_the_one_seen() -> None:
    for face in rendered_faces(6, [], seed=3):
        low, high = face.points.min(axis=0), face.points.max(axis=0)
        assert np.allclose((low + high) / 2, 95.5, atol=0.1)
        assert (high - low).max() == pytest.approx(128, abs=0.1)
        assert set(np.unique(face.state)) <= {VISIBLE, HIDDEN}
        assert face.image.std() > 5
        if abs(face.yaw) > 30:
            # A nose that points to the image's right hides the jaw on that side.
            near, far = (slice(0, 7), slice(10, 17)) if face.yaw > 0 else (slice(10, 17), slice(0, 7))
            assert (face.state[near] == VISIBLE).sum() > (face.state[far] == VISIBLE).sum()
            eyes = (face.points[36] + face.points[45]) / 2
            assert np.sign(face.points[30, 0] - eyes[0]) == np.sign(face.yaw)


def test_a_made_up_person_depends_on_the_seed_and_the_number_alone() -> None:
    behind = [np.full((200, 200, 3), 90, dtype=np.uint8)]
    few, many = list(rendered_faces(2, behind, seed=1)), list(islice(rendered_faces(5, behind, seed=1), 2))
    for one, other in zip(few, many, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.points, other.points)


def test_the_landmarks_lie_on_what_is_rendered() -> None:
    """The picture's left of the mid-line is painted red: dark in grey where blue is darker still."""
    frontal = PoseSettings(max_yaw=-4 + 1e-6, max_pitch=-4 + 1e-6, max_roll=1e-6, plain=1.0, light=0.0)
    (face,) = rendered_faces(1, [], seed=0, settings=frontal)
    cheeks = [face.points[[36, 48]].mean(axis=0), face.points[[45, 54]].mean(axis=0)]
    left, right = (face.image[round(float(y)), round(float(x))] for x, y in cheeks)
    assert int(left) > int(right) + 15


def test_a_turned_photograph_leaves_seen_jaw_and_brows_to_real_ones(model: FaceModel, red_blue: np.ndarray) -> None:
    camera = Camera(np.eye(3), np.array([128.0, 120.0]), 1.0)
    picture = render_head(model, None, None, camera, red_blue, 256, 256).pixels
    points = camera.project(model.landmarks(None, None))[:, :2].astype(np.float32)
    source = SourceFace(picture, points, "drawn")
    behind = [np.full((100, 100, 3), 128, dtype=np.uint8)]
    made = list(pose_augmented([source] * 4, behind, model, np.random.default_rng(0), per_face=2))
    assert len(made) == 8
    for face in made:
        assert face.source == "turned-drawn"
        assert not (face.state[:27] == VISIBLE).any()
        assert (face.state[27:] != NOT_ANNOTATED).all()
        if abs(face.yaw) < PoseSettings().contour_yaw:
            assert (face.state[:17] == NOT_ANNOTATED).all()
        assert np.isnan(face.points[face.state == NOT_ANNOTATED]).all()
    assert any((face.state[:17] == HIDDEN).any() for face in made if abs(face.yaw) > 50)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (85.0, 20.0, 5.0), (-60.0, -30.0, 3.0)])
def test_a_flat_camera_shows_the_face_as_the_perspective_one_does(
    model: FaceModel, angles: tuple[float, float, float]
) -> None:
    marks = model.landmarks(None, None)
    near = PerspectiveCamera.at(Camera.from_angles(*angles, 1.3), 800.0)
    flat = near.towards(marks)
    assert np.allclose(flat.rotation @ flat.rotation.T, np.eye(3))
    off = np.linalg.norm(flat.project(marks)[:, :2] - near.project(marks)[:, :2], axis=1).mean()
    away = Camera(near.rotation, flat.translation, flat.scale).project(marks)[:, :2]
    away += (near.project(marks)[:, :2] - away).mean(axis=0)
    assert off < np.linalg.norm(away - near.project(marks)[:, :2], axis=1).mean() + 1e-9
    assert off < 0.02 * 1.3 * 130


def test_the_command_writes_a_pack(tmp_path: Path) -> None:
    out = tmp_path / "rendered.npz"
    assert run(["train", "rendered-set", "-o", str(out), "--faces", "2"]) == 0
    pack = LandmarkPack.load(out)
    assert len(pack) == 2
    assert pack.source.tolist() == ["rendered"] * 2
