"""Do 95 % intervals over people hold 95 %? Simulated people whose rates are known, 10, 50 and 500 of them.

    python benchmarks/interval_coverage.py [--trials 2000] [--people 10,50,500]

For each number of people and each figure the share of simulations whose interval holds the truth, and the shares of
those whose interval lay below it and above it. Rank-1: ten pictures per person, whose rates are drawn from a beta
distribution. Verification: people who are easy to recognise or not and look like others or not, each with three genuine
comparisons and compared with ten others. Identification: three searches by each enrolled person and by each of as many
strangers. The truth is that of very many people.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from facerec.evaluation.people_intervals import (
    ComparedPeople,
    Interval,
    auc_interval,
    eer_interval,
    fnir_interval,
    fnmr_interval,
    pair_share_interval,
    share_interval,
)

PICTURES = 10
RATES = {"people differ much": (0.9, 0.3), "alike": (0.9, 0.02), "people differ": (0.7, 0.2)}
"""Rank-1 and the intra-class correlation of people's pictures."""
TARGET = 0.1
SPREAD = 0.7
"""Standard deviation of people's level; that of their pictures is 1."""
PARTED = {"": 2.0, ", few errors": 3.5}
"""By how much genuine scores exceed impostor ones, by scene."""
SCALE = float(np.sqrt(1 + SPREAD**2))

Found = dict[str, tuple[Interval, float]]
"""Interval and truth by figure."""


def shares(people: int, rng: np.random.Generator) -> Found:
    """Rank-1 of each scene of `RATES`."""
    found: Found = {}
    who = np.repeat(np.arange(people), PICTURES)
    for name, (rate, correlation) in RATES.items():
        total = 1 / correlation - 1
        own = rng.beta(rate * total, (1 - rate) * total, size=people)
        found[f"rank-1 {100 * rate:.0f} %, {name}"] = share_interval(rng.random(len(who)) < own[who], who), rate
    return found


def verification(people: int, rng: np.random.Generator) -> Found:
    """FMR at a fixed threshold, FNMR at FMR, AUC and EER of one simulated test, by scene of `PARTED`."""
    level, ease = SPREAD * rng.normal(size=(2, people))
    own = np.repeat(np.arange(people), 3)
    others = min(10, people - 1)
    a = np.repeat(np.arange(people), others)
    b = (a + np.tile(1 + np.arange(others), people)) % people
    genuine = ease[own] + rng.normal(size=len(own))
    impostor = (level[a] + level[b]) / np.sqrt(2) + rng.normal(size=len(a))
    same = np.arange(len(own) + len(a)) < len(own)
    who = ComparedPeople.of(np.concatenate([own, a]), np.concatenate([own, b]))
    threshold = norm.isf(TARGET) * SCALE
    found: Found = {
        f"FMR {100 * TARGET:g} % at a threshold": (pair_share_interval(impostor >= threshold, a, b), TARGET)
    }
    for name, parted in PARTED.items():
        scores = np.concatenate([parted + genuine, impostor])
        fnmr = float(norm.cdf((threshold - parted) / SCALE))
        area, equal = (float(norm.cdf(x / SCALE)) for x in (parted / np.sqrt(2), -parted / 2))
        found |= {
            f"FNMR {100 * fnmr:.1f} % at FMR {100 * TARGET:g} %{name}": (
                fnmr_interval(scores, same, who, TARGET),
                fnmr,
            ),
            f"AUC {area:.3f}{name}": (auc_interval(scores, same, who), area),
            f"EER {100 * equal:.1f} %{name}": (eer_interval(scores, same, who), equal),
        }
    return found


def identification(people: int, rng: np.random.Generator) -> Found:
    """FNIR at FPIR of one simulated test, by scene of `PARTED`."""
    who = np.repeat(np.arange(people), 3)
    mates, strangers = (SPREAD * rng.normal(size=people)[who] + rng.normal(size=len(who)) for _ in range(2))
    found: Found = {}
    for name, parted in PARTED.items():
        truth = float(norm.cdf(norm.isf(TARGET) - parted / SCALE))
        interval = fnir_interval(mates + parted, who, strangers, people + who, TARGET)
        found[f"FNIR {100 * truth:.1f} % at FPIR {100 * TARGET:g} %{name}"] = interval, truth
    return found


def coverage(
    simulate: Callable[[int, np.random.Generator], Found], people: int, trials: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """By figure the shares of simulations whose interval lay below the truth and above it."""
    missed: dict[str, list[tuple[bool, bool]]] = {}
    for _ in range(trials):
        for name, ((low, high), truth) in simulate(people, rng).items():
            missed.setdefault(name, []).append((high < truth, low > truth))
    return {name: tuple(np.mean(sides, axis=0).tolist()) for name, sides in missed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--people", default="10,50,500")
    options = parser.parse_args()
    counts = [int(one) for one in options.people.split(",")]
    print("| held, % (below and above the truth), people: | " + " | ".join(map(str, counts)) + " |")
    print("| --- " * (1 + len(counts)) + "|")
    for simulate in (shares, verification, identification):
        columns = [coverage(simulate, n, options.trials, np.random.default_rng(n)) for n in counts]
        for name in columns[0]:
            cells = [
                f"{100 * (1 - sum(one[name])):.1f} ({100 * one[name][0]:.1f} {100 * one[name][1]:.1f})"
                for one in columns
            ]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
