"""`facerec identify` and `enroll` of films: a burst of pretended people, and a made-up film of a rendered head."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from PIL import Image as PilImage

from facerec.cli import main
from facerec.landmarks.types import Box
from facerec.landmarks.video import Film
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition.enrolment import lacking_views
from facerec.recognition.films import tracks
from facerec.recognition.films.enrolment import add_film, film_digest
from facerec.recognition.impostors import calibrate
from facerec.recognition.review import gallery_findings
from facerec.recognition.store.records import NewEntry, NewPhoto
from facerec.recognition.store.sqlite import Gallery

if TYPE_CHECKING:
    from facerec.landmarks.video import Frame


@pytest.fixture
def facerec(
    pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    # The pretended pictures are smaller than a face.
    monkeypatch.setattr(tracks, "face_picture", lambda image, box: _jpeg())

    def run(*arguments: object, code: int = 0) -> str:
        assert main.run([str(argument) for argument in arguments]) == code, capfd.readouterr().err
        return capfd.readouterr().out

    return run


def _jpeg() -> bytes:
    import io

    from PIL import Image as PilImage

    stream = io.BytesIO()
    PilImage.new("RGB", (112, 112), "grey").save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def burst(tmp_path: Path, pretend: ModuleType) -> Path:
    """Person 3, turning from one side to the other."""
    for number, code in enumerate((2, 4, 6, 8, 10)):
        pretend.paint(tmp_path / "burst" / f"{number}.png", (3, code, number + 20))
    return tmp_path / "burst"


@pytest.fixture
def gallery(facerec: Callable[..., str], tmp_path: Path, pretend: ModuleType) -> Path:
    for person in range(1, 5):
        pretend.paint(tmp_path / "people" / f"p{person}" / "0.png", (person, 6, 0))
    facerec("enroll", tmp_path / "people", "-g", tmp_path / "g")
    return tmp_path / "g"


def test_a_film_gives_one_decision_per_track_with_the_frames_that_made_it(
    facerec: Callable[..., str], burst: Path, gallery: Path, tmp_path: Path
) -> None:
    said = facerec(
        "identify", "--film", burst, "-g", gallery, "--threshold", 0.4, "--json", "--per-frame", "--save-debug",
        tmp_path / "out",
    )  # fmt: skip
    track, *faces = [json.loads(line) for line in said.splitlines()]
    assert (track["decision"], track["person"], track["frames"]) == ("match", "p3", 5)
    assert (track["cells_seen"], track["yaw"]) == (1.0, [-60.0, 60.0])
    assert [one["frame"] for one in track["used"]] == [0, 1, 2, 3, 4]
    assert [(one["frame"], one["person"]) for one in faces] == [(k, "p3") for k in range(5)]
    assert (tmp_path / "out" / "burst-track-1.png").is_file()


def test_what_was_found_before_ctrl_c_is_written(
    facerec: Callable[..., str], burst: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Film.frames

    def interrupted(self: Film, rate: float) -> Iterator[Frame]:
        for frame in whole(self, rate):
            if frame.number == 3:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(Film, "frames", interrupted)
    said = facerec("identify", "--film", burst, "-g", gallery, "--threshold", 0.4, "--json", code=130)
    assert json.loads(said)["frames"] == 3


def test_a_burst_is_enrolled_as_one_template(facerec: Callable[..., str], burst: Path, tmp_path: Path) -> None:
    said = json.loads(facerec("enroll", "--film", burst, "--person", "Cleo", "-g", tmp_path / "new", "--json"))
    assert (said["films"][0]["person"], said["films"][0]["new"]) == ("Cleo", True)
    again = json.loads(facerec("enroll", "--film", burst, "--person", "Cleo", "-g", tmp_path / "new", "--json"))
    assert again["films"][0]["new"] is False
    with Gallery.open(tmp_path / "new") as opened:
        assert [(person.name, person.entries, person.yaw) for person in opened.people()] == [("Cleo", 1, (-60, 60))]
        assert lacking_views(opened) == {}
        (entry,) = opened.entries()
        _, visible = opened.vectors([entry.entry])
        assert visible.all()


def test_of_a_film_of_two_people_somebody_chooses_the_track(
    facerec: Callable[..., str], tmp_path: Path, pretend: ModuleType
) -> None:
    for number in range(6):
        faces = [(3, 6, number), (4, 6, number)] if number < 4 else [(3, 6, number)]
        pretend.paint(tmp_path / "two" / f"{number}.png", *faces)
    asked = ["enroll", "--film", tmp_path / "two", "-g", tmp_path / "g", "--json", "--save-debug", tmp_path / "out"]
    (refused,) = json.loads(facerec(*asked))["films"]
    assert refused["reason"] == "multiple_faces"
    assert "track 1 (6 frames), track 2 (4 frames)" in refused["detail"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["two-track-1.png", "two-track-2.png"]
    assert not (tmp_path / "g").exists()
    facerec(*asked, "--track", 3, code=2)
    facerec(*asked, "--track", 2, "--dry-run")
    assert not (tmp_path / "g").exists()
    (taken,) = json.loads(facerec(*asked, "--track", 2, "--person", "Dora"))["films"]
    assert (taken["track"], taken["frames"], taken["new"]) == (2, 4, True)
    with Gallery.open(tmp_path / "g") as opened:
        (entry,) = opened.entries()
        assert opened.signature(entry.entry).score(pretend.signature(4, 0.0, 9))[0] > 0.6
    facerec(*asked, "--track", 1, "--person", "Cleo")
    with Gallery.open(tmp_path / "g") as opened:  # two faces of one film are no photograph under two names
        assert opened.shared_photos() == []
        assert "same_photo" not in {finding.kind for finding in gallery_findings(opened, calibrate(opened))}


def test_somebody_who_passes_by_takes_no_film(facerec: Callable[..., str], tmp_path: Path, pretend: ModuleType) -> None:
    for number in range(6):
        faces = [(3, 6, number), (4, 6, number)] if number in (2, 3) else [(3, 6, number)]
        pretend.paint(tmp_path / "one" / f"{number}.png", *faces)
    (taken,) = json.loads(facerec("enroll", "--film", tmp_path / "one", "-g", tmp_path / "g", "--json"))["films"]
    assert (taken["reason"], taken["track"], taken["frames"]) == (None, 1, 6)


def test_options_of_photographs_are_refused_for_films(facerec: Callable[..., str], burst: Path, tmp_path: Path) -> None:
    facerec("enroll", "--film", burst, "-g", tmp_path / "g", "--sync", code=2)
    facerec("enroll", burst, "-g", tmp_path / "g", "--track", 1, code=2)


def test_a_film_in_a_folder_that_is_synchronised_stays_while_its_file_does(
    facerec: Callable[..., str], burst: Path, tmp_path: Path, pretend: ModuleType
) -> None:
    people = tmp_path / "people"
    pretend.paint(people / "Anna" / "0.png", (1, 6, 0))
    film = people / "Cleo.gif"
    PilImage.open(burst / "0.png").save(film, save_all=True, append_images=[PilImage.open(burst / "1.png")])
    photo = NewPhoto(
        "Cleo", film_digest(film), Path("Cleo.gif"), film, "chosen", "enrolled",
        entries=(NewEntry(0, pretend.signature(3, 0, 0), (0, 0, 0), 1.0, 0.8, Box(0, 0, 9, 9)),),
    )  # fmt: skip
    facerec("enroll", people, "-g", tmp_path / "g")
    with Gallery.open(tmp_path / "g", write=True) as opened:
        assert add_film(opened, photo)
    facerec("enroll", people, "-g", tmp_path / "g", "--sync")
    with Gallery.open(tmp_path / "g") as opened:
        assert [person.name for person in opened.people()] == ["Anna", "Cleo"]
    film.unlink()
    facerec("enroll", people, "-g", tmp_path / "g", "--sync")
    with Gallery.open(tmp_path / "g") as opened:
        assert [person.name for person in opened.people()] == ["Anna"]


def test_the_threshold_of_a_film_is_the_one_asked_for(facerec: Callable[..., str], burst: Path, gallery: Path) -> None:
    said = json.loads(facerec("identify", "--film", burst, "-g", gallery, "--threshold", 0.99, "--json"))
    assert (said["decision"], said["threshold"]["value"]) == ("unknown", 0.99)
    facerec("identify", "--film", burst, "-g", gallery, "--fpir", 0.1, "--threshold", 0.4, code=2)


def test_films_and_photographs_are_not_mixed(
    facerec: Callable[..., str], burst: Path, gallery: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    facerec("identify", tmp_path / "a.mp4", burst, "-g", gallery, code=2)
    facerec("identify", tmp_path / "none.mp4", "-g", gallery, code=2)
    facerec("enroll", burst, "--person", "Anna", "-g", gallery, code=2)
