"""Figures that choices are made by, on scores whose answer is known."""

from __future__ import annotations

import numpy as np

from facerec.recognition.training.figures import (
    auc,
    frontal_profile_figures,
    group_figures,
    masked,
    pair_figures,
    person_groups,
)


def test_masked_scores_compare_only_what_both_saw() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(0, 1, (4, 3, 8)).astype(np.float32)
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    known = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]], bool)
    cells *= known[..., None]
    scores = masked((cells, known), (cells, known))
    for i, j in np.ndindex(4, 4):
        both = known[i] & known[j]
        expected = (cells[i] * cells[j]).sum(1)[both].mean() if both.any() else -1
        np.testing.assert_allclose(scores[i, j], expected, atol=1e-6)


def test_the_area_counts_right_orders_and_halves_ties() -> None:
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auc(np.array([0.0, 3.0]), np.array([1.0, 2.0])) == 0.5


def people(count: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    centre = rng.normal(0, 1, (count, 32))
    person, source, vectors = [], [], []
    for k in range(count):
        for view in ("cfp-frontal", "cfp-frontal", "cfp-profile"):
            person.append(f"p{k}")
            source.append(view)
            vectors.append(centre[k] + rng.normal(0, noise, 32))
    cells = np.array(vectors, np.float32)[:, None]
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    return cells, np.ones((len(person), 1), bool), np.array(person), np.array(source)


def test_people_without_noise_are_all_named_and_with_much_noise_by_chance() -> None:
    clear = frontal_profile_figures(*people(20, 0.01))
    assert clear["fp_rank1"] == clear["ff_rank1"] == clear["fp_auc"] == clear["fp_tpir"] == 1.0
    blurred = frontal_profile_figures(*people(20, 30.0))
    assert blurred["fp_rank1"] < 0.4
    assert 0.3 < blurred["fp_auc"] < 0.7
    cells, known, person, _ = people(20, 0.01)
    assert pair_figures(cells, known, person)["tar_0.001"] == 1.0


def test_a_group_of_look_alikes_is_shown_to_be_one() -> None:
    rng = np.random.default_rng(3)
    apart, alike = rng.normal(0, 1, (60, 32)), rng.normal(0, 0.4, (60, 32)) + 1.0
    cells = np.concatenate([apart, alike]).astype(np.float32)[:, None]
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    group = np.array(["white man"] * 60 + ["asian woman"] * 60)
    figures = group_figures(cells, np.ones((120, 1), bool), group, "white")
    assert figures["fmr_white man"] <= 0.002
    assert figures["fmr_asian woman"] > 0.9


def test_sex_and_group_come_from_the_sets_own_names() -> None:
    numbered = ["all-age-faces 00010A05", "all-age-faces 09000A33"]
    person = np.array(["utkface 25_1_2_2017", "utkface 9_0_0_1", *numbered, "x"])
    group = np.array(["asian", "white", "asian", "asian", ""])
    expected = ["asian woman", "white man", "asian woman", "asian man", ""]
    assert person_groups(person, group).tolist() == expected
