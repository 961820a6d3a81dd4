"""What photographs may be given as: files in any order, patterns, lists, standard input; what is refused, and how."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image as PilImage

from facerec.cli.main import run
from facerec.cli.options import count
from facerec.cli.output import spinner
from facerec.landmarks.checkpoint import weight_record
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition import recognizer as recognizer_module


@pytest.fixture(autouse=True)
def pretended_models(pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def staff(pretend: ModuleType, capfd: pytest.CaptureFixture[str]) -> str:
    for person in (1, 2):
        pretend.paint(Path("people") / f"p{person}" / "0.png", (person, 6, 0))
    for name, person in (("b.png", 2), ("a.png", 1)):
        pretend.paint(Path("door") / name, (person, 7, 9))
    assert run(["enroll", "people", "-g", "staff", "-q"]) == 0
    capfd.readouterr()
    return "staff"


def answers(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, str | None]]:
    assert run(["identify", *arguments, "-g", "staff", "--threshold", "0.3", "--json", "-q"]) == 0
    return [(one["file"], one["person"]) for one in map(json.loads, capfd.readouterr().out.splitlines())]


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def test_answers_come_in_the_order_in_which_photographs_were_given(
    staff: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert answers(capfd, "door/b.png", "door/a.png") == [("door/b.png", "p2"), ("door/a.png", "p1")]


def test_a_pattern_that_no_shell_expanded_means_its_files(staff: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert answers(capfd, "door/*.png") == [("door/a.png", "p1"), ("door/b.png", "p2")]
    assert run(["identify", "door/*.gif", "-g", "staff"]) == 2
    assert "no file matches door/*.gif" in capfd.readouterr().err


@pytest.mark.skipif(os.sep == "\\", reason="backslashes separate folders there anyway")
def test_backslashes_are_read_as_windows_writes_them(staff: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert answers(capfd, "door\\a.png") == [("door/a.png", "p1")]


def test_a_photograph_comes_on_standard_input(
    staff: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, Path("door/b.png").read_bytes())
    assert answers(capfd, "-", "door/a.png") == [("-", "p2"), ("door/a.png", "p1")]
    typed(monkeypatch, Path("door/b.png").read_bytes())
    assert run(["verify", "-", "door/b.png", "--threshold", "0.3", "--json"]) == 0
    pair = json.loads(capfd.readouterr().out)
    assert (pair["decision"], [photo["file"] for photo in pair["photos"]]) == ("same", ["-", "door/b.png"])
    assert run(["enroll", "-", "-g", "staff"]) == 2
    assert "names no person" in capfd.readouterr().err


@pytest.mark.parametrize("mark", [b"\n", b"\r\n", b"\0"])
def test_a_list_of_files_comes_from_a_file_or_on_standard_input(
    staff: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mark: bytes
) -> None:
    listed = mark.join((b"door/b.png", b"door/a.png", b""))
    typed(monkeypatch, listed)
    assert answers(capfd, "--files-from", "-") == [("door/b.png", "p2"), ("door/a.png", "p1")]
    Path("list.txt").write_bytes(listed)
    assert answers(capfd, "--files-from", "list.txt") == [("door/b.png", "p2"), ("door/a.png", "p1")]


@pytest.mark.parametrize("command", ["enroll", "identify", "landmarks", "frontalize", "verify"])
def test_an_address_is_refused_with_the_reason(capfd: pytest.CaptureFixture[str], command: str) -> None:
    address = "http://127.0.0.1/a.jpg"
    rest = {"enroll": ["-g", "x"], "identify": ["-g", "x"], "frontalize": ["-o", "x"], "verify": [address]}
    assert run([command, address, *rest.get(command, [])]) == 2
    assert f"{address} is a web address; facerec downloads nothing" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["identify", "verify"])
@pytest.mark.parametrize("value", ["2", "-1.01", "nan"])
def test_a_threshold_that_no_cosine_reaches_is_refused(
    staff: str, capfd: pytest.CaptureFixture[str], command: str, value: str
) -> None:
    photos = ["door/a.png"] if command == "identify" else ["door/a.png", "door/b.png"]
    rest = ["-g", "staff"] if command == "identify" else []
    assert run([command, *photos, *rest, "--threshold", value]) == 2
    assert "threshold" in capfd.readouterr().err


def test_the_summary_shows_where_names_come_from_and_counts_ignored_files(
    pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend.paint(Path("new/QUENTIN/me.png"), (5, 6, 0))
    Path("new/QUENTIN/notes.txt").write_text("x")
    os.mkfifo("new/QUENTIN/pipe.jpg")
    assert run(["enroll", "new/QUENTIN", "-g", "staff", "--strict"]) == 0
    err = capfd.readouterr().err
    assert "Enrolled 1 of 1 photo, 1 person in the gallery" in err
    assert "QUENTIN <- new/QUENTIN/me.png" in err
    assert "Ignored 2 items: " in err
    assert "1 not a picture (e.g. new/QUENTIN/notes.txt)" in err


def test_counted_nouns_agree_with_their_number() -> None:
    assert [count(1, "photo"), count(2, "photo"), count(0, "entry")] == ["1 photo", "2 photos", "0 entries"]
    assert [count(1, "person"), count(3, "person"), count(1, "entry")] == ["1 person", "3 people", "1 entry"]
    assert [count(1, "unknown person"), count(0, "unknown person")] == ["1 unknown person", "0 unknown people"]


def test_the_table_gives_reasons_only_for_what_its_other_columns_do_not_say(
    staff: str, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend.paint(Path("door/c.png"), (9, 6, 0))
    assert run(["identify", "door/a.png", "door/c.png", "-g", "staff", "--threshold", "0.3", "--format", "table"]) == 0
    known, stranger = capfd.readouterr().out.splitlines()[1:]
    assert known.split()[-2:] == ["100", "%"]  # the overlap: the last column has nothing to add to a match
    assert "below 0.30" in stranger


@pytest.mark.parametrize(("size", "hinted"), [((92, 112), True), ((199, 400), True), ((640, 480), False)])
def test_a_small_picture_without_a_face_is_answered_with_the_way_that_works(
    staff: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, size: tuple[int, int], hinted: bool
) -> None:
    PilImage.new("L", size).save("crop.png")
    for command in (["identify", "crop.png", "-g", "staff"], ["enroll", "crop.png", "-g", "other", "--json"]):
        assert run([*command, "--json"]) == 0
        assert ("--detector whole" in capfd.readouterr().out) is hinted


def test_a_person_cannot_be_renamed_to_the_same_name(staff: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["gallery", "rename", "p1", "p1", "-g", "staff"]) == 2
    err = capfd.readouterr().err
    assert "expected a name other than p1" in err
    assert "merge" not in err


def test_a_model_that_never_came_with_facerec_is_not_promised(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="comes without weights for it; train them with `facerec train dssd`"):
        weight_record("landmarks", "dssd")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_spinner_shows_what_is_loading_on_a_terminal_only(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with spinner("Loading the models"):
        pass
    assert capfd.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with spinner("Loading the models", quiet=True):
        pass
    assert terminal.getvalue() == ""
    with spinner("Loading the models"):
        pass
    assert "Loading the models" in terminal.getvalue()
