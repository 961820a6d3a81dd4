"""Reports on score files: the strict figures and the standard's, from scores alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facerec.evaluation.curves import add_intervals, curves
from facerec.evaluation.people_intervals import share_interval
from facerec.evaluation.ranks import mate_ranks, rank_k
from facerec.evaluation.report import Report, RunFacts, plain_report
from facerec.evaluation.score_figures import StandardSettings, standard_figures
from facerec.evaluation.score_set import ScoreSet
from facerec.evaluation.verification import auc, eer

SCORE_RULES = (
    "Strict figures: a failed comparison has the worst possible score, below all others for one person and above all "
    "others for two; a failed probe is a miss at every rank.",
    "The standard's figures: FMR and FNMR are over completed comparisons; FTA, FTE and comparisons that failed "
    "although both sides were there stand apart; FAR = FMR (1 - FTA), FRR = FTA + FNMR (1 - FTA).",
    "Rates that rest on fewer than 30 errors are marked; without errors the bound is 3 / trials.",
    "Intervals are 95 % ones by people; at a target rate the threshold moves with the people.",
    "Calibration is fitted on one half of the probes' people and judged on the other, both ways round.",
)


def score_set_figures(one: ScoreSet, rng: np.random.Generator, settings: StandardSettings) -> dict[str, Any]:
    """Strict and standard figures of a set of scores; keys in docs/reports.md."""
    first, second, people = one.people()
    same = first == second
    figures: dict[str, Any] = {
        "n": len(same),
        "genuine": int(same.sum()),
        "people": people,
        "failed": int(np.isnan(one.scores).sum()),
    }
    best = one.matrix()
    if best is not None:
        names = [sample.person for sample in one.references]
        known = np.array([sample.person in set(names) for sample in one.probes])
        if known.any():
            who = [sample.person for sample in one.probes if sample.person in set(names)]
            ranks = mate_ranks(best[known], names, who)
            number = np.unique(who, return_inverse=True)[1]
            figures |= {"probes": len(ranks), "rank1": rank_k(ranks, 1), "rank5": rank_k(ranks, 5)}
            figures |= {f"rank{k}_people_interval": list(share_interval(ranks <= k, number)) for k in (1, 5)}
    if same.any() and not same.all():
        order = np.unique(second, return_inverse=True)[1]
        folds = [str(place % 2) for place in order]
        apart = (
            "the other half of the people"
            if order.max()
            else "the same person (there is only one, so the figure is too good)"
        )
        figures |= {"auc": auc(one.scores, same), "eer": eer(one.scores, same)}
        figures |= curves(one.scores, same, folds, apart, settings.fmr)
        add_intervals(figures, one.scores, same, first, second)
    return figures | {"standard": standard_figures(one, rng, settings)}


def score_report(figures: Mapping[str, Mapping[str, Any]], files: Mapping[str, Path], facts: RunFacts) -> Report:
    """The report on score files, by name; each file's digest is in it."""
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    content = {"scores": dict(figures), "worst": []}
    return plain_report("scores", "score files", content, facts, SCORE_RULES, {"files": digests})
