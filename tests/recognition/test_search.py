from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from facerec.landmarks.errors import ContractError, DeviceError, InvalidInputError
from facerec.recognition.masked_score import Product, Vectors, gpu_product, masked_scores, product_on
from facerec.recognition.search import MaskedSearch, SearchSettings
from facerec.recognition.signature import Signature, pack_regions
from facerec.recognition.store.records import EntryIndex

CELLS, DIMENSION = 16, 12

People = tuple[list[Signature], np.ndarray, list[str], list[Signature]]


def random_signatures(rng: np.random.Generator, n: int, contract: str = "c") -> list[Signature]:
    cells = rng.normal(size=(n, CELLS, DIMENSION))
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    visible = rng.random((n, CELLS)) < rng.random((n, 1))
    return [Signature((c * v[:, None]).astype(np.float32), v, contract) for c, v in zip(cells, visible, strict=True)]


def stacked(signatures: Sequence[Signature]) -> Vectors:
    return np.stack([s.cells for s in signatures]), np.stack([s.visible for s in signatures])


def search_of(
    entries: Sequence[Signature], person: ArrayLike, names: Sequence[str], product: Product = "faiss", **settings: Any
) -> MaskedSearch:
    cells, visible = stacked(entries)
    index = EntryIndex(100 + np.arange(len(entries)), np.asarray(person), tuple(names), np.arange(len(entries)))
    return MaskedSearch(
        index,
        (CELLS, DIMENSION),
        "c",
        lambda places: (cells[places], visible[places]),
        SearchSettings(**settings),
        product,
    )


@pytest.fixture
def people() -> People:
    rng = np.random.default_rng(3)
    entries = random_signatures(rng, 60)
    person = np.sort(rng.integers(0, 17, 60))
    present, person = np.unique(person, return_inverse=True)
    return entries, person, [f"p{i:02d}" for i in present], random_signatures(rng, 11)


def plain_search(
    entries: Sequence[Signature], person: np.ndarray, names: list[str], probe: Signature, k: int, least: int
) -> list[tuple[str, float, int]]:
    """The slow exact twin: every pair by Signature.score."""
    best: dict[str, tuple[float, int]] = {}
    for i, entry in enumerate(entries):
        score, overlap = probe.score(entry)
        name = names[person[i]]
        if overlap >= least and (name not in best or score > best[name][0]):
            best[name] = (score, 100 + i)
    return sorted(((name, *rest) for name, rest in best.items()), key=lambda m: (-m[1], m[0]))[:k]


@pytest.mark.parametrize("product", ["faiss", "numpy"])
def test_block_scores_are_those_of_signatures_one_by_one(product: Product) -> None:
    rng = np.random.default_rng(0)
    a, b = random_signatures(rng, 7), random_signatures(rng, 23)
    scores, overlap = masked_scores(stacked(a), stacked(b), product)
    one_by_one = np.array([[p.score(g) for g in b] for p in a])
    np.testing.assert_allclose(scores, one_by_one[:, :, 0], atol=1e-6)
    np.testing.assert_array_equal(overlap, one_by_one[:, :, 1])


def test_a_search_finds_what_scoring_every_pair_finds(people: People) -> None:
    entries, person, names, probes = people
    search = search_of(entries, person, names, min_overlap=0.25)
    for probe, result in zip(probes, search.search(probes, 6), strict=True):
        found = [(m.person, m.score, m.entry) for m in result.matches]
        assert found == plain_search(entries, person, names, probe, 6, 4)
        assert result.people == len(names)


def test_block_size_kept_vectors_and_probe_batches_do_not_change_the_result(people: People) -> None:
    entries, person, names, probes = people
    reference = search_of(entries, person, names).search(probes, 5)
    one = CELLS * (4 * DIMENSION + 1)
    chosen: tuple[dict[str, Any], ...] = (
        {"block_bytes": one},
        {"block_bytes": 7 * one, "kept_bytes": 0},
        {"score_bytes": 1},
    )
    for settings in chosen:
        results = search_of(entries, person, names, "faiss", **settings).search(probes, 5)
        for a, b in zip(reference, results, strict=True):
            assert [(m.person, m.score, m.entry) for m in a.matches] == [
                (m.person, m.score, m.entry) for m in b.matches
            ]


def test_pairs_below_the_least_overlap_do_not_score(people: People) -> None:
    entries, person, names, probes = people
    probe = next(p for p in probes if p.visible.sum() >= 4)
    strict = search_of(entries, person, names, min_overlap=1.0).search([probe])[0]
    assert strict.matches == ()
    assert strict.comparable == 0
    assert 0 < strict.largest_overlap < 1


def test_a_match_states_how_much_of_the_texture_both_saw_and_whether_it_is_a_known_stranger() -> None:
    probe, entry = random_signatures(np.random.default_rng(4), 2)
    left, top = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    left[:, :8], top[:8] = True, True
    probe, entry = replace(probe, regions=left), replace(entry, regions=top)
    rows = [(100, "ann", "a", b""), (101, "bob", "b", pack_regions(top)), (102, "poster", "c", pack_regions(left))]
    cells, visible = stacked([entry, entry, entry])
    index = EntryIndex.of(rows, frozenset({"poster", "gone"}))
    assert index.nobodies == {"poster"}
    search = MaskedSearch(
        index, (CELLS, DIMENSION), "c", lambda at: (cells[at], visible[at]), SearchSettings(min_overlap=0)
    )
    (found,) = search.search([probe], 3)
    said = {match.person: (match.overlap, match.nobody) for match in found.matches}
    assert said == {"ann": (None, False), "bob": (0.25, False), "poster": (0.5, True)}
    assert probe.overlap(entry) == 0.25


def test_equal_scores_rank_by_name_then_by_entry() -> None:
    rng = np.random.default_rng(1)
    twin = random_signatures(rng, 1)[0]
    result = search_of([twin, twin, twin], [0, 1, 1], ["ann", "bob"], min_overlap=0).search([twin], 2)[0]
    assert [(m.person, m.entry) for m in result.matches] == [("ann", 100), ("bob", 101)]


def test_an_empty_gallery_answers_with_nobody() -> None:
    empty = EntryIndex(np.zeros(0, np.int64), np.zeros(0, np.int64), (), np.zeros(0, np.int64))
    probe = random_signatures(np.random.default_rng(1), 1)[0]
    search = MaskedSearch(empty, (0, 0), "c", lambda ids: pytest.fail("nothing to read"))
    result = search.search([probe])[0]
    assert (result.matches, result.people, result.comparable) == ((), 0, 0)


def test_probes_of_another_contract_or_shape_are_refused(people: People) -> None:
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
def test_the_least_overlap_counts_whole_cells(share: float, cells: int, least: int) -> None:
    assert SearchSettings(min_overlap=share).least_cells(cells) == least


class FakeGpu:
    """Stands where a FAISS with GPU support does; multiplies with numpy and notes what it was asked."""

    METRIC_INNER_PRODUCT = 0
    __version__ = "1.99"

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.asked: list[tuple[int, int]] = []

    def get_num_gpus(self) -> int:
        return self.gpus

    class StandardGpuResources:
        pass

    def pairwise_distance_gpu(
        self,
        resources: object,
        xq: np.ndarray,
        xb: np.ndarray,
        D: object = None,
        metric: int | None = None,
        device: int = -1,
    ) -> np.ndarray:
        assert isinstance(resources, self.StandardGpuResources)
        assert (metric, device) == (self.METRIC_INNER_PRODUCT, 0)
        assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in (xq, xb))
        self.asked.append((len(xq), len(xb)))
        return np.asarray(xq @ xb.T)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], FakeGpu]:
    def install(gpus: int) -> FakeGpu:
        fake = FakeGpu(gpus)
        monkeypatch.setitem(sys.modules, "faiss", fake)
        return fake

    return install


def test_a_search_on_the_gpu_answers_as_one_on_the_cpu(people: People, fake_gpu: Callable[[int], FakeGpu]) -> None:
    entries, person, names, probes = people
    wanted = search_of(entries, person, names).search(probes, 5)
    fake = fake_gpu(1)
    for device in ("cuda", "auto"):
        fake.asked.clear()
        search = search_of(entries, person, names, product_on(device), block_bytes=5000)
        for a, b in zip(search.search(probes, 5), wanted, strict=True):
            assert [(m.person, m.score, m.entry) for m in a.matches] == [
                (m.person, m.score, m.entry) for m in b.matches
            ]
            assert (a.comparable, a.largest_overlap) == (b.comparable, b.largest_overlap)
        assert sum(rows for _, rows in fake.asked) == 2 * len(entries)  # each block for the sums and for the overlaps
        assert {probes_at_once for probes_at_once, _ in fake.asked} == {len(probes)}


def test_cuda_without_a_gpu_for_faiss_is_an_error_and_auto_takes_the_cpu(fake_gpu: Callable[[int], FakeGpu]) -> None:
    with pytest.raises(DeviceError, match=r"built without GPU support .* facerec\[gpu\] in place of faiss-cpu"):
        product_on("cuda")
    assert product_on("auto") == product_on("cpu") == "faiss"
    with pytest.raises(InvalidInputError, match="'auto', 'cpu' or 'cuda'; got 'tpu'"):
        product_on("tpu")
    fake_gpu(1)
    with pytest.raises(DeviceError, match="it finds 1 GPUs"):
        gpu_product(1)
