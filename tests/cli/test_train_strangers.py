"""`facerec train strangers` on made-up faces, with a stand-in for what describes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from facerec.cli.main import run
from facerec.frontalize.types import Camera
from facerec.landmarks.checkpoint import load_weights, weight_record
from facerec.landmarks.training.people import is_calibration_person
from facerec.recognition.cohort import Cohort
from facerec.recognition.recognizer import Recognizer
from facerec.recognition.training import network_cells
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet
from facerec.recognition.training.faces import Faces
from facerec.recognition.training.strangers import in_cohort

SIDE = 64


def described(
    _network: object, _views: object, faces: Faces, *_: object, photo: Sequence[object]
) -> tuple[np.ndarray, np.ndarray]:
    """In place of `describe_faces`: a person's own direction in each of four cells, blurred by the picture."""
    assert len(photo) == 2
    rng, number = np.random.default_rng(1), np.unique(faces.person, return_inverse=True)[1]
    own = rng.normal(size=(number.max() + 1, 4, 128))[number]
    cells = own + 0.5 * rng.normal(size=own.shape)
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    seen = np.ones(cells.shape[:2], dtype=bool)
    seen[np.abs(faces.yaw) > 35, 3] = False
    return (cells * seen[..., None]).astype(np.float32), seen


def names(form: str, count: int, wanted: Callable[[str], bool]) -> list[str]:
    """`count` names of people of whom `wanted` is true."""
    return [name for name in (form.format(k) for k in range(100 * count)) if wanted(name)][:count]


def write_set(path: Path) -> Path:
    """56 men for calibration, 24 people with four pictures each, and six others' profiles."""
    for_calibration = is_calibration_person
    rows = [(name, "utkface", "white", 3.0) for name in names("utkface 30_0_0_{}", 56, for_calibration)]
    rows += [(name, "celeba", "", yaw) for name in names("celeba {}", 24, for_calibration) for yaw in (2, 5, 9, 12)]
    rows += [(name, "cfp-profile", "", 70.0) for name in names("person {}", 6, lambda one: not for_calibration(one))]
    rows += [(name, "celeba", "", 0.0) for name in names("celeba {}", 5, lambda one: not for_calibration(one))]
    person, source, group, yaw = (np.array(column) for column in zip(*rows, strict=True))
    code = cv2.imencode(".png", np.zeros((SIDE, SIDE, 3), np.uint8))[1].ravel()
    count = len(rows)
    CropSet(
        np.tile(code, count),
        np.arange(1, count + 1) * len(code),
        np.tile(np.array([14, 14, 50, 50], np.float32), (count, 1)),
        person, source, group,
        np.array([f"{k}.png" for k in range(count)]),
    ).save(path)  # fmt: skip
    cameras = [Camera.from_angles(angle, 0, 0, SIDE / 220, (SIDE / 2, SIDE / 2)) for angle in yaw.tolist()]
    CropFits(
        np.zeros((count, 40), np.float16),
        np.zeros((count, 20), np.float16),
        np.stack([camera.rotation for camera in cameras]).astype(np.float32),
        np.stack([camera.translation for camera in cameras]).astype(np.float32),
        np.array([camera.scale for camera in cameras], np.float32),
        np.full(count, 0.02, np.float32),
        np.full(count, 0.9, np.float32),
    ).save(fits_path(path))
    return path


def test_a_cohort_and_the_scores_of_strangers_are_made_of_people_for_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network_cells, "describe_faces", described)
    path = write_set(tmp_path / "faces.npz")
    assert run(["train", "strangers", str(path), "--device", "cpu", "--weights-root", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    target = tmp_path / "recognition/weights/impostors-resnet.json"
    assert out.splitlines()[-1] == str(target)
    # 56 + 24 * 4 pictures for calibration, six profiles of others; others' frontal pictures say nothing about sides.
    assert "152 pictures of people for calibration, 6 of others' sides" in err

    cohort = load_weights("recognition", "cohort-resnet", tmp_path)
    record = weight_record("recognition", "cohort-resnet", tmp_path)
    assert record.command == "facerec train strangers faces.npz"
    assert record.training_sets == ("CFP", "CelebA", "UTKFace")
    assert record.metric["members"] == len(cohort["cells"])
    assert record.metric["patterns"] == 3  # seen whole, from the left and from the right

    kept = json.loads(target.read_text("utf-8"))
    assert kept["contract"] == Recognizer.load(descriptor="resnet").contract.digest
    assert kept["cohort"] == Cohort.of_arrays(cohort).digest
    person = CropSet.load(path).person
    judged = {name for name in person[~in_cohort(person)].tolist() if is_calibration_person(name)}
    assert kept["people"] == len(judged)
    men = sum(name.startswith("utkface") for name in judged)
    assert 300 <= kept["alike"]["pairs"] <= men * (men - 1) / 2
    # A pair that scores as mates do is one person's more likely than not; one that scores 0, as strangers do, is not.
    at_zero, slope = kept["logit"]
    assert at_zero < 0 < at_zero + slope * kept["mates"][0][1][25]
