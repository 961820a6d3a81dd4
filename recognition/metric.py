"""A metric learnt per cell: what tells people apart counts more than what varies within a person.

Two-covariance PLDA takes a network's vector x to y = V' (x - m), in which the within-person covariance is I and the
between-person covariance is diagonal, psi. The part of its log-likelihood ratio that depends on both faces is
sum_d psi_d / (1 + 2 psi_d) x_d y_d: an inner product of vectors scaled by sqrt(psi / (1 + 2 psi)). Their cosine is the
cell's score, so cells keep unit length and every search that multiplies goes on multiplying.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class CellMetric:
    """The metric of C cells.

    Attributes:
        mean: (C, D) float32, m of each cell.
        transform: (C, K, D) float32, rows of V scaled by sqrt(psi / (1 + 2 psi)).
    """

    mean: NDArray[np.float32]
    transform: NDArray[np.float32]

    def __post_init__(self) -> None:
        cells, numbers = self.mean.shape
        if self.transform.ndim != 3 or self.transform.shape[::2] != (cells, numbers):
            raise InvalidInputError(
                f"expected means (C, D) and transforms (C, K, D); got {self.mean.shape}, {self.transform.shape}"
            )

    def __call__(self, cells: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Unit cells (..., C, K) of a network's unit cells (..., C, D); cells that were not seen stay 0."""
        moved = np.einsum("ckd,...cd->...ck", self.transform, cells - self.mean)
        length = np.linalg.norm(moved, axis=-1, keepdims=True)
        return np.asarray(moved / np.maximum(length, 1e-9) * seen[..., None], dtype=np.float32)

    def of_cells(self, chosen: Sequence[int]) -> CellMetric:
        """The metric of some of the cells."""
        return CellMetric(self.mean[list(chosen)], self.transform[list(chosen)])

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """For a weight file."""
        return {"metric_mean": self.mean, "metric_transform": self.transform}

    @staticmethod
    def of(arrays: Mapping[str, NDArray[Any]]) -> CellMetric | None:
        """The metric in a weight file's arrays, None when it has none."""
        if "metric_mean" not in arrays:
            return None
        return CellMetric(arrays["metric_mean"].astype(np.float32), arrays["metric_transform"].astype(np.float32))
