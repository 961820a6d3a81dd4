"""A signature: the description of a face, cell by cell, and which cells the camera saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError

MASK_GROUPS = 8
"""Groups of entries by the share of cells that they show (see `mask_group`)."""

REGIONS = 16
"""The UV chart is divided into REGIONS x REGIONS regions to report overlap: 32 bytes per signature."""


@dataclass(frozen=True, eq=False)
class Signature:
    """The description of one face.

    Attributes:
        cells: (C, D) float32; each seen cell has unit length, unseen cells are zero.
        visible: (C,) bool, which cells the camera saw.
        contract: digest of everything that shaped the numbers (see `facerec.recognition.recognizer.Contract`);
            signatures compare only when their contracts are equal.
        regions: (16, 16) bool, which regions of the UV chart the camera saw (`seen_regions`); None where that is not
            known, as for entries that an older facerec enrolled. They affect the reported overlap, not the score.
    """

    cells: NDArray[np.float32]
    visible: NDArray[np.bool_]
    contract: str
    regions: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.cells.ndim != 2 or self.visible.shape != self.cells.shape[:1] or self.cells.dtype != np.float32:
            raise InvalidInputError(
                f"expected cells (C, D) float32 and visible (C,); got {self.cells.shape} {self.cells.dtype}, "
                f"{self.visible.shape}"
            )
        if self.regions is not None and (self.regions.shape != (REGIONS, REGIONS) or self.regions.dtype != np.bool_):
            raise InvalidInputError(
                f"expected regions ({REGIONS}, {REGIONS}) bool; got {self.regions.shape} {self.regions.dtype}"
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

    def scores(self, cells: NDArray[np.float32], visible: NDArray[np.bool_], contract: str) -> NDArray[np.float64]:
        """(M,) the scores of `score` against M signatures, equal to the last bit.

        Args:
            cells: (M, C, D), as a signature holds them; visible: (M, C).
            contract: that of all of them.

        Raises:
            ContractError: another contract than this signature's.
        """
        if self.contract != contract:
            raise ContractError(f"signatures of different contracts: {self.contract} and {contract}")
        shared = np.count_nonzero(visible & self.visible, axis=1)
        sums = (self.cells * cells).reshape(len(cells), self.cells.size).sum(axis=1).astype(np.float64)
        return np.asarray(np.divide(sums, shared, out=np.zeros(len(cells)), where=shared > 0), dtype=np.float64)

    def overlap(self, other: Signature) -> float | None:
        """Share of the face's texture that both pictures saw, in [0, 1]; None where it is not known of one of them."""
        return shared_regions(self.regions, other.regions)


def seen_regions(visible: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(16, 16) bool: which regions of the chart show at least half of their texels, for a visibility (T, T)."""
    seen = (visible > 0).astype(np.float32)
    return np.asarray(cv2.resize(seen, (REGIONS, REGIONS), interpolation=cv2.INTER_AREA) >= 0.5)


def shared_regions(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> float | None:
    """Share of the chart's regions that both saw, in [0, 1]; None where either is not known."""
    return None if one is None or other is None else float((one & other).mean())


def pack_regions(regions: NDArray[np.bool_] | None) -> bytes:
    """Regions as stores keep them: 32 bytes, none where they are not known."""
    return b"" if regions is None else np.packbits(regions).tobytes()


def unpack_regions(data: bytes) -> NDArray[np.bool_] | None:
    """What `pack_regions` packed; raises `InvalidInputError` when it is of another length."""
    if not data:
        return None
    if len(data) != REGIONS * REGIONS // 8:
        raise InvalidInputError(f"expected {REGIONS * REGIONS // 8} bytes of regions; got {len(data)}")
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8)).astype(np.bool_).reshape(REGIONS, REGIONS)


def pooled(signatures: Sequence[Signature], weights: Sequence[float] | None = None) -> Signature:
    """One signature of several pictures of a person: each cell the mean direction of the pictures that saw it.

    With `weights`, one for each picture and above 0 (its quality), the weighted mean.

    A left and a right profile complete each other; cells that several pictures saw are more stable than in any of them.

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
    shares = [1.0] * len(signatures) if weights is None else list(weights)
    if len(shares) != len(signatures) or not all(np.isfinite(w) and w > 0 for w in shares):
        raise InvalidInputError(f"expected a weight above 0 for each of {len(signatures)} signatures; got {shares}")
    total = np.sum([w * s.cells.astype(np.float64) for w, s in zip(shares, signatures, strict=True)], axis=0)
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    # Directions that cancel out carry no information: such a cell counts as unseen.
    known = norms[:, 0] > 1e-6
    cells = np.where(known[:, None], total / np.maximum(norms, 1e-6), 0.0).astype(np.float32)
    maps = [s.regions for s in signatures]
    regions = None if any(m is None for m in maps) else np.any([m for m in maps if m is not None], axis=0)
    return Signature(cells, known, first.contract, regions)


@dataclass(frozen=True, eq=False)
class Match:
    """A gallery candidate for a probe.

    Attributes:
        person: the name under which the entry was enrolled.
        score: how alike the two are: their masked cosine less `level`; not a probability.
        overlap: share of the face's texture that both pictures saw, in [0, 1]; None where it is not known of one.
        entry: identifier of the gallery entry that scored.
        nobody: whether `person` is a known stranger, whom the gallery holds so that they are taken for nobody else.
        level: what strangers score against the two (see `cohort`); 0 where the descriptor has no cohort.
    """

    person: str
    score: float
    overlap: float | None
    entry: int
    nobody: bool = False
    level: float = 0.0

    @property
    def cosine(self) -> float:
        """The masked cosine of the two, in [-1, 1]."""
        return self.score + self.level


@dataclass(frozen=True, eq=False)
class Decision:
    """The decision about a probe face.

    Attributes:
        verdict: "match" (a known person), "unknown" (nobody enrolled, a normal result) or "abstain" (too little of
            the face was seen by both pictures to say).
        reason: one sentence that gives the numbers behind the verdict.
        known_stranger: which known stranger (`Match.nobody`) the face is; None when it is none. The verdict is then
            "unknown".
        code: why there is no decision, for "abstain": "too_little_seen" or "no_threshold". Stable: scripts may branch
            on it. None for the other verdicts.
    """

    verdict: Literal["match", "unknown", "abstain"]
    reason: str
    known_stranger: str | None = None
    code: Literal["too_little_seen", "no_threshold"] | None = None


def mask_group(visible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Group (N,) of entries of visibility (N, C): the eighth into which their share of seen cells falls, 1 to 8."""
    return np.asarray(np.ceil(MASK_GROUPS * visible.mean(axis=1)), dtype=np.int64)
