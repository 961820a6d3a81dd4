"""Scores as odds: how much evidence a score is that two pictures show one person, and how well it is calibrated.

A logistic map from score to log-likelihood ratio is fitted on other pairs than those it is judged on. Both kinds of
pairs have equal weight, whatever their numbers, so probabilities are those at even odds. A failed pair is
uninformative: its log-likelihood ratio is 0, its probability one half, and it stays in every denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from facerec.landmarks.errors import InvalidInputError

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Weight of the squared slope (scores in standard deviations): kinds that a score parts fully would make it infinite.
_RIDGE = 1e-4

RELIABILITY_BINS = 10
"""Bins of probability: with a few hundred pairs each still holds tens."""


def fit_logistic(scores: Scores, same: Flags) -> tuple[float, float]:
    """(slope, offset) with log-likelihood ratio = slope * score + offset, by logistic regression.

    Both kinds of pairs weigh one half. Failed pairs (NaN) have no say.

    Args:
        scores: (N,), NaN for failed pairs.
        same: (N,) whether the pair shows one person.

    Raises:
        InvalidInputError: when no pair of one kind has a score.
    """
    known = ~np.isnan(scores)
    genuine, impostor = scores[known & same], scores[known & ~same]
    if not len(genuine) or not len(impostor):
        raise InvalidInputError(
            f"expected scored pairs of both kinds; got {len(genuine)} genuine and {len(impostor)} impostor"
        )
    middle = (genuine.mean() + impostor.mean()) / 2
    spread = float(np.concatenate([genuine, impostor]).std()) or 1.0
    a, b = (genuine - middle) / spread, (impostor - middle) / spread

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, offset = parameters
        one, other = slope * a + offset, slope * b + offset
        value = np.logaddexp(0, -one).mean() / 2 + np.logaddexp(0, other).mean() / 2 + _RIDGE * slope**2
        left, right = -expit(-one), expit(other)
        gradient = [
            (left * a).mean() / 2 + (right * b).mean() / 2 + 2 * _RIDGE * slope,
            (left.mean() + right.mean()) / 2,
        ]
        return float(value), np.array(gradient)

    slope, offset = minimize(cost, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return float(slope / spread), float(offset - slope * middle / spread)


def cross_fitted(scores: Scores, same: Flags, folds: Sequence[str]) -> Scores:
    """Log-likelihood ratio of each pair, (N,), by a map fitted on the pairs of all other folds; 0 for failed pairs.

    With a single fold the map is fitted on the same pairs; callers must state this. Where the other folds
    lack scored pairs of a kind there is nothing to fit, and the ratio is 0.
    """
    if len(folds) != len(scores) or same.shape != scores.shape:
        raise InvalidInputError(f"expected a flag and a fold for each of {len(scores)} scores; got {len(folds)} folds")
    ratios = np.zeros(len(scores))
    of = np.asarray(folds)
    names = list(dict.fromkeys(folds))
    for name in names:
        inside = of == name
        others = ~inside if len(names) > 1 else inside
        try:
            slope, offset = fit_logistic(scores[others], same[others])
        except InvalidInputError:
            continue
        ratios[inside] = np.nan_to_num(slope * scores[inside] + offset, nan=0.0)
    return ratios


def cllr(ratios: Scores, same: Flags) -> float:
    """Cost of log-likelihood ratios in bits (Brummer & du Preez 2006): 0 is perfect, 1 is uninformative, and more is
    misleading.

    Mean over genuine pairs of log2(1 + 1/LR) and over impostor pairs of log2(1 + LR), halved. NaN when a kind lacks.
    """
    genuine, impostor = ratios[same], ratios[~same]
    if not len(genuine) or not len(impostor):
        return float("nan")
    bits = np.logaddexp(0, -genuine).mean() + np.logaddexp(0, impostor).mean()
    return float(bits / (2 * np.log(2)))


def least_cllr(scores: Scores, same: Flags) -> float:
    """Cllr under the best increasing map from score to odds (pool adjacent violators): the part that no calibration can
    remove, so Cllr minus this is the cost of calibration.

    A failed pair (NaN) says nothing and costs one bit, as in `cllr`. NaN when a kind lacks.
    """
    genuine = int(np.count_nonzero(same))
    if genuine in (0, len(same)):
        return float("nan")
    known = ~np.isnan(scores)
    _, place = np.unique(scores[known], return_inverse=True)
    kind = same[known]
    ratios = np.zeros(len(scores))
    if kind.any() and not kind.all():
        weight = np.where(kind, 1 / kind.sum(), 1 / (~kind).sum())
        total = np.bincount(place, weight)
        found = np.clip(isotonic_regression(np.bincount(place, weight * kind) / total, weights=total).x, 0.0, 1.0)
        with np.errstate(divide="ignore"):
            ratios[known] = (np.log(found) - np.log1p(-found))[place]
    return cllr(ratios, same)


def tippett(ratios: Scores, same: Flags, points: int) -> dict[str, list[float]]:
    """Tippett plot: over log10 of the likelihood ratio the shares of each kind of pairs whose ratio is larger.

    Keys `llr` (log10), `genuine`, `impostor`; failed pairs stand at 0. An impostor share right of 0 misleads.
    """
    values = ratios / np.log(10)
    at = np.linspace(float(values.min()), float(values.max()), points)
    shares = [
        1 - np.searchsorted(np.sort(values[kind]), at, side="right") / max(int(np.count_nonzero(kind)), 1)
        for kind in (same, ~same)
    ]
    return {
        name: [float(v) for v in line] for name, line in zip(("llr", "genuine", "impostor"), (at, *shares), strict=True)
    }


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs whose probability lies in [low, high) (the last bin holds 1 too).

    Attributes:
        low, high: the bin's ends.
        n: pairs in it, of both kinds.
        predicted: their mean probability; both kinds weigh the same overall.
        observed: the share of genuine ones among them, weighed likewise.
        weight: the bin's share of all pairs, weighed likewise.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    weight: float


def reliability(ratios: Scores, same: Flags, bins: int = RELIABILITY_BINS) -> list[ReliabilityBin]:
    """Predicted against observed probability at even odds, bin by bin; empty bins are left out.

    Args:
        ratios: (N,) log-likelihood ratios; 0 for failed pairs.
        same: (N,), both kinds there.
    """
    genuine = int(np.count_nonzero(same))
    if genuine in (0, len(same)):
        raise InvalidInputError(f"expected both kinds of pairs; got {genuine} genuine of {len(same)}")
    share = np.where(same, 0.5 / genuine, 0.5 / (len(same) - genuine))
    probability = expit(ratios)
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    found: list[ReliabilityBin] = []
    for index in range(bins):
        inside = place == index
        weight = float(share[inside].sum())
        if weight > 0:
            predicted = float((share * probability)[inside].sum()) / weight
            observed = float(share[inside & same].sum()) / weight
            found.append(
                ReliabilityBin(index / bins, (index + 1) / bins, int(inside.sum()), predicted, observed, weight)
            )
    return found


def calibration_error(found: Sequence[ReliabilityBin]) -> float:
    """Expected calibration error: the mean distance of predicted from observed probability, weighed by the bins."""
    return float(sum(one.weight * abs(one.predicted - one.observed) for one in found))
