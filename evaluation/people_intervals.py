"""Intervals of figures whose trials share people: how far would a figure move with other people?

Pictures of one person succeed and fail together, and an impostor comparison has two people. So what counts is how much
a figure moves when a person with all their comparisons is left out (a jackknife of people; comparisons of the same two
people, which move with both, are counted once). A threshold that was set on strangers moves with them. This spread
gives the number of independent trials that would spread as much, and the interval is Wilson's for that many, with
Student's quantile: where few people make up most of the spread, the spread itself is hardly known. Where nothing
spreads (ten people, all right), what is known is that many people did alike: the interval is Wilson's over people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri, stdtrit

from facerec.evaluation.verification import auc, eer
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Interval = tuple[float, float]

# A person who is in nearly all comparisons cannot be left out; their move is taken for at most ten times what it is.
_LEAST_REST = 0.1


def numbered(people: Sequence[str]) -> Indices:
    """A number for each name, (N,); equal names, equal numbers."""
    if not len(people):
        return np.empty(0, dtype=np.int64)
    found: Indices = np.unique(np.asarray(people, dtype=object).astype(str), return_inverse=True)[1]
    return found


@dataclass(frozen=True, eq=False)
class ComparedPeople:
    """Whom each of N comparisons is of.

    Attributes:
        first, second: (N,) numbers of the two people, from 0 to `count` - 1; the same for a genuine comparison.
        count: of people.
        pair: (N,) a number for each two people, whichever is first; a person alone has a pair of their own.
    """

    first: Indices
    second: Indices
    count: int
    pair: Indices

    @classmethod
    def of(cls, first: Indices, second: Indices) -> ComparedPeople:
        """From any numbers of the people, (N,) each."""
        n = len(first)
        names, index = np.unique(np.concatenate([first, second]), return_inverse=True)
        a, b = index[:n], index[n:]
        if np.array_equal(a, b):
            return cls(a, b, len(names), a)
        both = np.minimum(a, b) * len(names) + np.maximum(a, b)
        return cls(a, b, len(names), np.unique(both, return_inverse=True)[1])


@dataclass(frozen=True)
class Spread:
    """How far a figure moves with other people.

    Attributes:
        deviation: standard deviation.
        freedom: degrees of freedom of `deviation`: people less one, fewer where a few people make up most of it.
        people: how many.
    """

    deviation: float
    freedom: float
    people: int


def spread_by_people(moves: Floats, people: ComparedPeople, kind: Flags | None = None) -> Spread:
    """The spread of a figure whose comparisons move it by `moves` (N,), which sum to 0.

    Args:
        moves: by how much the figure exceeds what it would be if the comparison were like the average of its kind.
        people: of the comparisons.
        kind: (N,) which of two means (genuine, impostor) each comparison belongs to; one mean by default.
    """
    kind = np.zeros(len(moves), dtype=np.bool_) if kind is None else kind
    two = people.first != people.second
    sums, once = np.zeros(people.count), np.array(moves, dtype=np.float64)
    for value in (False, True):
        inside = kind == value
        if not inside.any():
            continue
        apart = inside & two
        own = np.bincount(people.first[inside], moves[inside], people.count)
        own += np.bincount(people.second[apart], moves[apart], people.count)
        share = np.bincount(people.first[inside], minlength=people.count)
        share = (share + np.bincount(people.second[apart], minlength=people.count)) / inside.sum()
        # Without this person the mean is over the rest.
        growth = 1 / np.maximum(1 - share, _LEAST_REST)
        sums += growth * own
        once[inside] *= np.sqrt(growth[people.first[inside]] * growth[people.second[inside]])
    squares = sums**2
    variance = float(squares.sum())
    if two.any():
        # Comparisons of the same two people were counted with both of them. Of few people the estimate can fall below
        # what comparisons that share nothing would give; it is not taken for less than that.
        pairs, alone = (float((np.bincount(people.pair[some], once[some]) ** 2).sum()) for some in (two, ~two))
        variance = max(variance - pairs, pairs + alone)
    deviation = np.sqrt(max(variance, 0.0) * (people.count - 1) / people.count)
    return Spread(float(deviation), _freedom(squares), people.count)


def _freedom(squares: Floats) -> float:
    """Degrees of freedom of a variance that is the sum of `squares` (P,), one of each person: with heavy tails fewer.

    A variance of P values of excess kurtosis k has itself the relative variance 2 / (P - 1) + k / P; a chi-square of f
    degrees of freedom has 2 / f.
    """
    count, total = len(squares), float(squares.sum())
    if count < 2 or total <= 0:
        return max(count - 1.0, 1.0)
    excess = max(count * float((squares**2).sum()) / total**2 - 3, 0.0)
    return 2 / (2 / (count - 1) + excess / count)


def effective_wilson(share: float, spread: Spread, trials: int | None = None, confidence: float = 0.95) -> Interval:
    """Wilson's interval of `share` for as many trials as spread by `spread`; over people where nothing spreads.

    Args:
        share: the figure, in [0, 1].
        spread: of the figure.
        trials: how many trials it is the share of, at most which many are independent; None for a figure that is no
            share of trials (the EER).
        confidence: of the interval.
    """
    if not 0 <= share <= 1 or spread.people < 0 or not 0 < confidence < 1:
        raise InvalidInputError(f"expected a share in [0, 1] of people; got {share} of {spread.people}")
    if spread.people == 0:
        return 0.0, 1.0
    tail = 0.5 + confidence / 2
    if spread.people > 1 and spread.deviation > 0 and 0 < share < 1:
        count = share * (1 - share) / spread.deviation**2
        z = float(stdtrit(spread.freedom, tail))
        if trials is not None and count > trials:
            # Trials cannot be better than independent.
            z, count = max(z * np.sqrt(trials / count), float(ndtri(tail))), trials
    else:
        count, z = float(spread.people), float(ndtri(tail))
    weight = 1 + z * z / count
    center = (share + z * z / (2 * count)) / weight
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / weight
    low = 0.0 if share == 0 else max(0.0, float(center - half))
    high = 1.0 if share == 1 else min(1.0, float(center + half))
    return low, high


def share_interval(values: NDArray[np.generic], people: Indices) -> Interval:
    """95 % interval of the mean of `values` (N,), each 0 or 1 and of one person (N,); (0, 1) without values."""
    return pair_share_interval(values, people, people)


def pair_share_interval(values: NDArray[np.generic], first: Indices, second: Indices) -> Interval:
    """As `share_interval` for comparisons of two people each (N,), (N,); one of a person with themselves has one."""
    n = len(values)
    if not n:
        return 0.0, 1.0
    x = np.asarray(values, dtype=np.float64)
    share = float(x.mean())
    return effective_wilson(share, spread_by_people((x - share) / n, ComparedPeople.of(first, second)), n)


def _check(scores: Floats, same: Flags) -> None:
    if np.isnan(scores).any() or not same.any() or same.all():
        raise InvalidInputError("expected completed comparisons of both kinds")


def auc_interval(scores: Floats, same: Flags, people: ComparedPeople) -> Interval:
    """95 % interval of the area under the ROC.

    Args:
        scores: (N,); +inf and -inf may stand for failures that count against, NaN may not.
        same: (N,), both kinds there.
        people: of the comparisons.
    """
    _check(scores, same)
    area = auc(scores, same)
    moves = np.empty(len(scores))
    for kind, other in ((same, ~same), (~same, same)):
        ordered = np.sort(scores[other])
        places = np.searchsorted(ordered, scores[kind], "left") + np.searchsorted(ordered, scores[kind], "right")
        below = places / (2 * len(ordered))
        # What each comparison contributes: the chance to lie on its right side of one of the other kind.
        moves[kind] = ((below if kind is same else 1 - below) - area) / len(below)
    spread = spread_by_people(moves, people, same)
    if spread.deviation == 0 or not 0 < area < 1:
        return effective_wilson(area, spread)
    # An area is no share of trials: on the axis of log odds its spread is even, and near 1 the interval has a long
    # lower side.
    half = float(stdtrit(spread.freedom, 0.975)) * spread.deviation / (area * (1 - area))
    return float(expit(logit(area) - half)), float(expit(logit(area) + half))


def _errors(scores: Floats, same: Flags, threshold: float) -> Floats:
    """(N,) what each comparison adds to FNMR (a genuine one) or to FMR at a threshold, less its kind's mean."""
    wrong = (scores >= threshold) != same
    found = np.empty(len(scores))
    for kind in (same, ~same):
        found[kind] = (wrong[kind] - wrong[kind].mean()) / kind.sum()
    return found


def eer_interval(scores: Floats, same: Flags, people: ComparedPeople) -> Interval:
    """95 % interval of the equal error rate; arguments as of `auc_interval`."""
    _check(scores, same)
    thresholds = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    fnmr = np.searchsorted(genuine, thresholds) / len(genuine)
    fmr = 1 - np.searchsorted(impostor, thresholds) / len(impostor)
    gap = fnmr - fmr  # rises with the threshold
    last = len(thresholds) - 1
    errors = _errors(scores, same, float(thresholds[min(int(np.searchsorted(gap, 0.0)), last)]))
    uncertain = spread_by_people(np.where(same, errors, -errors), people, same).deviation
    # Where the crossing may lie, FNMR rises and FMR falls by so much: what moves one alone moves their meeting point
    # by the other's part.
    low, high = (min(int(np.searchsorted(gap, end)), last) for end in (-uncertain, uncertain))
    rise, fall = float(fnmr[high] - fnmr[low]), float(fmr[low] - fmr[high])
    weight = fall / (rise + fall) if rise + fall > 0 else 0.5
    moves = np.where(same, weight, 1 - weight) * errors
    return effective_wilson(eer(scores, same), spread_by_people(moves, people, same))


def fnmr_interval(scores: Floats, same: Flags, people: ComparedPeople, target: float) -> Interval:
    """95 % interval of FNMR at FMR `target`, whose threshold moves with the strangers.

    Of searches: `scores` are those of the mates, -inf where the mate is not returned, and the best ones of strangers.
    Arguments else as of `auc_interval`.
    """
    _check(scores, same)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])

    def threshold(rate: float) -> float:
        allowed = int(rate * len(impostor) + 1e-9)
        return -np.inf if allowed >= len(impostor) else float(np.nextafter(impostor[-1 - allowed], np.inf))

    def fnmr(rate: float) -> float:
        return float(np.searchsorted(genuine, threshold(rate))) / len(genuine)

    errors = _errors(scores, same, threshold(target))
    # With other people the same threshold would have another FMR; the FNMR is taken at both ends of that spread
    # (Woodruff's way with a quantile, which needs no density).
    uncertain = spread_by_people(np.where(same, 0.0, errors), people, same).deviation
    low, high = max(target - uncertain, 0.0), min(target + uncertain, 1.0)
    slope = (fnmr(low) - fnmr(high)) / (high - low) if high > low else 0.0
    moves = np.where(same, 1.0, slope) * errors
    share = fnmr(target)
    return effective_wilson(share, spread_by_people(moves, people, same), len(genuine))


def fnir_interval(
    named: Floats, people: Indices, strangers: Floats, stranger_people: Indices, target: float
) -> Interval:
    """95 % interval of FNIR(N, R, T) at FPIR `target`, whose threshold moves with the strangers.

    Args:
        named: (P,) scores of the mates that are among the first R of their searches, -inf for the others.
        people: (P,) numbers of who searched.
        strangers, stranger_people: (U,) best scores of the searches without a mate, -inf where nobody is named; people
            numbered with those of the mated searches.
        target: FPIR.
    """
    who = np.concatenate([people, stranger_people])
    same = np.arange(len(who)) < len(people)
    return fnmr_interval(np.concatenate([named, strangers]), same, ComparedPeople.of(who, who), target)
