"""Grouping of faces into people."""

from __future__ import annotations

import itertools
import json
from types import ModuleType

import numpy as np
import pytest

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.clusters import ClusterSettings, cluster, cluster_cut
from facerec.recognition.shipped_impostors import SHIPPED_IMPOSTORS, ShippedImpostors
from facerec.recognition.signature import Signature


def groups(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def faces(
    pretend: ModuleType, people: int, pictures: int, yaws: tuple[float, ...] = (0.0,)
) -> tuple[list[Signature], list[int]]:
    """Signatures and whose they are, mixed."""
    made = [
        (pretend.signature(person, yaws[(person + picture) % len(yaws)], picture), person)
        for person in range(1, people + 1)
        for picture in range(pictures)
    ]
    order = np.random.default_rng(0).permutation(len(made))
    return [made[k][0] for k in order], [made[k][1] for k in order]


def alone(count: int) -> tuple[list[int], list[str | None]]:
    return list(range(count)), [None] * count


def test_people_are_found_across_pose(pretend: ModuleType) -> None:
    signatures, people = faces(pretend, 12, 6, (-75.0, 0.0, 75.0))
    labels = cluster(signatures, *alone(len(people)), cut=0.5)
    assert groups(labels) == groups(np.array(people))
    assert labels[0] == 0
    assert sorted(set(labels.tolist())) == list(range(12))


def test_two_profiles_that_share_no_cell_are_joined_by_the_frontal_between_them() -> None:
    rng = np.random.default_rng(3)
    cells = rng.normal(size=(8, 6)).astype(np.float32)
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)

    def seen(first: int, last: int) -> Signature:
        visible = (np.arange(8) >= first) & (np.arange(8) < last)
        return Signature(cells * visible[:, None], visible, "c")

    left, right = seen(0, 4), seen(4, 8)
    assert left.score(right) == (0.0, 0)
    assert groups(cluster([left, right], *alone(2), cut=0.5)) == {frozenset({0}), frozenset({1})}
    assert groups(cluster([left, right, seen(0, 8)], *alone(3), cut=0.5)) == {frozenset({0, 1, 2})}


def test_a_person_is_at_most_once_on_a_photograph(pretend: ModuleType) -> None:
    twins = [pretend.signature(1, 0.0, picture) for picture in range(4)]
    assert len(groups(cluster(twins, [0, 1, 2, 3], [None] * 4, cut=0.5))) == 1
    labels = cluster(twins, [0, 0, 1, 1], [None] * 4, cut=0.5)
    assert len(groups(labels)) == 2
    assert labels[0] != labels[1]
    assert labels[2] != labels[3]


def test_faces_of_one_name_are_one_group_and_two_names_are_two(pretend: ModuleType) -> None:
    signatures = [pretend.signature(1, 0.0, picture) for picture in range(4)]
    signatures.append(pretend.signature(2, 0.0, 0))
    labels = cluster(signatures, range(5), ["Anna", None, "Bo", None, "Anna"], cut=0.5)
    assert labels[0] == labels[4]
    assert labels[0] != labels[2]
    assert labels[1] in (labels[0], labels[2])  # what is unnamed may join either


def test_the_group_scores_are_those_of_all_pairs() -> None:
    """The slow exact twin: average linkage over the list of pairs, weighted by overlap."""
    rng = np.random.default_rng(5)
    visible = rng.random((24, 5)) < 0.7
    visible[:, 0] = True
    centres = rng.normal(size=(5, 5, 8))
    cells = centres[rng.integers(0, 5, 24)] + 0.9 * rng.normal(size=(24, 5, 8))
    cells = (cells / np.linalg.norm(cells, axis=2, keepdims=True) * visible[..., None]).astype(np.float32)
    signatures = [Signature(c, v, "c") for c, v in zip(cells, visible, strict=True)]
    photos = rng.integers(0, 12, 24).tolist()

    def alike(a: frozenset[int], b: frozenset[int]) -> float:
        sums = [(cells[i] * cells[j]).sum() for i in a for j in b]
        overlap = [(visible[i] & visible[j]).sum() for i in a for j in b]
        return float(np.sum(sums, dtype=np.float64)) / float(np.sum(overlap))

    slow = [frozenset({i}) for i in range(24)]
    while True:
        pairs = [
            (alike(a, b), a, b)
            for a, b in itertools.combinations(slow, 2)
            if {photos[i] for i in a}.isdisjoint(photos[i] for i in b)
        ]
        score, a, b = max(pairs, key=lambda pair: pair[0])
        if score < 0.3:
            break
        slow = [g for g in slow if g not in (a, b)] + [a | b]
    settings = ClusterSettings(reach=2.0, neighbours=24, block=7)
    assert groups(cluster(signatures, photos, [None] * 24, 0.3, settings)) == set(slow)


def test_the_block_size_changes_nothing(pretend: ModuleType) -> None:
    signatures, people = faces(pretend, 9, 5, (-60.0, 0.0, 60.0))
    expected = cluster(signatures, *alone(len(people)), cut=0.4)
    for block in (1, 8, 1000):
        np.testing.assert_array_equal(
            cluster(signatures, *alone(len(people)), cut=0.4, settings=ClusterSettings(block=block)), expected
        )


def test_wrong_input_is_named(pretend: ModuleType) -> None:
    one = pretend.signature(1, 0.0, 0)
    assert cluster([], [], [], 0.5).shape == (0,)
    with pytest.raises(InvalidInputError, match="1, 2, 1"):
        cluster([one], [0, 1], [None], 0.5)
    with pytest.raises(ContractError):
        cluster([one, pretend.signature(1, 0.0, 0, tag="b")], [0, 1], [None, None], 0.5)
    with pytest.raises(InvalidInputError):
        ClusterSettings(far=0)


def test_among_many_faces_the_cut_is_higher() -> None:
    contract = json.loads(next(SHIPPED_IMPOSTORS.glob("impostors-*.json")).read_text())["contract"]
    alike = ShippedImpostors.load(contract).alike
    few, many = cluster_cut(contract, 20), cluster_cut(contract, 10_000)
    assert few == alike.score_at(ClusterSettings().far)
    assert many == alike.score_at(ClusterSettings().strangers / 10_000) > few
