"""How often strangers reach a score: a measured curve, continued beyond what the pairs support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError


@dataclass(frozen=True)
class ImpostorCurve:
    """Rates of impostor pairs and the scores that they reach.

    Scores are linear in the normal deviate of the rate, the axis of a DET curve: between two listed rates, and beyond
    the lowest one with the slope of the last decade listed. The scores of normalised pairs are nearly straight on that
    axis from 1e-2 to 1e-5 (docs/thresholds.md).

    Attributes:
        far: rates, descending. score: what that share of the pairs reaches, ascending.
        pairs: number of impostor pairs behind them.
    """

    far: tuple[float, ...]
    score: tuple[float, ...]
    pairs: int

    def __post_init__(self) -> None:
        if len(self.far) != len(self.score) or not self.far or self.pairs < 1:
            raise InvalidInputError("expected as many impostor scores as rates, at least one, and their pairs")
        if list(self.far) != sorted(self.far, reverse=True) or list(self.score) != sorted(self.score):
            raise InvalidInputError("expected rates that fall and scores that rise")
        if not all(0 < rate <= 1 for rate in self.far):
            raise InvalidInputError(f"expected rates above 0 and at most 1; got {self.far[0]} to {self.far[-1]}")

    @staticmethod
    def measure(scores: NDArray[np.floating], least: int, pairs: int | None = None) -> ImpostorCurve:
        """The curve of impostor `scores` (N,), down to the rate that `least` of them reach.

        Args:
            scores: of impostor pairs; some may stand for several where groups are counted alike.
            least: pairs above the highest score that is listed.
            pairs: how many different pairs there were; None: N.
        """
        pairs = len(scores) if pairs is None else pairs
        ordered = np.sort(np.asarray(scores, dtype=np.float64).ravel())[::-1]
        if pairs < 2 * least:
            raise InvalidInputError(f"expected at least {2 * least} impostor scores; got {pairs}")
        fewest = max(1, math.ceil(least * len(ordered) / pairs))
        accepts = [int(n) for n in np.unique(np.geomspace(fewest, len(ordered) / 2, 60).astype(int))[::-1]]
        return ImpostorCurve(
            tuple(n / len(ordered) for n in accepts), tuple(float(ordered[n - 1]) for n in accepts), pairs
        )

    def score_at(self, rate: float) -> float:
        """The score that a share `rate` of impostor pairs reaches."""
        if not 0 < rate < 1:
            raise InvalidInputError(f"expected a rate between 0 and 1; got {rate}")
        at, known = _deviate(rate), _deviates(self.far)
        if at <= known[-1] or len(self.far) == 1:
            return float(np.interp(at, known, self.score))
        return self.score[-1] + self._slope() * (at - float(known[-1]))

    def rate_at(self, score: float) -> float:
        """The share of impostor pairs that reach `score`; of a low score, the highest rate listed."""
        known = _deviates(self.far)
        if score <= self.score[-1] or len(self.far) == 1:
            return _rate(float(np.interp(score, self.score, known)))
        return _rate(float(known[-1]) + (score - self.score[-1]) / self._slope())

    def _slope(self) -> float:
        """Rise of the score per normal deviate over the last decade listed."""
        known = _deviates(self.far)
        before = max(_deviate(min(10 * self.far[-1], 0.5)), float(known[0]))
        rise = self.score[-1] - float(np.interp(before, known, self.score))
        return max(rise / max(float(known[-1]) - before, 1e-9), 1e-6)


def _deviates(rates: Sequence[float]) -> NDArray[np.float64]:
    return np.array([_deviate(rate) for rate in rates])


def _deviate(rate: float) -> float:
    """The normal deviate that a share `rate` exceeds."""
    return -_NORMAL.inv_cdf(min(max(rate, 1e-300), 1 - 1e-16))


def _rate(deviate: float) -> float:
    return 0.5 * math.erfc(deviate / math.sqrt(2))


_NORMAL = NormalDist()
