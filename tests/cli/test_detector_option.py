"""`--detector` and `--min-face` reach the models from every command that looks for faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from facerec.cli.main import run
from facerec.recognition import recognizer as recognizer_module
from tests.pretend_models import PretendRecognizer


@pytest.fixture
def asked(pretend: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    class Asked(PretendRecognizer):
        @classmethod
        def load(cls, *_: object, **options: Any) -> PretendRecognizer:
            calls.append(options)
            return cls()

    monkeypatch.setattr(recognizer_module, "Recognizer", Asked)
    monkeypatch.chdir(tmp_path)
    for person in (1, 2):
        pretend.paint(tmp_path / "people" / f"p{person}" / "1.png", (person, 6, 0))
    return calls


def test_enrol_identify_verify_and_migrate_pass_it_on(asked: list[dict[str, Any]]) -> None:
    chosen = ["--detector", "whole", "--min-face", "12", "--device", "cpu", "-q"]
    first, second = "people/p1/1.png", "people/p2/1.png"
    assert run(["enroll", "people", "-g", "a.gallery", *chosen]) == 0
    assert run(["identify", first, "-g", "a.gallery", *chosen]) == 0
    assert run(["verify", first, second, "--threshold", "0.5", *chosen]) == 0
    assert run(["gallery", "migrate", "-g", "a.gallery", *chosen]) == 0
    assert [(call["detector"], call["smallest"]) for call in asked] == [("whole", 12.0)] * 4


def test_the_packages_own_detector_and_every_size_are_the_default(asked: list[dict[str, Any]]) -> None:
    assert run(["enroll", "people", "-g", "a.gallery", "--device", "cpu", "-q"]) == 0
    assert [(call["detector"], call["smallest"]) for call in asked] == [("facerec", 0.0)]


def test_what_made_a_gallery_is_read_back_from_its_contract(
    asked: list[dict[str, Any]], pretend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Landmark model, detector and descriptor need not be typed again; what is typed counts."""
    made = {"descriptor": "dfd", "landmarks": "rdssd", "detector": "whole"}
    monkeypatch.setattr(pretend.PretendContract, "as_json", lambda self: json.dumps(made))
    first = "people/p1/1.png"
    assert run(["enroll", "people", "-g", "a.gallery", "--landmarks", "rdssd", "--device", "cpu", "-q"]) == 0
    assert run(["identify", first, "-g", "a.gallery", "--device", "cpu", "-q"]) == 0
    assert run(["enroll", "people", "-g", "a.gallery", "--device", "cpu", "-q"]) == 0
    assert run(["identify", first, "-g", "a.gallery", "--landmarks", "godp", "--device", "cpu", "-q"]) == 0
    # A migration is for another descriptor; the way to the texture stays what it was.
    assert run(["gallery", "migrate", "-g", "a.gallery", "--device", "cpu", "-q"]) == 0
    read_back = [(call["landmarks"], call["detector"], call["descriptor"]) for call in asked[1:]]
    assert read_back == [
        ("rdssd", "whole", "dfd"),
        ("rdssd", "whole", "dfd"),
        ("godp", "whole", "dfd"),
        ("rdssd", "whole", "resnet"),
    ]


def test_a_detector_from_a_file_is_asked_for_by_its_path(
    asked: list[dict[str, Any]],
    pretend: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A contract holds the file's name, not where it lies."""
    made = {"descriptor": "onnx:net.onnx", "detector": "yunet:y.onnx"}
    monkeypatch.setattr(pretend.PretendContract, "as_json", lambda self: json.dumps(made))
    assert run(["enroll", "people", "-g", "a.gallery", "--device", "cpu", "-q"]) == 0
    again = ["identify", "people/p1/1.png", "-g", "a.gallery", "--device", "cpu", "-q"]
    assert run(again) == 2
    assert "--detector yunet:PATH" in capsys.readouterr().err
    assert run([*again, "--detector", "yunet:b/y.onnx"]) == 2
    assert "--descriptor onnx:PATH" in capsys.readouterr().err
    assert run([*again, "--detector", "yunet:b/y.onnx", "--descriptor", "onnx:b/net.onnx"]) == 0
    assert asked[-1]["detector"] == "yunet:b/y.onnx"


def test_an_unknown_detector_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from facerec.landmarks.image import write_image

    write_image(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    assert run(["landmarks", str(tmp_path / "a.png"), "--detector", "hog", "--device", "cpu"]) == 2
    assert "yunet:PATH.onnx" in capsys.readouterr().err


def test_a_folder_of_cropped_faces_is_located_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`landmarks --detector whole` needs neither detector nor rule."""
    import numpy as np

    from facerec.landmarks import finder
    from facerec.landmarks.detection.box_regressor import BoxRegressor, RegressedBox
    from facerec.landmarks.image import write_image
    from facerec.landmarks.landmarker import Landmarker
    from facerec.landmarks.types import Landmarks

    class Regressor:
        def regress(self, image: Any, boxes: Any) -> list[RegressedBox]:
            return [RegressedBox(box, box) for box in boxes]

    class Marks:
        def locate(self, image: Any, boxes: Any) -> list[Landmarks]:
            return [Landmarks(np.zeros((68, 2), np.float32), np.ones(68, np.float32), np.ones(68, bool))] * len(boxes)

    monkeypatch.setattr(BoxRegressor, "load", lambda *_, **__: Regressor())
    monkeypatch.setattr(Landmarker, "load", lambda *_, **__: Marks())
    monkeypatch.setattr(finder, "load_rule", lambda device: pytest.fail("the rule is not for other detectors"))
    monkeypatch.setattr("facerec.landmarks.detection.detectors._recorded", lambda name: (name, "0" * 64))
    write_image(tmp_path / "a.png", np.zeros((40, 60, 3), np.uint8))
    assert run(["landmarks", str(tmp_path / "a.png"), "--detector", "whole", "--device", "cpu", "-q"]) == 0
    assert '"box": {"x0": -0.5, "y0": -0.5, "x1": 59.5, "y1": 39.5' in capsys.readouterr().out
