"""Grouping of unknown faces into people: agglomerative clustering by the masked score, across pose.

The similarity of two groups is the mean cosine over all pairs of their faces and all cells that both faces of a pair
saw:

    S(A, B) = sum_c <sum_{a in A} E_a,c , sum_{b in B} E_b,c> / sum_c n_A,c n_B,c,

n the number of a group's faces that saw cell c. It is the mean of the masked scores of all pairs, weighted by their
overlap, and costs one inner product, whatever the size of the groups, because a group keeps its sums. Where a cohort
normalises scores (`facerec.recognition.cohort`), the mean over all pairs of the score that strangers reach is
subtracted, also by sums. The two most similar groups are joined until no pair reaches the cut. Groups become more
complete in the process: one that holds a left and a right profile can be compared with faces that show either.

Two faces on one photograph are two people, and so are two names: such groups are never joined.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.cohort import Levels, shipped_cohort
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.search import SearchSettings
from facerec.recognition.shipped_impostors import ShippedImpostors
from facerec.recognition.signature import Signature

Vectors = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Cells (N, C, D) and visibility (N, C)."""


@dataclass(frozen=True)
class ClusterSettings:
    """How faces are grouped.

    Attributes:
        strangers: the cut is the score that so many strangers of each face reach (`cluster_cut`): among many faces
            more of them look alike, and each pair joined wrongly pulls two people together. Chosen by measurement, see
            benchmarks/results/films.md.
        far: share of impostor pairs that reach the cut at most, for few faces.
        reach: pairs of single faces this far below the cut are looked at as well: the mean of a group may lie above it.
        neighbours: number of the most similar faces of each face with which groups start; bounds memory at any number
            of faces. A person's faces beyond these are reached through the group.
        block: faces scored at a time against all others.
    """

    strangers: float = 5.0
    far: float = 0.03
    reach: float = 0.15
    neighbours: int = 60
    block: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.far < 1 or self.reach < 0 or min(self.strangers, self.neighbours, self.block) <= 0:
            raise InvalidInputError(
                f"expected a rate in (0, 1), a reach >= 0, strangers, neighbours and a block; got {self}"
            )


def cluster_cut(contract: str, faces: int, settings: ClusterSettings | None = None) -> float:
    """The score from which on groups are joined, for `faces` signatures of `contract`.

    Raises:
        ThresholdUnavailableError: no impostor scores were measured for these models; a cut must be given.
    """
    settings = settings or ClusterSettings()
    return ShippedImpostors.load(contract).alike.score_at(min(settings.far, settings.strangers / max(faces, 1)))


def cluster(
    signatures: Sequence[Signature],
    photos: Sequence[int],
    names: Sequence[str | None],
    cut: float,
    settings: ClusterSettings | None = None,
) -> NDArray[np.int64]:
    """Group faces into people.

    Args:
        signatures: N, of one contract.
        photos: (N,) which photograph each face is on.
        names: (N,) whose it is known to be; None: not known. Faces of one name are one group from the start.
        cut: groups that are less alike are not joined.
        settings: see `ClusterSettings`.

    Returns:
        (N,) the group of each face; groups are numbered from 0 in the order of their first faces. The result depends
        neither on the number of threads nor on the block size.

    Raises:
        InvalidInputError: lengths differ. ContractError: signatures of different contracts.
    """
    settings = settings or ClusterSettings()
    if not len(signatures) == len(photos) == len(names):
        raise InvalidInputError(
            f"expected a photograph and a name (or None) for each signature; got {len(signatures)}, {len(photos)}, "
            f"{len(names)}"
        )
    if not signatures:
        return np.zeros(0, dtype=np.int64)
    if len({signature.contract for signature in signatures}) > 1:
        raise ContractError("signatures of different contracts cannot be grouped")
    vectors = np.stack([s.cells for s in signatures]), np.stack([s.visible for s in signatures])
    cohort = shipped_cohort(signatures[0].contract)
    levels = None if cohort is None else cohort.levels(*vectors)
    groups = _Groups(vectors, photos, names, levels)
    for one, other in _close_pairs(vectors, levels, cut - settings.reach, settings):
        groups.meet(one, other)
    return groups.joined(cut)


def _close_pairs(
    vectors: Vectors, levels: Levels | None, least: float, settings: ClusterSettings
) -> Iterator[tuple[int, int]]:
    """Pairs of faces with a masked score of at least `least`: of each face the `neighbours` best, block by block."""
    cells, visible = vectors
    enough = SearchSettings().least_cells(cells.shape[1])
    for start in range(0, len(cells), settings.block):
        rows = slice(start, start + settings.block)
        scores, overlap = masked_scores((cells[rows], visible[rows]), vectors)
        if levels is not None:
            scores -= levels.rows(rows).against(levels)
        scores[overlap < enough] = -np.inf
        scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        kept = min(settings.neighbours, scores.shape[1])
        near = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        for i, row in enumerate(near.tolist()):
            for j in row:
                if scores[i, j] >= least:
                    yield start + i, j


class _Groups:
    """The groups so far; those that are joined live on under the lower number of the two."""

    def __init__(
        self, vectors: Vectors, photos: Sequence[int], names: Sequence[str | None], levels: Levels | None
    ) -> None:
        cells, visible = vectors
        values = np.zeros((len(cells), 1), dtype=np.float32) if levels is None else levels.values
        pattern = np.zeros(len(cells), dtype=np.int64) if levels is None else levels.pattern
        self._levels = values.astype(np.float64)
        self._patterns = np.eye(values.shape[1])[pattern]
        self._sums = cells.astype(np.float64)
        self._counts = visible.astype(np.float64)
        self._photos: list[set[int]] = [{photo} for photo in photos]
        self._names = list(names)
        self._home = list(range(len(photos)))
        self._near: list[set[int]] = [set() for _ in photos]
        first: dict[str, int] = {}
        for i, name in enumerate(names):
            if name is not None and first.setdefault(name, i) != i:
                self._absorb(first[name], i)

    def meet(self, one: int, other: int) -> None:
        """Let the groups of two faces be compared."""
        a, b = self._group(one), self._group(other)
        if a != b:
            self._near[a].add(b)
            self._near[b].add(a)

    def joined(self, cut: float) -> NDArray[np.int64]:
        """Join until no two groups that were compared reach `cut`; the group of each face, numbered from 0."""
        version = [0] * len(self._home)
        heap: list[tuple[float, int, int, int, int]] = []

        def compare(a: int, others: Sequence[int]) -> None:
            alike = self._scores(a, others)
            for b, score in zip(others, alike.tolist(), strict=True):
                if score >= cut:
                    low, high = min(a, b), max(a, b)
                    heapq.heappush(heap, (-score, low, high, version[low], version[high]))

        for a, near in enumerate(self._near):
            compare(a, sorted(b for b in near if b > a and self._may_join(a, b)))
        while heap:
            _, a, b, version_a, version_b = heapq.heappop(heap)
            if version[a] != version_a or version[b] != version_b or not self._may_join(a, b):
                continue
            self._absorb(a, b)
            version[a] += 1
            version[b] += 1
            compare(a, sorted(other for other in self._near[a] if self._may_join(a, other)))
        numbers: dict[int, int] = {}
        return np.array([numbers.setdefault(self._group(i), len(numbers)) for i in range(len(self._home))])

    def _group(self, face: int) -> int:
        while self._home[face] != face:
            self._home[face] = self._home[self._home[face]]
            face = self._home[face]
        return face

    def _may_join(self, a: int, b: int) -> bool:
        two_names = self._names[a] is not None and self._names[b] is not None
        return not two_names and self._photos[a].isdisjoint(self._photos[b])

    def _absorb(self, a: int, b: int) -> None:
        self._home[b] = a
        self._sums[a] += self._sums[b]
        self._counts[a] += self._counts[b]
        self._levels[a] += self._levels[b]
        self._patterns[a] += self._patterns[b]
        self._photos[a] |= self._photos[b]
        self._names[a] = self._names[a] or self._names[b]
        for other in self._near[b]:
            self._near[other].discard(b)
            if other != a:
                self._near[other].add(a)
                self._near[a].add(other)
        self._near[a].discard(b)
        self._near[b] = set()

    def _scores(self, a: int, others: Sequence[int]) -> NDArray[np.float64]:
        if not others:
            return np.zeros(0)
        own, places = self._sums[a].reshape(-1), list(others)
        sums = self._sums[places].reshape(len(places), -1) @ own
        pairs = self._counts[places] @ self._counts[a]
        strangers = self._patterns[places] @ self._levels[a] + self._levels[places] @ self._patterns[a]
        faces = self._patterns[places].sum(axis=1) * self._patterns[a].sum()
        return np.where(pairs > 0, sums / np.maximum(pairs, 1.0) - strangers / (2 * faces), -2.0)
