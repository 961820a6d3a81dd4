"""Do 95 % intervals over people hold 95 %? Simulated people whose rate is known, 10, 50 and 500 of them.

    python benchmarks/interval_coverage.py [--trials 1000] [--people 10,50,500]

For each number of people and each scene the share of simulations whose interval holds the truth, and how many of the
misses lay on either side. Shares: rank-1 of ten pictures per person whose people differ (their rates are drawn from a
beta distribution). Verification: FNMR at FMR 10 %, AUC and EER of people whose score level differs, each with three
genuine comparisons and compared with ten others; the truth is that of very many people.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from facerec.evaluation.people_intervals import effective_wilson, resample_verification, share_interval

PICTURES = 10
SCENES = {"rate 0.9, people differ much": (0.9, 0.3), "rate 0.9, alike": (0.9, 0.02), "rate 0.7": (0.7, 0.2)}
FMR = 0.1


def people_rates(rate: float, correlation: float, people: int, rng: np.random.Generator) -> np.ndarray:
    """(people,) rates of a beta distribution whose intra-class correlation is `correlation`."""
    total = 1 / correlation - 1
    return rng.beta(rate * total, (1 - rate) * total, size=people)


def share_coverage(
    rate: float, correlation: float, people: int, trials: int, rng: np.random.Generator, way: str = "effective"
) -> float:
    """Share of simulations in which the interval of rank-1 holds `rate`."""
    held = 0
    who = np.repeat(np.arange(people), PICTURES)
    for _ in range(trials):
        right = rng.random(len(who)) < np.repeat(people_rates(rate, correlation, people, rng), PICTURES)
        if way == "effective":
            low, high = share_interval(right, who)
        else:
            means = right.reshape(people, PICTURES).mean(axis=1)[rng.integers(0, people, (500, people))].mean(axis=1)
            low, high = np.percentile(means, [2.5, 97.5])
        held += low <= rate <= high
    return held / trials


def comparisons(people: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Scores, same, first, second of one simulated test."""
    level = 0.7 * rng.normal(size=people)  # some people look like many others
    ease = 0.7 * rng.normal(size=people)
    own = np.repeat(np.arange(people), 3)
    others = min(10, people - 1)
    a = np.repeat(np.arange(people), others)
    b = (a + np.tile(1 + np.arange(others), people)) % people
    genuine = 2.0 + ease[own] + rng.normal(size=len(own))
    impostor = (level[a] + level[b]) / np.sqrt(2) + rng.normal(size=len(a))
    same = np.arange(len(own) + len(a)) < len(own)
    return np.concatenate([genuine, impostor]), same, np.concatenate([own, a]), np.concatenate([own, b])


def truth() -> tuple[float, float, float]:
    """FNMR at `FMR`, AUC and EER of the scene of `comparisons` with people without number."""
    from scipy.stats import norm

    spread = np.sqrt(1 + 0.49)  # of genuine and of impostor scores alike
    fnmr = norm.cdf((norm.isf(FMR) * spread - 2.0) / spread)
    return float(fnmr), float(norm.cdf(2.0 / (spread * np.sqrt(2)))), float(norm.cdf(-1.0 / spread))


def verification_coverage(people: int, trials: int, rng: np.random.Generator, resamples: int = 300) -> list[float]:
    """Shares of simulations whose intervals of FNMR at FMR, AUC and EER hold the truth."""
    from facerec.evaluation.verification import auc, eer, roc

    held = np.zeros(3)
    true = truth()
    for _ in range(trials):
        scores, same, first, second = comparisons(people, rng)
        drawn = resample_verification(scores, same, first, second, (FMR,), rng, resamples)
        curve = roc(scores, same)
        fnmr = 1 - float(curve.tar[np.flatnonzero(curve.far <= FMR + 1e-9)[-1]])
        genuine = int(same.sum())
        for i, (value, spread, count) in enumerate(
            (
                (fnmr, drawn.fnmr[:, 0], genuine),
                (auc(scores, same), drawn.auc, None),
                (eer(scores, same), drawn.eer, None),
            )
        ):
            low, high = effective_wilson(value, float(spread.std(ddof=1)), people, count)
            held[i] += low <= true[i] <= high
    return [float(one) for one in held / trials]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--people", default="10,50,500")
    options = parser.parse_args()
    counts = [int(one) for one in options.people.split(",")]
    rng = np.random.default_rng(0)
    show: Callable[[str, list[float]], None] = lambda label, row: print(  # noqa: E731
        f"{label:44s}" + "".join(f"{100 * one:8.1f}" for one in row), flush=True
    )
    print(f"{'coverage of 95 % intervals, %; people:':44s}" + "".join(f"{one:8d}" for one in counts))
    for name, (rate, correlation) in SCENES.items():
        for way in ("effective", "percentile bootstrap"):
            row = [share_coverage(rate, correlation, n, options.trials, rng, way) for n in counts]
            show(f"{name}, {way}", row)
    rows = [verification_coverage(n, options.trials // (10 if n > 100 else 1), rng) for n in counts]
    for i, name in enumerate((f"FNMR at FMR {100 * FMR:g} %", "AUC", "EER")):
        show(name, [row[i] for row in rows])


if __name__ == "__main__":
    main()
