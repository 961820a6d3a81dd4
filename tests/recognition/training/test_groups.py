"""Strangers of one group and sex: who is compared with whom, and that each group counts alike."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.impostor_curve import ImpostorCurve
from facerec.recognition.signature import Signature
from facerec.recognition.training.groups import all_pairs, balanced, group_scores, read_padded, utkface_pictures


def signatures(count: int, seed: int = 0) -> list[Signature]:
    cells = np.random.default_rng(seed).normal(0, 1, (count, 3, 8)).astype(np.float32)
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    return [Signature(c, np.ones(3, bool), "c") for c in cells]


def test_adults_are_listed_by_group_and_sex(tmp_path: Path) -> None:
    for name in ("25_1_2_2017", "40_0_0_2017", "9_1_2_2017"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((20, 20, 3), np.uint8))
    assert [p.group for p in utkface_pictures(tmp_path)] == ["Asian women", "White men"]
    assert len(utkface_pictures(tmp_path, adults=False)) == 3
    assert read_padded(tmp_path / "25_1_2_2017.jpg").shape == (140, 140, 3)
    with pytest.raises(InvalidInputError, match="found none"):
        utkface_pictures(tmp_path / "nowhere")


def test_pairs_are_of_different_people_and_within_a_group() -> None:
    found = signatures(5)
    assert len(all_pairs(found, ["a", "a", "b", "c", "d"])) == 9
    scores = group_scores(found, ["x", "x", "x", "y", "y"])
    assert {name: len(v) for name, v in scores.items()} == {"x": 3, "y": 1}
    assert scores["y"][0] == pytest.approx(found[3].score(found[4])[0], abs=1e-6)


def test_a_rate_over_balanced_scores_is_the_mean_of_the_groups_rates() -> None:
    rng = np.random.default_rng(1)
    scores = {"a": rng.normal(0.0, 0.1, 5000).astype(np.float32), "b": rng.normal(0.3, 0.1, 400).astype(np.float32)}
    every = balanced(scores)
    for value in (0.1, 0.3, 0.5):
        mean = np.mean([(v >= value).mean() for v in scores.values()])
        assert (every >= value).mean() == pytest.approx(mean, abs=0.002)
    with pytest.raises(InvalidInputError, match="at least 300 pairs"):
        balanced({"a": scores["b"][:100]})


def test_no_rate_is_listed_that_the_pairs_themselves_do_not_support() -> None:
    scores = np.random.default_rng(2).normal(0, 0.1, 100_000)
    shipped = ImpostorCurve.measure(scores, 10, pairs=2_000)
    assert shipped.pairs == 2_000
    # Ten of two thousand pairs are the fewest that are called a rate.
    assert min(shipped.far) == pytest.approx(0.005, rel=0.01)
    assert min(ImpostorCurve.measure(scores, 10).far) == pytest.approx(0.0001)
