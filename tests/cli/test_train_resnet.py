"""`train face-set` and `train resnet`: from pictures to weights that the package can load, with their record."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facerec.cli.main import run
from facerec.frontalize.types import Camera
from facerec.landmarks.checkpoint import load_weights, weight_record
from facerec.landmarks.types import Box
from facerec.recognition.resnet import FaceResNet, network_of
from facerec.recognition.training import crop_set, resnet
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet, FacePicture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures of each of three people."""
    rng, pictures = np.random.default_rng(0), []
    for person in range(3):
        for picture in range(2):
            path = tmp_path / f"{person}-{picture}.png"
            cv2.imwrite(str(path), rng.integers(0, 256, (120, 110, 3), dtype=np.uint8))
            pictures.append(FacePicture(path, f"person {person}", "cfp-frontal", "", Box(30, 30, 80, 90)))
    monkeypatch.setattr(crop_set, "training_pictures", lambda *_: pictures)
    return tmp_path


def made(data: Path) -> Path:
    assert run(["train", "face-set", str(data), "--source", "annotated", "-o", str(data / "set.npz")]) == 0
    return data / "set.npz"


def test_a_set_holds_the_crops_and_beside_it_their_fits(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops = CropSet.load(made(data))
    assert "of the fits can be used for training" in capsys.readouterr().out
    assert len(crops) == len(CropFits.load(fits_path(data / "set.npz")).scale) == 6
    assert crops.crop(0).shape == (160, 160, 3)
    # The box in the crop: the crop's side is 1.8 times the longer side of the box, which lies in its middle.
    x0, y0, x1, y1 = crops.box[0]
    assert max(x1 - x0, y1 - y0) == pytest.approx(160 / 1.8, abs=1)
    assert (x0 + x1) / 2 == pytest.approx(79.5, abs=1)


def test_a_part_holds_every_nth_person(data: Path) -> None:
    command = ["train", "face-set", str(data), "--source", "annotated", "--part", "2/3", "-o", str(data / "part.npz")]
    assert run(command) == 0
    assert set(CropSet.load(data / "part.npz").person.tolist()) == {"person 1"}


def usable(path: Path) -> Path:
    """The set, whose pictures are noise: their fits are said to be good, so that there is something to learn from."""
    fits = CropFits.load(fits_path(path))
    good = np.full(len(fits.scale), 0.01, np.float32), np.full(len(fits.scale), 0.9, np.float32)
    scale = np.maximum(fits.scale, 0.5).astype(np.float32)
    frontal = np.tile(Camera.from_angles(5, 0, 0, 1, (0, 0)).rotation, (len(scale), 1, 1)).astype(np.float32)
    CropFits(fits.shape, fits.expression, frontal, fits.translation, scale, *good).save(fits_path(path))
    return path


def test_the_network_is_trained_recorded_and_loaded(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = usable(made(data))
    capsys.readouterr()
    monkeypatch.setattr(resnet, "starting_network", lambda path: FaceResNet().eval())
    command = ["train", "resnet", str(path), "--steps", "2", "--batch", "4", "--run", str(data / "run")]
    assert run([*command, "--weights-root", str(data)]) == 0
    assert capsys.readouterr().out.startswith("resnet.safetensors: ")
    assert network_of(load_weights("recognition", "resnet", data)).places is not None
    record = weight_record("recognition", "resnet", data)
    assert "research use only" in record.licence
    assert "--steps 2 --batch 4" in record.command
    assert str(data) not in record.command
    # The descriptor shows the photograph to the network that the training began with, too.
    trained, start = (load_weights("recognition", name, data) for name in ("resnet", "resnet-start"))
    assert (trained["head.weight"] != start["head.weight"]).any()
    assert (trained["photo.weight"] != trained["head.weight"]).any()
    assert set(start) == {name for name in trained if not name.startswith("photo")}
    again = [*command, "--trained", str(data / "recognition" / "weights" / "resnet.safetensors"), "--rate", "1e-9"]
    assert run([*again, "--run", str(data / "again"), "--weights-root", str(data)]) == 0
    kept = load_weights("recognition", "resnet", data)
    np.testing.assert_allclose(kept["photo.weight"], trained["photo.weight"], atol=1e-3)


def test_the_layers_for_photographs_are_trained_and_recorded_beside_the_others(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = usable(made(data))
    capsys.readouterr()
    command = ["train", "resnet-photo", str(path), "--steps", "2", "--looks", "4", "--run", str(data / "run")]
    assert run([*command, "--weights-root", str(data)]) == 0
    assert capsys.readouterr().out.startswith("resnet.safetensors: ")
    before, after = load_weights("recognition", "resnet"), load_weights("recognition", "resnet", data)
    np.testing.assert_array_equal(after["head.weight"], before["head.weight"])
    assert (after["photo.weight"] != before["head.weight"]).any()
    record = weight_record("recognition", "resnet", data)
    assert record.command.endswith("--looks 4 --steps 2 --seed 0")
    assert record.training_sets == weight_record("recognition", "resnet").training_sets
