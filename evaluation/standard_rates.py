"""Error rates as ISO/IEC 19795-1 defines them: failures to acquire and to enrol are separate from matching errors.

FMR and FNMR are over completed comparisons. FTE is the share of people who cannot be enrolled, FTA the share of
attempts of which no signature comes. For one attempt FAR = FMR (1 - FTA) and FRR = FTA + FNMR (1 - FTA): a failed
impostor attempt is rejected. In identification a failed search returns nobody: it is a false negative for an enrolled
person and not a false positive for a stranger. The strict figures, in which every failed pair is wrong, are different
(`facerec.evaluation.verification`, `facerec.evaluation.ranks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEW_ERRORS = 30
"""Rule of 30: as many observed errors give the true rate within 30 % with 90 % confidence. Fewer are marked."""

FMR_TARGETS = (0.001, 0.01, 0.1)
FPIR_TARGETS = (0.001, 0.01, 0.1)
"""Default target rates; with fewer trials than 1 / rate there is no figure for a rate."""


@dataclass(frozen=True)
class Rate:
    """An error rate with the numbers behind it.

    Attributes:
        errors, trials: what was counted.
    """

    errors: int
    trials: int

    @property
    def rate(self) -> float | None:
        """errors / trials; None without trials."""
        return self.errors / self.trials if self.trials else None

    @property
    def few(self) -> bool:
        """Whether there are too few errors to state the rate well (rule of 30)."""
        return self.errors < FEW_ERRORS

    @property
    def bound(self) -> float | None:
        """Without any error, what the rate is below with 95 % confidence if trials are independent: 3 / trials, at most
        1 (rule of three); None otherwise."""
        return min(1.0, 3 / self.trials) if self.trials and not self.errors else None


def threshold_at(strangers: Scores, target: float) -> float:
    """The lowest threshold at which at most the share `target` of `strangers` scores >= it; ties are shut out together.

    -inf for no strangers or a target of 1.

    Args:
        strangers: (N,) scores of impostor comparisons or of strangers' searches; -inf for those that name nobody.
        target: in [0, 1].
    """
    if not 0 <= target <= 1:
        raise InvalidInputError(f"expected a rate in [0, 1]; got {target}")
    # 1e-9: 0.1 * 30 must be three, not two.
    allowed = int(target * len(strangers) + 1e-9)
    if allowed >= len(strangers):
        return float("-inf")
    last = np.partition(strangers, len(strangers) - 1 - allowed)[len(strangers) - 1 - allowed]
    return float(np.nextafter(last, np.inf)) if np.isfinite(last) else float(np.finfo(np.float64).min)


def false_matches(scores: Scores, same: Flags, threshold: float) -> Rate:
    """FMR: completed impostor comparisons (no NaN) that score >= threshold."""
    impostor = scores[~same & ~np.isnan(scores)]
    return Rate(int(np.count_nonzero(impostor >= threshold)), len(impostor))


def false_non_matches(scores: Scores, same: Flags, threshold: float) -> Rate:
    """FNMR: completed genuine comparisons (no NaN) that score < threshold."""
    genuine = scores[same & ~np.isnan(scores)]
    return Rate(int(np.count_nonzero(genuine < threshold)), len(genuine))


def false_accept_rate(fmr: float, fta: float) -> float:
    """FAR of one attempt."""
    return fmr * (1 - fta)


def false_reject_rate(fnmr: float, fta: float) -> float:
    """FRR of one attempt."""
    return fta + fnmr * (1 - fta)


@dataclass(frozen=True, eq=False)
class Searches:
    """Searches of one gallery.

    Attributes:
        mate: (P,) score of the right person in each search by an enrolled person; NaN when it failed.
        rank: (P,) of the right person, from 1; infinity when it failed. Ties count against.
        strangers: (U,) best score over the gallery in each search that has no mate there; -inf when it names nobody.
        people: names of who searches, P; strangers' likewise, U.
    """

    mate: Scores
    rank: Scores
    strangers: Scores
    people: tuple[str, ...]
    stranger_people: tuple[str, ...]


def searches(best: Scores, names: Sequence[str], people: Sequence[str]) -> tuple[Searches, str]:
    """Mated and non-mated searches of all probes, and where the non-mated ones are from.

    They are those of people who are not enrolled ("unknown probes"), or, when there is none, every probe with its own
    person left out of the gallery ("own person left out").

    Args:
        best: (P, N) scores of every probe against every person, NaN where not compared.
        names: the N people of the gallery.
        people: who the P probes show.
    """
    place = {name: j for j, name in enumerate(names)}
    mates = np.array([place.get(person, -1) for person in people], dtype=np.int64)
    return chosen_searches(best, mates, np.arange(len(names)), people)


def chosen_searches(
    best: Scores, mates: NDArray[np.int64], gallery: NDArray[np.int64], people: Sequence[str]
) -> tuple[Searches, str]:
    """As `searches`, in the part of the gallery whose columns are `gallery`; `mates` is each probe's column or -1."""
    enrolled = np.zeros(best.shape[1] + 1, dtype=np.bool_)
    enrolled[gallery] = True
    mated = np.flatnonzero(enrolled[mates])  # -1 is the last place, which nobody has
    filled = np.where(np.isnan(best), -np.inf, best)
    mate = best[mated, mates[mated]]
    rank = (filled[np.ix_(mated, gallery)] >= mate[:, None]).sum(axis=1).astype(np.float64)
    unknown = np.flatnonzero(mates < 0)
    source = "unknown probes"
    if not len(unknown):
        unknown, source = np.arange(len(mates)), "own person left out"
        filled[unknown, mates] = -np.inf
    strangers = filled[np.ix_(unknown, gallery)].max(axis=1, initial=-np.inf)
    who = np.asarray(people, dtype=object)
    result = Searches(
        mate,
        np.where(np.isnan(mate), np.inf, rank),
        strangers,
        tuple(str(name) for name in who[mated]),
        tuple(str(name) for name in who[unknown]),
    )
    return result, source


def false_positives(found: Searches, threshold: float) -> Rate:
    """FPIR(N, T): searches without a mate that return anybody with a score >= T."""
    return Rate(int(np.count_nonzero(found.strangers >= threshold)), len(found.strangers))


def false_negatives(found: Searches, rank: int, threshold: float = -np.inf) -> Rate:
    """FNIR(N, R, T): searches whose mate is not among the first R with a score >= T. Failed searches are among them."""
    if rank < 1:
        raise InvalidInputError(f"expected a rank of at least 1; got {rank}")
    return Rate(int(np.count_nonzero(~returned(found, rank, threshold))), len(found.mate))


def returned(found: Searches, rank: int, threshold: float) -> Flags:
    """(P,) whether each search returns its mate among the first `rank` with a score >= `threshold`."""
    scores = np.where(np.isnan(found.mate), -np.inf, found.mate)
    return (found.rank <= rank) & np.isfinite(scores) & (scores >= threshold)


def gini(rates: Sequence[float]) -> float | None:
    """Gini coefficient of groups' error rates, bias-corrected for few groups (ISO/IEC 19795-10 names it among the
    differential measures): 0 when all are alike, 1 when one group has all errors. None without errors or one group.
    """
    x = np.asarray(rates, dtype=np.float64)
    n = len(x)
    if n < 2 or x.sum() <= 0:
        return None
    spread = np.abs(x[:, None] - x[None, :]).sum() / (2 * n * n * x.mean())
    return float(n / (n - 1) * spread)


def worst_to_best(rates: Sequence[float]) -> float | None:
    """Highest over lowest rate; None when there are fewer than two or the lowest is 0."""
    return max(rates) / min(rates) if len(rates) > 1 and min(rates) > 0 else None


def worst_to_mean(rates: Sequence[float]) -> float | None:
    """Highest rate over the geometric mean of all; None when there are fewer than two or one is 0."""
    if len(rates) < 2 or min(rates) <= 0:
        return None
    return float(max(rates) / np.exp(np.log(rates).mean()))
