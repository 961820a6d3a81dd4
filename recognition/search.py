"""Exact search of a gallery by the masked score.

With seen cells of unit length and unseen cells zero, two inner products give the masked score of the literature:
<E_g, E_p> is the sum of the cosines over the cells that both pictures saw, <O_g, O_p> is their number k, and
S = <E_g, E_p> / k. The quotient ranks, not the first product, so an exact search needs every score; both products are
computed block by block (FAISS), in bounded memory. Who is near the top is then scored again one by one, so the answer
depends neither on the size of the blocks nor on the number of threads or probes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.gallery import EntryIndex, Gallery
from facerec.recognition.signature import Match, Signature

Vectors = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Cells (N, C, D) float32 and visibility (N, C) of N entries."""

Product = Literal["faiss", "numpy"]
"""Who multiplies: FAISS, or numpy as its plain twin."""


@dataclass(frozen=True)
class SearchSettings:
    """How a gallery is searched.

    Attributes:
        min_overlap: share of the cells that two pictures must both have seen to be compared, in [0, 1]. An eighth
            (8 of 64 cells): the mean of fewer cosines scatters so much that strangers reach any threshold.
        kept_bytes: galleries whose vectors are no larger stay in memory; larger ones are read for each batch of
            probes. 1 GiB fits beside the models on a laptop.
        block_bytes: vectors multiplied at a time. 64 MiB is far past where the product's speed levels off.
        score_bytes: scores held at a time; sets how many probes share one pass over a large gallery.
        margin: entries whose blockwise score is this close to the best are scored again one by one. float32 sums in
            another order differ by some 1e-6, so this is a hundred times what is needed.
    """

    min_overlap: float = 0.125
    kept_bytes: int = 1 << 30
    block_bytes: int = 64 << 20
    score_bytes: int = 256 << 20
    margin: float = 1e-4

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
    """What the gallery says about one probe.

    Attributes:
        matches: the best entry of each of the best people, best first; at most k, only people that could be compared.
        people: number of people in the gallery.
        comparable: how many of them have an entry that shares enough cells with the probe.
        largest_overlap: largest share of cells that any entry has in common with the probe, in [0, 1].
    """

    matches: tuple[Match, ...]
    people: int
    comparable: int
    largest_overlap: float


def masked_scores(probes: Vectors, gallery: Vectors, product: Product = "faiss") -> tuple[NDArray[np.float32], Overlap]:
    """Masked scores and overlaps of all pairs.

    Args:
        probes: cells (P, C, D) and visibility (P, C).
        gallery: cells (N, C, D) and visibility (N, C).
        product: who multiplies.

    Returns:
        (P, N) float32 scores, 0 where no cell was seen by both, and (P, N) float32 numbers of cells seen by both.
    """
    (p_cells, p_seen), (g_cells, g_seen) = probes, gallery
    if p_cells.shape[1:] != g_cells.shape[1:]:
        raise InvalidInputError(
            f"expected signatures of one shape (C, D); got {p_cells.shape[1:]}, {g_cells.shape[1:]}"
        )
    width = p_cells.shape[1] * p_cells.shape[2]
    sums = _inner(p_cells.reshape(-1, width), g_cells.reshape(-1, width), product)
    overlap = _inner(p_seen.astype(np.float32), g_seen.astype(np.float32), product)
    return np.divide(sums, overlap, out=np.zeros_like(sums), where=overlap > 0), overlap


Overlap = NDArray[np.float32]
"""(P, N) number of cells seen by both, exact in float32."""


class MaskedSearch:
    """Searches one gallery. Holds no state that a search changes, so several threads may share it."""

    def __init__(
        self,
        index: EntryIndex,
        shape: tuple[int, int],
        contract: str,
        vectors: Callable[[NDArray[np.int64]], Vectors],
        settings: SearchSettings | None = None,
        product: Product = "faiss",
    ) -> None:
        """Search the entries of `index`.

        Args:
            index: the entries in their fixed order, grouped by person.
            shape: (C, D) of a signature.
            contract: the contract of the entries.
            vectors: gives the vectors of entries by identifier.
            settings: see `SearchSettings`.
            product: who multiplies.
        """
        self.settings = settings or SearchSettings()
        self.index = index
        self.contract = contract
        self._shape = shape
        self._vectors = vectors
        self._product: Product = product
        self._entry_bytes = 4 * shape[0] * shape[1] + shape[0]
        self._kept: Vectors | None = None
        if 0 < len(index.ids) * self._entry_bytes <= self.settings.kept_bytes:
            self._kept = vectors(index.ids)
        # First entry of each person: entries are grouped, so a person's best is one segment's maximum.
        self._first = np.searchsorted(index.person, np.arange(len(index.names)))

    @classmethod
    def of(cls, gallery: Gallery, settings: SearchSettings | None = None, product: Product = "faiss") -> MaskedSearch:
        """Search `gallery`, which must stay open as long as the search is used (small ones are read at once)."""
        return cls(gallery.index(), gallery.shape, gallery.contract_digest, gallery.vectors, settings, product)

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
        at_once = max(1, self.settings.score_bytes // (8 * len(self.index.ids)))
        found: list[SearchResult] = []
        for start in range(0, len(probes), at_once):
            found += self._search(probes[start : start + at_once], k)
        return found

    def _search(self, probes: Sequence[Signature], k: int) -> list[SearchResult]:
        stacked = np.stack([p.cells for p in probes]), np.stack([p.visible for p in probes])
        total = len(self.index.ids)
        scores = np.empty((len(probes), total), dtype=np.float32)
        largest = np.zeros(len(probes), dtype=np.float32)
        least = self.settings.least_cells(self._shape[0])
        step = max(1, self.settings.block_bytes // self._entry_bytes)
        for start in range(0, total, step):
            rows = slice(start, min(start + step, total))
            block, overlap = masked_scores(stacked, self._block(rows), self._product)
            scores[:, rows] = np.where(overlap >= least, block, -np.inf)
            largest = np.maximum(largest, overlap.max(axis=1))
        return [
            self._rank(probe, row, float(most), k) for probe, row, most in zip(probes, scores, largest, strict=True)
        ]

    def _rank(self, probe: Signature, scores: NDArray[np.float32], largest: float, k: int) -> SearchResult:
        best = np.maximum.reduceat(scores, self._first)
        comparable = int(np.isfinite(best).sum())
        kept = min(k, comparable)
        matches: list[Match] = []
        if kept:
            bound = np.partition(best, len(best) - kept)[len(best) - kept] - self.settings.margin
            # Whoever may be among the k best, with every entry that may be the best of its person.
            near = np.maximum(bound, best[self.index.person] - self.settings.margin)
            places = np.flatnonzero(scores >= near)
            matches = self._score_again(probe, places)[:kept]
        return SearchResult(tuple(matches), len(self.index.names), comparable, largest / self._shape[0])

    def _score_again(self, probe: Signature, places: NDArray[np.int64]) -> list[Match]:
        cells, visible = self._rows(places)
        best: dict[int, Match] = {}
        for place, entry_cells, entry_visible in zip(places, cells, visible, strict=True):
            score, overlap = probe.score(Signature(entry_cells, entry_visible, self.contract))
            person = int(self.index.person[place])
            if person not in best or score > best[person].score:
                best[person] = Match(
                    person=self.index.names[person],
                    score=score,
                    overlap=overlap / self._shape[0],
                    entry=int(self.index.ids[place]),
                )
        return sorted(best.values(), key=lambda match: (-match.score, match.person))

    def _block(self, rows: slice) -> Vectors:
        if self._kept is None:
            return self._vectors(self.index.ids[rows])
        return self._kept[0][rows], self._kept[1][rows]

    def _rows(self, places: NDArray[np.int64]) -> Vectors:
        if self._kept is None:
            return self._vectors(self.index.ids[places])
        return self._kept[0][places], self._kept[1][places]


def _inner(a: NDArray[np.float32], b: NDArray[np.float32], product: Product) -> NDArray[np.float32]:
    if product == "numpy" or not len(a) or not len(b):
        return np.asarray(a @ b.T, dtype=np.float32)
    import faiss

    result = faiss.pairwise_distances(
        np.ascontiguousarray(a), np.ascontiguousarray(b), metric=faiss.METRIC_INNER_PRODUCT
    )
    return np.asarray(result, dtype=np.float32)
