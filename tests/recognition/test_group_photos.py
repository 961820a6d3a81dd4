"""Group photographs in a person's folder: nobody is enrolled by the size of a face that others match."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.types import Box
from facerec.recognition import group_photos
from facerec.recognition.description import EnrolmentSettings, is_group
from facerec.recognition.enrolment import enroll_upload
from facerec.recognition.group_photos import least_score
from facerec.recognition.migration import migrate
from facerec.recognition.recognizer import UndescribedFace
from facerec.recognition.shipped_impostors import SHIPPED_IMPOSTORS, ShippedImpostors, ThresholdUnavailableError
from facerec.recognition.store.sqlite import Gallery

ANNA, BO, CARL = 1, 2, 3


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended models have no impostor scores: a person's own score 0.8, others' 0."""
    monkeypatch.setattr(group_photos, "least_score", lambda contract, comparisons: 0.5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "people"


def faces_of(gallery: Path, person: str) -> dict[str, int]:
    with Gallery.open(gallery) as opened:
        return {entry.relative_path.name: entry.face for entry in opened.entries(person)}


def painted(pretend: ModuleType, photo: Path, *people: int, group: bool = True) -> None:
    seed = sum(photo.name.encode())  # every photograph is another picture of the people on it
    pretend.paint(photo, *((person, 6, seed % 200 + i) for i, person in enumerate(people)), group=group)


@pytest.mark.parametrize(("sides", "group"), [((10,), False), ((10, 5), False), ((10, 5.1), True), ((5.1, 10), True)])
def test_a_second_face_more_than_half_as_large_makes_a_group(sides: tuple[float, ...], group: bool) -> None:
    faces = [UndescribedFace(Box(0, 0, side, side, 1.0), "fit_unstable", "") for side in sides]
    assert is_group(faces, EnrolmentSettings().rival) is group


@pytest.mark.parametrize("name", ["0.png", "z.png"])  # before and after the photograph that shows her alone
def test_the_face_of_the_persons_other_photographs_is_taken(
    root: Path, tmp_path: Path, pretend: ModuleType, run: Any, name: str
) -> None:
    painted(pretend, root / "ANNA" / "alone.png", ANNA)
    painted(pretend, root / "ANNA" / name, BO, CARL, ANNA)
    painted(pretend, root / "BO" / "alone.png", BO)
    summary, _ = run(root, batch=1)
    assert faces_of(tmp_path / "g", "ANNA") == {"alone.png": 0, name: 2}
    assert (summary.enrolled, summary.new, summary.skipped) == (3, 3, [])
    (said,) = summary.as_json()["groups"]
    assert said.startswith(f"{root}/ANNA/{name}, face 2: 3 faces of about one size; this one is on 1 of 1 other")
    with Gallery.open(tmp_path / "g") as gallery:
        details = {photo.relative_path.name: photo.detail for photo in gallery.photos() if photo.person == "ANNA"}
    assert details["alone.png"] == ""
    assert "this one is on 1 of 1 other photograph of ANNA" in details[name]
    summary, described = run(root, batch=1)  # it is known now
    assert (described, summary.enrolled, summary.new) == (0, 3, 0)


def test_a_person_far_behind_a_clearly_larger_face_is_none_of_the_group(
    root: Path, tmp_path: Path, pretend: ModuleType, run: Any
) -> None:
    painted(pretend, root / "ANNA" / "1.png", ANNA, BO, group=False)
    summary, _ = run(root)
    assert (faces_of(tmp_path / "g", "ANNA"), summary.groups) == ({"1.png": 0}, [])


@pytest.mark.parametrize("alone", [[], [CARL], [ANNA, BO]])  # nothing, somebody else, both of them
def test_a_group_in_which_nobody_is_known_for_sure_is_skipped_and_asked_again(
    root: Path, tmp_path: Path, pretend: ModuleType, run: Any, alone: list[int]
) -> None:
    painted(pretend, root / "ANNA" / "group.png", BO, ANNA)
    for person in alone:
        painted(pretend, root / "ANNA" / f"alone{person}.png", person)
    summary, _ = run(root)
    assert [(one.reason, one.path.name) for one in summary.skipped] == [("multiple_faces", "group.png")]
    assert "2 faces of about one size" in summary.skipped[0].detail
    assert json.loads(json.dumps(summary.as_json()))["skipped"] == {"multiple_faces": 1}
    for number in range(2):
        painted(pretend, root / "ANNA" / f"later{number}.png", ANNA)
    summary, _ = run(root)
    assert summary.skipped == []
    assert faces_of(tmp_path / "g", "ANNA")["group.png"] == 1


def test_without_a_photograph_of_one_face_it_is_the_one_on_all_of_them(
    root: Path, tmp_path: Path, pretend: ModuleType, run: Any
) -> None:
    painted(pretend, root / "ANNA" / "a.png", BO, ANNA)
    painted(pretend, root / "ANNA" / "b.png", ANNA, CARL)
    painted(pretend, root / "BOTH" / "c.png", BO, ANNA)
    painted(pretend, root / "BOTH" / "d.png", ANNA, BO)
    summary, _ = run(root)
    assert faces_of(tmp_path / "g", "ANNA") == {"a.png": 1, "b.png": 0}
    assert [one.path.name for one in summary.skipped] == ["c.png", "d.png"]


def test_one_photograph_of_two_people_gives_each_the_own_face(
    root: Path, tmp_path: Path, pretend: ModuleType, run: Any
) -> None:
    for name, person in (("ANNA", ANNA), ("BO", BO)):
        painted(pretend, root / name / "alone.png", person)
        painted(pretend, root / name / "us.png", BO, ANNA)
        painted(pretend, root / name / "us again.png", BO, ANNA)
        (root / name / "copy.png").write_bytes((root / name / "us.png").read_bytes())
    for folder in (root, root / "ANNA", root / "BO"):  # together, and one after the other
        to = f"of {folder.name}" if folder == root else "apart"
        summary, _ = run(folder, to=to, batch=3)
    assert summary.digest == run(root, to="of people")[0].digest
    for gallery in ("of people", "apart"):
        assert set(faces_of(tmp_path / gallery, "ANNA").values()) == {0, 1}
        assert faces_of(tmp_path / gallery, "ANNA")["us again.png"] == 1
        assert faces_of(tmp_path / gallery, "BO")["us again.png"] == 0
        with Gallery.open(tmp_path / gallery) as opened:
            assert opened.shared_photos() == []
    assert (summary.enrolled, summary.duplicates) == (4, 1)
    assert not [sentence for sentence in summary.conflicts if "same photograph" in sentence]


def test_the_policies_that_ask_for_one_face_or_all_are_as_they_were(root: Path, pretend: ModuleType, run: Any) -> None:
    painted(pretend, root / "ANNA" / "group.png", BO, ANNA)
    assert run(root, to="one", faces="one")[0].reasons == {"multiple_faces": 1}
    assert run(root, to="all", faces="all")[0].entries == 2


def test_an_uploaded_group_photograph_is_answered_by_what_the_gallery_holds(
    root: Path, tmp_path: Path, pretend: ModuleType, run: Any
) -> None:
    painted(pretend, root / "ANNA" / "alone.png", ANNA)
    painted(pretend, tmp_path / "group.png", BO, ANNA)
    run(root)
    recognizer = pretend.PretendRecognizer()

    def upload(person: str) -> Any:
        photo = (tmp_path / "group.png").read_bytes()
        writer = lambda: Gallery.open(tmp_path / "g", recognizer.contract, write=True)  # noqa: E731
        return enroll_upload(photo, "group.png", person, recognizer, writer)

    for _ in range(2):  # the second time it is known
        assert [entry.face for entry in upload("ANNA").entries] == [1]
    assert (upload("CARL").reason, upload("CARL").entries) == ("multiple_faces", ())


def test_a_migration_keeps_the_face_that_was_chosen(root: Path, tmp_path: Path, pretend: ModuleType, run: Any) -> None:
    painted(pretend, root / "ANNA" / "alone.png", ANNA)
    painted(pretend, root / "ANNA" / "group.png", BO, ANNA)
    run(root)
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        gallery.remove_photos([(p.person, p.sha256) for p in gallery.photos() if p.relative_path.name == "alone.png"])
        summary = migrate(gallery, pretend.PretendRecognizer("b"))
    assert (summary.described, summary.skipped) == (1, ())
    assert faces_of(tmp_path / "g", "ANNA") == {"group.png": 1}


def test_more_comparisons_take_a_higher_score_and_unmeasured_models_decide_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    (file,) = SHIPPED_IMPOSTORS.glob("impostors-resnet*.json")
    contract = json.loads(file.read_text())["contract"]
    scores = [least_score(contract, comparisons) for comparisons in (1, 10, 1000)]
    assert np.all(np.diff(scores) > 0)
    assert -1 < scores[0] < scores[-1] < 1
    assert least_score("unheard of", 1) == math.inf
    with pytest.raises(ThresholdUnavailableError):
        ShippedImpostors.load("unheard of")
