from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.enrolment_plan import plan_enrolment, preview_enrolment
from facerec.recognition.store.sqlite import Gallery


def named(plan: Any) -> Any:
    return [(item.person, item.relative_path.as_posix()) for item in plan.items]


def test_folders_name_people_by_the_first_folder_below_the_root(tmp_path: Path, pretend: ModuleType) -> None:
    root = tmp_path / "root"
    for place in ("bob/1.png", "bob/2019/x/2.png", "ann/1.png", "ann/notes.txt", "ann/1.png.txt", "top.png"):
        pretend.paint(root / place) if place.endswith("png") else (root / place).write_text("notes")
    plan = plan_enrolment([root])
    assert plan.layout == "folders"
    assert named(plan) == [("ann", "ann/1.png"), ("bob", "bob/1.png"), ("bob", "bob/2019/x/2.png")]
    assert [path.name for path, _ in plan.ignored] == ["top.png"]


def test_several_folders_are_people(tmp_path: Path, pretend: ModuleType) -> None:
    for place in ("ann/1.png", "bob/1.png"):
        pretend.paint(tmp_path / place)
    plan = plan_enrolment([tmp_path / "ann", tmp_path / "bob"])
    assert named(plan) == [("ann", "ann/1.png"), ("bob", "bob/1.png")]


def test_flat_files_name_people_without_their_counter(tmp_path: Path, pretend: ModuleType) -> None:
    names = ["ann.png", "ann_2.png", "ann-03.png", "ann (4).png", "R2D2.png", "7.png", "Ämélie 김.png"]
    for name in names:
        pretend.paint(tmp_path / name)
    plan = plan_enrolment([tmp_path])
    assert plan.layout == "flat"
    assert sorted({person for person, _ in named(plan)}) == ["R2D2", "ann", "Ämélie 김"]
    assert sum(person == "ann" for person, _ in named(plan)) == 4
    assert [path.name for path, _ in plan.ignored] == ["7.png"]
    asked = plan_enrolment([tmp_path], layout="flat")
    assert sorted({person for person, _ in named(asked)}) == ["7", "R2D2", "ann", "Ämélie 김"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["people/ANNA/1.png", "people/BO/1.png", "people/BO/2.png"], {"ANNA", "BO"}),  # people/*/*.png
        (["people/ANNA/1.png", "people/ANNA/2.png"], {"ANNA"}),
        (["people/ANNA"], {"ANNA"}),  # adding one colleague
        (["new/QUENTIN"], {"QUENTIN"}),
        (["new/QUENTIN/me.png"], {"QUENTIN"}),
        (["people/ANNA", "people/BO/1.png"], {"ANNA", "BO"}),
        (["people/ANNA", "people/group.png"], {"ANNA"}),
        (["IMG_1234.png", "DSC00012.png"], {"home"}),
        (["7.png"], {"home"}),
        (["bo.png", "ann.png"], {"ann", "bo"}),
    ],
)
def test_photographs_are_of_the_person_their_folder_is_called_by(
    tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, given: Any, names: Any
) -> None:
    home = tmp_path / "home"
    for place in (
        "people/ANNA/1.png", "people/ANNA/2.png", "people/BO/1.png", "people/BO/2.png", "people/group.png",
        "new/QUENTIN/me.png", "IMG_1234.png", "DSC00012.png", "7.png", "bo.png", "ann.png",
    ):  # fmt: skip
        pretend.paint(home / place)
    monkeypatch.chdir(home)
    plan = plan_enrolment([Path(one) for one in given])
    assert {item.person for item in plan.items} == names
    assert plan.example == f"{plan.items[0].person} <- {plan.items[0].path}"


@pytest.mark.parametrize(
    "name",
    ["IMG_1234", "IMG-20240102-WA0003", "DSC00012", "DSCN4711", "PXL_20240102_030405", "P1010023", "0001", "1~2"],
)
def test_nobody_is_called_as_a_camera_calls_its_files(tmp_path: Path, pretend: ModuleType, name: Any) -> None:
    for place in (f"{name}.png", "ann.png", "ann_2.png", "bob.png"):
        pretend.paint(tmp_path / "all" / place)
    plan = plan_enrolment([tmp_path / "all"])
    assert {item.person for item in plan.items} == {"ann", "bob"}
    assert [path.stem for path, _ in plan.ignored] == [name]


def test_two_folders_of_one_name_are_not_one_person(tmp_path: Path, pretend: ModuleType) -> None:
    for place in ("001/frontal/1.png", "002/frontal/1.png"):
        pretend.paint(tmp_path / place)
    with pytest.raises(InvalidInputError, match="both called frontal"):
        plan_enrolment([tmp_path / "001" / "frontal", tmp_path / "002" / "frontal"])
    with pytest.raises(InvalidInputError, match="both called frontal"):
        plan_enrolment([tmp_path / "001" / "frontal" / "1.png", tmp_path / "002" / "frontal" / "1.png"])


def test_a_person_without_photographs_and_what_is_no_photograph_are_named(tmp_path: Path, pretend: ModuleType) -> None:
    pretend.paint(tmp_path / "ann" / "1.png")
    (tmp_path / "bob").mkdir()
    (tmp_path / "cleo").mkdir()
    (tmp_path / "cleo" / "notes.txt").write_text("notes")
    (tmp_path / "ann" / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    said = {path.name: why for path, why in plan_enrolment([tmp_path]).passed_over}
    assert said == {
        "bob": "a folder without photographs",
        "cleo": "a folder without photographs",
        "notes.txt": "not a picture",
        "a.mp4": "a film",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_as_a_spreadsheet_saves_it_is_read(
    tmp_path: Path, pretend: ModuleType, mark: Any, encoding: Any
) -> None:
    pretend.paint(tmp_path / "ann" / "1.png")
    lines = [mark.join(("path", "person", "note")), mark.join(("ann\\1.png", "Ann, the \u00e4ltere", ""))]
    quoted = lines[1].replace("Ann, the \u00e4ltere", '"Ann, the \u00e4ltere"')
    (tmp_path / "list.csv").write_bytes("\r\n".join((lines[0], quoted, mark * 2)).encode(encoding))
    (item,) = plan_enrolment([tmp_path / "list.csv"]).items
    assert (item.person, item.path) == ("Ann, the \u00e4ltere", tmp_path / "ann" / "1.png")


def test_a_table_names_people_of_any_name(tmp_path: Path, pretend: ModuleType) -> None:
    for place in ("a/1.png", "2.png"):
        pretend.paint(tmp_path / place)
    table = tmp_path / "list.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as stream:
        rows = csv.writer(stream)
        rows.writerows([["person", "path"], ["Smith, Ann\nJr.", "a/1.png"], ['"Bob"', "2.png"], ["", "2.png"]])
    plan = plan_enrolment([table])
    assert plan.layout == "csv"
    assert named(plan) == [('"Bob"', "2.png"), ("Smith, Ann\nJr.", "a/1.png")]
    assert len(plan.ignored) == 1


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "", "path,person\n", 'path,person\n"open'])
def test_a_table_that_names_nobody_is_refused(tmp_path: Path, content: Any) -> None:
    table = tmp_path / "list.csv"
    table.write_text(content)
    with pytest.raises(InvalidInputError, match="expected"):
        plan_enrolment([table])


def test_composed_and_decomposed_names_are_one_person(tmp_path: Path, pretend: ModuleType) -> None:
    pretend.paint(tmp_path / "root" / "Am\u00e9lie" / "1.png", (1, 6, 0))
    pretend.paint(tmp_path / "root" / "Ame\u0301lie" / "2.png", (1, 6, 1))
    assert plan_enrolment([tmp_path / "root"]).people == 1


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="found none"):
        plan_enrolment([tmp_path])


def test_a_preview_counts_and_changes_nothing(people: Any, run: Any, tmp_path: Path) -> None:
    plan = plan_enrolment([people])
    preview = preview_enrolment(plan, None, "largest")
    assert (preview.photos, preview.known, len(preview.people)) == (12, 0, 4)
    run(people / "p1", layout="folders")
    before = (tmp_path / "g").read_bytes()
    shutil.copy(people / "p1" / "0.png", people / "p3" / "9.png")
    (people / "p3" / "8.png").symlink_to("nowhere")
    with Gallery.open(tmp_path / "g") as gallery:
        preview = preview_enrolment(plan_enrolment([people]), gallery, "largest")
    assert (preview.photos, preview.known, preview.unreadable, preview.shared) == (14, 3, 1, 1)
    assert (tmp_path / "g").read_bytes() == before
