"""Training of 2FCSL's two couplings on samples of the face model in all poses, with landmark noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, landmark_modes
from facerec.frontalize.gauss_newton import solve
from facerec.frontalize.shape_2fcsl import CAMERA_ROUNDS, Shape2FCSL, upright_residual
from facerec.frontalize.types import Camera
from facerec.frontalize.visibility import landmark_visibility

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Training2FCSL:
    """Settings of the training."""

    yaw: tuple[float, ...] = (0, 15, 30, 45, 60, 75, 90)
    pitch: tuple[float, ...] = (-40, -20, 0, 20, 40)
    samples: int = 1500  # faces per pose; twice as many change the held-out error by less than 1 %
    hidden_noise: float = 2.0  # a hidden landmark's place is a guess: so much more noise than a seen one's
    point_components: int = 40  # principal components of 136 coordinates
    shape_components: int = 40
    pls_components: int = 20  # the literature's 10 to 20
    dictionary_samples: int = 3000
    atoms: int = 256  # the literature's 200 to 500
    atoms_used: int = 15  # 10 to 20
    sparsity: float = 0.5  # l1 weight while the dictionary is learnt, mm
    epochs: int = 4
    node_step: int = 6  # every sixth node of the chart, both ways, stands for the dense shape
    seed: int = 0


def random_coefficients(rng: np.random.Generator, count: int, modes: int) -> Floats:
    """(count, modes) of faces drawn from the face model."""
    return rng.standard_normal((count, modes))


def pose_samples(
    rng: np.random.Generator, model: FaceModel, yaw: float, pitch: float, count: int, training: Training2FCSL
) -> tuple[Floats, Floats]:
    """Pose-matched pairs: what landmarks leave over under the estimated camera (count, 136), the shape (count, 204).

    The camera is estimated as at run time, so that its errors are learnt too.
    """
    fit = FitSettings()
    modes = landmark_modes(model, fit.identity_modes, fit.expression_modes)
    noise, mean = fit.noise(), model.landmark_mean
    deviation = np.einsum("dln,bn->bld", modes, random_coefficients(rng, count, modes.shape[2]))
    half = (training.yaw[1] - training.yaw[0]) / 2, (training.pitch[1] - training.pitch[0]) / 2
    rotation = np.stack(
        [
            Camera.from_angles(
                yaw + rng.uniform(-half[0], half[0]), pitch + rng.uniform(-half[1], half[1]), rng.uniform(-10, 10)
            ).rotation
            for _ in range(count)
        ]
    )
    seen = landmark_visibility(model, np.zeros(0), np.zeros(0), Camera.from_angles(yaw, pitch, 0))
    spread = noise.sigma * np.where(seen, 1.0, training.hidden_noise)
    points = ((mean + deviation) @ rotation.transpose(0, 2, 1))[..., :2]
    points = points + spread[:, None] * rng.standard_normal(points.shape)
    weights = np.broadcast_to(np.where(seen, 1.0, fit.hidden_weight), (count, 68))
    found = solve(points, weights, mean[None], modes[..., :0], noise, CAMERA_ROUNDS)
    return upright_residual(found, points, mean)[0].reshape(count, 136), deviation.reshape(count, 204)


def learn_2fcsl(model: FaceModel, training: Training2FCSL | None = None) -> Shape2FCSL:
    """Learn both couplings."""
    training = training or Training2FCSL()
    rng = np.random.default_rng(training.seed)
    inward: list[Floats] = []
    outward: list[Floats] = []
    offset: list[Floats] = []
    for yaw in training.yaw:
        for pitch in training.pitch:
            points, shapes = pose_samples(rng, model, yaw, pitch, training.samples, training)
            for kept, part in zip((inward, outward, offset), _first_coupling(points, shapes, training), strict=True):
                kept.append(part)
    poses = len(training.yaw), len(training.pitch)
    sparse_atoms, dense_atoms = _second_coupling(rng, model, training)
    return Shape2FCSL(
        yaw=np.array(training.yaw, dtype=np.float64),
        pitch=np.array(training.pitch, dtype=np.float64),
        inward=np.stack(inward).reshape(*poses, 136, -1),
        outward=np.stack(outward).reshape(*poses, -1, 204),
        offset=np.stack(offset).reshape(*poses, 204),
        sparse_atoms=sparse_atoms,
        dense_atoms=dense_atoms,
        identity_modes=FitSettings().identity_modes,
        atoms_used=training.atoms_used,
    )


def _first_coupling(points: Floats, shapes: Floats, training: Training2FCSL) -> tuple[Floats, Floats, Floats]:
    """Factors (136, C), (C, 204) and offset (204,) of PLS between principal components of both sides."""
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.decomposition import PCA

    # A fixed solver and no seed to pass: the components are the same on every run.
    left = PCA(training.point_components, svd_solver="covariance_eigh").fit(points)
    right = PCA(training.shape_components, svd_solver="covariance_eigh").fit(shapes)
    pls = PLSRegression(training.pls_components, scale=False).fit(left.transform(points), right.transform(shapes))
    inward = left.components_.T @ pls.x_rotations_
    outward = pls.y_loadings_.T @ right.components_
    return inward, outward, right.mean_ - left.mean_ @ inward @ outward


def _second_coupling(rng: np.random.Generator, model: FaceModel, training: Training2FCSL) -> tuple[Floats, Floats]:
    """Coupled atoms: sparse (A, 204), mm, of unit length, and dense (A, k + e), coefficients.

    Learnt together as one dictionary of [sparse; dense], each in root mean square millimetres of its points.
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning

    fit = FitSettings()
    sparse_modes = landmark_modes(model, fit.identity_modes, fit.expression_modes)
    n = sparse_modes.shape[2]
    sparse_modes = sparse_modes.transpose(1, 0, 2).reshape(204, n)
    step = training.node_step
    dense_modes = np.concatenate([model.identity[: fit.identity_modes], model.expression[: fit.expression_modes]])
    dense_modes = dense_modes[:, ::step, ::step].reshape(n, -1).T.astype(np.float64)
    # The dense shape moves in n dimensions only: coordinates in them that keep its distances stand for its points.
    root = np.linalg.cholesky(dense_modes.T @ dense_modes / (len(dense_modes) / 3)).T
    coefficients = random_coefficients(rng, training.dictionary_samples, n)
    joint = np.concatenate([coefficients @ sparse_modes.T / np.sqrt(68), coefficients @ root.T], axis=1)
    learner = MiniBatchDictionaryLearning(
        training.atoms,
        alpha=training.sparsity,
        max_iter=training.epochs,
        batch_size=128,
        max_no_improvement=None,
        random_state=int(rng.integers(2**31)),
    )
    atoms = learner.fit(joint).components_
    sparse = atoms[:, :204] * np.sqrt(68)
    length = np.maximum(np.linalg.norm(sparse, axis=1, keepdims=True), 1e-9)
    dense = np.linalg.solve(root, atoms[:, 204:].T).T
    return sparse / length, dense / length


def coupling_errors(learnt: Shape2FCSL, model: FaceModel, seed: int, count: int = 100) -> dict[str, float]:
    """Mean errors, mm, on `count` fresh faces of the face model at each of three poses (yaw 0, 45, 90, pitch 0).

    Returns:
        "mean_face_mm": the landmarks of the mean face, the floor; "sparse_mm": after the first coupling; "dense_mm":
        the landmarks of the dense shape after the second.
    """
    training, rng = Training2FCSL(), np.random.default_rng(seed)
    modes = landmark_modes(model, learnt.identity_modes, learnt.expression_modes)
    errors: list[list[float]] = []
    for yaw in (0.0, 45.0, 90.0):
        left_over, truth = pose_samples(rng, model, yaw, 0.0, count, training)
        poses = np.full(count, yaw), np.zeros(count)
        sparse = learnt.sparse_shape(left_over.reshape(count, 68, 2), *poses)
        dense = np.einsum("dln,bn->bld", modes, learnt.dense_shape(sparse))
        wanted = truth.reshape(count, 68, 3)
        errors.append([float(np.linalg.norm(found - wanted, axis=2).mean()) for found in (0 * sparse, sparse, dense)])
    return dict(zip(("mean_face_mm", "sparse_mm", "dense_mm"), np.mean(errors, axis=0).tolist(), strict=True))
