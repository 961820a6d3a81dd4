"""Intervals of figures whose trials share people: how much would a figure change with other people?

Pictures of one person succeed and fail together, and an impostor comparison has two people. So people are resampled,
not trials, and a threshold that was chosen on strangers is chosen again in each resample. The variance over the
resamples gives the effective number of independent trials, and the interval is Wilson's for that number. Where the
figure does not vary at all (ten people, all right), the interval is Wilson's over people. A plain percentile bootstrap
would give [1, 1] there, and is too narrow for few people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Interval = tuple[float, float]

RESAMPLES = 1000
"""Draws of people: their standard deviation gives an interval's width within 3 %."""

# Of comparisons times draws: some seconds. With more comparisons there are fewer draws, but never less than 200.
_MOST_WORK = 200_000_000
_AT_ONCE = 2_000_000


def effective_wilson(
    share: float, deviation: float, people: int, trials: int | None = None, confidence: float = 0.95
) -> Interval:
    """Wilson's interval of `share` for as many trials as spread by `deviation`.

    Args:
        share: the figure, in [0, 1].
        deviation: its standard deviation over draws of people.
        people: how many independent people it is from. With few of them the deviation itself is uncertain, so Student's
            quantile for one degree of freedom less stands in place of the normal one.
        trials: how many trials it is the share of, at most which many are independent; None for a figure that is no
            share of trials (AUC, EER).
        confidence: of the interval.
    """
    if not 0 <= share <= 1 or people < 0 or not 0 < confidence < 1:
        raise InvalidInputError(f"expected a share in [0, 1] of people; got {share} of {people}")
    if people == 0:
        return 0.0, 1.0
    tail = 0.5 + confidence / 2
    if people > 1 and deviation > 0 and 0 < share < 1:
        count = share * (1 - share) / deviation**2
        count = min(count, trials) if trials is not None else count
        z = float(stdtrit(people - 1, tail))
    else:
        count, z = float(people), float(ndtri(tail))
    weight = 1 + z * z / count
    center = (share + z * z / (2 * count)) / weight
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / weight
    low = 0.0 if share == 0 else max(0.0, float(center - half))
    high = 1.0 if share == 1 else min(1.0, float(center + half))
    return low, high


def numbered(people: Sequence[str]) -> Indices:
    """A number for each name, (N,); equal names, equal numbers."""
    if not len(people):
        return np.empty(0, dtype=np.int64)
    found: Indices = np.unique(np.asarray(people, dtype=object).astype(str), return_inverse=True)[1]
    return found


def share_interval(values: NDArray[np.generic], people: Indices) -> Interval:
    """95 % interval of the mean of `values` (N,), each 0 or 1 and of one person (N,); (0, 1) without values.

    The spread is that of whole people, as drawing them gives it in the limit of many draws.
    """
    return pair_share_interval(values, people, people)


def pair_share_interval(values: NDArray[np.generic], first: Indices, second: Indices) -> Interval:
    """As `share_interval` for comparisons of two people each (N,), (N,).

    The variance is that of all comparisons that share a person with each other (dyadic clusters); a comparison of a
    person with themselves belongs to one.
    """
    n = len(values)
    if not n:
        return 0.0, 1.0
    x = np.asarray(values, dtype=np.float64)
    share = float(x.mean())
    _, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = index[:n], index[n:]
    count = int(index.max()) + 1
    off = x - share
    two = a != b
    sums = np.bincount(a, off, count) + np.bincount(b[two], off[two], count)
    variance = float((sums**2).sum())
    if two.any():
        # Comparisons of the same two people were counted with both of them.
        low, high = np.minimum(a, b)[two], np.maximum(a, b)[two]
        both = np.unique(low * count + high, return_inverse=True)[1]
        variance -= float((np.bincount(both, off[two]) ** 2).sum())
    variance = max(variance, 0.0) / n**2
    if count > 1:
        variance *= count / (count - 1)
    return effective_wilson(share, float(np.sqrt(variance)), count, n)


def draws(people: int, trials: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each of `people` people was drawn, (B, people), a few draws B at a time.

    Args:
        people: to draw from, with replacement, as many as there are.
        trials: that each draw will weigh; with very many there are fewer draws.
        rng: draws.
        resamples: draws in all.
    """
    left = min(resamples, max(200, _MOST_WORK // max(trials, 1)))
    at_once = max(1, _AT_ONCE // max(trials, people, 1))
    while left > 0:
        rows = min(left, at_once)
        drawn = rng.integers(0, people, size=(rows, people)) + people * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * people).reshape(rows, people).astype(np.float64)
        left -= rows


@dataclass(frozen=True, eq=False)
class ResampledRates:
    """Figures of verification on each of B draws of people; NaN where a draw has no comparison of a kind.

    Attributes:
        fnmr: (B, T) at T target FMRs, the threshold set again on each draw's impostors.
        auc, eer: (B,).
    """

    fnmr: Floats
    auc: Floats
    eer: Floats


def resample_verification(
    scores: Floats,
    same: NDArray[np.bool_],
    first: Indices,
    second: Indices,
    targets: Sequence[float],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> ResampledRates:
    """FNMR at FMR, AUC and EER of completed comparisons on draws of people.

    A person drawn c times brings their own comparisons c times; one of two people counts as often as the product of
    their draws.

    Args:
        scores: (N,); +inf and -inf may stand for failures that count against, NaN may not.
        same: (N,), both kinds there.
        first, second: (N,) numbers of the people.
        targets: FMR values.
        rng: draws the people.
        resamples: draws.
    """
    if np.isnan(scores).any() or not same.any() or same.all():
        raise InvalidInputError("expected completed comparisons of both kinds")
    names, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    order = np.argsort(-scores, kind="stable")
    a, b = index[: len(scores)][order], index[len(scores) :][order]
    genuine, ranked = same[order], scores[order]
    own = a == b
    ends = np.append(ranked[1:] != ranked[:-1], True)  # the last comparison of each score: ties go together
    fnmr, auc, eer = [], [], []
    for times in draws(len(names), len(scores), rng, resamples):
        weight = times[:, a]
        weight = np.where(own, weight, weight * times[:, b])
        accepted = np.cumsum(weight * genuine, axis=1)[:, ends]
        matched = np.cumsum(weight * ~genuine, axis=1)[:, ends]
        usable = (accepted[:, -1] > 0) & (matched[:, -1] > 0)
        accepted, matched = accepted[usable], matched[usable]
        zero = np.zeros((len(accepted), 1))
        tar = np.concatenate([zero, accepted / accepted[:, -1:]], axis=1)
        far = np.concatenate([zero, matched / matched[:, -1:]], axis=1)
        rows = np.arange(len(far))
        at = np.stack([(far <= target + 1e-9).sum(axis=1) - 1 for target in targets], axis=1)
        fnmr.append(1 - tar[rows[:, None], at])
        auc.append((np.diff(far, axis=1) * (tar[:, 1:] + tar[:, :-1]) / 2).sum(axis=1))
        eer.append(_crossing(far, 1 - tar))
    return ResampledRates(np.concatenate(fnmr), np.concatenate(auc), np.concatenate(eer))


def _crossing(far: Floats, frr: Floats) -> Floats:
    """(B,) rate at which each row's rising `far` meets its falling `frr`, linear between thresholds."""
    gap = far - frr
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(far))
    before = np.maximum(after - 1, 0)
    step = gap[rows, after] - gap[rows, before]
    share = np.where(step > 0, -gap[rows, before] / np.where(step > 0, step, 1), 0.0)
    met: Floats = far[rows, before] + share * (far[rows, after] - far[rows, before])
    return met


def resample_fnir(
    mate: Floats,
    rank: Floats,
    people: Indices,
    strangers: Floats,
    stranger_people: Indices,
    ranks: Sequence[int],
    targets: Sequence[float],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Floats:
    """FNIR on draws of people, (B, R, T): for each of `ranks` and each target FPIR, whose threshold is set again.

    Draws without searches of either kind are left out.

    Args:
        mate, rank, people: (P,) of the mated searches; a failed search has a rank of infinity.
        strangers, stranger_people: (U,) best scores of the searches without a mate, -inf where nobody is named.
        ranks: R values of the rank.
        targets: FPIR values.
        rng: draws the people.
        resamples: draws.
    """
    names, index = np.unique(np.concatenate([people, stranger_people]), return_inverse=True)
    own, other = index[: len(people)], index[len(people) :]
    order = np.argsort(-strangers, kind="stable")
    best, other = strangers[order], other[order]
    ascending = np.argsort(np.where(np.isnan(mate), -np.inf, mate), kind="stable")
    scores, placed, own = np.nan_to_num(mate[ascending], nan=-np.inf), rank[ascending], own[ascending]
    found = []
    for times in draws(len(names), len(mate) + len(strangers), rng, resamples):
        weight, alarms = times[:, own], np.cumsum(times[:, other], axis=1)
        usable = (weight.sum(axis=1) > 0) & (alarms[:, -1] > 0)
        weight, alarms = weight[usable], alarms[usable]
        total = weight.sum(axis=1)
        rows = np.arange(len(weight))
        cells = np.empty((len(weight), len(ranks), len(targets)))
        for i, most in enumerate(ranks):
            right = weight * (placed <= most)
            above = np.concatenate([np.cumsum(right[:, ::-1], axis=1)[:, ::-1], np.zeros((len(right), 1))], axis=1)
            for j, target in enumerate(targets):
                allowed = (alarms <= target * alarms[:, -1:] + 1e-9).sum(axis=1)
                shut = np.where(allowed < len(best), best[np.minimum(allowed, len(best) - 1)], -np.inf)
                cells[:, i, j] = 1 - above[rows, np.searchsorted(scores, shut, side="right")] / total
        found.append(cells)
    return np.concatenate(found)
