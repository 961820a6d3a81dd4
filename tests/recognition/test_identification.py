from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as PilImage

from facerec.frontalize.face_model import FaceModel
from facerec.landmarks.errors import ContractError
from facerec.landmarks.types import Box, Image, Landmarks
from facerec.recognition import stage_pictures
from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll
from facerec.recognition.enrolment_plan import plan_enrolment
from facerec.recognition.identification import IdentificationSettings, Identifier, ProbeFace
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.search import MaskedSearch
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.threshold import given_threshold
from tests.pretend_models import PretendRecognizer

if TYPE_CHECKING:
    from tests.recognition.conftest import Enrol


@pytest.fixture
def gallery(tmp_path: Path, pretend: ModuleType) -> Iterator[Gallery]:
    root = tmp_path / "people"
    for person in range(1, 9):
        for picture in range(2):
            pretend.paint(root / f"p{person}" / f"{picture}.png", (person, 6, picture))
    recognizer = pretend.PretendRecognizer()
    with Gallery.create(tmp_path / "g", recognizer.contract) as gallery:
        enroll(plan_enrolment([root]), gallery, recognizer, EnrolmentSettings())
    with Gallery.open(tmp_path / "g") as gallery:
        yield gallery


def identifier(gallery: Gallery, pretend: ModuleType, value: float = 0.4, **settings: Any) -> Identifier:
    return Identifier(
        pretend.PretendRecognizer(),
        MaskedSearch.of(gallery),
        given_threshold(value),
        IdentificationSettings(**settings),
    )


def test_enrolled_people_match_and_strangers_do_not(gallery: Gallery, tmp_path: Path, pretend: ModuleType) -> None:
    photos = [
        pretend.paint(tmp_path / "probe" / "a.png", (3, 9, 77)),
        pretend.paint(tmp_path / "probe" / "b.png", (99, 6, 0)),
    ]
    known, stranger = identifier(gallery, pretend, candidates=3).identify(photos)
    assert (known.decision, known.person, len(known.candidates)) == ("match", "p3", 3)
    assert known.pose is not None
    assert known.pose[0] == pytest.approx(45)
    assert (stranger.decision, stranger.person) == ("unknown", None)
    best = stranger.candidates[0]
    assert stranger.reason.startswith(f"unknown: best {best.person} {best.score:.2f}, ")
    assert stranger.margin == pytest.approx(best.score - 0.4)
    assert stranger.as_json({})["margin"] == pytest.approx(stranger.margin, abs=1e-6)


def test_a_photograph_without_a_usable_face_gives_one_line_with_its_reason(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType
) -> None:
    folder = tmp_path / "probe"
    empty = pretend.paint(folder / "empty.png")
    unfitted = pretend.paint(folder / "unfitted.png", (pretend.UNFITTED, 0, 0), (2, 6, 9))
    text = folder / "text.jpg"
    text.write_text("no photograph")
    found = list(identifier(gallery, pretend).identify([empty, unfitted, text]))
    assert [(p.file.name, p.face, p.decision, p.reason) for p in found if p.decision == "none"] == [
        ("empty.png", None, "none", "no_face"),
        ("unfitted.png", 0, "none", "fit_unstable"),
        ("text.jpg", None, "none", "unreadable"),
    ]
    assert [(p.face, p.person) for p in found if p.decision == "match"] == [(1, "p2")]


def test_a_person_is_named_once_in_a_group(gallery: Gallery, tmp_path: Path, pretend: ModuleType) -> None:
    group = pretend.paint(tmp_path / "group.png", (5, 6, 40), (5, 6, 41), (6, 6, 42), (98, 6, 0))
    found = list(identifier(gallery, pretend, candidates=1).identify([group]))
    assert sorted(p.person for p in found if p.person) == ["p5", "p6"]
    (holder,) = (p.face for p in found if p.person == "p5")
    other = next(p for p in found if p.face != holder)
    assert other.decision == "unknown"
    assert other.reason.startswith("unknown: p5 0.")
    assert other.reason.endswith(f"is already face {holder} of this photograph")
    assert all(len(p.candidates) == 1 for p in found)


def test_too_little_seen_by_both_is_abstained_from(tmp_path: Path, pretend: ModuleType) -> None:
    recognizer = pretend.PretendRecognizer()
    pretend.paint(tmp_path / "people" / "ann" / "left.png", (1, 0, 0))
    with Gallery.create(tmp_path / "g", recognizer.contract) as gallery:
        enroll(plan_enrolment([tmp_path / "people"]), gallery, recognizer)
        right = pretend.paint(tmp_path / "right.png", (1, 12, 0))
        search = MaskedSearch.of(gallery)
        assert search.search([pretend.signature(1, 90, 0)])[0].largest_overlap < 0.125
        (probe,) = Identifier(recognizer, search, given_threshold(0.3)).identify([right])
    assert probe.decision == "abstain"
    assert "needed" in probe.reason


def test_a_known_stranger_is_reported_and_named_by_nobody_elses_name(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType
) -> None:
    photo = pretend.paint(tmp_path / "p3.png", (3, 9, 77), (3, 6, 78), (4, 6, 79))
    before = list(identifier(gallery, pretend).identify([photo]))
    assert sorted(p.person for p in before if p.person) == ["p3", "p4"]
    with Gallery.open(gallery.path, write=True) as writer:
        writer.mark(["p3"], True)
    with Gallery.open(gallery.path) as marked:
        after = list(identifier(marked, pretend).identify([photo]))
    strangers = [p for p in after if p.known_stranger]
    assert [(p.decision, p.person, p.known_stranger) for p in strangers] == [("unknown", None, "p3")] * 2
    assert all(p.reason.startswith("known stranger: p3 0.") for p in strangers)
    assert [p.person for p in after if p.person] == ["p4"]
    line = strangers[0].as_json({})
    assert (line["known_stranger"], line["person"], line["candidates"][0]["nobody"]) == ("p3", None, True)


def test_a_face_that_is_cut_or_whose_landmarks_are_unsure_abstains_with_a_code(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType
) -> None:
    class Cut(PretendRecognizer):
        def __init__(self, cut: float, confidence: float) -> None:
            super().__init__()
            self.cut, self.confidence = cut, confidence

        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            (face,) = super().describe(image)
            assert isinstance(face, DescribedFace)
            points = face.face.landmarks.points
            unsure = Landmarks(points, np.full(68, self.confidence, np.float32), np.ones(68, bool))
            texture = replace(face.texture, cut=self.cut)
            return [replace(face, texture=texture, face=replace(face.face, landmarks=unsure))]

    def said(cut: float, confidence: float, yaw_code: int, value: float) -> ProbeFace:
        photo = pretend.paint(tmp_path / "probe.png", (3, yaw_code, 77))
        (probe,) = Identifier(Cut(cut, confidence), MaskedSearch.of(gallery), given_threshold(value)).identify([photo])
        return probe

    score = said(0.0, 0.9, 6, 0.0).candidates[0].score
    for cut, confidence in ((0.5, 0.9), (0.0, 0.7)):
        probe = said(cut, confidence, 6, score - 0.05)
        assert (probe.decision, probe.person, probe.code) == ("abstain", None, "too_little_seen")
        assert probe.as_json({})["reason_code"] == "too_little_seen"
        assert said(cut, confidence, 6, score - 0.15).person == "p3"
    assert said(0.1, 0.9, 6, score - 0.05).person == "p3"
    assert said(0.0, 0.7, 11, 0.0).decision == "match"  # of a profile half of the landmarks are hidden


def test_an_empty_gallery_knows_nobody(tmp_path: Path, pretend: ModuleType) -> None:
    with Gallery.create(tmp_path / "g", pretend.PretendContract()) as gallery:
        photo = pretend.paint(tmp_path / "a.png", (1, 6, 0))
        (probe,) = identifier(gallery, pretend).identify([photo])
    assert (probe.decision, probe.reason) == ("unknown", "unknown: the gallery is empty")


def test_four_workers_and_any_batch_give_the_same_answers_as_one(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType
) -> None:
    rng = np.random.default_rng(2)
    photos = [
        pretend.paint(
            tmp_path / "probe" / f"{i}.png",
            *[(int(rng.integers(1, 12)), int(rng.integers(13)), i) for _ in range(int(rng.integers(4)))],
        )
        for i in range(30)
    ]

    def lines(**settings: int) -> list[str]:
        found = identifier(gallery, pretend, **settings).identify(photos)
        return [json.dumps(probe.as_json({"v": "1"})) for probe in found]

    serial = lines(batch=1)
    assert len(serial) > 30
    assert lines(workers=4, batch=7) == serial
    assert lines(workers=4, batch=30) == serial


def test_threads_share_one_identifier(gallery: Gallery, tmp_path: Path, pretend: ModuleType) -> None:
    from concurrent.futures import ThreadPoolExecutor

    photos = [pretend.paint(tmp_path / "probe" / f"{i}.png", (1 + i % 8, 6, 50 + i)) for i in range(24)]
    shared = identifier(gallery, pretend)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: [p.person for p in shared.identify([photo])], photos))
    assert found == [[f"p{1 + i % 8}"] for i in range(24)]


def test_a_fault_on_one_photograph_does_not_end_the_batch(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType
) -> None:
    class Faulty(PretendRecognizer):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            if image[1, 0, 0] == 2:
                raise ZeroDivisionError("in the fit")
            return super().describe(image)

    photos = [pretend.paint(tmp_path / f"{i}.png", (i, 6, 9)) for i in (1, 2, 3)]
    found = Identifier(Faulty(), MaskedSearch.of(gallery), given_threshold(0.4)).identify(photos)
    assert [(p.decision, p.person) for p in found] == [("match", "p1"), ("none", None), ("match", "p3")]


def test_models_of_another_contract_are_refused(gallery: Gallery, pretend: ModuleType) -> None:
    with pytest.raises(ContractError, match="contract"):
        Identifier(pretend.PretendRecognizer("b"), MaskedSearch.of(gallery), given_threshold(0.4))


def test_one_set_of_stages_is_written_per_face(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.zeros((5, 4, 3), np.uint8)
    monkeypatch.setattr(stage_pictures, "draw_overlay", lambda image, fitted, landmarks, model: picture)
    monkeypatch.setattr(stage_pictures, "frontal_view", lambda *_: picture)
    group = pretend.paint(tmp_path / "Ä 김.png", (1, 6, 0), (2, 6, 0))
    empty = pretend.paint(tmp_path / "empty.png")
    written = [
        path
        for probe in identifier(gallery, pretend).identify([group, empty])
        if probe.described is not None
        for path in stage_pictures.write_stages(
            probe.described, FaceModel.load(), tmp_path / "debug", f"Ä 김-{probe.face}"
        )
    ]
    assert len(set(written)) == 8
    assert all(path.is_file() for path in written)
    stages = ("overlay", "texture", "mask", "frontal")
    assert {path.name for path in written} == {f"Ä 김-{n}.{stage}.png" for n in (0, 1) for stage in stages}


def test_notes_on_reading_a_photograph_are_reported_with_its_faces(
    gallery: Gallery, tmp_path: Path, pretend: ModuleType
) -> None:
    plain = pretend.paint(tmp_path / "probe" / "plain.png", (3, 6, 77), (4, 6, 9))
    odd = tmp_path / "probe" / "odd.png"
    PilImage.open(plain).save(odd, icc_profile=b"no profile" * 20)
    first, second, *others = identifier(gallery, pretend).identify([odd, plain])
    assert first.notes == second.notes == ("its colour profile cannot be applied; the colours are read as sRGB",)
    assert json.loads(json.dumps(first.as_json({})))["notes"] == list(first.notes)
    assert [face.notes for face in others] == [(), ()]


def test_an_enrolment_reports_notes_on_reading_photographs(tmp_path: Path, pretend: ModuleType, run: Enrol) -> None:
    plain = pretend.paint(tmp_path / "new" / "p1" / "plain.png", (1, 6, 1))
    PilImage.open(pretend.paint(tmp_path / "x.png", (2, 6, 1))).save(
        plain.with_name("odd.png"), icc_profile=b"no profile" * 20
    )
    summary, _ = run(tmp_path / "new", to="other")
    assert [note.split(": ")[0] for note in summary.as_json()["notes"]] == [str(plain.with_name("odd.png"))]
