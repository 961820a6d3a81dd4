"""Detectors by name: what each hands out, and that whoever is plugged in ends with facerec's own kind of box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.detection import detectors
from facerec.landmarks.detection.box_regressor import BoxRegressor, RegressedBox
from facerec.landmarks.detection.detector import FaceDetector
from facerec.landmarks.detection.detectors import (
    DEFAULT_DETECTOR,
    DETECTORS,
    RegressedDetector,
    TabledBoxes,
    WholePicture,
    boxes_digest,
    load_detector,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import read_image, write_image
from facerec.landmarks.types import Box


class HalvingRegressor:
    """Every face is the middle half of the box that comes in."""

    def regress(self, image: Any, boxes: Any) -> Any:
        halved = []
        for b in boxes:
            (x, y), w, h = b.center, b.width / 4, b.height / 4
            halved.append(RegressedBox(b, Box(x - w, y - h, x + w, y + h, b.score)))
        return halved


@pytest.fixture(autouse=True)
def pretend_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoxRegressor, "load", lambda device: HalvingRegressor())
    monkeypatch.setattr(FaceDetector, "load", lambda **options: "the own detector")
    monkeypatch.setattr(detectors, "_recorded", lambda name: (f"landmarks/{name}", "0" * 64))


def photo(path: Path, seed: int, width: int = 40) -> Path:
    write_image(path, np.random.default_rng(seed).integers(0, 256, (30, width, 3), dtype=np.uint8))
    return path


def edges(boxes: Any) -> list[tuple[float, ...]]:
    return [(b.x0, b.y0, b.x1, b.y1) for b in boxes]


def test_the_own_detector_is_the_default_and_returns_candidates() -> None:
    chosen = load_detector()
    assert DEFAULT_DETECTOR == "facerec"
    stand_in: object = chosen.detector
    assert stand_in == "the own detector"
    assert chosen.candidates
    assert dict(chosen.weights).keys() == {"landmarks/detector"}


def test_the_whole_picture_is_one_face() -> None:
    (box,) = WholePicture().detect(np.zeros((20, 30, 3), np.uint8))
    assert edges([box]) == [(-0.5, -0.5, 29.5, 19.5)]
    chosen = load_detector("whole")
    assert not chosen.candidates
    assert (chosen.name, set(dict(chosen.weights))) == ("whole", {"landmarks/box"})
    assert edges(chosen.detector.detect(np.zeros((20, 40, 3), np.uint8))) == [(9.5, 4.5, 29.5, 14.5)]


def test_foreign_boxes_are_moved_and_keep_score_and_order() -> None:
    class Foreign:
        def detect(self, image: Any) -> Any:
            return [Box(0, 0, 8, 8, 0.7), Box(0, 0, 20, 20, 0.9)]

    halving: Any = HalvingRegressor()
    found = RegressedDetector(Foreign(), halving).detect(np.zeros((30, 30, 3), np.uint8))
    assert [b.score for b in found] == [0.7, 0.9]
    assert edges(found) == [(2, 2, 6, 6), (5, 5, 15, 15)]


def test_a_table_knows_its_pictures_by_their_pixels(tmp_path: Path) -> None:
    first, second = photo(tmp_path / "a.png", 1), photo(tmp_path / "sub.png", 2)
    photo(tmp_path / "elsewhere.png", 1)  # the same pixels under another name
    table = tmp_path / "boxes.csv"
    table.write_text(
        "file,x0,y0,x1,y1,score\n"
        "a.png,1,2,11,12,0.5\na.png,20,2,30,12,\nelsewhere.png,1,2,11,12,0.5\nsub.png,3,3,9,9,1\n"
    )
    boxes = TabledBoxes(table)
    assert edges(boxes.detect(read_image(first))) == [(1, 2, 11, 12), (20, 2, 30, 12)]
    assert [b.score for b in boxes.detect(read_image(first))] == [0.5, 1.0]
    assert edges(boxes.detect(read_image(second))) == [(3, 3, 9, 9)]
    assert boxes.detect(read_image(photo(tmp_path / "new.png", 3))) == []


def test_a_table_that_is_none_is_refused_with_the_reason(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 1)
    table = tmp_path / "boxes.csv"
    table.write_text("file,x0,y0,x1\na.png,1,2,11\n")
    with pytest.raises(InvalidInputError, match="y1 missing"):
        TabledBoxes(table)
    table.write_text("file,x0,y0,x1,y1\na.png,1,2,11,12\na.png,5,2,1,12\n")
    with pytest.raises(InvalidInputError, match="line 3"):
        TabledBoxes(table)
    table.write_text("file,x0,y0,x1,y1\ngone.png,1,2,11,12\n")
    with pytest.raises(InvalidInputError, match=r"gone\.png"):
        TabledBoxes(table)
    with pytest.raises(InvalidInputError, match="table of boxes"):
        TabledBoxes(tmp_path / "none.csv")


def test_a_picture_of_the_table_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    good = photo(tmp_path / "good.png", 1)
    table = tmp_path / "boxes.csv"
    table.write_text("file,x0,y0,x1,y1\nbroken.png,1,2,11,12\ngood.png,1,2,11,12\n")
    assert len(TabledBoxes(table).detect(read_image(good))) == 1


def test_a_table_shapes_caches_but_no_contract(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 1)
    table = tmp_path / "boxes.csv"
    table.write_text("file,x0,y0,x1,y1\na.png,1,2,11,12\n")
    chosen = load_detector(f"boxes:{table}")
    assert (chosen.name, set(dict(chosen.weights))) == ("boxes", {"landmarks/box"})
    before = boxes_digest(f"boxes:{table}")
    table.write_text("file,x0,y0,x1,y1\na.png,1,2,11,13\n")
    assert boxes_digest(f"boxes:{table}") != before
    assert boxes_digest("facerec") == boxes_digest("whole") == boxes_digest("yunet:a.onnx") == ""


@pytest.mark.parametrize("name", ["", "hog", "yunet", "yunet:", "boxes:", "whole:x"])
def test_an_unknown_detector_is_refused_and_the_known_ones_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match="expected a detector of facerec, yunet") as caught:
        load_detector(name)
    assert all(known in str(caught.value) for known in DETECTORS)


def test_an_onnx_detector_is_recorded_by_the_name_and_digest_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facerec.landmarks.detection.onnx_detectors import YunetDetector

    monkeypatch.setattr(YunetDetector, "load", lambda path, device: WholePicture())
    path = tmp_path / "net.onnx"
    path.write_bytes(b"abc")
    chosen = load_detector(f"yunet:{path}")
    assert chosen.name == "yunet:net.onnx"
    assert not chosen.candidates
    assert dict(chosen.weights)["net.onnx"].startswith("ba7816bf")
