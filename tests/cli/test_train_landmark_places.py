"""The trainer of landmark places writes a table that loads, and its record says what it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from facerec.cli.train_landmark_places import command
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.landmark_places import LandmarkPlaces
from facerec.frontalize.types import Camera
from facerec.landmarks.crop import PACK_SIZE
from facerec.landmarks.training.packs import LandmarkPack


def test_a_small_training_writes_both_tables_and_their_record(tmp_path: Path) -> None:
    model, count = FaceModel.load(), 24
    yaw = np.linspace(-60, 60, count)
    cameras = [Camera.from_angles(float(y), 0.0, 0.0, 0.9, (95.0, 95.0)) for y in yaw]
    points = np.stack([c.project(model.landmarks())[:, :2] for c in cameras]).astype(np.float32)
    pack = LandmarkPack(
        np.zeros((count, PACK_SIZE, PACK_SIZE), np.uint8),
        points,
        np.ones((count, 68), np.int8),
        yaw.astype(np.float32),
        np.array(["made"] * count),
    )
    pack.save(tmp_path / "pack.npz")
    arguments = [str(tmp_path / "pack.npz"), "--faces", "100", "--heads", "30", "--weights-root", str(tmp_path), "-q"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "frontalize" / "weights"
    with np.load(folder / "landmark_places.npz") as arrays:
        annotated = LandmarkPlaces(*(arrays[k].astype(np.float64) for k in ("yaw", "pitch", "annotated")))
        LandmarkPlaces(*(arrays[k].astype(np.float64) for k in ("yaw", "pitch", "located")))
    # These annotators put the points where the model has them.
    assert np.abs(annotated.upright(np.array([0.0, 40.0]), np.zeros(2))).max() < 1.0
    (record,) = json.loads((folder / "weights.json").read_text())["weights"]
    assert record["metric"]["faces"] == count
    assert record["metric"]["heads"] == 30
    assert "research use only" in record["licence"]
