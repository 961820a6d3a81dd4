import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.landmarks import finder
from facerec.landmarks.detection.detector import FaceDetector
from facerec.landmarks.finder import FinderRule
from facerec.landmarks.image import read_image, write_image
from facerec.landmarks.landmarker import Landmarker
from facerec.landmarks.types import Box, Landmarks


class PretendDetector:
    """One box around each bright picture's middle; two in a picture 200 px wide; none in a dark one."""

    def detect(self, image: np.ndarray) -> list[Box]:
        if image.mean() < 50:
            return []
        boxes = [Box(20, 20, 80, 80, 0.9)]
        return boxes + [Box(100, 20, 160, 80, 0.8)] if image.shape[1] == 200 else boxes


class PretendLandmarker:
    def locate(self, image: np.ndarray, boxes: list[Box]) -> list[Landmarks]:
        step = np.linspace(0, 1, 68)[:, None]
        seen = np.arange(68) < 60
        return [
            Landmarks((np.array([b.x0, b.y0]) + step * 60).astype(np.float32), np.full(68, 0.5, np.float32), seen)
            for b in boxes
        ]


@pytest.fixture(autouse=True)
def pretend_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaceDetector, "load", lambda *_, **__: PretendDetector())
    monkeypatch.setattr(Landmarker, "load", lambda *_, **__: PretendLandmarker())
    monkeypatch.setattr(finder, "load_rule", lambda device: (FinderRule(1.0, 0.0, 5.0), None))


def picture(path: Path, level: int = 150, width: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((100, width, 3), level, dtype=np.uint8))
    return path


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_face_gets_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["landmarks", str(picture(tmp_path / "Zoë, two.png", width=200)), "--device", "cpu"]) == 0
    first, second = lines(capsys)
    assert (first["face"], second["face"]) == (0, 1)
    assert first["file"] == str(tmp_path / "Zoë, two.png")
    assert [first["box"][edge] for edge in ("x0", "y0", "x1", "y1")] == [20, 20, 80, 80]
    assert second["points"][0] == [100, 20]
    assert first["visible"].count(False) == 8
    assert first["markup"] == "ibug68"


def test_unusable_photographs_get_a_reason_and_the_batch_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    picture(tmp_path / "b.png", level=10)
    picture(tmp_path / "c.png")
    assert run(["landmarks", str(tmp_path), "--device", "cpu"]) == 0
    found = lines(capsys)
    assert [line.get("reason") for line in found] == ["unreadable", "no_face", None]
    assert run(["landmarks", str(tmp_path), "--device", "cpu", "--strict"]) == 3


def test_pts_files_count_from_one_and_never_share_a_name(tmp_path: Path) -> None:
    photos = [picture(tmp_path / "in" / "x" / "a.png"), picture(tmp_path / "in" / "y" / "a.png", width=200)]
    out = tmp_path / "out"
    assert run(["landmarks", *map(str, photos), "--format", "pts", "-o", str(out), "--device", "cpu", "-q"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["a-0.pts", "a~2-0.pts", "a~2-1.pts"]
    text = (out / "a-0.pts").read_text().splitlines()
    assert text[:4] == ["version: 1", "n_points: 68", "{", "21.000 21.000"]
    assert len(text) == 3 + 68 + 1


def test_overlays_show_the_points(tmp_path: Path) -> None:
    photo = picture(tmp_path / "a.png")
    assert run(["landmarks", str(photo), "--overlay", str(tmp_path / "drawn"), "--device", "cpu", "-q"]) == 0
    drawn = read_image(tmp_path / "drawn" / "a.overlay.png").astype(int)
    assert drawn.shape == (100, 100, 3)
    green = (drawn[..., 1] > 200) & (drawn[..., 0] < 100)
    red = (drawn[..., 0] > 200) & (drawn[..., 1] < 100)
    assert green.sum() > 20
    assert red.sum() > 5


def test_json_is_short_for_jsonl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(picture(tmp_path / "a.png"))
    written = []
    for form in (["--json"], ["--format", "jsonl"], []):
        assert run(["landmarks", photo, *form, "--device", "cpu", "-q"]) == 0
        written.append(capsys.readouterr().out)
    assert written[0].startswith('{"file"')
    assert len(set(written)) == 1
    assert run(["landmarks", photo, "--json", "--format", "pts", "-o", str(tmp_path)]) == 2
    assert "--json or --format pts, not both" in capsys.readouterr().err


def test_pts_without_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    assert run(["landmarks", str(picture(tmp_path / "a.png")), "--format", "pts"]) == 2
