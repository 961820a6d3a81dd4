"""`facerec gallery review`, on pictures of pretended people: findings, the page, and decisions carried out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from facerec.cli import main
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition.store.records import EntryRecord
from facerec.recognition.store.sqlite import Gallery

if TYPE_CHECKING:
    from tests.headless_browser import Browser


@pytest.fixture
def facerec(
    pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)

    def run(*arguments: object, code: int = 0) -> str:
        assert main.run([str(argument) for argument in arguments]) == code, capfd.readouterr().err
        return capfd.readouterr().out

    return run


@pytest.fixture
def gallery(facerec: Callable[..., str], tmp_path: Path, pretend: ModuleType) -> Path:
    """Four people of three pictures; p1 has a picture of person 2 as well, p3 and p4 share a photograph."""
    for person in range(1, 5):
        for picture in range(3):
            pretend.paint(tmp_path / "people" / f"p{person}" / f"{picture}.png", (person, 5 + picture, picture))
    pretend.paint(tmp_path / "people" / "p1" / "stray.png", (2, 6, 40))
    for person in (3, 4):
        pretend.paint(tmp_path / "people" / f"p{person}" / "both.png", (3, 6, 50))
    facerec("enroll", tmp_path / "people", "-g", tmp_path / "g")
    return tmp_path / "g"


@pytest.fixture
def answers(facerec: Callable[..., str], gallery: Path, tmp_path: Path, pretend: ModuleType) -> Path:
    """What identify says of a stranger (person 9), beside a known face."""
    pretend.paint(tmp_path / "door" / "a.png", (9, 6, 1), (2, 6, 2))
    said = facerec("identify", tmp_path / "door", "-g", gallery, "--threshold", 0.6, "--json")
    (tmp_path / "door.jsonl").write_text(said)
    return tmp_path / "door.jsonl"


def findings(facerec: Callable[..., str], gallery: Path, *more: object) -> Any:
    return json.loads(facerec("gallery", "review", "-g", gallery, "--json", *more))


def entry_of(gallery: Path, file: str) -> EntryRecord:
    with Gallery.open(gallery) as opened:
        return next(record for record in opened.entries() if record.absolute_path.name == file)


def decide(tmp_path: Path, *decisions: object) -> Path:
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"format": 1, "decisions": decisions}))
    return path


def test_what_enrolment_noticed_is_found_again_with_entries_and_people(
    facerec: Callable[..., str], gallery: Path
) -> None:
    said = findings(facerec, gallery)
    kinds = {one["kind"] for one in said["findings"]}
    assert {"same_photo", "odd_picture"} <= kinds
    stray = next(one for one in said["findings"] if one["kind"] == "odd_picture" and one["people"] == ["p1"])
    assert stray["entries"][0] == entry_of(gallery, "stray.png").entry
    assert said["lacks"]["p2"] == ["left profile", "right profile"]
    assert "odd_picture" in facerec("gallery", "review", "-g", gallery)


def test_unknown_faces_come_from_what_identify_wrote(
    facerec: Callable[..., str], gallery: Path, answers: Path, tmp_path: Path
) -> None:
    (face,) = findings(facerec, gallery, "--unknown", answers)["unknown"]
    assert (face["file"], face["face"]) == (str(tmp_path / "door" / "a.png"), 0)
    answers.write_text('{"file": "a.png"}\n')
    facerec("gallery", "review", "-g", gallery, "--unknown", answers, code=2)


def test_the_page_is_one_file_and_names_cannot_leave_their_place(
    facerec: Callable[..., str], gallery: Path, answers: Path, tmp_path: Path
) -> None:
    with Gallery.open(gallery, write=True) as opened:
        opened.rename("p3", "<b>'\"&")
    facerec("gallery", "review", "-g", gallery, "--unknown", answers, "--html", tmp_path / "review.html")
    page = (tmp_path / "review.html").read_text()
    assert "<b>'" not in page
    assert "http" not in page.replace("data:image", "")
    assert (tmp_path / "review.html").stat().st_mode & 0o077 == 0


def test_what_is_ticked_on_the_page_is_what_it_saves(
    facerec: Callable[..., str], gallery: Path, answers: Path, tmp_path: Path, browser: Browser
) -> None:
    facerec("gallery", "review", "-g", gallery, "--unknown", answers, "--html", tmp_path / "review.html")
    browser.open((tmp_path / "review.html").as_uri())
    browser.wait_for("document.readyState == 'complete' && location.protocol == 'file:'")
    assert browser.evaluate("decisions().length") == 0
    browser.evaluate("[...document.querySelectorAll('input[type=radio]')].find(r => r.value.includes('merge')).click()")
    browser.evaluate("document.querySelector('input[data-decision]').value = ' Nina '")
    browser.evaluate("document.querySelector('#everybody input[type=checkbox]').click()")
    made = json.loads(browser.evaluate("JSON.stringify(decisions())"))
    assert [one["action"] for one in made] == ["merge", "enroll", "mark_nobody"]
    assert (made[0]["person"], made[0]["name"]) == ("p3", "p4")
    assert (made[1]["name"], made[1]["nobody"], made[1]["face"]) == ("Nina", False, 0)
    assert made[2]["person"] == "p1"
    assert browser.evaluate("document.getElementById('count').textContent") == "3"
    said = json.loads(facerec("gallery", "review", "-g", gallery, "--apply", decide(tmp_path, *made), "--json"))
    assert all(one["done"] for one in said["decisions"])
    assert browser.said == []


def test_decisions_are_carried_out(facerec: Callable[..., str], gallery: Path, answers: Path, tmp_path: Path) -> None:
    stray = entry_of(gallery, "stray.png")
    (face,) = findings(facerec, gallery, "--unknown", answers)["unknown"]
    from facerec.landmarks.image import photo_digest

    photo = tmp_path / "door" / "a.png"
    path = decide(
        tmp_path,
        {"action": "enroll", "file": str(photo), "sha256": photo_digest(photo), "face": face["face"], "name": "Nina"},
        {"action": "remove_entry", "entry": stray.entry, "person": "p1", "sha256": stray.sha256},
        {"action": "rename", "person": "p2", "name": "Bo"},
        {"action": "merge", "person": "p4", "name": "p3"},
        {"action": "mark_nobody", "person": "p1"},
    )
    said = json.loads(facerec("gallery", "review", "-g", gallery, "--apply", path, "--json"))
    assert all(one["done"] for one in said["decisions"])
    with Gallery.open(gallery) as opened:
        people = {person.name: (person.entries, person.nobody) for person in opened.people()}
        assert opened.verify().faults == ()
    assert people == {"Bo": (3, False), "Nina": (1, False), "p1": (3, True), "p3": (7, False)}
    again = facerec("identify", photo, "-g", gallery, "--threshold", 0.6, "--json")
    assert [json.loads(line)["person"] for line in again.splitlines()] == ["Nina", "Bo"]


def test_a_decision_that_no_longer_fits_is_refused_and_changes_nothing(
    facerec: Callable[..., str], gallery: Path, tmp_path: Path
) -> None:
    stray = entry_of(gallery, "stray.png")
    photo = tmp_path / "people" / "p2" / "0.png"
    path = decide(
        tmp_path,
        {"action": "remove_entry", "entry": stray.entry, "person": "p2", "sha256": stray.sha256},
        {"action": "enroll", "file": str(photo), "sha256": "0" * 64, "face": 0, "name": "Nina"},
        {"action": "rename", "person": "p1", "name": "p2"},
    )
    with Gallery.open(gallery) as opened:
        before = opened.digest()
    said = json.loads(facerec("gallery", "review", "-g", gallery, "--apply", path, "--json", code=2))
    assert [one["done"] for one in said["decisions"]] == [False] * 3
    with Gallery.open(gallery) as opened:
        assert opened.digest() == before
    facerec("gallery", "review", "-g", gallery, "--apply", decide(tmp_path, {"action": "explode"}), code=2)
    facerec("gallery", "review", "-g", gallery, "--apply", path, "--html", tmp_path / "p.html", code=2)
