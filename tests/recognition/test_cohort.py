"""Scores less what strangers score: one threshold for faces that strangers resemble much and for those they do not."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition import cohort as cohort_module
from facerec.recognition.cohort import Cohort, normalised_score, normalised_scores
from facerec.recognition.masked_score import Vectors, masked_scores
from facerec.recognition.search import MaskedSearch
from facerec.recognition.signature import Signature
from facerec.recognition.store.records import EntryIndex

C, D = 3, 32
PATTERNS = np.array([[True, True, True], [True, True, False], [True, False, True]])


def faces(count: int, seed: int, common: float = 0.0, visible: np.ndarray = PATTERNS[0]) -> Vectors:
    """Made-up faces; those of a group that shares much are alike."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).normal(size=(C, D))
    cells = rng.normal(size=(count, C, D)) + common * shared
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    seen = np.tile(visible, (count, 1))
    return (cells * seen[..., None]).astype(np.float32), seen


def cohort_of(*parts: Vectors, contract: str = "c") -> Cohort:
    return Cohort(np.concatenate([c for c, _ in parts]), np.concatenate([v for _, v in parts]), contract)


@pytest.fixture
def cohort(monkeypatch: pytest.MonkeyPatch) -> Cohort:
    made = cohort_of(
        faces(200, 1), faces(200, 2, common=0.8), *(faces(60, 3 + k, 0.4, p) for k, p in enumerate(PATTERNS[1:]))
    )
    monkeypatch.setattr(cohort_module, "shipped_cohort", lambda contract: made if contract == "c" else None)
    monkeypatch.setattr("facerec.recognition.search.shipped_cohort", cohort_module.shipped_cohort)
    return made


def rates(scores: np.ndarray, value: float | np.floating) -> float:
    return float((scores[np.triu_indices(len(scores), 1)] >= value).mean())


def test_one_threshold_gives_alike_groups_nearly_the_rate_of_others(cohort: Cohort) -> None:
    plain, alike = faces(300, 20), faces(300, 21, common=0.8)
    raw = [masked_scores(group, group)[0] for group in (plain, alike)]
    value = np.quantile(raw[0], 0.99)
    assert rates(raw[1], value) > 0.2
    normal = [normalised_scores(group, group, "c")[0] for group in (plain, alike)]
    value = np.quantile(normal[0], 0.99)
    assert rates(normal[1], value) < 0.03


def test_the_level_of_a_pair_is_symmetric_and_subtracted_from_the_cosine(cohort: Cohort) -> None:
    cells, seen = faces(2, 30)
    a, b = (Signature(cells[k], seen[k], "c") for k in range(2))
    one, other = normalised_score(a, b), normalised_score(b, a)
    assert one.score == pytest.approx(other.score, abs=1e-6)
    assert one.cosine == pytest.approx(a.score(b)[0], abs=1e-6)
    assert one.level > 0.1
    matrix, overlap = normalised_scores((cells, seen), (cells, seen), "c")
    assert matrix[0, 1] == pytest.approx(one.score, abs=1e-5)
    assert overlap[0, 1] == C


def test_levels_are_those_of_strangers_who_show_what_the_other_picture_shows(cohort: Cohort) -> None:
    front, left = faces(1, 40), faces(1, 40, visible=PATTERNS[1])
    levels = cohort.levels(*front)
    members = ~cohort.visible[:, 2]
    assert levels.values.shape == (1, 3)
    scores = masked_scores(front, (cohort.cells[members], cohort.visible[members]))[0][0]
    place = int(np.flatnonzero((cohort.patterns == PATTERNS[1]).all(axis=1))[0])
    assert levels.values[0, place] == pytest.approx(np.sort(scores)[-5:].mean(), abs=1e-5)
    assert cohort.levels(*left).pattern[0] == place


def test_a_descriptor_without_a_cohort_keeps_its_masked_scores(cohort: Cohort) -> None:
    cells, seen = faces(4, 50)
    assert np.array_equal(
        normalised_scores((cells, seen), (cells, seen), "other")[0], masked_scores((cells, seen), (cells, seen))[0]
    )


def test_a_search_gives_the_normalised_score_and_ranks_by_it(cohort: Cohort) -> None:
    cells, seen = faces(40, 60, common=0.5)
    index = EntryIndex.of([(k + 1, f"p{k:02d}", "0" * 64, b"") for k in range(40)])
    search = MaskedSearch(index, (C, D), "c", lambda at: (cells[at], seen[at]))
    probe_cells, probe_seen = faces(1, 61, common=0.5)
    probe = Signature(probe_cells[0], probe_seen[0], "c")
    (result,) = search.search([probe], 5)
    every = normalised_scores((probe_cells, probe_seen), (cells, seen), "c")[0][0]
    order = np.argsort(-every)[:5]
    assert [match.person for match in result.matches] == [f"p{k:02d}" for k in order]
    assert [match.score for match in result.matches] == pytest.approx(every[order].tolist(), abs=1e-5)
    (more,) = search.search([probe], 20)
    assert [m.person for m in more.matches[:5]] == [m.person for m in result.matches]


def test_a_cohort_survives_its_file(cohort: Cohort) -> None:
    back = Cohort.of_arrays(cohort.arrays())
    assert back.contract == "c"
    assert np.abs(back.cells - cohort.cells).max() < 0.01
    assert back.digest == Cohort.of_arrays(back.arrays()).digest
    with pytest.raises(InvalidInputError, match="cohort's cells"):
        Cohort(np.zeros((0, C, D), np.float32), np.zeros((0, C), bool), "c")
