"""Learning the metric of a descriptor's cells (two-covariance PLDA) from faces of people the network did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.metric import CellMetric

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MetricTraining:
    """Settings.

    Attributes:
        ridge: share of the mean within-person variance that is added to every direction: few people say little about
            most of 128 directions.
    """

    ridge: float = 0.1


@dataclass(frozen=True, eq=False)
class CellModel:
    """Two-covariance PLDA of one cell.

    Attributes:
        mean: (D,). basis: (D, D), columns V with V' W V = I and V' B V = diag(psi). psi: (D,) descending.
    """

    mean: Floats
    basis: Floats
    psi: Floats


def learn_cell(vectors: NDArray[np.floating], person: NDArray[np.str_], ridge: float) -> CellModel:
    """PLDA from vectors (N, D) and whose they are (N,); people with one vector tell about the between part only.

    Raises:
        InvalidInputError: fewer than two people with several vectors.
    """
    label = np.unique(person, return_inverse=True)[1]
    count = np.bincount(label)
    total = np.zeros((len(count), vectors.shape[1]))
    np.add.at(total, label, vectors)
    means = total / count[:, None]
    several = count > 1
    if several.sum() < 2:
        raise InvalidInputError("expected at least two people with several vectors to learn a metric from")
    centred = (vectors - means[label])[several[label]]
    within = centred.T @ centred / float(count[several].sum() - several.sum())
    within += ridge * np.trace(within) / len(within) * np.eye(len(within))
    mean = means.mean(axis=0)
    spread = means - mean
    # The mean of n vectors scatters by within / n beside the person.
    between = spread.T @ spread / (len(means) - 1) - within * float((1 / count).mean())
    psi, basis = eigh((between + between.T) / 2, within)
    order = np.argsort(-psi)
    return CellModel(mean, basis[:, order], np.maximum(psi[order], 0.0))


def learn_metric(
    cells: NDArray[np.float32],
    seen: NDArray[np.bool_],
    person: NDArray[np.str_],
    training: MetricTraining | None = None,
) -> CellMetric:
    """The metric of cells (N, 3, D) of photograph, left and right half; the halves, mirror images, share one.

    Args:
        cells: unit length where `seen` (N, 3).
        person: (N,) whose they are.
        training: see there.
    """
    training = training or MetricTraining()
    photo = learn_cell(cells[seen[:, 0], 0], person[seen[:, 0]], training.ridge)
    halves = np.concatenate([cells[seen[:, k], k] for k in (1, 2)])
    half = learn_cell(halves, np.concatenate([person[seen[:, k]] for k in (1, 2)]), training.ridge)
    transforms = []
    for model in (photo, half, half):
        weight = np.sqrt(model.psi / (1 + 2 * model.psi))
        transform = (model.basis * weight).T
        transform /= np.linalg.norm(transform) / np.sqrt(len(transform))
        transforms.append(transform)
    mean = np.stack([photo.mean, half.mean, half.mean])
    return CellMetric(mean.astype(np.float32), np.stack(transforms).astype(np.float32))


def plda_score(model: CellModel, x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    """(N, M) log-likelihood ratios of vectors (N, D) and (M, D): the exact form that `CellMetric` shortens."""
    a, b = (x - model.mean) @ model.basis, (y - model.mean) @ model.basis
    psi = model.psi
    cross = (a * (psi / (1 + 2 * psi))) @ b.T
    quadratic = psi**2 / (2 * (1 + psi) * (1 + 2 * psi))
    constant = -0.5 * np.log((1 + 2 * psi) / (1 + psi) ** 2).sum()
    return np.asarray(cross - (a**2 @ quadratic)[:, None] - (b**2 @ quadratic)[None] + constant)
