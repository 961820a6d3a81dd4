from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.decision import decide
from facerec.recognition.impostors import ImpostorScores
from facerec.recognition.search import SearchResult
from facerec.recognition.signature import Match
from facerec.recognition.threshold import (
    ShippedImpostors,
    Threshold,
    ThresholdSettings,
    ThresholdUnavailableError,
    choose_threshold,
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
