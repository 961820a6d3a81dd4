from __future__ import annotations

import numpy as np
import pytest

from facerec.evaluation.ranks import cmc, mate_ranks, open_set, person_scores, rank_k, score_matrix
from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.signature import Signature

NAN = float("nan")


def signature(rng: np.random.Generator, seen: float = 0.6, contract: str = "c") -> Signature:
    visible = rng.random(16) < seen
    cells = rng.normal(size=(16, 5))
    cells = cells / np.linalg.norm(cells, axis=1, keepdims=True) * visible[:, None]
    return Signature(cells.astype(np.float32), visible, contract)


def test_score_matrix_equals_the_score_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    probes = [signature(rng) for _ in range(6)]
    gallery = [signature(rng) for _ in range(5)]
    scores, overlaps = score_matrix(probes, gallery, min_overlap=0.25)
    for i, probe in enumerate(probes):
        for j, entry in enumerate(gallery):
            score, cells = probe.score(entry)
            assert overlaps[i, j] == pytest.approx(cells / 16)
            if cells < 4:
                assert np.isnan(scores[i, j])
            else:
                assert scores[i, j] == pytest.approx(score, abs=1e-5)


def test_failed_pictures_are_rows_and_columns_of_nan() -> None:
    rng = np.random.default_rng(1)
    a, b = signature(rng, 1.0), signature(rng, 1.0)
    scores, overlaps = score_matrix([a, None], [None, b])
    assert np.isnan(scores).tolist() == [[True, False], [True, True]]
    assert overlaps[0, 1] == 1.0
    assert np.isnan(score_matrix([None], [b])[0]).all()


def test_score_matrix_refuses_two_contracts() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(ContractError, match="one contract"):
        score_matrix([signature(rng)], [signature(rng, contract="d")])


def test_a_person_scores_as_their_best_gallery_picture() -> None:
    scores = np.array([[0.1, 0.5, 0.3], [NAN, NAN, 0.2]])
    best, names, entry = person_scores(scores, ["b", "b", "a"])
    assert names == ["a", "b"]
    np.testing.assert_array_equal(best, [[0.3, 0.5], [0.2, NAN]])
    assert entry.tolist() == [[2, 1], [2, -1]]


def slow_ranks(best: np.ndarray, names: list[str], people: list[str]) -> list[float]:
    ranks: list[float] = []
    for row, person in zip(best, people, strict=True):
        own = row[names.index(person)]
        if np.isnan(own):
            ranks.append(float("inf"))
            continue
        rank = 1
        for other, score in zip(names, row, strict=True):
            if other != person and not np.isnan(score) and score >= own:
                rank += 1
        ranks.append(float(rank))
    return ranks


def test_ranks_equal_a_loop_over_people() -> None:
    rng = np.random.default_rng(4)
    names = list("abcdefg")
    best = rng.integers(0, 6, size=(200, 7)) / 5.0  # few values: many ties
    best[rng.random(best.shape) < 0.2] = NAN
    people = [names[i] for i in rng.integers(0, 7, size=200)]
    assert mate_ranks(best, names, people).tolist() == slow_ranks(best, names, people)


def test_equal_scores_for_everybody_are_no_rank_one() -> None:
    ranks = mate_ranks(np.full((2, 3), 0.5), ["a", "b", "c"], ["a", "b"])
    assert ranks.tolist() == [3.0, 3.0]


def test_a_failed_probe_lowers_rank_one() -> None:
    people = ["a", "b"]
    fine = mate_ranks(np.array([[0.9, 0.1], [0.1, 0.9]]), people, people)
    hidden = mate_ranks(np.array([[0.9, 0.1], [NAN, NAN]]), people, people)
    assert rank_k(fine, 1) == 1.0
    assert rank_k(hidden, 1) == 0.5
    assert rank_k(hidden, 1000) == 0.5


def test_a_probe_of_a_person_who_is_not_enrolled_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="stranger"):
        mate_ranks(np.array([[0.9]]), ["a"], ["stranger"])


def test_cmc_never_falls_and_ends_below_one_when_probes_failed() -> None:
    ranks = np.array([1.0, 3.0, 2.0, np.inf])
    np.testing.assert_allclose(cmc(ranks, 4), [0.25, 0.5, 0.75, 0.75])


def slow_open_set(ranks: np.ndarray, mates: np.ndarray, unknown: np.ndarray, target: float) -> tuple[float, float]:
    """The best TPIR of all thresholds at the probes' own scores whose FPIR is within the target."""
    described = unknown[~np.isnan(unknown)]
    candidates = [*described, *mates[~np.isnan(mates)], np.inf]
    best = (0.0, 0.0)
    for threshold in candidates:
        fpir = sum(u >= threshold for u in described) / len(described)
        if fpir <= target + 1e-12:
            tpir = sum(r == 1 and m >= threshold for r, m in zip(ranks, mates, strict=True)) / len(ranks)
            best = max(best, (tpir, fpir))
    return best


@pytest.mark.parametrize("target", [0.05, 0.1, 0.3])
def test_tpir_at_fpir_is_the_best_that_any_threshold_gives(target: float) -> None:
    rng = np.random.default_rng(5)
    ranks = rng.integers(1, 4, size=60).astype(float)
    mates = np.round(rng.normal(0.6, 0.2, size=60), 2)
    ranks[:5], mates[:5] = np.inf, NAN
    unknown = np.round(rng.normal(0.3, 0.2, size=40), 2)
    unknown[:3] = NAN
    (point,) = open_set(ranks, mates, unknown, [target])
    assert point.tpir == pytest.approx(slow_open_set(ranks, mates, unknown, target)[0])
    assert point.fpir <= target
    assert point.fpir == pytest.approx(np.mean(unknown[~np.isnan(unknown)] >= point.threshold))


def test_fpir_targets_that_too_few_unknowns_support_are_left_out() -> None:
    ranks, mates = np.ones(3), np.full(3, 0.9)
    targets = [point.target_fpir for point in open_set(ranks, mates, np.linspace(0, 0.5, 20), [0.001, 0.01, 0.1])]
    assert targets == [0.1]


def test_failed_unknown_probes_do_not_lower_the_false_alarm_rate() -> None:
    ranks, mates = np.ones(2), np.array([0.9, 0.4])
    unknown = np.array([0.5, 0.45, 0.3, 0.2, 0.1])
    (plain,) = open_set(ranks, mates, unknown, [0.2])
    (padded,) = open_set(ranks, mates, np.concatenate([unknown, np.full(20, NAN)]), [0.2])
    assert plain == padded
