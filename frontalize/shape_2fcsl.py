"""Two-fold coupled structure learning (Dou et al., BMVC 2014; METHODS: 2FCSL): a face's shape from its landmarks.

1. The camera of the current sparse shape, at first the mean's (Gauss-Newton on the camera alone).
2. First coupling: the landmarks' residual, turned upright and in millimetres, goes through a regression learnt
   for that pose (principal components on both sides and partial least squares between them) to a sparse 3-D shape.
3. Second coupling: the sparse shape is written with few atoms of a dictionary (orthogonal matching pursuit), and the
   same weights of the coupled dictionary's atoms give the dense shape, here as coefficients of the face model.

Both couplings are trained on samples of the face model (`facerec train shape-2fcsl`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.gauss_newton import Estimate, LandmarkNoise, Shift, solve
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR

Floats = NDArray[np.float64]

ROUNDS = 2
"""Of camera and shape: a third moves the dense shape by less than 0.02 mm."""

CAMERA_ROUNDS = 6
"""Of Gauss-Newton on a camera alone, which starts close."""


@dataclass(frozen=True, eq=False)
class Shape2FCSL:
    """The learnt couplings.

    Attributes:
        yaw: (Y,) degrees >= 0, ascending; pitch: (P,) degrees, ascending: the poses regressions were learnt for.
            Negative yaw goes through the mirror image.
        inward: (Y, P, 136, C); outward: (Y, P, C, 204); offset: (Y, P, 204): sparse deviation from the mean, mm
            (landmark by landmark, x, y, z) = residual (landmark by landmark, x, y) @ inward @ outward + offset.
        sparse_atoms: (A, 204) mm, unit length; dense_atoms: (A, k + e), the same atoms as coefficients of the face
            model, standard deviations, identity first.
        identity_modes: k. atoms_used: atoms a face is written with.
    """

    yaw: Floats
    pitch: Floats
    inward: Floats
    outward: Floats
    offset: Floats
    sparse_atoms: Floats
    dense_atoms: Floats
    identity_modes: int
    atoms_used: int

    def __post_init__(self) -> None:
        poses, atoms = (len(self.yaw), len(self.pitch)), len(self.sparse_atoms)
        if (
            self.inward.shape[:3] != (*poses, 136)
            or self.outward.shape != (*poses, self.inward.shape[3], 204)
            or self.offset.shape != (*poses, 204)
            or self.sparse_atoms.shape != (atoms, 204)
            or len(self.dense_atoms) != atoms
        ):
            raise InvalidInputError(
                "expected inward (Y, P, 136, C), outward (Y, P, C, 204), offset (Y, P, 204), atoms (A, 204) and (A, n);"
                f" got {self.inward.shape}, {self.outward.shape}, {self.offset.shape}, {self.sparse_atoms.shape}, "
                f"{self.dense_atoms.shape}"
            )

    @property
    def expression_modes(self) -> int:
        """e, expression coefficients among the dense ones."""
        return int(self.dense_atoms.shape[1]) - self.identity_modes

    @staticmethod
    @cache
    def load() -> Shape2FCSL:
        """The couplings that come with the package."""
        return Shape2FCSL.from_stored(load_weights("frontalize", "shape_2fcsl"))

    def stored(self) -> dict[str, NDArray[np.generic]]:
        """The arrays as `load` reads them, in half precision (0.05 % of a millimetre's deviation)."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        return {name: a.astype(np.float16 if a.ndim else np.int64) for name, a in arrays.items()}

    @staticmethod
    def from_stored(arrays: dict[str, NDArray[np.generic]]) -> Shape2FCSL:
        """The couplings that `stored` wrote."""
        numbers = {name: a.astype(np.float64) for name, a in arrays.items() if a.ndim}
        return Shape2FCSL(**numbers, identity_modes=int(arrays["identity_modes"]), atoms_used=int(arrays["atoms_used"]))

    def solve(
        self,
        points: Floats,
        weights: Floats,
        mean: Floats,
        modes: Floats,
        noise: LandmarkNoise,
        shift: Shift | None = None,
    ) -> Estimate:
        """Cameras and coefficients of B faces.

        Args:
            points: (B, 68, 2) px; weights: (B, 68) >= 0: points of weight 0 count as the mean face's.
            mean: (68, 3) mm; modes: (3, 68, k + e) mm per standard deviation, of the face model.
            noise: of the landmarks, for the camera.
            shift: subtracted from the points, see `facerec.frontalize.gauss_newton.solve`.
        """
        rigid = modes[..., :0]
        surface = mean[None]
        found = solve(points, weights, surface, rigid, noise, CAMERA_ROUNDS, shift)
        coefficients = np.zeros((len(points), modes.shape[2]))
        for _ in range(ROUNDS):
            given = points if shift is None else points - shift(found)
            left_over, yaw, pitch = upright_residual(found, given, mean)
            sparse = self.sparse_shape(left_over * (weights > 0)[..., None], yaw, pitch)
            coefficients = self.dense_shape(sparse)
            surface = mean + np.einsum("dln,bn->bld", modes, coefficients)
            found = solve(points, weights, surface, rigid, noise, CAMERA_ROUNDS, shift)
        return Estimate(found.rotation, found.translation, found.scale, coefficients)

    def sparse_shape(self, left_over: Floats, yaw: Floats, pitch: Floats) -> Floats:
        """First coupling: (B, 68, 3) deviation from the mean, mm, of `upright_residual`'s (B, 68, 2), (B,), (B,).

        Between the poses that were learnt, the four neighbours' answers are interpolated bilinearly.
        """
        turned = yaw < 0
        given = np.where(turned[:, None, None], left_over[:, IBUG68_MIRROR] * [-1.0, 1.0], left_over)
        flat = given.reshape(len(given), 136)
        out = np.zeros((len(flat), 204))
        across, down = _hat(np.abs(yaw), self.yaw), _hat(pitch, self.pitch)
        for i in range(len(self.yaw)):
            for j in range(len(self.pitch)):
                share = across[:, i] * down[:, j]
                rows = np.flatnonzero(share)
                answer = flat[rows] @ self.inward[i, j] @ self.outward[i, j] + self.offset[i, j]
                out[rows] += share[rows, None] * answer
        shape = out.reshape(-1, 68, 3)
        return np.where(turned[:, None, None], shape[:, IBUG68_MIRROR] * [-1.0, 1.0, 1.0], shape)

    def dense_shape(self, sparse: Floats) -> Floats:
        """Second coupling: (B, k + e) coefficients of the dense shape of sparse ones (B, 68, 3), mm from the mean."""
        from sklearn.decomposition import sparse_encode

        weights = sparse_encode(
            sparse.reshape(len(sparse), 204), self.sparse_atoms, algorithm="omp", n_nonzero_coefs=self.atoms_used
        )
        return np.asarray(weights @ self.dense_atoms)


def _hat(values: Floats, nodes: Floats) -> Floats:
    """(B, N) weights of the nodes (N,) ascending in linear interpolation at `values` (B,), clipped to their range."""
    return np.stack([np.interp(values, nodes, row) for row in np.eye(len(nodes))], axis=1)


def upright_residual(found: Estimate, points: Floats, mean: Floats) -> tuple[Floats, Floats, Floats]:
    """What the mean face leaves over of landmarks under its camera: the same whatever the scale, place and roll.

    Args:
        found: B cameras; points: (B, 68, 2) px; mean: (68, 3) mm.

    Returns:
        (B, 68, 2) mm, x right and y down of the face held upright; yaw (B,) and pitch (B,), degrees.
    """
    rotation = found.rotation
    left_over = (points - found.translation[:, None]) / found.scale[:, None, None]
    left_over = left_over - mean @ rotation[:, :2].transpose(0, 2, 1)
    roll = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    upright = np.stack(
        [cos * left_over[..., 0] + sin * left_over[..., 1], cos * left_over[..., 1] - sin * left_over[..., 0]], axis=2
    )
    yaw = np.rad2deg(np.arctan2(rotation[:, 2, 0], rotation[:, 2, 2]))
    pitch = np.rad2deg(np.arcsin(np.clip(-rotation[:, 2, 1], -1.0, 1.0)))
    return upright, yaw, pitch
