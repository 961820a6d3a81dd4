"""Score normalisation by a cohort of strangers: it measures how high other people score against a face.

A cosine does not mean the same for every pair: two profiles that show one half of the face, two blurred pictures or two
people of a group that the network separates less well score higher among themselves. Symmetric score normalisation
(S-norm, in its adaptive form) subtracts the score of strangers,

    S'(a, b) = S(a, b) - (l(a, b) + l(b, a)) / 2,

where the level l(a, b) is the mean of the highest scores of `a` against those of the cohort that show the same part of
the face as `b`. One threshold on S' then keeps its rate for frontal pictures and profiles and for one group and
another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights, weight_records
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.masked_score import Overlap, Product, Vectors, masked_scores
from facerec.recognition.signature import Match, Signature

_SCALE = 127.0
"""Of the cells in the file, which are int8."""

TOP_SHARE = 1 / 35
"""Share of a pattern's cohort whose mean is the level: those who resemble the face most, about its own group."""

LEAST_TOP = 5
"""Least number of cohort members in the mean of a level."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The scores of strangers against N faces.

    Attributes:
        values: (N, K) float32, for each pattern of cells that the other picture may show.
        pattern: (N,) int64, the pattern that each face shows itself.
    """

    values: NDArray[np.float32]
    pattern: NDArray[np.int64]

    def rows(self, at: slice | NDArray[np.int64]) -> Levels:
        """Those of the faces at `at`."""
        return Levels(self.values[at], self.pattern[at])

    def against(self, other: Levels) -> NDArray[np.float32]:
        """(N, M) levels to subtract from the scores of these faces and the M of `other`."""
        ours, theirs = self.values[:, other.pattern], other.values[:, self.pattern]
        return np.asarray((ours + theirs.T) / 2, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Strangers to compare with. Each is the mean of several people who look alike, so that none is a real person.

    Attributes:
        cells: (M, C, D) float32, seen cells of unit length.
        visible: (M, C) bool.
        contract: digest of the contract of the signatures they were made of.
    """

    cells: NDArray[np.float32]
    visible: NDArray[np.bool_]
    contract: str

    def __post_init__(self) -> None:
        if self.cells.ndim != 3 or self.visible.shape != self.cells.shape[:2] or not len(self.cells):
            raise InvalidInputError(
                f"expected a cohort's cells (M, C, D) and visibility (M, C); got {self.cells.shape}, "
                f"{self.visible.shape}"
            )

    @cached_property
    def patterns(self) -> NDArray[np.bool_]:
        """(K, C) the patterns of cells that members show, each once."""
        return np.asarray(np.unique(self.visible, axis=0), dtype=np.bool_)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its numbers."""
        return hashlib.sha256(b"".join(array.tobytes() for array in self.arrays().values())).hexdigest()

    @cached_property
    def _member(self) -> list[NDArray[np.int64]]:
        return [np.flatnonzero((self.visible == pattern).all(axis=1)) for pattern in self.patterns]

    def levels(self, cells: NDArray[np.float32], visible: NDArray[np.bool_]) -> Levels:
        """The scores of the cohort against faces.

        Args:
            cells: (N, C, D).
            visible: (N, C).
        """
        scores, overlap = masked_scores((cells, visible), (self.cells, self.visible), "numpy")
        scores[overlap <= 0] = -np.inf
        values = np.zeros((len(cells), len(self.patterns)), dtype=np.float32)
        for k, members in enumerate(self._member):
            top = max(LEAST_TOP, round(TOP_SHARE * len(members)))
            own = np.sort(scores[:, members], axis=1)[:, -top:]
            values[:, k] = np.where(np.isfinite(own).all(axis=1), own.mean(axis=1), np.nan)
        # Where nothing is shared with a pattern there is no score either; any finite level will do.
        values = np.where(np.isnan(values), np.nan_to_num(np.nanmax(values, axis=1, initial=-1.0))[:, None], values)
        agree = (visible[:, None, :] == self.patterns[None]).sum(axis=2)
        return Levels(values.astype(np.float32), agree.argmax(axis=1).astype(np.int64))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays for a weight file."""
        return {
            "cells": np.round(self.cells * _SCALE).astype(np.int8),
            "visible": self.visible.astype(np.uint8),
            "contract": np.frombuffer(self.contract.encode(), dtype=np.uint8),
        }

    @staticmethod
    def of_arrays(arrays: dict[str, NDArray[Any]]) -> Cohort:
        """The cohort of a weight file's arrays; the rounded cells are brought back to unit length."""
        cells = arrays["cells"].astype(np.float32)
        visible = arrays["visible"].astype(np.bool_)
        length = np.linalg.norm(cells, axis=2, keepdims=True)
        cells = np.where(visible[..., None], cells / np.maximum(length, 1e-9), 0.0).astype(np.float32)
        return Cohort(cells, visible, arrays["contract"].tobytes().decode())


@lru_cache(maxsize=8)
def shipped_cohort(contract: str) -> Cohort | None:
    """The package's cohort for signatures under the digest `contract`; None: scores stay as they are."""
    for record in weight_records():
        if record.folder == "recognition" and record.name.startswith("cohort-"):
            cohort = Cohort.of_arrays(load_weights("recognition", record.name))
            if cohort.contract == contract:
                return cohort
    return None


def cohort_digest(contract: str) -> str:
    """Digest of the cohort that normalises scores under `contract`; "" without one."""
    cohort = shipped_cohort(contract)
    return "" if cohort is None else cohort.digest


def normalised_score(first: Signature, second: Signature) -> Match:
    """The score of two faces as a search of a gallery that holds `second` (entry 0 of "") gives it; symmetric."""
    cosine, _ = first.score(second)
    cohort = shipped_cohort(first.contract)
    level = 0.0
    if cohort is not None:
        own, other = (cohort.levels(s.cells[None], s.visible[None]) for s in (first, second))
        level = float(own.against(other)[0, 0])
    return Match("", cosine - level, first.overlap(second), 0, level=level)


def normalised_scores(
    first: Vectors, second: Vectors, contract: str, product: Product = "faiss"
) -> tuple[NDArray[np.float32], Overlap]:
    """Masked scores minus the strangers' level, and overlaps, of all pairs.

    Args:
        first: cells (P, C, D) and visibility (P, C).
        second: cells (N, C, D) and visibility (N, C).
        contract: digest of the contract that they were made under; without a cohort the scores are the masked ones.
        product: who multiplies.

    Returns:
        (P, N) float32 scores and (P, N) float32 numbers of cells seen by both.
    """
    scores, overlap = masked_scores(first, second, product)
    cohort = shipped_cohort(contract)
    if cohort is not None and scores.size:
        scores -= cohort.levels(*first).against(cohort.levels(*second))
    return scores, overlap
