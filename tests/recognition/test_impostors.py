from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facerec.recognition.impostors import CalibrationSettings, ImpostorScores, calibrate
from facerec.recognition.review import stray_pictures
from facerec.recognition.store.records import NewEntry, NewPhoto
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.threshold import ThresholdSettings, gallery_threshold


@pytest.fixture
def filled(tmp_path: Path, pretend: ModuleType) -> Iterator[Any]:
    with Gallery.create(tmp_path / "g", pretend.PretendContract()) as gallery:
        photos = []
        for person in range(6):
            for picture in range(3):
                sig = pretend.signature(person, 0, picture)
                entry = NewEntry(0, sig, (0, 0, 0), 1.0, 1.0, pretend.Box(0, 0, 9, 9))
                photos.append(
                    NewPhoto(
                        f"p{person}", f"{person}-{picture}", Path("x"), Path("/x"), "one", "enrolled", "", (entry,)
                    )
                )
        gallery.add(photos)
        yield gallery, photos


def test_calibration_scores_each_pair_of_different_people_once(filled: Any) -> None:
    gallery, photos = filled
    scores = calibrate(gallery).scores
    expected = [
        a.entries[0].signature.score(b.entries[0].signature)[0]
        for i, a in enumerate(photos)
        for b in photos[i + 1 :]
        if a.person != b.person
    ]
    assert scores.pairs == len(expected) == 15 * 9
    for value in (-0.1, 0.0, 0.13):
        assert scores.reaching(value) == sum(v >= value for v in expected)
    assert len(scores.strangers) == 18
    assert scores.stranger_rate(scores.strangers[-1]) == pytest.approx(2 / 18)  # a pair is met from both sides


def test_calibration_takes_entries_of_as_many_people_as_possible(filled: Any) -> None:
    gallery, _ = filled
    scores = calibrate(gallery, CalibrationSettings(max_entries=6)).scores
    assert (scores.entries, scores.people, scores.pairs) == (6, 6, 15)


def test_one_photograph_under_two_names_makes_no_impostor_pairs(filled: Any) -> None:
    gallery, photos = filled
    twin = photos[0]
    gallery.add([NewPhoto("copy", twin.sha256, Path("y"), Path("/y"), "one", "enrolled", "", twin.entries)])
    scores = calibrate(gallery).scores
    assert scores.pairs == 15 * 9 + 15  # the copy against everyone but p0
    assert scores.reaching(0.5) == 0


def test_an_odd_picture_in_a_persons_folder_is_named(filled: Any, pretend: ModuleType) -> None:
    gallery, _ = filled
    stray = NewEntry(0, pretend.signature(4, 0, 9), (0, 0, 0), 1.0, 1.0, pretend.Box(0, 0, 9, 9))
    gallery.add([NewPhoto("p1", "stray", Path("z"), Path("/z"), "one", "enrolled", "", (stray,))])
    calibration = calibrate(gallery)
    at = gallery_threshold(calibration.scores, ThresholdSettings(far=0.2))
    assert at is not None
    odd = [a for a in stray_pictures(calibration, at.value) if a.person == "p1"]
    assert [(a.other, a.score > a.own) for a in odd] == [("p4", True)]


def test_calibration_survives_storing(filled: Any) -> None:
    gallery, _ = filled
    scores = calibrate(gallery).scores
    again = ImpostorScores.from_bytes(scores.to_bytes())
    np.testing.assert_array_equal(again.counts, scores.counts)
    np.testing.assert_array_equal(again.strangers, scores.strangers)
    assert (again.entries, again.people) == (scores.entries, scores.people)
