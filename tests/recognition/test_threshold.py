from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.decision import decide
from facerec.recognition.impostor_curve import ImpostorCurve
from facerec.recognition.impostors import ImpostorScores
from facerec.recognition.search import SearchResult
from facerec.recognition.shipped_impostors import ShippedImpostors, ThresholdUnavailableError
from facerec.recognition.signature import Match
from facerec.recognition.threshold import (
    GalleryThresholdSettings,
    Threshold,
    ThresholdSettings,
    choose_gallery_threshold,
    choose_threshold,
    given_threshold,
)

NOWHERE = Path("no-such-file.json")


def impostors(values: ArrayLike) -> ImpostorScores:
    values = np.asarray(values, dtype=float)
    return ImpostorScores(ImpostorScores.of_scores(values), np.sort(values.astype(np.float32)), len(values), 2)


def threshold(value: float, far: float = 0.001, pairs: int = 12340) -> Threshold:
    return Threshold(value, far, pairs, "gallery", "FAR 0.1 % over 12,340 impostor pairs")


def value_of(chosen: Threshold) -> float:
    assert chosen.value is not None
    return chosen.value


def result(*matches: tuple[str, float], people: int = 9, comparable: int = 9) -> SearchResult:
    found = tuple(Match(person, score, 0.5, i) for i, (person, score) in enumerate(matches))
    return SearchResult(found, people, comparable, 0.5)


@pytest.fixture
def shipped(tmp_path: Path) -> tuple[Path, np.ndarray]:
    scores = np.random.default_rng(0).normal(0.1, 0.1, 50_000)
    path = tmp_path / "impostors.json"
    record = ShippedImpostors("c", 100, "made up", ImpostorCurve.measure(scores, 10))
    path.write_text(json.dumps(record.as_json()))
    return path, scores


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shipped scores of so many pairs that one in 50,000 is known."""
    path = tmp_path_factory.mktemp("measured") / "impostors.json"
    curve = ImpostorCurve.measure(np.random.default_rng(0).normal(0.1, 0.1, 500_000), 10)
    path.write_text(json.dumps(ShippedImpostors("c", 100, "made up", curve).as_json()))
    return path


def test_the_threshold_lets_through_the_stated_share_of_impostors() -> None:
    scores = np.random.default_rng(1).normal(0.1, 0.1, 100_000)
    chosen = choose_threshold(impostors(scores), "c", ThresholdSettings(far=1e-3), NOWHERE)
    assert chosen.source == "gallery"
    assert chosen.pairs == 100_000
    assert chosen.far is not None
    assert chosen.far <= 1e-3
    assert (scores >= value_of(chosen)).mean() == pytest.approx(chosen.far, rel=0.05)
    assert "100,000 impostor pairs" in chosen.note


def test_a_rate_that_the_pairs_cannot_support_is_not_claimed() -> None:
    scores = np.random.default_rng(1).uniform(-0.3, 0.4, 500)
    chosen = choose_threshold(impostors(scores), "c", ThresholdSettings(far=1e-3), NOWHERE)
    assert chosen.value > scores.max()
    assert chosen.far == pytest.approx(3 / 500, rel=0.01)  # the rule of three
    assert "0 of 500" in chosen.note
    assert "10,000 pairs" in chosen.note


def test_a_small_gallery_takes_the_shipped_impostors(shipped: tuple[Path, np.ndarray]) -> None:
    path, scores = shipped
    chosen = choose_threshold(impostors([0.1, 0.2]), "c", ThresholdSettings(far=1e-3), path)
    assert chosen.source == "shipped"
    assert chosen.pairs == 50_000
    assert (scores >= value_of(chosen)).mean() == pytest.approx(chosen.far, rel=0.01)
    assert chosen.far is not None
    assert chosen.far <= 1e-3


def test_a_shipped_rate_is_never_lower_than_its_pairs_support(shipped: tuple[Path, np.ndarray]) -> None:
    path, _ = shipped
    chosen = choose_threshold(impostors([0.1]), "c", ThresholdSettings(far=1e-7), path)
    assert chosen.far == pytest.approx(10 / 50_000)
    assert "was requested" in chosen.note


def test_shipped_impostors_of_other_models_are_not_used(shipped: tuple[Path, np.ndarray]) -> None:
    path, _ = shipped
    with pytest.raises(ThresholdUnavailableError, match="belong to contract"):
        ShippedImpostors.load("other", path)
    assert choose_threshold(impostors([]), "other", None, path).value is None


@pytest.mark.parametrize("content", ["", "[]", '{"contract": "c"}', '{"contract":"c","pairs":9,"far":[1],"score":[]}'])
def test_damaged_shipped_impostors_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "impostors.json"
    path.write_text(content)
    with pytest.raises(ThresholdUnavailableError, match="cannot be read"):
        ShippedImpostors.load("c", path)


# ---- the threshold of a whole gallery --------------------------------------------------------------------------------


def named_share(value: float, people: int, trials: int = 4000, seed: int = 5, mean: float = 0.1) -> float:
    """Share of strangers, each compared with `people` independent people, for whom somebody reaches `value`."""
    rng = np.random.default_rng(seed)
    return float(np.mean([(rng.normal(mean, 0.1, people) >= value).any() for _ in range(trials)]))


@pytest.mark.parametrize("people", [10, 100, 1000])
@pytest.mark.parametrize("fpir", [0.1, 0.01])
def test_the_promised_share_of_strangers_is_named_at_any_size_of_the_gallery(
    measured: Path, people: int, fpir: float
) -> None:
    chosen = choose_gallery_threshold(impostors([]), "c", people, GalleryThresholdSettings(fpir=fpir), measured)
    assert (chosen.fpir, chosen.entries, chosen.source) == (fpir, people, "shipped")
    # 4000 strangers: 40 are named at 1 %. Beyond what the pairs support the threshold is rather too strict.
    assert fpir / 2 <= named_share(value_of(chosen), people) <= 1.5 * fpir


def test_a_larger_gallery_has_a_higher_threshold_and_a_lower_rate_per_pair(measured: Path) -> None:
    chosen = [choose_gallery_threshold(impostors([]), "c", n, None, measured) for n in (1, 10, 100, 10_000, 10**6)]
    assert all(value_of(a) < value_of(b) and a.far and b.far and a.far > b.far for a, b in pairwise(chosen))
    assert "FPIR 1 % among 1 picture," in chosen[0].note
    assert "among 10,000 pictures, from 500,000 pairs of strangers" in chosen[3].note


def test_the_gallerys_own_people_move_the_threshold_by_as_much_as_they_are_known(measured: Path) -> None:
    rng = np.random.default_rng(3)
    alike = rng.normal(0.2, 0.1, 500_000)  # people who are more alike than those of the shipped pairs: 0.1 more
    value = {
        n: value_of(choose_gallery_threshold(impostors(alike[:n]), "c", 100, None, measured))
        for n in (0, 100, 2000, 500_000)
    }
    assert value[0] < value[100] + 1e-9 < value[2000] < value[500_000]
    assert value[2000] - value[0] == pytest.approx(0.05, abs=0.02)
    assert value[500_000] - value[0] == pytest.approx(0.1, abs=0.02)
    assert named_share(value[500_000], 100, mean=0.2) <= 0.015


def test_one_more_photograph_hardly_moves_the_threshold(measured: Path) -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal(0.15, 0.1, 210 * 209 // 2)
    for first, last in ((95, 105), (190, 210)):
        values = [
            value_of(choose_gallery_threshold(impostors(scores[: n * (n - 1) // 2]), "c", n, None, measured))
            for n in range(first, last + 1)
        ]
        assert np.abs(np.diff(values)).max() < 0.005


def test_a_gallery_without_shipped_impostors_continues_its_own_curve() -> None:
    scores = np.random.default_rng(6).normal(0.1, 0.1, 200_000)
    chosen = choose_gallery_threshold(impostors(scores), "c", 1000, None, NOWHERE)
    assert chosen.source == "gallery"
    assert 0.003 <= named_share(value_of(chosen), 1000) <= 0.015
    nothing = choose_gallery_threshold(impostors([]), "c", 0, None, NOWHERE)
    assert nothing.value is None
    assert "give a threshold" in nothing.note


@pytest.mark.parametrize("fpir", [0.0, 1.0, float("nan")])
def test_an_fpir_outside_zero_to_one_is_refused(fpir: float) -> None:
    with pytest.raises(InvalidInputError, match="identification rate"):
        GalleryThresholdSettings(fpir=fpir)


def test_mates_and_the_probability_come_with_the_shipped_scores() -> None:
    curve = ImpostorCurve.measure(np.linspace(-1, 1, 1000), 10)
    quantiles = tuple(np.linspace(0.2, 0.8, 51))
    shipped = ShippedImpostors(
        "c", 9, "made up", curve, mates=((15.0, quantiles), (60.0, quantiles)), logit=(-3.0, 10.0)
    )
    assert shipped.mates_reaching(0.5) == {"0-15": pytest.approx(0.5), "30-60": pytest.approx(0.5)}
    assert shipped.mates_reaching(0.9)["0-15"] == 0
    assert shipped.same_person(0.3) == pytest.approx(0.5)
    sure, unsure = shipped.same_person(0.5), shipped.same_person(0.1)
    assert sure is not None
    assert unsure is not None
    assert sure > 0.8 > 0.2 > unsure


def test_without_any_impostors_nothing_is_decided() -> None:
    chosen = choose_threshold(impostors([]), "c", None, NOWHERE)
    assert (chosen.value, chosen.far, chosen.pairs, chosen.source) == (None, None, 0, "none")
    said = decide(result(("ann", 0.9)), chosen)
    assert said.verdict == "abstain"
    assert "give a threshold" in said.reason


def test_a_given_threshold_of_zero_is_honoured() -> None:
    chosen = given_threshold(0.0, impostors(np.linspace(-0.5, 0.5, 101)))
    assert chosen.value == 0.0
    assert chosen.far == pytest.approx(51 / 101)
    assert decide(result(("ann", 0.0)), chosen).verdict == "match"
    assert decide(result(("ann", -0.01)), chosen).verdict == "unknown"


@pytest.mark.parametrize("far", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(far: float) -> None:
    with pytest.raises(InvalidInputError, match="false accept rate"):
        ThresholdSettings(far=far)
