from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.recognition import byte_index
from facerec.recognition.byte_index import MOST_PATTERNS, ByteIndex
from facerec.recognition.search import MaskedSearch, SearchResult, SearchSettings
from facerec.recognition.signature import Signature
from facerec.recognition.store.records import EntryIndex

CELLS, DIMENSION = 3, 32
BYTES = SearchSettings(byte_entries=1, byte_probes=0, block_bytes=300 * 4 * CELLS * DIMENSION)
FLOATS = SearchSettings(byte_entries=10**9)


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def masked(rng: np.random.Generator, cells: np.ndarray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """With a random part of their cells unseen, at least one seen."""
    visible = rng.random(cells.shape[:2]) < 0.7
    visible[np.arange(len(cells)), rng.integers(0, CELLS, len(cells))] = True
    return (unit(cells) * visible[:, :, None]).astype(np.float32), visible


def random_rows(rng: np.random.Generator, n: int, people: int) -> np.ndarray:
    """Everybody as far from everybody else as chance has it."""
    return rng.normal(size=(n, CELLS, DIMENSION))


def realistic_rows(rng: np.random.Generator, n: int, people: int) -> np.ndarray:
    """As a network gives them: a few strong directions, people in clusters, some pictures twice."""
    spread = 1 / np.sqrt(1 + np.arange(DIMENSION))
    center = rng.normal(size=(people, 1, DIMENSION)) * spread
    rows = center[np.arange(n) * people // n] + 0.3 * rng.normal(size=(n, CELLS, DIMENSION)) * spread
    rows[1::50] = rows[::50][: len(rows[1::50])]
    return rows


def one_hot_rows(rng: np.random.Generator, n: int, people: int) -> np.ndarray:
    """The worst for whole numbers: one entry uses the whole range, so that the others have few levels left."""
    rows = random_rows(rng, n, people)
    rows[n // 2] = 0
    rows[n // 2, :, 0] = 1
    return rows


def search_of(
    cells: NDArray[np.float32], visible: NDArray[np.bool_], people: int, settings: SearchSettings
) -> MaskedSearch:
    person = np.arange(len(cells)) * people // len(cells)
    index = EntryIndex(np.arange(len(cells)), person, tuple(f"p{i:04d}" for i in range(people)), np.arange(len(cells)))
    return MaskedSearch(index, (CELLS, DIMENSION), "c", lambda at: (cells[at], visible[at]), settings)


def answers(results: Sequence[SearchResult]) -> list[object]:
    return [
        ([(m.person, m.score, m.overlap, m.entry) for m in r.matches], r.people, r.comparable, r.largest_overlap)
        for r in results
    ]


@pytest.mark.parametrize("rows", [random_rows, realistic_rows, one_hot_rows])
@pytest.mark.parametrize("people", [1000, 7, 3])
def test_bytes_give_the_answers_of_floats(
    rows: Callable[[np.random.Generator, int, int], np.ndarray], people: int
) -> None:
    rng = np.random.default_rng(people)
    cells, visible = masked(rng, rows(rng, 2000, people))
    near = cells[:20] + 0.05 * rng.normal(size=(20, CELLS, DIMENSION))
    probes = [Signature(*one, "c") for one in zip(*masked(rng, np.concatenate([near, rows(rng, 20, 20)])), strict=True)]
    by_bytes, by_floats = (search_of(cells, visible, people, settings) for settings in (BYTES, FLOATS))
    expected = answers(by_floats.search(probes, 5))
    assert answers(by_bytes.search(probes, 5)) == expected
    assert answers([by_bytes.search([probe], 5)[0] for probe in probes]) == expected


def test_a_list_that_is_too_short_grows_until_it_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries of one person fill the top of the list, the second person comes far below."""
    rng = np.random.default_rng(0)
    cells, visible = masked(rng, realistic_rows(rng, 1500, 3))
    probe = [Signature(cells[0], visible[0], "c")]
    expected = answers(search_of(cells, visible, 3, FLOATS).search(probe, 3))
    search = search_of(cells, visible, 3, BYTES)
    assert answers(search.search(probe, 3)) == expected
    monkeypatch.setattr(byte_index, "_MOST", 64)
    assert answers(search.search(probe, 3)) == expected


def test_few_entries_are_named() -> None:
    rng = np.random.default_rng(1)
    cells, visible = masked(rng, random_rows(rng, 4000, 4000))
    index = ByteIndex.build(lambda at: (cells[at], visible[at]), np.arange(4000), 1000)
    assert index is not None
    for count in (1, 8):
        named = index.named((cells[:count], visible[:count]), 1, 1, 1e-4)
        assert all(i in own for i, own in enumerate(named))
        assert max(len(own) for own in named) < 10


def test_the_bytes_are_made_once_when_enough_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    cells, visible = masked(rng, random_rows(rng, 60, 30))
    made: list[ByteIndex | None] = []
    build = ByteIndex.build

    def counted(*args: Any) -> ByteIndex | None:
        made.append(build(*args))
        return made[-1]

    monkeypatch.setattr(ByteIndex, "build", counted)
    search = search_of(cells, visible, 30, SearchSettings(byte_entries=60, byte_probes=2))
    probe = Signature(cells[0], visible[0], "c")
    said = [answers(search.search([probe])) for _ in range(5)]
    assert len(made) == 1
    assert all(one == said[0] for one in said)


def test_a_signature_of_many_cells_is_searched_as_floats() -> None:
    rng = np.random.default_rng(3)
    visible = rng.random((200, 16)) < 0.5
    assert len(np.unique(visible, axis=0)) > MOST_PATTERNS
    cells = (unit(rng.normal(size=(200, 16, 4))) * visible[:, :, None]).astype(np.float32)
    assert ByteIndex.build(lambda at: (cells[at], visible[at]), np.arange(200), 50) is None


def test_products_of_many_probes_are_exact_at_the_largest_numbers() -> None:
    """Two products of 8 bits are added in 16 where the processor has nothing better: they must not be cut off."""
    codes = np.array([[255] * 64, [0, 1] * 32, [128] * 64], dtype=np.uint8)
    most = int(byte_index._HALF)
    probes = np.array([[most] * 64, [-most] * 64, [most, -most] * 32], dtype=np.int8).T
    exact = (codes.astype(int) - 128) @ probes.astype(int)
    assert (byte_index._multiply(codes, np.ascontiguousarray(probes)) == exact).all()
