"""Photographs of photographs, with the real models: a portrait pasted twice, and one beside its mirror image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerec.frontalize.synthesize import photograph, synthetic_people
from facerec.recognition.description import choose_faces
from facerec.recognition.identification import Identifier
from facerec.recognition.recognizer import Recognizer
from facerec.recognition.search import MaskedSearch
from facerec.recognition.store.records import NewPhoto
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.threshold import given_threshold

FRONTAL = 11


@pytest.mark.parametrize("beside", ["itself", "its mirror image"])
def test_a_portrait_beside_itself_is_named_once_and_never_after_somebody_else(tmp_path: Path, beside: str) -> None:
    recognizer = Recognizer.load(device="cpu")
    people = synthetic_people(3, 7)
    with Gallery.create(tmp_path / "g", recognizer.contract) as gallery:
        for number, person in enumerate(people):
            picture = photograph(person, FRONTAL, np.random.default_rng([1, number])).image
            entries = tuple(choose_faces(recognizer.describe(picture), "largest"))
            place = tmp_path / f"{number}.png"
            gallery.add([NewPhoto(person.name, f"{number:064d}", place, place, "largest", "enrolled", "", entries)])
    portrait = photograph(people[1], FRONTAL, np.random.default_rng(9)).image
    other = portrait if beside == "itself" else portrait[:, ::-1]
    with Gallery.open(tmp_path / "g") as gallery:
        # A threshold that everybody reaches: whoever may be named after somebody else would be.
        identifier = Identifier(recognizer, MaskedSearch.of(gallery), given_threshold(-1.0))
        said = list(identifier.identify(np.hstack([portrait, other])))
    assert [face.candidates[0].person for face in said] == [people[1].name] * 2
    (named,) = (face for face in said if face.person)
    (unnamed,) = (face for face in said if not face.person)
    assert named.person == people[1].name
    assert unnamed.decision == "unknown"
    assert unnamed.reason.startswith(f"unknown: {people[1].name} 0.")
    assert f"is already face {named.face} of this photograph" in unnamed.reason
    overlap = named.candidates[0].overlap
    assert overlap is not None
    assert 0.5 < overlap < 1.0
