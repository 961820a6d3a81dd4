from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.errors import ContractError
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Box, Image
from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll, enroll_upload, lacking_views
from facerec.recognition.enrolment_plan import EnrolmentItem, EnrolmentPlan, plan_enrolment
from facerec.recognition.enrolment_summary import write_skipped
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.sqlite import Gallery
from tests.pretend_models import PretendRecognizer


def test_every_photograph_becomes_an_entry_with_its_pose(people: Any, run: Any, tmp_path: Path) -> None:
    summary, described = run(people)
    assert (summary.photos, summary.enrolled, summary.new, described) == (12, 12, 12, 12)
    assert (summary.people, summary.entries, summary.frontal_only, summary.with_profile) == (4, 12, 0, 4)
    with Gallery.open(tmp_path / "g") as gallery:
        assert [p.yaw for p in gallery.people()] == [pytest.approx((0, 75))] * 4
        assert lacking_views(gallery) == {p.name: ("left profile",) for p in gallery.people()}
        assert gallery.calibration()


def test_the_digest_does_not_depend_on_workers_batches_or_order(
    people: Any, run: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    digests = {run(people, to=f"g{w}{b}", workers=w, batch=b)[0].digest for w, b in ((1, 16), (4, 3), (3, 1))}
    for folder in sorted(people.iterdir(), reverse=True):
        summary, _ = run(folder, to="turned", layout="folders")
    assert digests == {summary.digest}


def test_bad_photographs_get_a_reason_and_the_batch_continues(
    people: Any, run: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    folder = people / "p2"
    good = (folder / "0.png").read_bytes()
    (folder / "0a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + good[:50])
    (folder / "0b.jpg").write_bytes(b"")
    (folder / "0c.jpg").write_text("not a photograph at all")
    (folder / "0d.png").write_bytes(good[: len(good) // 2])
    (folder / "0e.png").symlink_to(folder / "nowhere.png")
    pretend.paint(folder / "0f.png")
    pretend.paint(folder / "0g.png", (pretend.UNFITTED, 0, 0), (2, 6, 9))
    write_image(folder / "0h.png", np.zeros((1, 1, 3), np.uint8))
    summary, _ = run(people)
    assert summary.enrolled == 12
    assert {photo.path.name[:2]: photo.reason for photo in summary.skipped} == {
        "0a": "unreadable",
        "0b": "unreadable",
        "0c": "unreadable",
        "0d": "unreadable",
        "0e": "unreadable",
        "0f": "no_face",
        "0g": "fit_unstable",
        "0h": "no_face",
    }
    details = write_skipped(tmp_path / "g", summary.skipped)
    assert details is not None
    lines = [json.loads(line) for line in details.read_text(encoding="utf-8").splitlines()]
    assert [line["reason"] for line in lines] == [photo.reason for photo in summary.skipped]
    assert all(line["file"] and line["person"] == "p2" and line["detail"] for line in lines)
    # A second run remembers what it need not try again.
    summary, described = run(people)
    assert len(summary.skipped) == 8
    assert described == 0


def test_a_fault_of_the_models_on_one_photograph_does_not_end_the_batch(
    people: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    class Faulty(PretendRecognizer):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            if image[1, 0, 0] == 2 and image[1, 0, 2] == 1:
                raise ZeroDivisionError("in the fit")
            return super().describe(image)

    def enrol(recognizer: Any) -> Any:
        with Gallery.create(tmp_path / "g", recognizer.contract, exist_ok=True) as gallery:
            return enroll(plan_enrolment([people]), gallery, recognizer)

    summary = enrol(Faulty())
    assert summary.enrolled == 11
    assert [(s.path.parent.name, s.reason) for s in summary.skipped] == [("p2", "internal_error")]
    assert "ZeroDivisionError: in the fit" in summary.skipped[0].detail
    corrected = pretend.PretendRecognizer()
    assert enrol(corrected).enrolled == 12
    assert corrected.described == 1


@pytest.mark.parametrize(
    ("faces", "entries", "skipped"), [("one", 0, "multiple_faces"), ("largest", 1, ""), ("all", 2, "")]
)
def test_the_policy_decides_which_faces_of_a_photograph_are_enrolled(
    tmp_path: Path, pretend: ModuleType, run: Any, faces: Any, entries: Any, skipped: Any
) -> None:
    pretend.paint(tmp_path / "root" / "ann" / "1.png", (1, 6, 0), (2, 6, 0))
    summary, _ = run(tmp_path / "root", faces=faces)
    assert summary.entries == entries
    assert [s.reason for s in summary.skipped] == [skipped] * bool(skipped)
    # Another policy is another question: asked again, and the answer replaced.
    summary, described = run(tmp_path / "root", faces="all")
    assert summary.entries == 2
    assert described == (faces != "all")


def test_moved_copied_and_touched_photographs_are_not_described_again(people: Any, run: Any, tmp_path: Path) -> None:
    first, _ = run(people)
    os.utime(people / "p1" / "0.png", (1, 1))
    (people / "p1" / "1.png").chmod(0o600)
    shutil.move(people / "p2" / "0.png", people / "p2" / "new name.png")
    again, described = run(people)
    assert (described, again.new, again.enrolled, again.digest) == (0, 0, 12, first.digest)
    with Gallery.open(tmp_path / "g") as gallery:
        places = {record.relative_path.as_posix() for record in gallery.photos()}
        assert "p2/new name.png" in places
        assert "p2/0.png" not in places
    shutil.copytree(people, tmp_path / "elsewhere")
    again, described = run(tmp_path / "elsewhere")
    assert (described, again.digest) == (0, first.digest)


def test_the_same_photograph_twice_under_one_person_is_one_entry(people: Any, run: Any) -> None:
    shutil.copy(people / "p1" / "0.png", people / "p1" / "9.png")
    summary, described = run(people, batch=2)
    assert (summary.enrolled, summary.duplicates, summary.entries, described) == (13, 1, 12, 12)
    assert summary.conflicts == []


def test_one_photograph_under_two_names_is_a_conflict(people: Any, run: Any) -> None:
    shutil.copy(people / "p1" / "0.png", people / "p3" / "9.png")
    summary, described = run(people, batch=2)
    assert (summary.entries, described) == (13, 12)
    assert summary.conflicts[0] == "p1 (p1/0.png) and p3 (p3/9.png) are the same photograph"
    (odd,) = summary.conflicts[1:]
    assert odd.startswith("p3/9.png of p3 looks like no other picture of theirs, 0.")


def test_a_photograph_of_another_person_in_a_folder_is_a_conflict(
    run: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    for person in range(1, 25):
        for picture in range(10):
            # The last picture in folder p1 is of person 2.
            who = 2 if (person, picture) == (1, 9) else person
            pretend.paint(tmp_path / "many" / f"p{person}" / f"{picture}.png", (who, 6, picture + 10 * person))
    summary, _ = run(tmp_path / "many")
    assert len(summary.conflicts) == 2
    assert "p1/9.png of p1 looks like p2" in summary.conflicts[0]
    assert "p1/9.png of p1 looks like no other picture of theirs" in summary.conflicts[1]


def test_an_interrupted_enrolment_keeps_its_batches_and_continues(
    people: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    class Interrupted(PretendRecognizer):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            if self.described == 7:
                raise KeyboardInterrupt
            return super().describe(image)

    plan = plan_enrolment([people])
    first = Interrupted()
    with Gallery.create(tmp_path / "g", first.contract) as gallery:
        with pytest.raises(KeyboardInterrupt):
            enroll(plan, gallery, first, EnrolmentSettings(batch=3))
        assert len(gallery.entries()) == 6
    second = pretend.PretendRecognizer()
    with Gallery.open(tmp_path / "g", second.contract, write=True) as gallery:
        summary = enroll(plan, gallery, second, EnrolmentSettings(batch=3))
    assert second.described == 6
    assert summary.enrolled == 12


def test_workers_describe_at_the_same_time(people: Any, tmp_path: Path, pretend: ModuleType) -> None:
    together = threading.Barrier(3, timeout=20)

    class Meeting(PretendRecognizer):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            together.wait()
            return super().describe(image)

    recognizer = Meeting()
    with Gallery.create(tmp_path / "g", recognizer.contract) as gallery:
        assert enroll(plan_enrolment([people]), gallery, recognizer, EnrolmentSettings(workers=3)).enrolled == 12


def test_other_models_enrol_nothing(people: Any, run: Any) -> None:
    run(people)
    with pytest.raises(ContractError):
        run(people, tag="b")


def test_a_photograph_that_cannot_be_opened_is_skipped_and_tried_again(
    tmp_path: Path, pretend: ModuleType, run: Any
) -> None:
    item = EnrolmentItem("ann", tmp_path / "bad\0name.png", Path("bad\0name.png"))
    recognizer = pretend.PretendRecognizer()
    with Gallery.create(tmp_path / "g", recognizer.contract) as gallery:
        summary = enroll(EnrolmentPlan("csv", (item,)), gallery, recognizer)
        assert [s.reason for s in summary.skipped] == ["unreadable"]
        assert gallery.photos() == []


def test_synchronising_removes_missing_or_changed_photographs_after_reporting_them(
    people: Any, run: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    run(people)
    (people / "p1" / "0.png").unlink()
    pretend.paint(people / "p2" / "1.png", (2, 6, 8))
    shutil.move(people / "p3" / "2.png", people / "p3" / "elsewhere.png")
    summary, described = run(people)
    assert (summary.gone, summary.removed, described, summary.entries) == (2, 0, 1, 13)
    summary, described = run(people, sync=True)
    assert (summary.gone, summary.removed, described, summary.entries) == (2, 2, 0, 11)
    fresh, _ = run(people, to="fresh")
    assert fresh.digest == summary.digest
    # Another folder's photographs are none of this one's business.
    pretend.paint(tmp_path / "more" / "p9" / "0.png", (9, 6, 0))
    summary, _ = run(tmp_path / "more", layout="folders", sync=True)
    assert (summary.removed, summary.entries) == (0, 12)


def test_near_duplicates_and_one_person_under_two_names_are_reported_with_scores(
    run: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    for person in range(1, 25):
        for picture in range(10):
            # Person 2 is enrolled as p1, too, by other pictures.
            who, number = (2, picture + 50) if person == 1 else (person, picture)
            pretend.paint(tmp_path / "many" / f"p{person}" / f"{picture}.png", (who, 6, number))
    again = tmp_path / "many" / "p7" / "again.png"
    pretend.paint(again, (7, 6, 3))
    again.write_bytes(again.read_bytes() + b"\0")  # the same picture, other bytes
    summary, _ = run(tmp_path / "many")
    said = [text for text in summary.conflicts if "look like one picture" in text]
    assert said == ["p7/3.png of p7 and p7/again.png of p7 look like one picture, 1.00"] or said == [
        "p7/again.png of p7 and p7/3.png of p7 look like one picture, 1.00"
    ]
    (pair,) = [text for text in summary.conflicts if "may be one person" in text]
    assert pair.startswith("p1 and p2 may be one person: median score 0.")
    assert pair.endswith("over 100 pairs")


def test_an_upload_is_enrolled_as_the_file_would_be(people: Any, run: Any, tmp_path: Path, pretend: ModuleType) -> None:
    recognizer = pretend.PretendRecognizer()
    Gallery.create(tmp_path / "uploaded", recognizer.contract).close()
    opened = []

    def writer() -> Any:
        opened.append(recognizer.described)
        return Gallery.open(tmp_path / "uploaded", recognizer.contract, write=True)

    for photo in sorted(people.glob("*/*.png")) * 2:  # the second time all of them are known
        outcome = enroll_upload(photo.read_bytes(), f"../{photo.name}", photo.parent.name, recognizer, writer)
        assert (outcome.reason, len(outcome.entries)) == (None, 1)
    assert opened == list(range(1, 25))  # described first, so that the writer's lock is held for a commit only
    summary, _ = run(people)
    with Gallery.open(tmp_path / "uploaded") as uploaded, Gallery.open(tmp_path / "g") as enrolled:
        assert uploaded.digest() == enrolled.digest() == summary.digest
        assert uploaded.calibration() == enrolled.calibration() != b""
        assert {photo.absolute_path.parent for photo in uploaded.photos()} == {Path("uploaded")}


def test_an_upload_that_cannot_be_used_is_reported_and_not_stored(tmp_path: Path, pretend: ModuleType) -> None:
    nobody = pretend.paint(tmp_path / "nobody.png").read_bytes()

    def writer() -> GalleryStore:
        raise AssertionError("a gallery was opened for nothing")

    for photo, reason in ((nobody, "no_face"), (b"no picture", "unreadable")):
        outcome = enroll_upload(photo, "n.png", "ann", pretend.PretendRecognizer(), writer)
        assert (outcome.reason, outcome.entries) == (reason, ())
        assert outcome.detail


def test_an_uploaded_photograph_of_another_person_is_a_conflict_as_a_file_would_be(
    people: Any, run: Any, tmp_path: Path, pretend: ModuleType
) -> None:
    run(people)
    photo = (people / "p1" / "0.png").read_bytes()
    recognizer = pretend.PretendRecognizer()
    enroll_upload(
        photo, "x.png", "twin", recognizer, lambda: Gallery.open(tmp_path / "g", recognizer.contract, write=True)
    )
    with Gallery.open(tmp_path / "g") as gallery:
        assert gallery.shared_photos() == [("p1 (p1/0.png)", "twin (uploaded/x.png)")]
