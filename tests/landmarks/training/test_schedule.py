"""One schedule for every landmark trainer."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.training.schedule import LEAST, cosine_rate


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    assert cosine_rate(0.05, 0.1) == pytest.approx(0.5)
    assert cosine_rate(0.1, 0.1) == 1.0
    assert cosine_rate(0.55, 0.1) == pytest.approx(0.5)
    rates = [cosine_rate(p, 0.1) for p in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_rate_is_never_nothing_and_never_above_the_top() -> None:
    for warm_up in (0.0, 0.2, 0.9):
        rates = [cosine_rate(p, warm_up) for p in (0.0, 1e-9, warm_up, 0.95, 1.0, 1.5)]
        assert min(rates) >= LEAST
        assert max(rates) <= 1.0
    assert cosine_rate(0.0) == 1.0
    assert cosine_rate(1.0) == LEAST
    assert cosine_rate(1.0, 2.0) == 0.5
