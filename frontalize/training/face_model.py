"""Training of the face model on samples of a richer head model (ICT-FaceKit's light face model, MIT licence)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from facerec.frontalize.chart import boundary_loops, close_holes, grid_operator, unwrap
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FaceModelSettings:
    """Settings of the face model."""

    grid: int = 97  # nodes per side: 3 mm apart, finer than the landmarks can tell
    identity_modes: int = 60  # hold over 99.9 % of the identity variance
    expression_modes: int = 30
    samples: int = 4000  # expression samples; identity is Gaussian, its covariance is known in closed form
    seed: int = 0
    # The chart is stretched so that brows to chin fill the middle: forehead top and neck are seen less and say less.
    v_knots: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.11, 0.16), (0.73, 0.83), (1.0, 1.0))


@dataclass(frozen=True, eq=False)
class HeadModel:
    """The head model that is sampled: face = neutral + sum w_i identity_i + sum e_j expression_j.

    Converted to the project's space (mm, x right, y down, z away from the camera).
    """

    neutral: Floats
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    expression_names: list[str]
    triangles: NDArray[np.int64]
    uv: Floats
    uv_triangles: NDArray[np.int64]
    landmarks68: NDArray[np.int64]
    face_end: int
    head_end: int

    @staticmethod
    def read(path: Path) -> HeadModel:
        """Read the packed ICT-FaceKit light face model (`neutral`, `identity`, `expression`, ... in one npz)."""
        with np.load(path, allow_pickle=False) as packed:
            missing = {"neutral", "identity", "expression", "triangles", "uv", "uv_triangles", "landmarks68"} - set(
                packed.files
            )
            if missing:
                raise InvalidInputError(f"expected a packed ICT-FaceKit model; {path.name} lacks {sorted(missing)}")
            regions = json.loads(str(packed["regions"]))
            to_mm = np.array([10.0, -10.0, -10.0])  # cm, y up, z towards the camera
            return HeadModel(
                neutral=packed["neutral"].astype(np.float64) * to_mm,
                identity=(packed["identity"].astype(np.float32) * to_mm).astype(np.float32),
                expression=(packed["expression"].astype(np.float32) * to_mm).astype(np.float32),
                expression_names=[str(n) for n in packed["expression_names"]],
                triangles=packed["triangles"].astype(np.int64),
                uv=packed["uv"].astype(np.float64),
                uv_triangles=packed["uv_triangles"].astype(np.int64),
                landmarks68=packed["landmarks68"].astype(np.int64),
                face_end=regions["face"][1],
                head_end=regions["head_and_neck"][1],
            )

    def sample_identity(self, rng: np.random.Generator, n: int) -> Floats:
        """(n, I) identity weights, w ~ N(0, 1)."""
        return rng.standard_normal((n, len(self.identity)))

    def sample_expression(self, rng: np.random.Generator, n: int) -> Floats:
        """(n, J) expression weights in [0, 1]: few at a time, and left and right mostly together, as faces move."""
        names = self.expression_names
        weights = rng.beta(0.3, 1.2, (n, len(names))) * (rng.random((n, len(names))) < 0.25)
        for j, name in enumerate(names):
            if name.endswith("_L"):
                twin = names.index(name[:-1] + "R")
                together = rng.random(n) < 0.8
                weights[together, twin] = weights[together, j]
        return np.asarray(weights)


def _inner_surface(head: HeadModel, triangles: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which face vertices lie inside the mouth or the nostrils, where no camera looks."""
    v = head.neutral[: head.face_end]
    inside = np.zeros(len(v), dtype=bool)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    ring = sp.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(v), len(v)))
    ring = ring + ring.T
    # The holes' rims lie behind the lips and inside the lids: peel rings off until the landmarks form the rim.
    for loop in boundary_loops(triangles)[1:]:
        reached = np.zeros(len(v), dtype=bool)
        reached[loop] = True
        while True:
            grown = reached | (np.asarray(ring @ reached.astype(float)) > 0)
            if grown[head.landmarks68].any():
                break
            reached = grown
        inside |= reached
    nostril_depth = v[head.landmarks68[33], 2] + 2.7  # mm behind the base of the septum
    wing = abs(v[head.landmarks68[31], 0]) + 1.7
    tip, base = v[head.landmarks68[30], 1] - 5.0, v[head.landmarks68[33], 1] - 6.0
    inside |= (
        (np.abs(v[:, 0]) < wing)
        & (v[:, 1] > tip)
        & (v[:, 1] < base)
        & (v[:, 2] > nostril_depth)
        & (v[:, 2] < nostril_depth + 17)
    )
    return inside


def learn_face_model(head: HeadModel, settings: FaceModelSettings | None = None) -> dict[str, NDArray[np.generic]]:
    """Learn mean and modes on the project's own chart.

    The chart is an even unwrapping of the head model's face with eyes, mouth and nostrils closed. Identity is Gaussian
    and linear, so its principal components follow in closed form from the 100 modes; expression is bounded and
    one-sided, so its components are those of samples, about the neutral face.

    Returns:
        The arrays of `FaceModel`, as stored (see `FaceModel.load`).
    """
    settings = settings or FaceModelSettings()
    rng = np.random.default_rng(settings.seed)
    face = slice(0, head.face_end)
    in_face = (head.triangles < head.face_end).all(axis=1) & (head.uv[head.uv_triangles][:, :, 0].max(axis=1) <= 1.0)
    triangles = head.triangles[in_face]
    first_uv = np.zeros((head.face_end, 2))
    first_uv[triangles.ravel()] = head.uv[head.uv_triangles[in_face].ravel()]
    inside = _inner_surface(head, triangles)
    outside = triangles[~inside[triangles].any(axis=1)]
    used = np.unique(outside)
    compact = np.full(head.face_end, -1)
    compact[used] = np.arange(len(used))
    surface = compact[outside]
    closing = close_holes(head.neutral[face][used], surface)
    closed = np.concatenate([surface, closing])
    uv = unwrap(head.neutral[face][used], closed, first_uv[used])
    uv[:, 1] = 1.0 - uv[:, 1]  # the source's v grows upwards, the chart's rows grow downwards
    knots = np.array(settings.v_knots)
    uv[:, 1] = PchipInterpolator(knots[:, 0], knots[:, 1])(np.clip(uv[:, 1], 0.0, 1.0))
    operator = grid_operator(uv, closed, np.arange(len(closed)) >= len(surface), settings.grid)

    g = settings.grid

    def on_grid(modes: NDArray[np.floating]) -> Floats:
        flat = modes[:, face][:, used].astype(np.float64)
        return np.stack([operator @ mode for mode in flat]).reshape(len(flat), -1)

    mean = (operator @ head.neutral[face][used]).reshape(g, g, 3)
    identity = on_grid(head.identity)
    turn, scale, _ = np.linalg.svd(identity, full_matrices=False)
    directions = turn.T
    identity_modes = directions[: settings.identity_modes] @ identity
    kept = float((scale[: settings.identity_modes] ** 2).sum() / (scale**2).sum())

    expression = on_grid(head.expression)
    weights = head.sample_expression(rng, settings.samples)
    # A second moment of J x J stands for all samples: its square root times the modes has the same components.
    variance, axes = np.linalg.eigh(weights.T @ weights / len(weights))
    root = np.sqrt(np.maximum(variance, 0.0))[:, None] * axes.T
    _, sizes, components = np.linalg.svd(root @ expression, full_matrices=False)
    expression_modes = sizes[: settings.expression_modes, None] * components[: settings.expression_modes]

    skull_rows = (head.triangles < head.head_end).all(axis=1) & (head.triangles >= head.face_end).any(axis=1)
    skull_triangles = head.triangles[skull_rows]
    skull_used = np.unique(skull_triangles)
    skull_index = np.full(head.head_end, -1)
    skull_index[skull_used] = np.arange(len(skull_used))
    skull_modes = np.tensordot(
        directions[: settings.identity_modes], head.identity[:, skull_used].astype(float), axes=1
    )
    return {
        "mean": mean.astype(np.float32),
        "identity": identity_modes.reshape(-1, g, g, 3).astype(np.float16),
        "expression": expression_modes.reshape(-1, g, g, 3).astype(np.float16),
        "landmark_uv": uv[compact[head.landmarks68]].astype(np.float32),
        "skull": head.neutral[skull_used].astype(np.float32),
        "skull_identity": skull_modes.astype(np.float16),
        "skull_triangles": skull_index[skull_triangles].astype(np.int16),
        "identity_kept": np.float32(kept),
        "operator_data": operator.tocsr().data,
        "operator_indices": operator.tocsr().indices,
        "operator_indptr": operator.tocsr().indptr,
        "operator_vertices": used,
    }


def model_error(
    head: HeadModel, learnt: dict[str, NDArray[np.generic]], n: int = 100, seed: int = 1
) -> dict[str, float]:
    """Error of the learnt model on fresh samples of the head model, mm, over the chart's nodes.

    Each sample (identity and expression together) is projected onto the modes by least squares.

    Returns:
        "mean_mm", "p95_mm", "max_mm" of the distance node by node, and "identity_kept", a share of the variance.
    """
    rng = np.random.default_rng(seed)
    operator = sp.csr_matrix(
        (learnt["operator_data"], learnt["operator_indices"], learnt["operator_indptr"]),
        shape=(learnt["mean"].shape[0] ** 2, len(learnt["operator_vertices"])),
    )
    used = learnt["operator_vertices"]
    basis = np.concatenate(
        [learnt[k].reshape(len(learnt[k]), -1).astype(np.float64) for k in ("identity", "expression")]
    )
    mean = learnt["mean"].astype(np.float64).ravel()
    identity = head.sample_identity(rng, n)
    expression = head.sample_expression(rng, n)
    errors = []
    for w, e in zip(identity, expression, strict=True):
        vertices = head.neutral[used] + np.tensordot(w, head.identity[:, used], axes=1)
        vertices = vertices + np.tensordot(e, head.expression[:, used], axes=1)
        sample = (operator @ vertices).ravel() - mean
        coefficients, *_ = np.linalg.lstsq(basis.T, sample, rcond=None)
        errors.append(np.linalg.norm((sample - coefficients @ basis).reshape(-1, 3), axis=1))
    distance = np.concatenate(errors)
    return {
        "mean_mm": float(distance.mean()),
        "p95_mm": float(np.percentile(distance, 95)),
        "max_mm": float(distance.max()),
        "identity_kept": float(learnt["identity_kept"]),
    }
