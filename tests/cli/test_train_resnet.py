"""`train view-set` and `train resnet`: from pictures to weights that the package can load, with their record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facerec.cli.main import run
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera
from facerec.landmarks.checkpoint import load_weights, weight_record
from facerec.recognition import resnet
from facerec.recognition.resnet import FaceResNet, network_of
from facerec.recognition.training import texture_set
from facerec.recognition.training.texture_set import Picture
from facerec.recognition.training.view_set import ViewSet


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two frontal pictures and a profile of each of three people, and one background."""
    model, rng, pictures = FaceModel.load(), np.random.default_rng(0), []
    (tmp_path / "backgrounds").mkdir()
    for k in (0, 1):
        cv2.imwrite(str(tmp_path / f"backgrounds/{k}.jpg"), rng.integers(0, 256, (80, 90, 3), dtype=np.uint8))
    for person in range(3):
        for picture, yaw in enumerate((0.0, 8.0, 65.0)):
            path = tmp_path / f"{person}-{picture}.png"
            cv2.imwrite(str(path), rng.integers(0, 256, (200, 220, 3), dtype=np.uint8))
            camera = Camera.from_angles(yaw, 0, 0, 0.7, (110, 100))
            points = camera.project(model.landmarks(rng.standard_normal(20)))[:, :2].astype(np.float32)
            source = "cfp-profile" if yaw > 30 else "cfp-frontal"
            pictures.append(Picture(path, f"person {person}", source, points))
    monkeypatch.setattr(texture_set, "annotated_pictures", lambda *_: pictures)
    return tmp_path


def test_a_set_holds_each_pictures_views_and_rendered_poses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "view-set", str(data), "-o", str(data / "set.npz"), "--turned", "1"]) == 0
    assert "of 3 people" in capsys.readouterr().out
    made = ViewSet.load(data / "set.npz")
    sources, counts = np.unique(made.source, return_counts=True)
    # A frontal picture once and once rendered; a profile with and without noise.
    assert dict(zip(sources.tolist(), counts.tolist(), strict=True)) == {
        "cfp-frontal": 6,
        "cfp-profile": 6,
        "turned-cfp-frontal": 6,
    }
    assert set(made.person.tolist()) == {"person 0", "person 1", "person 2"}
    turned = made.source == "turned-cfp-frontal"
    assert (np.abs(made.yaw[turned]) >= 25).all()
    # What a rendered pose hides is hidden in its frontal view, too.
    plain = made.source == "cfp-frontal"
    assert made.seen[turned].mean() < 0.8 * made.seen[plain].mean()
    for row in np.flatnonzero(turned):
        original = np.flatnonzero(plain & (made.origin == made.origin[row]))[0]
        assert not (made.seen[row] & ~made.seen[original]).any()
    assert not made.frontal[~made.seen].any()


def test_the_network_is_learnt_recorded_and_loaded(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "view-set", str(data), "-o", str(data / "set.npz")]) == 0
    capsys.readouterr()
    monkeypatch.setattr(resnet, "read_dlib_network", lambda path: FaceResNet().eval())
    monkeypatch.setattr(resnet, "dlib_model_file", lambda: data / "any.dat")
    command = ["train", "resnet", str(data / "set.npz"), "--steps", "2", "--batch", "4", "--run", str(data / "run")]
    assert run([*command, "--weights-root", str(data)]) == 0
    assert capsys.readouterr().out.startswith("resnet.safetensors: ")
    network = network_of(load_weights("recognition", "resnet", data))
    assert isinstance(network, FaceResNet)
    record = weight_record("recognition", "resnet", data)
    assert "research use only" in record.licence
    assert "--steps 2 --batch 4" in record.command
    assert str(data) not in record.command
