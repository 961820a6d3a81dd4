"""`facerec cluster` and `enroll --from-clusters`, on pictures of pretended people."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image as PilImage

from facerec.cli import main
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition.store.sqlite import Gallery
from tests.pretend_models import PretendRecognizer


class Command:
    """Runs commands with the pretended models; returns what one wrote to stdout. `described` counts photographs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        made: list[PretendRecognizer] = []

        class Counted(PretendRecognizer):
            @classmethod
            def load(cls, *_: object, **_settings: object) -> PretendRecognizer:
                made.append(PretendRecognizer())
                return made[-1]

        self._made, self._capfd = made, capfd
        monkeypatch.setattr(recognizer_module, "Recognizer", Counted)

    def __call__(self, *arguments: object, code: int = 0) -> str:
        self._made.clear()
        assert main.run([str(argument) for argument in arguments]) == code, self._capfd.readouterr().err
        return self._capfd.readouterr().out

    @property
    def described(self) -> int:
        """Photographs that the last command described."""
        return sum(one.described for one in self._made)


@pytest.fixture
def facerec(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capfd)


@pytest.fixture
def photos(tmp_path: Path, pretend: ModuleType) -> Path:
    """Persons 1 to 3: frontal, left and right profile; one group picture of all three, one picture without a face."""
    folder = tmp_path / "photos"
    for person in (1, 2, 3):
        for picture, code in enumerate((6, 2, 10)):
            pretend.paint(folder / f"{person}{picture}.png", (person, code, picture))
    pretend.paint(folder / "group.png", (1, 6, 9), (2, 6, 9), (3, 6, 9))
    pretend.paint(folder / "wall.png")
    return folder


def groups(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "clusters.json").read_text())["clusters"])


def write_name(folder: Path, file: str, name: str) -> None:
    record = json.loads((folder / "clusters.json").read_text())
    (group,) = [g for g in record["clusters"] if any(f["file"].endswith(file) for f in g["faces"])]
    group["name"] = name
    (folder / "clusters.json").write_text(json.dumps(record))


def test_unknown_faces_become_people_with_a_sheet_and_a_page(facerec: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "people"
    listed = json.loads(facerec("cluster", photos, "-o", out, "--cut", 0.5, "--json"))["clusters"]
    assert listed == groups(out)
    assert [(len(g["faces"]), g["name"]) for g in listed] == [(4, "")] * 3
    assert all(sum(f["file"].endswith("group.png") for f in g["faces"]) == 1 for g in listed)
    with PilImage.open(out / "sheet.jpg") as sheet:
        assert sheet.size == (12 * 112, 3 * (112 + 22))
    page = (out / "index.html").read_text()
    assert page.count("<section>") == 3
    assert len(list((out / "faces").glob("*.jpg"))) == 12
    assert (out / "faces.npz").stat().st_mode & 0o077 == 0


def test_written_names_survive_a_second_run_which_describes_only_new_photographs(
    facerec: Command, photos: Path, tmp_path: Path, pretend: ModuleType
) -> None:
    out = tmp_path / "people"
    facerec("cluster", photos, "-o", out, "--cut", 0.5)
    assert facerec.described == 11
    write_name(out, "10.png", " Ännä ")
    pretend.paint(photos / "new.png", (1, 6, 77))
    facerec("cluster", photos, "-o", out, "--cut", 0.5)
    assert facerec.described == 1
    first = groups(out)[0]
    assert (first["name"], len(first["faces"])) == ("Ännä", 5)
    assert 'value="Ännä"' in (out / "index.html").read_text()


def test_named_groups_are_enrolled_and_known_the_next_time(facerec: Command, photos: Path, tmp_path: Path) -> None:
    out, gallery = tmp_path / "people", tmp_path / "g"
    facerec("cluster", photos, "-o", out, "--cut", 0.5)
    write_name(out, "10.png", "Anna")
    write_name(out, "20.png", "Bo")
    said = json.loads(facerec("enroll", "--from-clusters", out / "clusters.json", "-g", gallery, "--json"))
    assert said == {"enrolled": {"Anna": 4, "Bo": 4}, "without_name": 1}
    assert facerec.described == 0
    with Gallery.open(gallery) as opened:
        assert [(p.name, p.entries) for p in opened.people()] == [("Anna", 4), ("Bo", 4)]
        assert opened.verify().faults == ()
    again = json.loads(facerec("enroll", "--from-clusters", out / "clusters.json", "-g", gallery, "--json"))
    assert again["enrolled"] == {}
    facerec("cluster", photos, "-o", tmp_path / "fresh", "-g", gallery, "--threshold", 0.5, "--cut", 0.5)
    assert [(g["name"], g["gallery"], len(g["faces"])) for g in groups(tmp_path / "fresh")] == [
        ("Anna", "Anna", 4),
        ("Bo", "Bo", 4),
        ("", "", 4),
    ]


def test_another_file_than_one_of_clusters_is_refused(
    facerec: Command, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "clusters.json"
    wrong.write_text('{"clusters": [{"name": "A"}]}')
    facerec("enroll", "--from-clusters", wrong, "-g", tmp_path / "g", code=2)
    facerec("enroll", photos, "--from-clusters", wrong, "-g", tmp_path / "g", code=2)
