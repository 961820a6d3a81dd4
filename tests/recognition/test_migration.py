from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box, Image
from facerec.recognition.description import EnrolmentSettings, stored_texture
from facerec.recognition.migration import migrate
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.store.sqlite import Gallery
from tests.pretend_models import PretendRecognizer

if TYPE_CHECKING:
    from tests.recognition.conftest import Enrol


def test_a_migrated_gallery_is_the_one_the_new_models_would_have_made(
    people: Path, run: Enrol, tmp_path: Path, pretend: ModuleType
) -> None:
    pretend.paint(people / "p1" / "7.png")
    run(people)
    fresh, _ = run(people, to="fresh", tag="b")
    new = pretend.PretendRecognizer("b")
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        done = migrate(gallery, new)
        assert (done.described, [s.reason for s in done.skipped], done.missing) == (12, ["no_face"], ())
        assert gallery.digest() == fresh.digest
        assert gallery.calibration()
    with Gallery.open(tmp_path / "g", new.contract) as gallery:
        assert gallery.verify().faults == ()
    assert {file.name for file in tmp_path.iterdir()} == {"people", "g", "fresh"}


def test_known_strangers_stay_known_strangers(people: Path, run: Enrol, tmp_path: Path, pretend: ModuleType) -> None:
    run(people)
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        gallery.mark(["p2"], True)
        migrate(gallery, pretend.PretendRecognizer("b"))
        assert gallery.nobodies() == {"p2"}


def test_a_migration_without_the_originals_changes_nothing(
    people: Path, run: Enrol, tmp_path: Path, pretend: ModuleType
) -> None:
    before, _ = run(people)
    shutil.move(people, tmp_path / "moved")
    (tmp_path / "moved" / "p1" / "0.png").write_bytes(b"changed")
    new = pretend.PretendRecognizer("b")
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        with pytest.raises(InvalidInputError, match="12 are not where they were"):
            migrate(gallery, new)
        with pytest.raises(InvalidInputError, match="1 are not where they were"):
            migrate(gallery, new, roots=[tmp_path / "moved"])
        assert gallery.digest() == before.digest
        done = migrate(gallery, new, roots=[tmp_path / "moved"], drop_missing=True)
        assert (done.described, len(done.missing)) == (11, 1)
        assert len(gallery.entries()) == 11


def test_kept_textures_stand_in_for_originals_that_are_gone(
    people: Path, run: Enrol, tmp_path: Path, pretend: ModuleType
) -> None:
    fresh, _ = run(people, to="fresh", tag="b")
    run(people, keep_textures=True)
    shutil.rmtree(people / "p1")
    new = pretend.PretendRecognizer("b")
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        done = migrate(gallery, new)
        assert (done.described, done.from_textures, new.described) == (9, 3, 9)
        assert gallery.digest() == fresh.digest
        assert all(gallery.texture(entry.entry) for entry in gallery.entries("p1"))
        texture = gallery.texture(gallery.entries("p1")[0].entry)
        assert texture in (tmp_path / "g").read_bytes()
        gallery.remove_people(["p1"])
        assert texture not in (tmp_path / "g").read_bytes()
        with pytest.raises(InvalidInputError, match="damaged"):
            stored_texture(texture[: len(texture) // 2])


def test_textures_of_other_landmarks_are_no_substitute(
    people: Path, run: Enrol, tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(people, keep_textures=True)
    shutil.rmtree(people / "p1")
    new = pretend.PretendRecognizer("b")
    other = json.dumps(json.loads(new.contract.as_json()) | {"landmarks": "other"})
    monkeypatch.setattr(pretend.PretendContract, "as_json", lambda self: other)
    with (
        Gallery.open(tmp_path / "g", write=True) as gallery,
        pytest.raises(InvalidInputError, match="3 are not where they were"),
    ):
        migrate(gallery, new)


def test_an_interrupted_migration_continues(people: Path, run: Enrol, tmp_path: Path, pretend: ModuleType) -> None:
    class Interrupted(PretendRecognizer):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            if self.described == 5:
                raise KeyboardInterrupt
            return super().describe(image)

    before, _ = run(people)
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        with pytest.raises(KeyboardInterrupt):
            migrate(gallery, Interrupted("b"), EnrolmentSettings(batch=2))
        assert gallery.digest() == before.digest
        rest = pretend.PretendRecognizer("b")
        migrate(gallery, rest, EnrolmentSettings(batch=2))
        assert rest.described == 8
        assert len(gallery.entries()) == 12
