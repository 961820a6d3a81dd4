"""Packs of faces that a landmark network located."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from facerec.cli.train_located_set import command
from facerec.landmarks import landmarker as landmarker_module
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.located import LEAST_CONFIDENCE, pack_located
from facerec.landmarks.training.packs import HIDDEN, VISIBLE, LandmarkPack
from facerec.landmarks.types import Box, Landmarks

SHAPE = np.random.default_rng(0).uniform(0, 1, (68, 2)).astype(np.float32)


class Located:
    """Puts the landmarks a tenth of the box to its right, and is as sure as the picture's first pixel is bright."""

    def __init__(self) -> None:
        self.boxes: list[list[Box]] = []

    def locate_each(self, planes: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> list[Landmarks]:
        self.boxes.append(list(boxes))
        return [
            Landmarks(
                (SHAPE * [box.width, box.height] + [box.x0 + box.width / 10, box.y0]).astype(np.float32),
                np.full(68, plane[0, 0] / 255, np.float32),
                np.arange(68) >= 8,
            )
            for plane, box in zip(planes, boxes, strict=True)
        ]


def painted(path: Path, brightness: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((218, 178, 3), brightness, np.uint8))
    return path


def test_a_face_is_located_twice_and_packed_with_its_hidden_points(tmp_path: Path) -> None:
    locator, box = Located(), Box(40.0, 50.0, 140.0, 150.0)
    pack = pack_located([(painted(tmp_path / "a.png", 250), box, "celeba")], locator)
    (first,), (second,) = locator.boxes
    assert first == box
    low, high = SHAPE.min(axis=0), SHAPE.max(axis=0)
    # Its second box is the tight one of the points that were found first.
    assert [second.x0, second.x1] == pytest.approx([50 + 100 * low[0], 50 + 100 * high[0]], abs=1e-3)
    assert pack.state[0].tolist() == [HIDDEN] * 8 + [VISIBLE] * 60
    assert pack.source.tolist() == ["located-celeba"]
    extent = pack.points[0].max(axis=0) - pack.points[0].min(axis=0)
    assert max(extent) == pytest.approx(192 / 1.5, abs=0.01)


def test_doubtful_faces_and_files_that_are_no_pictures_are_left_out(tmp_path: Path) -> None:
    box = Box(40.0, 50.0, 140.0, 150.0)
    sure, doubtful = painted(tmp_path / "a.png", 250), painted(tmp_path / "b.png", round(255 * LEAST_CONFIDENCE) - 3)
    torn = tmp_path / "c.png"
    torn.write_bytes(b"\x89PNG torn")
    assert len(pack_located([(path, box, "x") for path in (sure, doubtful, torn, sure)], Located(), batch=2)) == 2
    with pytest.raises(InvalidInputError, match="at least one face"):
        pack_located([(torn, box, "x"), (doubtful, box, "x")], Located())


def test_the_command_packs_so_many_pictures_of_each_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for person in range(6):
        painted(tmp_path / "extra" / "celeba" / f"{person}" / "1.jpg", 250)
        painted(tmp_path / "extra" / "lfw-colour" / f"Name_{person}" / f"Name_{person}_0001.jpg", 250)
    held_out = "Name_2"
    monkeypatch.setattr(
        "facerec.recognition.training.crop_set.held_out_people",
        lambda *_: frozenset({held_out.replace("_", " ").lower()}),
    )
    monkeypatch.setattr(landmarker_module.Landmarker, "load", lambda *_: Located())
    arguments = [str(tmp_path), "--extra", str(tmp_path / "extra"), "--source", "celeba", "--source", "lfw-colour"]
    done = CliRunner().invoke(
        command,
        [*arguments, "--faces", "5", "-o", str(tmp_path / "pack.npz"), "--device", "cpu"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert "10 of 10 faces" in done.output
    pack = LandmarkPack.load(tmp_path / "pack.npz")
    assert pack.source.tolist() == ["located-celeba"] * 5 + ["located-lfw-colour"] * 5
