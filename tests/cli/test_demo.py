"""The demo takes rendered people and real portraits along the whole path and says which is which."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import facerec.recognition.recognizer as recognizer_module
from facerec.cli import demo
from facerec.cli.main import run
from facerec.cli.portraits import EILEEN_COLLINS, GRACE_HOPPER, altered_copies, installed_portraits


def test_the_altered_copies_differ_from_the_portrait_and_keep_what_they_say() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    copies = altered_copies(image)
    np.testing.assert_array_equal(copies["mirrored"], image[:, ::-1])
    assert copies["a quarter of the size"].shape == (20, 15, 3)
    assert abs(copies["darker"].mean() / image.mean() - 0.35) < 0.02
    assert (np.ptp(copies["grey"], axis=2) == 0).all()
    for name, copy in copies.items():
        assert copy.dtype == np.uint8
        assert copy.shape != image.shape or (copy != image).any(), name


def test_rotated_copies_turn_the_way_they_say() -> None:
    # A mark at the top goes right when the picture turns clockwise (roll > 0).
    image = np.zeros((101, 101, 3), np.uint8)
    image[5:15, 45:56] = (255, 0, 0)
    for name, side in (("rotated 15 degrees", 1), ("rotated -25 degrees", -1)):
        _, columns = np.nonzero(altered_copies(image)[name][..., 0] > 200)
        assert np.sign(columns.mean() - 50) == side, name


def test_both_portraits_are_found_in_the_installed_packages() -> None:
    portraits = installed_portraits()
    assert set(portraits) == {GRACE_HOPPER, EILEEN_COLLINS}
    assert all(min(image.shape[:2]) >= 500 for image in portraits.values())


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, pretend: ModuleType) -> None:
    """Models that read people off painted pictures; rendering paints them; the portraits are painted, too."""

    def paint_people(folder: Path, subjects: int) -> None:
        rows = [["path", "person", "role", "pose", "yaw", "pitch"]]
        for person in range(subjects):
            for pose, code in ((10, 4), (11, 6), (12, 8), (20, 12)):
                name = f"{person:03d}_{pose:02d}.png"
                pretend.paint(folder / name, (person, code, pose))
                role = "gallery" if pose == 11 else "probe"
                rows.append([name, f"rendered {person}", role, str(pose), str(15 * (code - 6)), "0"])
        with (folder / "protocol.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)

    def painted() -> dict[str, np.ndarray]:
        pixels = np.zeros((24, 24, 3), dtype=np.uint8)
        pixels[0, :, 0] = 1
        pixels[1] = (200, 6, 0)
        return {GRACE_HOPPER: pixels}

    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer, raising=False)
    monkeypatch.setattr(demo, "_render", paint_people)
    monkeypatch.setattr("facerec.cli.portraits.installed_portraits", painted)
    monkeypatch.setattr("facerec.cli.portraits.altered_copies", lambda image: {"mirrored": image[:, ::-1]})
    monkeypatch.setattr("facerec.cli.portraits.turned", lambda face, model, yaw: face.face.image)
    monkeypatch.setattr("facerec.recognition.stage_pictures.write_stages", lambda *_: None)
    monkeypatch.setattr("facerec.evaluation.cases.recognition_cases", lambda *_: [])


@pytest.mark.usefixtures("pretended")
def test_the_demo_writes_report_decisions_and_gallery_and_marks_what_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ö out"
    assert run(["demo", "-o", str(output), "--subjects", "6", "--quiet", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "rendered by facerec's own face model" in out
    content = json.loads((output / "report.json").read_text("utf-8"))
    assert content["rendered"] is True
    rendered = content["identification"]["rendered"]
    assert rendered["n"] == 6 * 3
    assert set(rendered["by_pose"]) == {"10", "12", "20"}
    assert rendered["rank1"] == 1.0
    assert "mirrored" in content["identification"]["portraits"]["by_pose"]
    page = (output / "report.html").read_text("utf-8")
    assert "two public-domain photographs" in page
    assert "none is a photograph" not in page
    with (output / "decisions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == rendered["n"] + content["identification"]["portraits"]["n"]
    for row in rows:
        drawn = row["file"].startswith("people/") or row["pose"].startswith("turned")
        assert bool(row["rendered_by"]) == drawn
    assert {row["outcome"] for row in rows if row["pose"] == "10"} <= {"right", "not named"}
    assert (output / "demo.gallery").is_file()


@pytest.mark.usefixtures("pretended")
def test_a_second_demo_in_the_same_folder_replaces_the_first(tmp_path: Path) -> None:
    arguments = ["demo", "-o", str(tmp_path), "--quiet", "--device", "cpu", "--subjects"]
    assert run([*arguments, "6"]) == 0
    shutil.rmtree(tmp_path / "people")
    assert run([*arguments, "5"]) == 0
    content = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert content["identification"]["rendered"]["n"] == 15
