"""The face model: a geometry image on the UV chart with identity and expression modes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A linear face model on a regular, mirror-symmetric grid.

    X(p, q) = mean + sum_k p_k identity_k + sum_e q_e expression_e, p and q in standard deviations.

    Node (i, j) of the grid lies at chart position u = j / (G - 1), v = i / (G - 1). Space as in
    `facerec.frontalize.types.Camera`: x to the image's right on a frontal face, y down, z away from the camera; mm.

    Attributes:
        mean: (G, G, 3) float64, mm.
        identity: (K, G, G, 3) float32, mm per standard deviation.
        expression: (E, G, G, 3) float32, mm per standard deviation.
        landmark_uv: (68, 2) float64, chart positions (u, v) in [0, 1] of the 68-point markup.
        skull: (S, 3) float64, mm, the rest of the head (for rendering only), which follows the identity.
        skull_identity: (K, S, 3) float32.
        skull_triangles: (Fs, 3) int64.
    """

    mean: Floats
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    landmark_uv: Floats
    skull: Floats
    skull_identity: NDArray[np.float32]
    skull_triangles: NDArray[np.int64]

    def __post_init__(self) -> None:
        g = self.mean.shape[0]
        if (
            self.mean.shape != (g, g, 3)
            or self.identity.shape[1:] != (g, g, 3)
            or self.expression.shape[1:] != (g, g, 3)
            or self.landmark_uv.shape != (68, 2)
        ):
            raise InvalidInputError(
                f"expected mean (G, G, 3), modes (K, G, G, 3), landmark_uv (68, 2); got {self.mean.shape}, "
                f"{self.identity.shape}, {self.expression.shape}, {self.landmark_uv.shape}"
            )
        operator = bilinear_weights(self.landmark_uv, g)
        # Only the few nodes around landmarks count, and to convert all would take a tenth of the time to load.
        around = np.flatnonzero(operator.any(axis=0))
        operator = operator[:, around]
        object.__setattr__(self, "_landmark_mean", operator @ self.mean.reshape(-1, 3)[around])
        for name in ("identity", "expression"):
            modes = getattr(self, name).reshape(-1, g * g, 3)[:, around].astype(np.float64)
            object.__setattr__(self, f"_landmark_{name}", operator @ modes)

    @staticmethod
    @cache
    def load() -> FaceModel:
        """The face model that comes with the package. One shared instance; its arrays must not be written to."""
        w = load_weights("frontalize", "face_model")
        return FaceModel(
            mean=symmetric(w["mean"].astype(np.float64)),
            identity=w["identity"].astype(np.float32),
            expression=w["expression"].astype(np.float32),
            landmark_uv=w["landmark_uv"].astype(np.float64),
            skull=w["skull"].astype(np.float64),
            skull_identity=w["skull_identity"].astype(np.float32),
            skull_triangles=w["skull_triangles"].astype(np.int64),
        )

    @property
    def size(self) -> int:
        """G, nodes along each side of the grid."""
        return int(self.mean.shape[0])

    @property
    def triangles(self) -> NDArray[np.int64]:
        """((G-1)^2 * 2, 3) triangles over the flattened grid, front faces counter-clockwise in the chart.

        The diagonals mirror about the middle column, as the chart does.
        """
        return grid_triangles(self.size)

    @property
    def landmark_mean(self) -> Floats:
        """(68, 3) landmarks of the mean face, mm."""
        return self._landmark_mean  # type: ignore[attr-defined,no-any-return]

    @property
    def landmark_identity(self) -> Floats:
        """(K, 68, 3) identity modes at the landmarks, mm."""
        return self._landmark_identity  # type: ignore[attr-defined,no-any-return]

    @property
    def landmark_expression(self) -> Floats:
        """(E, 68, 3) expression modes at the landmarks, mm."""
        return self._landmark_expression  # type: ignore[attr-defined,no-any-return]

    def geometry(self, shape: Floats | None = None, expression: Floats | None = None) -> Floats:
        """(G, G, 3) grid of surface points, mm.

        Args:
            shape: (k,) identity coefficients, k <= K (the others are 0); None: the mean.
            expression: (e,) expression coefficients, e <= E; None: neutral.
        """
        out = self.mean.copy()
        for modes, coefficients in ((self.identity, shape), (self.expression, expression)):
            if coefficients is not None and len(coefficients):
                n = len(coefficients)
                if n > len(modes):
                    raise InvalidInputError(f"expected at most {len(modes)} coefficients; got {n}")
                # In the modes' own precision (1e-5 mm): converting them would cost more than the product.
                moved = np.asarray(coefficients, dtype=np.float32) @ modes[:n].reshape(n, -1)
                out += moved.reshape(out.shape)
        return out

    def skull_geometry(self, shape: Floats | None = None) -> Floats:
        """(S, 3) points of the rest of the head, mm."""
        if shape is None:
            return self.skull
        return self.skull + np.tensordot(np.asarray(shape, dtype=np.float64), self.skull_identity[: len(shape)], axes=1)

    def landmarks(self, shape: Floats | None = None, expression: Floats | None = None) -> Floats:
        """(68, 3) landmarks, mm."""
        out = self.landmark_mean.copy()
        for modes, coefficients in ((self.landmark_identity, shape), (self.landmark_expression, expression)):
            if coefficients is not None:
                out += np.tensordot(np.asarray(coefficients, dtype=np.float64), modes[: len(coefficients)], axes=1)
        return out


def symmetric(geometry: Floats) -> Floats:
    """A geometry image (G, G, 3) made exactly mirror-symmetric: the mean of itself and its mirror image.

    The head model's mean is symmetric only to some millimetres at the rim of neck and ears.
    """
    return (geometry + geometry[:, ::-1] * [-1.0, 1.0, 1.0]) / 2


def bilinear_weights(uv: Floats, size: int) -> Floats:
    """(N, size * size) rows that sample a flattened grid at chart positions `uv` (N, 2) in [0, 1]."""
    at = np.clip(uv, 0.0, 1.0) * (size - 1)
    low = np.minimum(np.floor(at).astype(int), size - 2)
    fraction = at - low
    out = np.zeros((len(uv), size * size))
    rows = np.arange(len(uv))
    for dy in (0, 1):
        for dx in (0, 1):
            wx = fraction[:, 0] if dx else 1 - fraction[:, 0]
            wy = fraction[:, 1] if dy else 1 - fraction[:, 1]
            out[rows, (low[:, 1] + dy) * size + low[:, 0] + dx] += wx * wy
    return out


@cache
def grid_triangles(size: int) -> NDArray[np.int64]:
    """((size-1)^2 * 2, 3) triangles of a regular grid whose diagonals mirror about the middle column."""
    i, j = np.meshgrid(np.arange(size - 1), np.arange(size - 1), indexing="ij")
    a = (i * size + j).ravel()
    b, c, d = a + 1, a + size, a + size + 1
    left = (j.ravel() < (size - 1) / 2)[:, None]
    first = np.where(left, np.stack([a, c, b], axis=1), np.stack([a, c, d], axis=1))
    second = np.where(left, np.stack([b, c, d], axis=1), np.stack([a, d, b], axis=1))
    return np.concatenate([first, second]).astype(np.int64)
