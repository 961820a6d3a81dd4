"""Verification: are two photographs of one person? ROC, AUC, EER, accuracy with thresholds from other folds.

The rule for pairs in which a face failed (either picture has no signature): the pair stays in every denominator and
counts as an error. In the accuracy it is a wrong decision. In the ROC, AUC and EER it has the worst possible score:
minus infinity when the two are one person, plus infinity when they are not. So failing on hard faces can never improve
a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


def _check(scores: Scores, same: Flags) -> tuple[Scores, Flags]:
    scores, same = np.asarray(scores, dtype=np.float64), np.asarray(same)
    if scores.ndim != 1 or same.shape != scores.shape or same.dtype != np.bool_:
        raise InvalidInputError(
            f"expected scores (N,) and same (N,) bool; got {scores.shape}, {same.shape} {same.dtype}"
        )
    return scores, same


def worst_scores(scores: Scores, same: Flags) -> Scores:
    """Replace the NaN of failed pairs by the worst score: -inf for one person, +inf for two people. (N,)."""
    scores, same = _check(scores, same)
    return np.where(np.isnan(scores), np.where(same, -np.inf, np.inf), scores)


def auc(scores: Scores, same: Flags) -> float:
    """Area under the ROC: the chance that a genuine pair scores above an impostor pair, ties counting one half.

    NaN scores are failures (see the module's rule). NaN when either kind of pair is missing.
    """
    filled = worst_scores(scores, same)
    genuine, impostor = filled[same], np.sort(filled[~same])
    if not len(genuine) or not len(impostor):
        return float("nan")
    below = np.searchsorted(impostor, genuine, side="left")
    not_above = np.searchsorted(impostor, genuine, side="right")
    return float((below + not_above).sum()) / (2 * len(genuine) * len(impostor))


@dataclass(frozen=True, eq=False)
class Roc:
    """A receiver operating characteristic; a pair is accepted when its score >= the threshold.

    Attributes:
        thresholds: (T,) falling, from +inf.
        far: (T,) share of impostor pairs accepted, not falling.
        tar: (T,) share of genuine pairs accepted, not falling.
    """

    thresholds: Scores
    far: Scores
    tar: Scores


def roc(scores: Scores, same: Flags) -> Roc:
    """ROC over every distinct score. Failed pairs (NaN) follow the module's rule.

    A failed impostor pair is accepted at every threshold and a failed genuine pair at none, so with failures the curve
    starts right of FAR 0 and ends below TAR 1.

    Raises:
        InvalidInputError: when there is no genuine or no impostor pair.
    """
    filled = worst_scores(scores, same)
    genuine, impostor = np.sort(filled[same]), np.sort(filled[~same])
    if not len(genuine) or not len(impostor):
        raise InvalidInputError(f"expected both kinds of pairs; got {len(genuine)} genuine, {len(impostor)} impostor")
    finite = np.unique(filled[np.isfinite(filled)])[::-1]
    thresholds = np.concatenate([[np.inf], finite])
    far = 1 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    tar = 1 - np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    return Roc(thresholds, far, tar)


def eer(scores: Scores, same: Flags) -> float:
    """Equal error rate: where the false accepts' share meets the false rejects', linear between thresholds."""
    curve = roc(scores, same)
    far, frr = curve.far, 1 - curve.tar
    gap = far - frr
    # The gap does not fall along the curve and ends at 0 or above (the lowest score accepts every impostor), so the
    # first point at which it is not negative closes the crossing.
    after = int(np.argmax(gap >= 0))
    if after == 0:  # every impostor pair failed
        return float(far[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


@dataclass(frozen=True, eq=False)
class Det:
    """A detection error trade-off: the two error rates against each other; failed pairs follow the module's rule.

    Attributes:
        far: (T,) share of impostor pairs accepted, rising.
        frr: (T,) share of genuine pairs rejected, falling.
    """

    far: Scores
    frr: Scores


def det(scores: Scores, same: Flags) -> Det:
    """DET of the points at which the curve turns: of equal FAR the least FRR, of equal FRR the least FAR.

    Raises:
        InvalidInputError: when there is no genuine or no impostor pair.
    """
    curve = roc(scores, same)
    frr = 1 - curve.tar
    last = np.append(curve.far[1:] > curve.far[:-1], True)  # the last point of each FAR has the least FRR
    far, frr = curve.far[last], frr[last]
    first = np.insert(frr[1:] < frr[:-1], 0, True)
    return Det(far[first], frr[first])


@dataclass(frozen=True)
class OperatingPoint:
    """The true accept rate at a false accept rate.

    Attributes:
        target_far: the rate that was asked for.
        far: the rate reached, <= target.
        tar: share of genuine pairs accepted.
        threshold: a pair is accepted when its score >= threshold.
    """

    target_far: float
    far: float
    tar: float
    threshold: float


def tar_at_far(scores: Scores, same: Flags, targets: Sequence[float] = (0.001, 0.01, 0.1)) -> list[OperatingPoint]:
    """TAR at FAR. Left out are targets that too few impostor pairs support or that failures put out of reach."""
    curve = roc(scores, same)
    impostors = int(np.count_nonzero(~np.asarray(same)))
    points: list[OperatingPoint] = []
    for target in targets:
        within = np.flatnonzero(curve.far <= target + 1e-12)
        if target * impostors < 1 - 1e-9 or not len(within):
            continue
        at = int(within[-1])
        threshold = float(curve.thresholds[at])
        points.append(OperatingPoint(float(target), float(curve.far[at]), float(curve.tar[at]), threshold))
    return points


def best_threshold(scores: Scores, same: Flags) -> float:
    """The threshold with the most right decisions on these pairs (accept when score >= threshold).

    Candidates lie midway between neighbouring scores, and beyond both ends. Among equally good ones the middle one is
    taken: an end would lean on a single pair. Failed pairs (NaN) are wrong whatever the threshold, so have no say.

    Raises:
        InvalidInputError: when no pair has a score.
    """
    scores, same = _check(scores, same)
    known = ~np.isnan(scores)
    if not known.any():
        raise InvalidInputError("expected at least one pair with a score to choose a threshold; every pair failed")
    values = np.unique(scores[known])
    candidates = np.concatenate([[values[0] - 1e-6], (values[:-1] + values[1:]) / 2, [values[-1] + 1e-6]])
    genuine, impostor = np.sort(scores[known & same]), np.sort(scores[known & ~same])
    right = (len(genuine) - np.searchsorted(genuine, candidates, side="left")) + np.searchsorted(
        impostor, candidates, side="left"
    )
    best = np.flatnonzero(right == right.max())
    return float(candidates[best[len(best) // 2]])


def accuracy(scores: Scores, same: Flags, threshold: float) -> float:
    """Share of all pairs decided rightly (accept when score >= threshold); a failed pair (NaN score) is wrong.

    NaN without pairs.
    """
    scores, same = _check(scores, same)
    if not len(scores):
        return float("nan")
    known = ~np.isnan(scores)
    right = known & ((np.where(known, scores, 0.0) >= threshold) == same)
    return float(np.count_nonzero(right)) / len(scores)


@dataclass(frozen=True)
class FoldResult:
    """One fold of a verification protocol.

    Attributes:
        fold: its name.
        n: pairs in it.
        accuracy: with `threshold`.
        threshold: chosen on the pairs of all other folds (on this one when there is no other).
        auc: within this fold.
        eer: within this fold.
    """

    fold: str
    n: int
    accuracy: float
    threshold: float
    auc: float
    eer: float


def by_folds(scores: Scores, same: Flags, folds: Sequence[str]) -> list[FoldResult]:
    """Each fold's accuracy with the threshold chosen on the other folds, in the folds' order of first appearance.

    A single fold has no others: its threshold is chosen on itself, which makes it look too good; callers must say so.
    When every pair of the other folds failed there is nothing to choose a threshold from and the accuracy is 0.
    """
    scores, same = _check(scores, same)
    if len(folds) != len(scores):
        raise InvalidInputError(f"expected a fold for each of the {len(scores)} pairs; got {len(folds)}")
    names = list(dict.fromkeys(folds))
    of = np.asarray(folds)
    results: list[FoldResult] = []
    for name in names:
        inside = of == name
        others = ~inside if len(names) > 1 else inside
        if np.isnan(scores[others]).all():
            threshold, share = float("nan"), 0.0
        else:
            threshold = best_threshold(scores[others], same[others])
            share = accuracy(scores[inside], same[inside], threshold)
        both = same[inside].any() and not same[inside].all()
        results.append(
            FoldResult(
                fold=str(name),
                n=int(np.count_nonzero(inside)),
                accuracy=share,
                threshold=threshold,
                auc=auc(scores[inside], same[inside]),
                eer=eer(scores[inside], same[inside]) if both else float("nan"),
            )
        )
    return results
