"""`facerec frontalize`: one name for the files of a face, one record for each face, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition import stage_pictures
from tests.pretend_models import PretendRecognizer


@pytest.fixture
def photos(pretend: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    class Reads(PretendRecognizer):
        model = None

    picture = np.zeros((5, 4, 3), np.uint8)
    monkeypatch.setattr(recognizer_module, "Recognizer", Reads)
    monkeypatch.setattr(stage_pictures, "draw_overlay", lambda *_: picture)
    monkeypatch.setattr(stage_pictures, "frontal_view", lambda *_: picture)
    monkeypatch.chdir(tmp_path)
    pretend.paint(Path("one/door.png"), (1, 6, 0), (2, 8, 0))
    pretend.paint(Path("two/door.png"), (3, 6, 0))
    pretend.paint(Path("two/empty.png"))
    return tmp_path


def test_files_carry_the_photographs_name_and_never_share_one(photos: Path) -> None:
    assert run(["frontalize", "one", "two", "-o", "out", "--mesh", "none", "-q"]) == 0
    stages = ("overlay", "texture", "mask", "frontal")
    names = {f"{face}.{stage}.png" for face in ("door-0", "door-1", "door~2-0") for stage in stages}
    assert {path.name for path in Path("out").iterdir()} == names


def test_json_and_csv_hold_a_record_for_each_face(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["frontalize", "one", "two", "-o", "out", "--mesh", "none", "-q"]
    assert run([*command, "--json", "--strict"]) == 3
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record.get("name") for record in records] == ["door-0", "door-1", "door~2-0", None]
    assert records[1]["yaw"] == 30.0
    assert (records[3]["file"], records[3]["reason"]) == (str(Path("two/empty.png")), "no_face")
    assert run([*command, "--format", "csv"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split(",")[:4] == ["name", "file", "face", "yaw"]
    assert len(lines) == 4
