from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.gallery import EntryIndex
from facerec.recognition.search import MaskedSearch, SearchSettings, masked_scores
from facerec.recognition.signature import Signature

CELLS, DIMENSION = 16, 12


def random_signatures(rng, n, contract="c"):
    cells = rng.normal(size=(n, CELLS, DIMENSION))
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    visible = rng.random((n, CELLS)) < rng.random((n, 1))
    return [Signature((c * v[:, None]).astype(np.float32), v, contract) for c, v in zip(cells, visible, strict=True)]


def stacked(signatures):
    return np.stack([s.cells for s in signatures]), np.stack([s.visible for s in signatures])


def search_of(entries, person, names, **settings):
    cells, visible = stacked(entries)
    index = EntryIndex(100 + np.arange(len(entries)), np.asarray(person), tuple(names), np.arange(len(entries)))
    return MaskedSearch(
        index,
        (CELLS, DIMENSION),
        "c",
        lambda places: (cells[places], visible[places]),
        SearchSettings(**settings),
    )


@pytest.fixture
def people():
    rng = np.random.default_rng(3)
    entries = random_signatures(rng, 60)
    person = np.sort(rng.integers(0, 17, 60))
    present, person = np.unique(person, return_inverse=True)
    return entries, person, [f"p{i:02d}" for i in present], random_signatures(rng, 11)


def plain_search(entries, person, names, probe, k, least):
    """The slow exact twin: every pair by Signature.score."""
    best = {}
    for i, entry in enumerate(entries):
        score, overlap = probe.score(entry)
        name = names[person[i]]
        if overlap >= least and (name not in best or score > best[name][0]):
            best[name] = (score, overlap / CELLS, 100 + i)
    return sorted(((name, *rest) for name, rest in best.items()), key=lambda m: (-m[1], m[0]))[:k]


@pytest.mark.parametrize("product", ["faiss", "numpy"])
def test_block_scores_are_those_of_signatures_one_by_one(product):
    rng = np.random.default_rng(0)
    a, b = random_signatures(rng, 7), random_signatures(rng, 23)
    scores, overlap = masked_scores(stacked(a), stacked(b), product)
    one_by_one = np.array([[p.score(g) for g in b] for p in a])
    np.testing.assert_allclose(scores, one_by_one[:, :, 0], atol=1e-6)
    np.testing.assert_array_equal(overlap, one_by_one[:, :, 1])


def test_a_search_finds_what_scoring_every_pair_finds(people):
    entries, person, names, probes = people
    search = search_of(entries, person, names, min_overlap=0.25)
    for probe, result in zip(probes, search.search(probes, 6), strict=True):
        found = [(m.person, m.score, m.overlap, m.entry) for m in result.matches]
        assert found == plain_search(entries, person, names, probe, 6, 4)
        assert result.people == len(names)


def test_block_size_kept_vectors_and_probe_batches_do_not_change_the_result(people):
    entries, person, names, probes = people
    reference = search_of(entries, person, names).search(probes, 5)
    one = CELLS * (4 * DIMENSION + 1)
    for settings in ({"block_bytes": one}, {"block_bytes": 7 * one, "kept_bytes": 0}, {"score_bytes": 1}):
        results = search_of(entries, person, names, **settings).search(probes, 5)
        for a, b in zip(reference, results, strict=True):
            assert [(m.person, m.score, m.entry) for m in a.matches] == [
                (m.person, m.score, m.entry) for m in b.matches
            ]


def test_pairs_below_the_least_overlap_do_not_score(people):
    entries, person, names, probes = people
    probe = next(p for p in probes if p.visible.sum() >= 4)
    strict = search_of(entries, person, names, min_overlap=1.0).search([probe])[0]
    assert strict.matches == ()
    assert strict.comparable == 0
    assert 0 < strict.largest_overlap < 1


def test_equal_scores_rank_by_name_then_by_entry():
    rng = np.random.default_rng(1)
    twin = random_signatures(rng, 1)[0]
    result = search_of([twin, twin, twin], [0, 1, 1], ["ann", "bob"], min_overlap=0).search([twin], 2)[0]
    assert [(m.person, m.entry) for m in result.matches] == [("ann", 100), ("bob", 101)]


def test_an_empty_gallery_answers_with_nobody():
    empty = EntryIndex(np.zeros(0, np.int64), np.zeros(0, np.int64), (), np.zeros(0, np.int64))
    probe = random_signatures(np.random.default_rng(1), 1)[0]
    search = MaskedSearch(empty, (0, 0), "c", lambda ids: pytest.fail("nothing to read"))
    result = search.search([probe])[0]
    assert (result.matches, result.people, result.comparable) == ((), 0, 0)


def test_probes_of_another_contract_or_shape_are_refused(people):
    entries, person, names, _ = people
    search = search_of(entries, person, names)
    rng = np.random.default_rng(1)
    with pytest.raises(ContractError, match="contract"):
        search.search(random_signatures(rng, 1, "other"))
    with pytest.raises(InvalidInputError, match="shape"):
        search.search([Signature(np.zeros((3, 4), np.float32), np.zeros(3, bool), "c")])
    with pytest.raises(InvalidInputError, match="k >= 1"):
        search.search([], 0)


@pytest.mark.parametrize(("share", "cells", "least"), [(0.15, 20, 3), (0.125, 64, 8), (0.0, 64, 1), (0.13, 64, 9)])
def test_the_least_overlap_counts_whole_cells(share, cells, least):
    assert SearchSettings(min_overlap=share).least_cells(cells) == least
