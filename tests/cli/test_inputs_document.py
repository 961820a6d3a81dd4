"""docs/inputs.md: what may be named, and the answer, each row tried."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from facerec.cli.main import run
from facerec.landmarks.image import read_image, write_image
from facerec.recognition import recognizer as recognizer_module

DOCUMENT = Path(__file__).parents[2] / "docs" / "inputs.md"
TITLE = "## Paths that may be given"


def _fifo(_: pytest.MonkeyPatch) -> None:
    os.mkfifo("new/QUENTIN/pipe.jpg")


def _standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path("new/QUENTIN/me.png").read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def _list(_: pytest.MonkeyPatch) -> None:
    Path("list.txt").write_text("people/BO/1.png\npeople/ANNA/1.png\n")


def _table(_: pytest.MonkeyPatch) -> None:
    Path("list.csv").write_text("path;person\npeople\\ANNA\\1.png;Anna\n", encoding="utf-8-sig")


def _group(_: pytest.MonkeyPatch) -> None:
    pixels = read_image(Path("new/QUENTIN/me.png")).copy()
    pixels[0, :, :2] = 2, 1  # two faces of one size, see pretend_models.py
    write_image(Path("new/QUENTIN/party.png"), pixels)


def _numbers(_: pytest.MonkeyPatch) -> None:
    for name in ("7.png", "IMG_1234.png"):
        Path(name).write_bytes(Path("new/QUENTIN/me.png").read_bytes())


def _locked(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("new/QUENTIN/locked").mkdir()
    walked = Path.iterdir

    def refused(self: Path) -> object:  # the mode of a folder does not stop root, who runs tests in containers
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return walked(self)

    monkeypatch.setattr(Path, "iterdir", refused)


def _no_gallery(_: pytest.MonkeyPatch) -> None:
    Path("notes.txt").write_text("no gallery")


def _empty(_: pytest.MonkeyPatch) -> None:
    Path("empty").mkdir()


def _files(_: pytest.MonkeyPatch) -> None:
    Path("new/QUENTIN/film.mp4").write_bytes(b"")
    Path("new/QUENTIN/notes.txt").write_text("x")


ROWS: dict[str, tuple[str, list[str], int, str, Callable[[pytest.MonkeyPatch], None] | None]] = {
    "`enroll people/`": ("one person per folder", ["enroll", "people"], 0, "ANNA <- people/ANNA/1.png", None),
    "`enroll people/*/*.jpg`": (
        "the same",
        ["enroll", "people/ANNA/1.png", "people/BO/1.png"],
        0,
        "2 people in the gallery",
        None,
    ),
    "`enroll new/QUENTIN`, `enroll new/QUENTIN/me.jpg`": (
        "QUENTIN",
        ["enroll", "new/QUENTIN/me.png"],
        0,
        "QUENTIN <- new/QUENTIN/me.png",
        None,
    ),
    "`enroll 001/frontal 002/frontal`": (
        "refused: two folders of one name",
        ["enroll", "001/frontal", "002/frontal"],
        2,
        "both called frontal",
        None,
    ),
    "`enroll list.csv`": (
        "the people in the table; commas, semicolons or tabs, with or without a byte-order mark",
        ["enroll", "list.csv"],
        0,
        "Anna <- people/ANNA/1.png",
        _table,
    ),
    "films, texts and other files in a folder": (
        "ignored, counted by reason",
        ["enroll", "new/QUENTIN"],
        0,
        "1 a film (e.g. new/QUENTIN/film.mp4); 1 not a picture (e.g. new/QUENTIN/notes.txt)",
        _files,
    ),
    "a pipe, a socket, a device, a link that leads back": (
        "ignored, never opened",
        ["enroll", "new/QUENTIN"],
        0,
        "not a regular file",
        _fifo,
    ),
    "a group photograph in a person's folder": (
        "the face of the person's other photographs; otherwise skipped as `multiple_faces`",
        ["enroll", "new/QUENTIN"],
        0,
        "multiple_faces 1",
        _group,
    ),
    "`7.jpg`, `IMG_1234.jpg` by themselves": (
        "they name nobody; the person is the folder that holds them; `--layout flat` uses the names of the files",
        ["enroll", "7.png", "IMG_1234.png"],
        0,
        "1 person in the gallery*Names are taken from folders*--layout flat takes file names",
        _numbers,
    ),
    "a folder that cannot be read": (
        "ignored with the reason; the rest is enrolled",
        ["enroll", "new/QUENTIN"],
        0,
        "cannot be opened: Permission denied",
        _locked,
    ),
    "an empty folder": ("refused", ["identify", "empty", "-g", "staff"], 2, "found none in empty", _empty),
    "a gallery that is not one": (
        "refused",
        ["identify", "people/BO/1.png", "-g", "notes.txt"],
        2,
        "notes.txt",
        _no_gallery,
    ),
    "`identify b.jpg a.jpg`": (
        "answers in the given order",
        ["identify", "people/BO/1.png", "people/ANNA/1.png", "-g", "staff"],
        0,
        "people/BO/1.png*people/ANNA/1.png",
        None,
    ),
    "`identify 'door/*.jpg'` (quoted)": (
        "the files that match; refused if there is none",
        ["identify", "people/*/nobody.png", "-g", "staff"],
        2,
        "no file matches people/*/nobody.png",
        None,
    ),
    "`identify -`": (
        "one photograph from standard input, called -",
        ["identify", "-", "-g", "staff", "--json"],
        0,
        '"file": "-"',
        _standard_input,
    ),
    "`identify --files-from list.txt`": (
        "the paths in it, one per line; - reads them from standard input",
        ["identify", "--files-from", "list.txt", "-g", "staff"],
        0,
        "people/BO/1.png*people/ANNA/1.png",
        _list,
    ),
    "`identify people\\ANNA\\1.jpg`": (
        "read as Windows writes it",
        ["identify", "people\\ANNA\\1.png", "-g", "staff"],
        0,
        "people/ANNA/1.png",
        None,
    ),
    "an address on the web": (
        "refused: facerec downloads nothing",
        ["identify", "http://127.0.0.1/a.jpg", "-g", "staff"],
        2,
        "facerec downloads nothing",
        None,
    ),
    "a path that does not exist": (
        "refused",
        ["identify", "nowhere.jpg", "-g", "staff"],
        2,
        "there is no nowhere",
        None,
    ),
}


@pytest.mark.parametrize("row", list(ROWS))
def test_every_path_is_answered_as_the_document_states(
    row: str, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    monkeypatch.chdir(tmp_path)
    places = ("people/ANNA/1.png", "people/BO/1.png", "new/QUENTIN/me.png", "001/frontal/1.png", "002/frontal/1.png")
    for person, place in enumerate(places):
        pretend.paint(Path(place), (person, 6, 0))
    _, command, code, said, prepare = ROWS[row]
    assert run(["enroll", "people", "-g", "staff", "-q"]) == 0
    if prepare is not None:
        prepare(monkeypatch)
    capfd.readouterr()
    assert run([*command, "-g", "new.gallery"] if command[0] == "enroll" else command) == code
    captured = capfd.readouterr()
    text = " ".join((captured.out + captured.err).split())
    found = [text.find(part) for part in said.split("*")]
    assert -1 not in found, text
    assert found == sorted(found)  # parts that a star separates come in this order


def test_the_document_lists_what_is_tried_and_nothing_else() -> None:
    lines = DOCUMENT.read_text("utf-8").split(TITLE)[1].splitlines()
    rows = [line.strip("| \n").split(" | ") for line in lines if line[:2] == "| "][2:]
    assert {row[0]: row[1] for row in rows} == {row: answer for row, (answer, *_) in ROWS.items()}
