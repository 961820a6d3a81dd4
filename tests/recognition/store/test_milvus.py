"""A gallery in Milvus (Lite, in a folder of the test) is the gallery that a file would be."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("pymilvus", reason="needs facerec[milvus]")
pytest.importorskip("milvus_lite", reason="needs facerec[milvus]")

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll
from facerec.recognition.enrolment_plan import plan_enrolment
from facerec.recognition.impostors import impostor_scores
from facerec.recognition.search import MaskedSearch
from facerec.recognition.store.galleries import open_gallery
from facerec.recognition.store.milvus import MilvusGallery
from facerec.recognition.store.milvus_search import MilvusSearch
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.threshold import choose_threshold

NAME = 'Zoë "the\n2nd" \\'


@pytest.fixture
def people(tmp_path: Path, pretend: ModuleType) -> Path:
    root = tmp_path / "people"
    for person in range(1, 6):
        folder = root / (f"p{person}" if person > 1 else NAME)
        for picture in range(3):
            pretend.paint(folder / f"{picture}.png", (person, 6 if picture else 11, picture))
    pretend.paint(root / "p2" / "nobody.png")
    return root


@pytest.fixture
def enrolled(people: Path, tmp_path: Path, pretend: ModuleType) -> list[Path | str]:
    """The same photographs in a file and in Milvus, twice each: the second time nothing is new."""
    stores = []
    for address in (tmp_path / "g", f"milvus:{tmp_path}/lite.db#staff"):
        for again in range(2):
            recognizer = pretend.PretendRecognizer()
            with open_gallery(address, recognizer.contract, create=True) as gallery:
                summary = enroll(plan_enrolment([people]), gallery, recognizer, EnrolmentSettings(batch=4))
                assert recognizer.described == (0 if again else 16)
                assert (summary.enrolled, summary.reasons) == (15, {"no_face": 1})
        stores.append(address)
    return stores


def test_it_is_the_gallery_that_a_file_would_be(enrolled: list[Path | str], pretend: ModuleType) -> None:
    with open_gallery(enrolled[0]) as file, open_gallery(enrolled[1]) as milvus:
        assert isinstance(milvus, MilvusGallery)
        assert isinstance(file, Gallery)
        assert milvus.digest() == file.digest()
        assert milvus.people() == file.people()
        assert milvus.photos() == file.photos()
        a, b = file.info(), milvus.info()
        assert (a.people, a.photos, a.entries, a.skipped, a.shape) == (
            b.people,
            b.photos,
            b.entries,
            b.skipped,
            b.shape,
        )
        assert milvus.verify().faults == ()
        thresholds = [choose_threshold(impostor_scores(g), g.contract_digest) for g in (file, milvus)]
        assert thresholds[0] == thresholds[1]
        probes = [pretend.signature(n, yaw, 8) for n in range(1, 8) for yaw in (0.0, 60.0)]
        for one, other in zip(
            MaskedSearch.of(file).search(probes, 4), MilvusSearch(milvus).search(probes, 4), strict=True
        ):
            assert [(m.person, m.score, m.overlap) for m in one.matches] == [
                (m.person, m.score, m.overlap) for m in other.matches
            ]


def test_people_are_removed_renamed_and_merged_as_in_a_file(enrolled: list[Path | str], pretend: ModuleType) -> None:
    photo_of_bo = pretend.signature(2, 0.0, 8)
    for address in enrolled:
        with open_gallery(address, write=True) as gallery:
            gallery.mark([NAME, "p2"], True)
            assert gallery.remove_people([NAME]) == 3
            gallery.rename("p2", "Bo")
            assert gallery.nobodies() == {"Bo"}
            with pytest.raises(InvalidInputError, match="is a known stranger and"):
                gallery.merge(["p3"], "Bo")
            gallery.merge(["p3", "p4"], "p5")
            gallery.remove_entries([gallery.entries("Bo")[0].entry])
            with pytest.raises(InvalidInputError, match="there is no 'p2'"):
                gallery.remove_people(["p2"])
            assert gallery.calibration() == b""
            assert gallery.verify().faults == ()
    with open_gallery(enrolled[0]) as file, open_gallery(enrolled[1]) as milvus:
        assert [(p.name, p.entries, p.nobody) for p in milvus.people()] == [("Bo", 2, True), ("p5", 9, False)]
        assert milvus.info().nobodies == 1
        assert isinstance(milvus, MilvusGallery)
        (found,) = MilvusSearch(milvus).search([photo_of_bo], 1)
        assert (found.matches[0].person, found.matches[0].nobody) == ("Bo", True)
        assert milvus.digest() == file.digest()


def test_a_writer_killed_between_entries_and_record_doubles_nothing(
    people: Path, enrolled: list[Path | str], pretend: ModuleType
) -> None:
    with open_gallery(enrolled[1]) as milvus:
        whole = milvus.digest()
        photo = next(p for p in milvus.photos() if p.person == "p3")
        # What a kill leaves: the entry is there, the photograph's record is not.
        assert isinstance(milvus, MilvusGallery)
        milvus._client.delete("staff_photos", filter=f'sha256 == "{photo.sha256}"')
        assert milvus.digest() != whole
        recognizer = pretend.PretendRecognizer()
        enroll(plan_enrolment([people]), milvus, recognizer)
        assert recognizer.described == 1
        assert milvus.digest() == whole


def test_other_models_and_addresses_without_a_gallery_are_refused(
    enrolled: list[Path | str], tmp_path: Path, pretend: ModuleType
) -> None:
    with pytest.raises(ContractError, match="cannot be compared"):
        open_gallery(enrolled[1], pretend.PretendContract("b"))
    with pytest.raises(InvalidInputError, match="none of that name"):
        open_gallery(f"milvus:{tmp_path}/lite.db#other")
    with pytest.raises(InvalidInputError, match=r"there is no .*elsewhere\.db"):
        open_gallery(f"milvus:{tmp_path}/elsewhere.db")
    assert not (tmp_path / "elsewhere.db").exists()
