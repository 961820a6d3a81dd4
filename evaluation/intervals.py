"""How sure a figure of independent trials is: Wilson's interval, and McNemar's test between two systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import binom

from facerec.landmarks.errors import InvalidInputError


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, (low, high) in [0, 1].

    Chosen over the normal approximation because it stays inside [0, 1] and keeps its coverage near 0 and 1, where
    recognition rates live. Without trials nothing is known: (0, 1).

    Raises:
        InvalidInputError: when `successes` is not within 0..`trials` or `confidence` not within (0, 1).
    """
    if not 0 <= successes <= trials:
        raise InvalidInputError(f"expected 0 <= successes <= trials; got {successes} of {trials}")
    if not 0 < confidence < 1:
        raise InvalidInputError(f"expected a confidence in (0, 1); got {confidence}")
    if trials == 0:
        return 0.0, 1.0
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / trials
    weight = 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / weight
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / weight
    # At the ends the exact bound is the end itself; rounding must not leave it a hair inside or outside.
    low = 0.0 if successes == 0 else max(0.0, float(center - half))
    high = 1.0 if successes == trials else min(1.0, float(center + half))
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: the chance of any false alarm among all tests stays below each."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class McNemar:
    """Two systems on the same trials.

    Attributes:
        only_first: trials that only the first system got right.
        only_second: trials that only the second got right.
        both: trials that both got right.
        neither: trials that neither got right.
        p_value: exact two-sided p-value: how often chance alone would split the disputed trials as unevenly.
    """

    only_first: int
    only_second: int
    both: int
    neither: int
    p_value: float


def mcnemar(first: NDArray[np.bool_] | Sequence[bool], second: NDArray[np.bool_] | Sequence[bool]) -> McNemar:
    """McNemar's exact test on two systems' right (True) and wrong answers to the same trials, both (N,).

    Exact (binomial) rather than chi-squared: two good systems dispute few trials.

    Raises:
        InvalidInputError: when the two do not have the same number of trials.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise InvalidInputError(f"expected the same trials for both systems; got {a.shape} and {b.shape}")
    only_a, only_b = int(np.count_nonzero(a & ~b)), int(np.count_nonzero(~a & b))
    disputed = only_a + only_b
    p = 1.0 if disputed == 0 else min(1.0, 2 * float(binom.cdf(min(only_a, only_b), disputed, 0.5)))
    return McNemar(only_a, only_b, int(np.count_nonzero(a & b)), int(np.count_nonzero(~a & ~b)), p)
