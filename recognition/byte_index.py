"""Exact search with 8-bit vectors: find the entries of a large gallery that may be among a probe's best.

Entries are grouped by which cells they show. Within a group the masked score is an inner product over a number that
depends on the probe alone, so a group is a matrix. Its vectors x and the probe q are rounded to whole numbers x', q'
of 8 bits, whose products are exact and fast, and what rounding hides is bounded (Cauchy-Schwarz):

    |<q, x> - <q', x'>| <= |q| |x - x'| + |q - q'| |x'|.

Entries that may reach the k-th best by this bound are returned and scored again in float32, so the answer equals that
of a search that scores all entries.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.onnx_graph import OnnxGraph, session_of
from facerec.recognition.masked_score import Vectors

MOST_PATTERNS: Final = 32
"""More groups than this would each be small, and a signature of many cells has thousands: it is searched as floats."""

_FULL: Final = 127.0
"""Largest whole number that an entry's vector and a single probe are rounded to."""

_HALF: Final = 63.0
"""The same for probes that are multiplied together: where processors lack the instructions for it, two products of 8
bits are added in 16, and 2 * 255 * 63 is the most that fits."""

_FIRST: Final = 64
"""Entries of a group that are asked for at first; most probes need no more."""

_MOST: Final = 4096
"""Beyond this many all products are computed at once: to keep so long a list sorted takes more time."""

_FEW: Final = 3
"""Up to this many probes are searched one by one: FAISS keeps the best as it goes, in a quarter of the time."""

_LEAST: Final = -(2.0**31) + 128
"""Bounds of a threshold as a whole number of 32 bits."""

_ROWS: Final = 16384
"""Entries multiplied with many probes at a time; with 256 probes 16 MB of products, what a core's cache holds."""

Rows = Callable[[slice | NDArray[np.int64]], Vectors]
"""Vectors of entries by their places."""


@dataclass(frozen=True, eq=False)
class _Group:
    """Entries that show the same cells.

    Attributes:
        pattern: (C,) bool, the cells.
        places: (M,) int64, ascending.
        index: FAISS's index of their rounded vectors, one byte per number.
        scale: whole numbers over vectors.
        residual, length: the largest |x - x'| and the largest |x'|.
    """

    pattern: NDArray[np.bool_]
    places: NDArray[np.int64]
    index: Any
    scale: float
    residual: float
    length: float

    @property
    def codes(self) -> NDArray[np.uint8]:
        """(M, W) the bytes as FAISS keeps them: 128 more than the whole numbers."""
        faiss = importlib.import_module("faiss")
        flat = faiss.rev_swig_ptr(self.index.codes.data(), self.index.ntotal * self.index.d)
        return np.asarray(flat.reshape(self.index.ntotal, self.index.d))

    def rounded(self, q: NDArray[np.float64], most: float) -> tuple[NDArray[np.float32], NDArray[np.float64], Any]:
        """Probes (P, C, D): rounded (P, W), what one of their products is worth (P,), and the bound (P,)."""
        flat = q[:, self.pattern].reshape(len(q), -1)
        scale = most / np.maximum(np.abs(flat).max(axis=1), 1e-12)
        whole = np.rint(flat * scale[:, None])
        lost = np.linalg.norm(flat - whole / scale[:, None], axis=1)
        bound = np.linalg.norm(flat, axis=1) * self.residual + lost * self.length
        return whole.astype(np.float32), 1.0 / (scale * self.scale), bound


@dataclass(frozen=True, eq=False)
class ByteIndex:
    """Finds the entries that may be among the k best people of a probe. Threads may share it.

    Attributes:
        groups: the entries by the cells they show.
        person: (N,) the person of each place.
    """

    groups: tuple[_Group, ...]
    person: NDArray[np.int64]
    _comparable: dict[tuple[int, ...], int] = field(default_factory=dict)

    @staticmethod
    def build(rows: Rows, person: NDArray[np.int64], step: int) -> ByteIndex | None:
        """The index of entries.

        Args:
            rows: gives their vectors.
            person: (N,) whose they are.
            step: entries read at a time.

        Returns:
            None where they show more than `MOST_PATTERNS` sets of cells.
        """
        faiss = importlib.import_module("faiss")
        blocks = [slice(start, min(start + step, len(person))) for start in range(0, len(person), step)]
        found: dict[bytes, tuple[NDArray[np.bool_], list[NDArray[np.int64]], float]] = {}
        for block in blocks:
            cells, visible = rows(block)
            for pattern, own in _patterns(visible):
                _, places, largest = found.get(pattern.tobytes(), (pattern, [], 0.0))
                largest = max(largest, float(np.abs(cells[own]).max()))
                found[pattern.tobytes()] = pattern, [*places, own + block.start], largest
            if len(found) > MOST_PATTERNS:
                return None
        width = cells.shape[2]
        scales = {key: _FULL / max(largest, 1e-12) for key, (_, _, largest) in found.items()}
        indexes = {
            key: faiss.IndexScalarQuantizer(
                max(1, int(pattern.sum())) * width,
                faiss.ScalarQuantizer.QT_8bit_direct_signed,
                faiss.METRIC_INNER_PRODUCT,
            )
            for key, (pattern, _, _) in found.items()
        }
        extremes = {key: np.zeros(2) for key in found}
        for block in blocks:
            cells, visible = rows(block)
            for pattern, own in _patterns(visible):
                key = pattern.tobytes()
                if not pattern.any():
                    continue
                flat = cells[own][:, pattern].reshape(len(own), -1)
                whole = np.rint(flat * np.float32(scales[key]))
                indexes[key].add(whole)
                back = whole / np.float32(scales[key])
                extremes[key] = np.maximum(extremes[key], [_longest(flat - back), _longest(back)])
        groups = tuple(
            _Group(pattern, np.concatenate(places), indexes[key], scales[key], *extremes[key].tolist())
            for key, (pattern, places, _) in found.items()
            if pattern.any()
        )
        return ByteIndex(groups, person)

    def named(self, probes: Vectors, k: int, least: int, margin: float) -> list[NDArray[np.int64]]:
        """For each probe the places, ascending, of all entries that may be among its `k` best people's best.

        Args:
            probes: cells (P, C, D) and visibility (P, C).
            k: people wanted.
            least: cells that a probe and an entry must both show.
            margin: entries whose bound is this close below are returned, too.
        """
        asked = [_Query.of(group, *probes, least) for group in self.groups]
        if len(probes[0]) > _FEW:
            return self._together(asked, np.arange(len(probes[0])), k, margin)
        return [self._alone(asked, i, k, margin) for i in range(len(probes[0]))]

    def comparable(self, visible: NDArray[np.bool_], least: int) -> int:
        """People who have an entry that shows at least `least` of the cells that a probe (C,) shows."""
        shared = tuple(i for i, group in enumerate(self.groups) if (group.pattern & visible).sum() >= least)
        if shared not in self._comparable:
            people = np.zeros(int(self.person.max(initial=-1)) + 1, dtype=np.bool_)
            for i in shared:
                people[self.person[self.groups[i].places]] = True
            self._comparable[shared] = int(people.sum())
        return self._comparable[shared]

    def largest_overlap(self, visible: NDArray[np.bool_]) -> int:
        """The most cells that a probe (C,) and an entry both show."""
        return max((int((group.pattern & visible).sum()) for group in self.groups), default=0)

    def _alone(self, asked: list[_Query], i: int, k: int, margin: float) -> NDArray[np.int64]:
        """The entries of the i-th probe, from the top of each group's list to where none can reach the k-th."""
        ready: list[_Candidates] = []
        open_groups = [(one, max(_FIRST, 2 * k)) for one in asked if one.allowed[i]]
        cut: list[tuple[_Query, int, _Candidates, float]] = []
        while open_groups:
            for one, wanted in open_groups:
                wanted = min(wanted, len(one.group.places))
                products, rows = one.group.index.search(one.single[i : i + 1], wanted)
                score = products[0].astype(np.float64) * one.unit_single[i]
                bound = np.full(wanted, one.bound_single[i])
                some = _Candidates(np.zeros(wanted, np.int64), one.group.places[rows[0]], score, bound)
                rest = -np.inf if wanted == len(one.group.places) else float(score[-1] + bound[-1])
                cut.append((one, wanted, some, rest))
            line = _keep_possible(_Candidates.joined([*ready, *(c[2] for c in cut)]), self.person, k, 1, margin)[1][0]
            open_groups = []
            for one, wanted, some, rest in cut:
                if np.isneginf(rest) or rest < line - margin:
                    ready.append(some)
                elif wanted >= _MOST:
                    return self._together(asked, np.array([i]), k, margin)[0]
                else:
                    open_groups.append((one, 8 * wanted))
            cut = []
        if not ready:
            return np.zeros(0, dtype=np.int64)
        named = _keep_possible(_Candidates.joined(ready), self.person, k, 1, margin)[0]
        return np.sort(named.place)

    def _together(
        self, asked: list[_Query], which: NDArray[np.int64], k: int, margin: float
    ) -> list[NDArray[np.int64]]:
        """The entries of several probes: all products, block by block, and what can still reach the k-th is kept."""
        kept, line = _Candidates.none(), np.full(len(which), -np.inf)
        fresh: list[_Candidates] = []
        for one in asked:
            unit, bound = one.unit_many[which], one.bound_many[which]
            many = np.ascontiguousarray(one.many[which].T.astype(np.int8))
            codes, start, rows = one.group.codes, 0, max(_FIRST, 2 * k)
            while start < len(codes):
                # As long as there is no line everything is kept: a few entries give one, and twice as many a better.
                stop, rows = min(len(codes), start + rows), min(2 * rows, _ROWS)
                products = _multiply(codes[start:stop], many)
                least = np.where(one.allowed[which], (line - margin - bound) / unit, np.inf)
                above = products >= np.clip(np.floor(least), _LEAST, -_LEAST).astype(np.int32)
                # In one row numpy finds the few that are above in a quarter of the time.
                row, probe = np.divmod(np.flatnonzero(above), len(which))
                score = products[row, probe] * unit[probe]
                fresh.append(_Candidates(probe, one.group.places[start + row], score, bound[probe]))
                # To rank them all again pays only when enough are new to move the line.
                if not np.isfinite(line).all() or 2 * sum(len(some.probe) for some in fresh) > len(kept.probe):
                    kept, line = _keep_possible(_Candidates.joined([kept, *fresh]), self.person, k, len(which), margin)
                    fresh = []
                start = stop
        kept = _keep_possible(_Candidates.joined([kept, *fresh]), self.person, k, len(which), margin)[0]
        order = np.lexsort((kept.place, kept.probe))
        ends = np.searchsorted(kept.probe[order], np.arange(len(which) + 1))
        return [kept.place[order[a:b]] for a, b in pairwise(ends.tolist())]


@dataclass(frozen=True, eq=False)
class _Query:
    """What probes ask of a group: (P,) whether they share enough cells, and (P, W) rounded probes, what one of their
    products is worth as a score (P,) and how far that may be from the score (P,), for a single one and for many."""

    group: _Group
    allowed: NDArray[np.bool_]
    single: NDArray[np.float32]
    unit_single: NDArray[np.float64]
    bound_single: NDArray[np.float64]
    many: NDArray[np.float32]
    unit_many: NDArray[np.float64]
    bound_many: NDArray[np.float64]

    @staticmethod
    def of(group: _Group, cells: NDArray[np.float32], visible: NDArray[np.bool_], least: int) -> _Query:
        shared = (visible & group.pattern).sum(axis=1)
        allowed = shared >= max(1, least)
        q = cells.astype(np.float64) / np.maximum(shared, 1)[:, None, None]
        return _Query(group, allowed, *group.rounded(q, _FULL), *group.rounded(q, _HALF))


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Probes (M,), places of entries (M,), scores (M,) and how far these may be from the truth (M,)."""

    probe: NDArray[np.int64]
    place: NDArray[np.int64]
    score: NDArray[np.float64]
    bound: NDArray[np.float64]

    @staticmethod
    def none() -> _Candidates:
        return _Candidates(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))

    @staticmethod
    def joined(parts: list[_Candidates]) -> _Candidates:
        return _Candidates(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ("probe", "place", "score", "bound"))
        )

    def those(self, at: NDArray[Any]) -> _Candidates:
        return _Candidates(self.probe[at], self.place[at], self.score[at], self.bound[at])


def _keep_possible(
    found: _Candidates, person: NDArray[np.int64], k: int, probes: int, margin: float
) -> tuple[_Candidates, NDArray[np.float64]]:
    """The candidates that may be the best of a person among the k best of their probe.

    Returns:
        these, and (P,) what the k-th best person of each probe surely reaches, -inf where fewer are known.
    """
    who = person[found.place]
    pair = found.probe * (int(who.max(initial=0)) + 1) + who
    # What was kept before comes first and in this order, of which this sort makes use.
    order = np.argsort(pair, kind="stable")
    ordered, lines = found.those(order), np.full(probes, -np.inf)
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    if not len(first):
        return ordered, lines
    sure = np.maximum.reduceat(ordered.score - ordered.bound, first)
    ends = np.searchsorted(ordered.probe[first], np.arange(probes + 1))
    for i, (begin, end) in enumerate(pairwise(ends.tolist())):
        if end - begin >= k:
            lines[i] = np.partition(sure[begin:end], end - begin - k)[end - begin - k]
    own = np.repeat(sure, np.diff(np.append(first, len(order))))
    return ordered.those(ordered.score + ordered.bound >= np.maximum(lines[ordered.probe], own) - margin), lines


def _patterns(visible: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """The sets of cells that occur in (N, C), and the rows of each."""
    keys = np.ascontiguousarray(np.packbits(visible, axis=1))
    keys = keys[:, 0] if keys.shape[1] == 1 else keys.view(f"V{keys.shape[1]}")[:, 0]
    return [(visible[rows[0]], rows) for key in np.unique(keys) for rows in [np.flatnonzero(keys == key)]]


def _longest(vectors: NDArray[np.float32]) -> float:
    # A hair more: the lengths are added up in float32.
    return float(np.sqrt(np.einsum("nw,nw->n", vectors, vectors).max(initial=0.0))) * (1 + 1e-5)


@cache
def _product_session() -> Any:
    graph = OnnxGraph()
    entries, probes = graph.input("entries", ("n", "w"), "uint8"), graph.input("probes", ("w", "p"), "int8")
    zero = graph.constant(np.array(128, dtype=np.uint8))
    graph.output(graph.add("MatMulInteger", entries, probes, zero), ("n", "p"), "int32")
    return session_of(graph)


def _multiply(codes: NDArray[np.uint8], probes: NDArray[np.int8]) -> NDArray[np.int32]:
    """(N, P) products of entries' bytes (N, W), 128 more than their numbers, with probes (W, P) within 63."""
    return np.asarray(_product_session().run(None, {"entries": codes, "probes": probes})[0])
