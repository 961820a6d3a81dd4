"""A signature: what a face looks like, cell by cell, and which cells the camera saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError

MASK_GROUPS = 8
"""Groups of entries by the share of cells that they show (see `mask_group`)."""


@dataclass(frozen=True, eq=False)
class Signature:
    """The description of one face.

    Attributes:
        cells: (C, D) float32; each seen cell has unit length, unseen cells are zero.
        visible: (C,) bool, which cells the camera saw.
        contract: digest of everything that shaped the numbers (see `facerec.recognition.recognizer.Contract`);
            signatures compare only when their contracts are equal.
    """

    cells: NDArray[np.float32]
    visible: NDArray[np.bool_]
    contract: str

    def __post_init__(self) -> None:
        if self.cells.ndim != 2 or self.visible.shape != self.cells.shape[:1] or self.cells.dtype != np.float32:
            raise InvalidInputError(
                f"expected cells (C, D) float32 and visible (C,); got {self.cells.shape} {self.cells.dtype}, "
                f"{self.visible.shape}"
            )
        norms = np.linalg.norm(self.cells, axis=1)
        if not np.allclose(norms, self.visible.astype(np.float32), atol=1e-3):
            raise InvalidInputError("expected seen cells of unit length and unseen cells of zeros")

    def __repr__(self) -> str:
        cells, dimension = self.cells.shape
        return f"Signature({int(self.visible.sum())} of {cells} cells seen, {dimension} numbers each, {self.contract})"

    def score(self, other: Signature) -> tuple[float, int]:
        """Masked score S = (1/k) sum over cells seen by both of cos(E_g, E_p), and k (the overlap, in cells).

        The score is in [-1, 1]; 0 when no cell was seen by both.
        """
        if self.contract != other.contract:
            raise ContractError(f"signatures of different contracts: {self.contract} and {other.contract}")
        k = int(np.count_nonzero(self.visible & other.visible))
        return (float((self.cells * other.cells).sum()) / k if k else 0.0), k


def pooled(signatures: Sequence[Signature]) -> Signature:
    """One signature of several pictures of a person: each cell the mean direction of the pictures that saw it.

    A left and a right profile complete each other; what several pictures saw is steadier than in any of them.

    Raises:
        InvalidInputError: no signature, or signatures of different shapes. ContractError: of different contracts.
    """
    if not signatures:
        raise InvalidInputError("expected at least one signature to pool; got none")
    first = signatures[0]
    for other in signatures[1:]:
        if other.contract != first.contract:
            raise ContractError(f"signatures of different contracts: {first.contract} and {other.contract}")
        if other.cells.shape != first.cells.shape:
            raise InvalidInputError(f"expected signatures of one shape; got {first.cells.shape}, {other.cells.shape}")
    total = np.sum([s.cells for s in signatures], axis=0, dtype=np.float64)
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    # Directions that cancel out say nothing: such a cell counts as unseen.
    known = norms[:, 0] > 1e-6
    cells = np.where(known[:, None], total / np.maximum(norms, 1e-6), 0.0).astype(np.float32)
    return Signature(cells, known, first.contract)


@dataclass(frozen=True, eq=False)
class Match:
    """A gallery candidate for a probe.

    Attributes:
        person: the name under which the entry was enrolled.
        score: how alike the two are: their masked cosine less `level`; not a probability.
        overlap: share of the signature's cells that both pictures saw, in [0, 1].
        entry: identifier of the gallery entry that scored.
        nobody: whether `person` is a known stranger, whom the gallery holds so that they are taken for nobody else.
        level: what strangers score against the two (see `cohort`); 0 where the descriptor has no cohort.
    """

    person: str
    score: float
    overlap: float
    entry: int
    nobody: bool = False
    level: float = 0.0

    @property
    def cosine(self) -> float:
        """The masked cosine of the two, in [-1, 1]."""
        return self.score + self.level


@dataclass(frozen=True, eq=False)
class Decision:
    """What is said about a probe face.

    Attributes:
        verdict: "match" (a known person), "unknown" (nobody enrolled, a normal result) or "abstain" (too little of
            the face was seen by both pictures to say).
        reason: one sentence that gives the numbers behind the verdict.
        known_stranger: which known stranger (`Match.nobody`) the face is; None when it is none. The verdict is then
            "unknown".
    """

    verdict: Literal["match", "unknown", "abstain"]
    reason: str
    known_stranger: str | None = None


def mask_group(visible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Group (N,) of entries of visibility (N, C): the eighth into which their share of seen cells falls, 1 to 8."""
    return np.asarray(np.ceil(MASK_GROUPS * visible.mean(axis=1)), dtype=np.int64)
