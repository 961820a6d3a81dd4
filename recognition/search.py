"""Search of a gallery by the masked score, exact unless an index is requested.

With seen cells of unit length and unseen cells zero, two inner products give the masked score of the literature: <E_g,
E_p> is the sum of the cosines over the cells that both pictures saw, <O_g, O_p> is their number k, and S = <E_g, E_p> /
k. Entries are ranked by the quotient, not by the first product, so an exact search needs every score; both products are
computed block by block (FAISS), in bounded memory. Entries near the top are then scored again one by one, so the answer
depends neither on the size of the blocks nor on the number of threads or probes. A large gallery that is searched often
is kept as 8-bit vectors, which give all entries that may be near the top (`byte_index`). An approximate index
(`shortlist`) only gives candidates, which are scored and ranked by the same exact masked score.

Where the descriptor has a cohort of strangers, the best `RANKED_AGAIN` people by the masked score are ranked by the
normalised one (see `cohort`), which is the score of a match.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.byte_index import ByteIndex
from facerec.recognition.cohort import shipped_cohort
from facerec.recognition.masked_score import Overlap, Product, Vectors, masked_scores
from facerec.recognition.signature import Match, Signature, shared_regions
from facerec.recognition.store.records import EntryIndex
from facerec.recognition.store.sqlite_reading import GalleryReader
from facerec.recognition.store.vector_file import NoIndexError, VectorFile

IndexMethod = Literal["ivf", "hnsw", "pq"]
"""Approximate indexes: inverted lists, a navigable graph, product quantisation."""

SearchMethod = Literal["exact"] | IndexMethod
"""Score every entry, or those that an approximate index returns."""

RANKED_AGAIN = 64
"""People, the best by their masked score, among whom the normalised score decides. The levels of a probe's candidates
differ by a few hundredths, by which few but the first ten change places."""


@dataclass(frozen=True)
class SearchSettings:
    """How a gallery is searched.

    Attributes:
        min_overlap: share of the cells that two pictures must both have seen to be compared, in [0, 1]. An eighth
            (8 of 64 cells): the mean of fewer cosines scatters so much that strangers reach any threshold.
        kept_bytes: galleries whose vectors are no larger stay in memory; larger ones are mapped when they have an
            index file (`facerec gallery index`), otherwise read for each batch of probes. 1 GiB fits beside the models
            on a laptop.
        block_bytes: vectors multiplied at a time. 64 MiB is far past where the product's speed levels off.
        score_bytes: scores held at a time; sets how many probes share one pass over a large gallery.
        margin: entries whose blockwise score is this close to the best are scored again one by one. float32 sums in
            another order differ by some 1e-6, so this is a hundred times what is needed.
        byte_entries: galleries of at least so many entries are searched by their bytes (`byte_index`), with the same
            answers. Smaller ones take 2 ms per probe as they are.
        byte_probes: probes that are searched before the bytes are made: making them takes as long as 60 probes do.
    """

    min_overlap: float = 0.125
    kept_bytes: int = 1 << 30
    block_bytes: int = 64 << 20
    score_bytes: int = 256 << 20
    margin: float = 1e-4
    byte_entries: int = 20_000
    byte_probes: int = 64

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_overlap <= 1.0:
            raise InvalidInputError(f"expected a least overlap in [0, 1]; got {self.min_overlap}")
        if min(self.kept_bytes, self.block_bytes, self.score_bytes) < 0 or self.margin <= 0:
            raise InvalidInputError("expected sizes of at least 0 bytes and a margin above 0")

    def least_cells(self, cells: int) -> int:
        """Number of cells both must have seen, at least 1, of `cells`."""
        # A hair is taken off before rounding up: 0.15 * 20 is 3.0000000000000004 cells in floating point.
        return max(1, math.ceil(self.min_overlap * cells - 1e-9))


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The result of searching one probe.

    Attributes:
        matches: the best entry of each of the best people, best first; at most k, only people that could be compared.
        people: number of people in the gallery.
        comparable: how many of them have an entry that shares enough cells with the probe; None when only a shortlist
            was looked at.
        largest_overlap: largest share of cells that any entry looked at has in common with the probe, in [0, 1].
    """

    matches: tuple[Match, ...]
    people: int
    comparable: int | None
    largest_overlap: float


class Shortlist(Protocol):
    """Returns the entries to score (see `shortlist.ShortlistIndex`)."""

    def places(self, cells: NDArray[np.float32], visible: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """For each probe of cells (P, C, D) and visibility (P, C): places in the index, ascending, each once."""
        ...


class Search(Protocol):
    """The part of a search that identification needs: `MaskedSearch`, or that of a Milvus gallery."""

    @property
    def contract(self) -> str:
        """Contract of the entries."""
        ...

    @property
    def settings(self) -> SearchSettings:
        """How it searches."""
        ...

    @property
    def reads_gallery(self) -> bool:
        """Whether the gallery must stay open as long as the search is used."""
        ...

    def search(self, probes: Sequence[Signature], k: int = 5) -> list[SearchResult]:
        """The `k` best people for each probe."""
        ...


class MaskedSearch:
    """Searches one gallery. Holds no state that a search changes, so several threads may share it."""

    def __init__(
        self,
        index: EntryIndex,
        shape: tuple[int, int],
        contract: str,
        rows: Callable[[slice | NDArray[np.int64]], Vectors],
        settings: SearchSettings | None = None,
        product: Product = "faiss",
        shortlist: Shortlist | None = None,
    ) -> None:
        """Search the entries of `index`.

        Args:
            index: the entries in their fixed order, grouped by person.
            shape: (C, D) of a signature.
            contract: the contract of the entries.
            rows: gives the vectors of entries by their places in `index`.
            settings: see `SearchSettings`.
            product: who multiplies.
            shortlist: score only what it names; None: score every entry.
        """
        self.settings = settings or SearchSettings()
        self.reads_gallery = False
        self.index = index
        self.contract = contract
        self._shape = shape
        self._rows = rows
        self._product: Product = product
        self._shortlist = shortlist
        self._entry_bytes = 4 * shape[0] * shape[1] + shape[0]
        self._cohort = shipped_cohort(contract)
        self._asked = 0
        self._bytes: ByteIndex | None = None
        self._bytes_lock = threading.Lock()

    @classmethod
    def of(
        cls,
        gallery: GalleryReader,
        settings: SearchSettings | None = None,
        product: Product = "faiss",
    ) -> MaskedSearch:
        """Search every entry of `gallery`, which must stay open while the search is used if it `reads_gallery`.

        Args:
            gallery: open.
            settings: see `SearchSettings`.
            product: who multiplies.
        """
        settings = settings or SearchSettings()
        shape, contract = gallery.shape, gallery.contract_digest
        with contextlib.suppress(NoIndexError):
            mapped = VectorFile.open(gallery)
            return cls(mapped.index, shape, contract, mapped.rows, settings, product)
        index = gallery.index()
        if len(index.ids) * (4 * shape[0] * shape[1] + shape[0]) <= settings.kept_bytes:
            cells, visible = gallery.vectors(index.ids)
            return cls(index, shape, contract, lambda places: (cells[places], visible[places]), settings, product)
        search = cls(index, shape, contract, lambda places: gallery.vectors(index.ids[places]), settings, product)
        search.reads_gallery = True
        return search

    def search(self, probes: Sequence[Signature], k: int = 5) -> list[SearchResult]:
        """The `k` best people for each probe, each with the best of their entries.

        People rank by score, those of equal score by name; entries of equal score by their order in the gallery.

        Raises:
            ContractError: a probe was made under another contract.
            InvalidInputError: a probe has another shape, or `k` is below 1.
        """
        if k < 1:
            raise InvalidInputError(f"expected at least one candidate, k >= 1; got {k}")
        for probe in probes:
            if probe.contract != self.contract:
                raise ContractError(
                    f"expected probes of the gallery's contract {self.contract[:12]}; got {probe.contract[:12]}"
                )
            if len(self.index.ids) and probe.cells.shape != self._shape:
                raise InvalidInputError(f"expected probes of shape {self._shape}; got {probe.cells.shape}")
        if not len(self.index.ids):
            return [SearchResult((), 0, 0, 0.0) for _ in probes]
        if self._shortlist is not None:
            return self._search_named(probes, self._shortlist.places(*_stack(probes)), k)
        by_bytes = self._byte_index(len(probes))
        if by_bytes is not None:
            return self._search_bytes(by_bytes, probes, k)
        # The scores of a block of probes are held at once, so that one pass over a large gallery serves them all.
        at_once = max(1, self.settings.score_bytes // (8 * len(self.index.ids)))
        found: list[SearchResult] = []
        for start in range(0, len(probes), at_once):
            found += self._search_all(probes[start : start + at_once], k)
        return found

    def _byte_index(self, probes: int) -> ByteIndex | None:
        """The gallery's bytes, where so many probes were asked for that they pay; None: multiply floats."""
        settings, size = self.settings, self._shape[0] * self._shape[1] * len(self.index.ids)
        if self._product != "faiss" or len(self.index.ids) < settings.byte_entries or size > settings.kept_bytes:
            return None
        with self._bytes_lock:
            asked, self._asked = self._asked, self._asked + probes
            if asked <= settings.byte_probes < self._asked:  # once
                step = max(1, settings.block_bytes // self._entry_bytes)
                self._bytes = ByteIndex.build(self._rows, self.index.person, step)
            return self._bytes

    def _search_bytes(self, by_bytes: ByteIndex, probes: Sequence[Signature], k: int) -> list[SearchResult]:
        least = self.settings.least_cells(self._shape[0])
        named = by_bytes.named(_stack(probes), self._ranked_people(k), least, self.settings.margin)
        return [
            replace(
                result,
                comparable=by_bytes.comparable(probe.visible, least),
                largest_overlap=by_bytes.largest_overlap(probe.visible) / self._shape[0],
            )
            for probe, result in zip(probes, self._search_named(probes, named, k), strict=True)
        ]

    def _search_all(self, probes: Sequence[Signature], k: int) -> list[SearchResult]:
        stacked = _stack(probes)
        total = len(self.index.ids)
        scores = np.empty((len(probes), total), dtype=np.float32)
        largest = np.zeros(len(probes), dtype=np.float32)
        step = max(1, self.settings.block_bytes // self._entry_bytes)
        for start in range(0, total, step):
            rows = slice(start, min(start + step, total))
            scores[:, rows], overlap = self._block_scores(stacked, self._rows(rows))
            largest = np.maximum(largest, overlap.max(axis=1))
        first = np.searchsorted(self.index.person, np.arange(len(self.index.names)))
        everyone = np.arange(total)
        found = []
        for probe, row, most in zip(probes, scores, largest, strict=True):
            best = np.maximum.reduceat(row, first)
            found.append(self._rank(probe, everyone, row, first, best, k, int(np.isfinite(best).sum()), float(most)))
        return found

    def _search_named(
        self, probes: Sequence[Signature], named: Sequence[NDArray[np.int64]], k: int
    ) -> list[SearchResult]:
        """The answers when only the entries at the places `named` for each probe are looked at."""
        stacked = _stack(probes)
        found = []
        for i, (probe, places) in enumerate(zip(probes, named, strict=True)):
            one = stacked[0][i : i + 1], stacked[1][i : i + 1]
            scores, overlap = (part[0] for part in self._block_scores(one, self._rows(places)))
            first = np.flatnonzero(np.diff(self.index.person[places], prepend=-1))
            best = np.maximum.reduceat(scores, first) if len(places) else scores
            found.append(self._rank(probe, places, scores, first, best, k, None, float(overlap.max(initial=0))))
        return found

    def _block_scores(self, probes: Vectors, gallery: Vectors) -> tuple[NDArray[np.float32], Overlap]:
        scores, overlap = masked_scores(probes, gallery, self._product)
        scores[overlap < self.settings.least_cells(self._shape[0])] = -np.inf
        return scores, overlap

    def _rank(
        self,
        probe: Signature,
        places: NDArray[np.int64],
        scores: NDArray[np.float32],
        first: NDArray[np.int64],
        best: NDArray[np.float32],
        k: int,
        comparable: int | None,
        largest: float,
    ) -> SearchResult:
        """Rank people by the `scores` (M,) of the entries at `places` (M,), which are grouped by person: those of the
        g-th begin at `first[g]`, the best of them is `best[g]`."""
        kept = min(self._ranked_people(k), int(np.isfinite(best).sum()))
        matches: list[Match] = []
        if kept:
            bound = np.partition(best, len(best) - kept)[len(best) - kept] - self.settings.margin
            # Whoever may be among the k best, with every entry that may be the best of its person.
            near: list[NDArray[np.int64]] = []
            for g in np.flatnonzero(best >= bound).tolist():
                own = slice(first[g], first[g + 1] if g + 1 < len(first) else len(scores))
                near.append(places[own][scores[own] >= max(bound, best[g] - self.settings.margin)])
            matches = self._score_again(probe, np.concatenate(near), kept)[:k]
        return SearchResult(tuple(matches), len(self.index.names), comparable, largest / self._shape[0])

    def _ranked_people(self, k: int) -> int:
        """How many people, the best by their masked score, are looked at for the best `k`."""
        return k if self._cohort is None else max(k, RANKED_AGAIN)

    def _score_again(self, probe: Signature, places: NDArray[np.int64], kept: int) -> list[Match]:
        """The `kept` best people by the masked score of their best entry at `places`, ranked by the normalised one."""
        cells, visible = self._rows(places)
        best: dict[int, tuple[float, int]] = {}
        scores, people = probe.scores(cells, visible, self.contract).tolist(), self.index.person[places].tolist()
        for row, (person, score) in enumerate(zip(people, scores, strict=True)):
            if person not in best or score > best[person][0]:
                best[person] = score, row
        ordered = sorted(best.items(), key=lambda item: (-item[1][0], self.index.names[item[0]]))[:kept]
        rows = np.array([row for _, (_, row) in ordered], dtype=np.int64)
        level = np.zeros(len(rows), dtype=np.float32)
        if self._cohort is not None and len(rows):
            own = self._cohort.levels(probe.cells[None], probe.visible[None])
            level = own.against(self._cohort.levels(cells[rows], visible[rows]))[0]
        matches = [
            Match(
                person=self.index.names[person],
                score=score - float(off),
                overlap=shared_regions(probe.regions, self.index.seen(int(places[row]))),
                entry=int(self.index.ids[places[row]]),
                nobody=self.index.names[person] in self.index.nobodies,
                level=float(off),
            )
            for (person, (score, row)), off in zip(ordered, level, strict=True)
        ]
        return sorted(matches, key=lambda match: (-match.score, match.person))


def _stack(probes: Sequence[Signature]) -> Vectors:
    return np.stack([p.cells for p in probes]), np.stack([p.visible for p in probes])
