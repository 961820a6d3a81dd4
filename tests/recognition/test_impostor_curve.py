"""The curve of impostor scores: measured where it can be, continued beyond, never looser than measured."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.impostor_curve import ImpostorCurve


def test_between_its_rates_the_curve_is_what_was_measured() -> None:
    scores = np.random.default_rng(0).normal(0, 0.1, 200_000)
    curve = ImpostorCurve.measure(scores, 10)
    for rate in (0.2, 0.01, 1e-3, 1e-4):
        assert curve.score_at(rate) == pytest.approx(np.quantile(scores, 1 - rate), abs=0.004)
        assert curve.rate_at(curve.score_at(rate)) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(("draw", "within"), [("normal", 2.5), ("logistic", 12)])
def test_beyond_its_rates_the_curve_is_extrapolated(draw: str, within: float) -> None:
    rng = np.random.default_rng(1)
    known, unseen = (getattr(rng, draw)(0, 0.1, n) for n in (200_000, 10_000_000))
    curve = ImpostorCurve.measure(known, 10)
    for rate in (1e-5, 2e-6):
        reached = (unseen >= curve.score_at(rate)).mean()
        assert rate / within < reached < within * rate


def test_rates_that_the_pairs_do_not_support_are_not_listed() -> None:
    curve = ImpostorCurve.measure(np.random.default_rng(2).normal(size=1000), 10)
    assert curve.far[-1] == pytest.approx(0.01)
    with pytest.raises(InvalidInputError, match="at least 20"):
        ImpostorCurve.measure(np.zeros(19), 10)
    with pytest.raises(InvalidInputError, match="rates that fall"):
        ImpostorCurve((0.1, 0.2), (0.0, 0.1), 10)
