"""Two systems on the same trials: which is right more often, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from facerec.evaluation.intervals import McNemar, holm, mcnemar
from facerec.evaluation.recognition_figures import RecognitionFigures


@dataclass(frozen=True)
class Comparison:
    """One set of trials under two systems.

    Attributes:
        set: "identification NAME", "verification NAME" or "landmarks".
        measure: what `first` and `second` state: "rank-1", "accuracy", "found", "within 8 % by box", ... (shares of
            right answers, failures being wrong) or "median error by box" (misses included; None when most were missed).
        first_system, second_system: their names.
        n: trials.
        first, second: see `measure`.
        test: McNemar's test on the trials on which they differ; for errors, on which of the two is nearer.
    """

    set: str
    measure: str
    first_system: str
    second_system: str
    n: int
    first: float | None
    second: float | None
    test: McNemar


def compare_answers(
    set_name: str, measure: str, systems: tuple[str, str], first: Sequence[bool], second: Sequence[bool]
) -> Comparison:
    """Compare two systems' right (True) and wrong answers to the same trials, at least one."""
    n = len(first)
    test = mcnemar(first, second)
    return Comparison(set_name, measure, *systems, n, sum(first) / n, sum(second) / n, test)


def measure_of(set_name: str) -> str:
    """The name of a set's share of right answers."""
    return "rank-1" if set_name.startswith("identification") else "accuracy"


def right_answers(figures: RecognitionFigures) -> dict[str, list[bool]]:
    """Right or wrong by set, in the rows' order: rank 1 for known probes, the right decision for pairs."""
    answers: dict[str, list[bool]] = {}
    for probe in figures.probes:
        if probe.known:
            answers.setdefault(f"identification {probe.set}", []).append(probe.rank == 1)
    for pair in figures.pairs:
        answers.setdefault(f"verification {pair.set}", []).append(pair.right)
    return answers


def compare_systems(systems: Mapping[str, RecognitionFigures]) -> list[dict[str, Any]]:
    """Every two systems of one run on every set, JSON-ready; p_holm allows for the number of tests in the run."""
    answers = {name: right_answers(figures) for name, figures in systems.items()}
    found = [
        compare_answers(name, measure_of(name), (a, b), answers[a][name], answers[b][name])
        for name in next(iter(answers.values()), {})
        for a, b in combinations(systems, 2)
    ]
    adjusted = holm([one.test.p_value for one in found])
    return [
        {
            "set": one.set,
            "measure": one.measure,
            "first_system": one.first_system,
            "second_system": one.second_system,
            "n": one.n,
            "first": one.first,
            "second": one.second,
            "only_first": one.test.only_first,
            "only_second": one.test.only_second,
            "p_value": one.test.p_value,
            "p_holm": p,
        }
        for one, p in zip(found, adjusted, strict=True)
    ]
