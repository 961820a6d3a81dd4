from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.search import SearchResult
from facerec.recognition.signature import Match
from facerec.recognition.store.records import NewEntry, NewPhoto
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.threshold import (
    ImpostorScores,
    ShippedImpostors,
    Threshold,
    ThresholdSettings,
    ThresholdUnavailableError,
    calibrate,
    choose_threshold,
    decide,
    decide_pair,
    decide_together,
    given_threshold,
)

NOWHERE = Path("no-such-file.json")


def impostors(values):
    values = np.asarray(values, dtype=float)
    return ImpostorScores(ImpostorScores.of_scores(values), np.sort(values.astype(np.float32)), len(values), 2)


def threshold(value, far=0.001, pairs=12340):
    return Threshold(value, far, pairs, "gallery", "FAR 0.1 % over 12,340 impostor pairs")


def result(*matches, people=9, comparable=9):
    found = tuple(Match(person, score, 0.5, i) for i, (person, score) in enumerate(matches))
    return SearchResult(found, people, comparable, 0.5)


@pytest.fixture
def shipped(tmp_path):
    scores = np.random.default_rng(0).normal(0.1, 0.1, 50_000)
    path = tmp_path / "impostors.json"
    path.write_text(json.dumps(ShippedImpostors.measure(scores, "c", 100, "made up").as_json()))
    return path, scores


def test_the_threshold_lets_through_the_stated_share_of_impostors():
    scores = np.random.default_rng(1).normal(0.1, 0.1, 100_000)
    chosen = choose_threshold(impostors(scores), "c", ThresholdSettings(far=1e-3), NOWHERE)
    assert chosen.source == "gallery"
    assert chosen.pairs == 100_000
    assert chosen.far <= 1e-3
    assert (scores >= chosen.value).mean() == pytest.approx(chosen.far, rel=0.05)
    assert "100,000 impostor pairs" in chosen.note


def test_a_rate_that_the_pairs_cannot_support_is_not_claimed():
    scores = np.random.default_rng(1).uniform(-0.3, 0.4, 500)
    chosen = choose_threshold(impostors(scores), "c", ThresholdSettings(far=1e-3), NOWHERE)
    assert chosen.value > scores.max()
    assert chosen.far == pytest.approx(3 / 500, rel=0.01)  # the rule of three
    assert "0 of 500" in chosen.note
    assert "10,000 pairs" in chosen.note


def test_a_small_gallery_takes_the_shipped_impostors(shipped):
    path, scores = shipped
    chosen = choose_threshold(impostors([0.1, 0.2]), "c", ThresholdSettings(far=1e-3), path)
    assert chosen.source == "shipped"
    assert chosen.pairs == 50_000
    assert (scores >= chosen.value).mean() == pytest.approx(chosen.far, rel=0.01)
    assert chosen.far <= 1e-3


def test_a_shipped_rate_is_never_lower_than_its_pairs_support(shipped):
    path, _ = shipped
    chosen = choose_threshold(impostors([0.1]), "c", ThresholdSettings(far=1e-7), path)
    assert chosen.far == pytest.approx(10 / 50_000)
    assert "was asked" in chosen.note


def test_shipped_impostors_of_other_models_are_not_used(shipped):
    path, _ = shipped
    with pytest.raises(ThresholdUnavailableError, match="belong to contract"):
        ShippedImpostors.load("other", path)
    assert choose_threshold(impostors([]), "other", None, path).value is None


@pytest.mark.parametrize("content", ["", "[]", '{"contract": "c"}', '{"contract":"c","pairs":9,"far":[1],"score":[]}'])
def test_damaged_shipped_impostors_are_named(tmp_path, content):
    path = tmp_path / "impostors.json"
    path.write_text(content)
    with pytest.raises(ThresholdUnavailableError, match="cannot be read"):
        ShippedImpostors.load("c", path)


def test_without_any_impostors_nothing_is_decided():
    chosen = choose_threshold(impostors([]), "c", None, NOWHERE)
    assert (chosen.value, chosen.far, chosen.pairs, chosen.source) == (None, None, 0, "none")
    said = decide(result(("ann", 0.9)), chosen)
    assert said.verdict == "abstain"
    assert "give a threshold" in said.reason


def test_a_given_threshold_of_zero_is_honoured():
    chosen = given_threshold(0.0, impostors(np.linspace(-0.5, 0.5, 101)))
    assert chosen.value == 0.0
    assert chosen.far == pytest.approx(51 / 101)
    assert decide(result(("ann", 0.0)), chosen).verdict == "match"
    assert decide(result(("ann", -0.01)), chosen).verdict == "unknown"


@pytest.mark.parametrize("far", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(far):
    with pytest.raises(InvalidInputError, match="false accept rate"):
        ThresholdSettings(far=far)


def test_reasons_give_the_numbers():
    said = decide(result(("ann", 0.31)), threshold(0.38))
    assert said.reason == "unknown: best 0.31 < 0.38 (FAR 0.1 % over 12,340 impostor pairs)"
    said = decide(result(("ann", 0.71)), threshold(0.38))
    assert said.verdict == "match"
    assert "ann 0.71 >= 0.38" in said.reason
    said = decide(result(("ann", 0.379999)), threshold(0.38))
    assert "0.38000 < 0.38000" not in said.reason
    said = decide(result(people=9, comparable=0), threshold(0.38))
    assert said.verdict == "abstain"
    said = decide(result(("ann", 0.1), comparable=7), threshold(0.38))
    assert "2 of 9 people could not be compared" in said.reason
    said = decide(result(people=0, comparable=0), threshold(0.38))
    assert (said.verdict, said.reason) == ("unknown", "unknown: the gallery is empty")


def test_a_person_is_named_once_in_a_photograph():
    faces = [result(("ann", 0.9), ("bob", 0.2)), result(("ann", 0.8), ("bob", 0.1))]
    (first, a), (second, b) = decide_together(faces, threshold(0.38))
    assert (first.verdict, a.person) == ("match", "ann")
    assert (second.verdict, b) == ("unknown", None)
    assert "ann 0.80 is face 0" in second.reason


def test_the_assignment_is_the_best_of_all():
    rng = np.random.default_rng(5)
    names = ["ann", "bob", "cy", "di"]
    for _ in range(30):
        scores = rng.uniform(0, 1, (3, 4))
        faces = [
            result(*sorted(zip(names, map(float, row), strict=True), key=lambda m: -m[1]), people=4) for row in scores
        ]
        decided = decide_together(faces, threshold(0.4))
        gain = sum(match.score - 0.4 for _, match in decided if match)
        named = [match.person for _, match in decided if match]
        assert len(named) == len(set(named))
        from itertools import permutations

        best = max(
            sum(max(0.0, scores[i, j] - 0.4) for i, j in enumerate(order)) for order in permutations(range(4), 3)
        )
        assert gain == pytest.approx(best)


def test_two_photographs_are_the_same_from_the_threshold_on():
    assert decide_pair(0.38, 0.5, threshold(0.38))[0] == "same"
    assert decide_pair(0.37, 0.5, threshold(0.38))[0] == "different"
    assert decide_pair(0.9, 0.05, threshold(0.38))[0] == "abstain"
    assert decide_pair(0.9, 0.0, threshold(0.38))[0] == "abstain"


@pytest.fixture
def filled(tmp_path, pretend):
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


def test_calibration_scores_each_pair_of_different_people_once(filled):
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


def test_calibration_takes_entries_of_as_many_people_as_possible(filled):
    gallery, _ = filled
    scores = calibrate(gallery, ThresholdSettings(max_entries=6)).scores
    assert (scores.entries, scores.people, scores.pairs) == (6, 6, 15)


def test_one_photograph_under_two_names_makes_no_impostor_pairs(filled):
    gallery, photos = filled
    twin = photos[0]
    gallery.add([NewPhoto("copy", twin.sha256, Path("y"), Path("/y"), "one", "enrolled", "", twin.entries)])
    scores = calibrate(gallery).scores
    assert scores.pairs == 15 * 9 + 15  # the copy against everyone but p0
    assert scores.reaching(0.5) == 0


def test_an_odd_picture_in_a_persons_folder_is_named(filled, pretend):
    gallery, _ = filled
    stray = NewEntry(0, pretend.signature(4, 0, 9), (0, 0, 0), 1.0, 1.0, pretend.Box(0, 0, 9, 9))
    gallery.add([NewPhoto("p1", "stray", Path("z"), Path("/z"), "one", "enrolled", "", (stray,))])
    odd = [a for a in calibrate(gallery, ThresholdSettings(far=0.2)).look_alikes if a.person == "p1"]
    assert [(a.other, a.score > a.own) for a in odd] == [("p4", True)]


def test_calibration_survives_storing(filled):
    gallery, _ = filled
    scores = calibrate(gallery).scores
    again = ImpostorScores.from_bytes(scores.to_bytes())
    np.testing.assert_array_equal(again.counts, scores.counts)
    np.testing.assert_array_equal(again.strangers, scores.strangers)
    assert (again.entries, again.people) == (scores.entries, scores.people)
