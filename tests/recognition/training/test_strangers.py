"""The cohort of strangers and the scores measured with it."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.training.strangers import (
    DescribedPeople,
    group_names,
    in_cohort,
    make_cohort,
    mates_by_yaw,
    same_person_logit,
    score_strangers,
)

D = 64
LEFT, RIGHT = [True, True, True, False], [True, True, False, True]


def people(count: int, pictures: int = 1, seed: int = 0, yaw: float = 0.0, side: str = "") -> DescribedPeople:
    """Made-up people with the photograph's cell twice and both halves, or one half alone."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(count), pictures)
    base = np.random.default_rng(7).normal(size=(count, 4, D))[person]
    cells = base + 0.4 * rng.normal(size=(len(person), 4, D))
    cells[:, 1] = cells[:, 0]
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    visible = np.tile({"": [True] * 4, "left": LEFT, "right": RIGHT}[side], (len(person), 1))
    group = np.where(person % 2 == 0, "asian woman", "white man")
    return DescribedPeople(
        (cells * visible[..., None]).astype(np.float32),
        visible,
        np.array([f"p{k:04d}" for k in person]),
        group,
        np.full(len(person), yaw, dtype=np.float32),
    )


def test_a_member_of_the_cohort_is_nobody() -> None:
    front = people(120)
    cohort = make_cohort(front, people(60, side="left", yaw=70.0), "c")
    own = front.cells.reshape(120, -1) @ cohort.cells[cohort.visible.all(axis=1)].reshape(-1, 4 * D).T / 4
    assert len(cohort.cells[cohort.visible.all(axis=1)]) == 40
    assert own.max() < 0.9  # no one's picture is a member
    assert (own > 0.4).sum(axis=1).max() >= 1


def test_the_cohort_shows_either_side_though_pictures_show_one() -> None:
    cohort = make_cohort(people(60), people(60, side="right", yaw=-70.0), "c")
    assert {tuple(p) for p in cohort.patterns.tolist()} == {(True,) * 4, tuple(LEFT), tuple(RIGHT)}
    left, right = (cohort.cells[(cohort.visible == side).all(axis=1)] for side in (LEFT, RIGHT))
    assert np.array_equal(left[:, 2], right[:, 3])
    assert not left[:, 3].any()
    assert np.allclose(np.linalg.norm(cohort.cells, axis=2)[cohort.visible], 1, atol=1e-5)
    near = make_cohort(people(60), people(60, side="right", yaw=-20.0), "c")
    assert len(near.patterns) == 1  # nearly frontal pictures say nothing about sides


def test_too_few_people_make_no_cohort() -> None:
    with pytest.raises(InvalidInputError, match="at least 3 people"):
        make_cohort(people(3), people(3, side="left", yaw=70.0), "c")


def test_strangers_are_paired_within_a_group_or_a_set_and_mates_are_apart() -> None:
    found = people(40, pictures=3, seed=1)
    scores = score_strangers(found, np.full(120, "celeba"), None)
    assert {name: len(v) for name, v in scores.alike.items()} == {"asian woman": 190, "white man": 190}
    assert len(scores.general["celeba"]) == 120 * 39
    assert len(scores.mates) == 40 * 2
    assert scores.mates.mean() > scores.general["celeba"].mean() + 0.5
    ((high, quantiles),) = mates_by_yaw(scores)
    assert high == 15.0
    assert quantiles[25] == pytest.approx(np.median(scores.mates), abs=1e-5)
    a, b = same_person_logit(scores)
    p = 1 / (1 + np.exp(-(a + b * np.array([scores.mates.mean(), scores.alike["white man"].mean()]))))
    assert p[0] > 0.9 > 0.1 > p[1]


def test_half_of_the_people_make_the_cohort_always_the_same() -> None:
    names = np.array([f"someone {k}" for k in range(400)])
    member = in_cohort(names)
    assert 150 < member.sum() < 250
    assert np.array_equal(member[::-1], in_cohort(names[::-1]))


def test_adults_have_a_group_and_others_their_set() -> None:
    person = np.array(["utkface 30_1_2_9", "utkface 7_1_2_9", "all-age-faces 00001A44", "celeba 12"])
    group = np.array(["asian", "asian", "asian", ""])
    source = np.array(["utkface", "utkface", "all-age-faces", "celeba"])
    assert group_names(person, group, source).tolist() == ["asian woman", "utkface", "asian woman", "celeba"]
