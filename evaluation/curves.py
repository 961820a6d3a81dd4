"""Curves of scored comparisons for a report, thinned out to a screen's resolution, and the strict figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.calibration import calibration_error, cllr, cross_fitted, least_cllr, reliability, tippett
from facerec.evaluation.people_intervals import ComparedPeople, auc_interval, eer_interval, fnmr_interval
from facerec.evaluation.standard_rates import FMR_TARGETS
from facerec.evaluation.verification import det, roc, tar_at_far, worst_scores

# A curve in a report is a drawing: 200 points are more than a screen's width shows.
_CURVE_POINTS = 200
_HISTOGRAM_BINS = 40


def curves(
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    folds: Sequence[str],
    fitted_on: str,
    targets: Sequence[float] = FMR_TARGETS,
) -> dict[str, Any]:
    """What is drawn of scored pairs of both kinds: operating points, ROC, DET, histogram, calibration."""
    curve, trade = roc(scores, same), det(scores, same)
    keep, keep_log = spread(curve.far, curve.tar), spread_log(trade.far, trade.frr)
    ratios = cross_fitted(scores, same, folds)
    bins = reliability(ratios, same)
    return {
        "tar_at_far": [
            {"target_far": p.target_far, "far": p.far, "tar": p.tar, "threshold": p.threshold}
            for p in tar_at_far(scores, same, targets)
        ],
        "roc": {"far": [float(v) for v in curve.far[keep]], "tar": [float(v) for v in curve.tar[keep]]},
        "det": {"far": [float(v) for v in trade.far[keep_log]], "frr": [float(v) for v in trade.frr[keep_log]]},
        "histogram": histogram(scores, same),
        "calibration": {
            "fitted_on": fitted_on,
            "n": len(scores),
            "failed": int(np.count_nonzero(np.isnan(scores))),
            "cllr": cllr(ratios, same),
            "min_cllr": least_cllr(scores, same),
            "calibration_error": calibration_error(bins),
            "bins": [
                {"low": b.low, "high": b.high, "n": b.n, "predicted": b.predicted, "observed": b.observed} for b in bins
            ],
        },
        "tippett": tippett(ratios, same, _CURVE_POINTS),
    }


def add_intervals(
    figures: dict[str, Any],
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> dict[str, Any]:
    """`figures` of the strict rule with intervals by people for AUC, EER and every TAR.

    Thresholds move with the people.

    Args:
        figures: with `auc`, `eer` and `tar_at_far`.
        scores, same: (N,) of the comparisons; NaN for failed ones.
        first, second: (N,) numbers of their people.
    """
    filled = worst_scores(scores, same)
    people = ComparedPeople.of(first, second)
    figures["auc_people_interval"] = list(auc_interval(filled, same, people))
    figures["eer_people_interval"] = list(eer_interval(filled, same, people))
    for point in figures["tar_at_far"]:
        low, high = fnmr_interval(filled, same, people, point["target_far"])
        point["tar_people_interval"] = [1 - high, 1 - low]
    return figures


def spread(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the curve's points to draw: all of a short curve, otherwise spread evenly along its length."""
    if len(x) <= _CURVE_POINTS:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    at = np.searchsorted(along, np.linspace(0, along[-1], _CURVE_POINTS))
    return np.unique(np.concatenate([[0], at, [len(x) - 1]]))


def spread_log(far: NDArray[np.float64], frr: NDArray[np.float64]) -> NDArray[np.int64]:
    """As `spread`, along the curve as it is drawn: on logarithmic axes."""
    least = 1e-5  # below every axis, so that a rate of 0 has a place
    return spread(np.log10(np.maximum(far, least)), np.log10(np.maximum(frr, least)))


def histogram(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> dict[str, Any]:
    """Counts of both kinds of scores in even bins, and how many comparisons have none."""
    known = ~np.isnan(scores)
    if not known.any():
        return {"edges": [], "genuine": [], "impostor": [], "failed": len(scores)}
    low, high = float(scores[known].min()), float(scores[known].max())
    edges = np.linspace(low, high if high > low else low + 1e-6, _HISTOGRAM_BINS + 1)
    counts = [np.histogram(scores[known & kind], edges)[0] for kind in (same, ~same)]
    return {
        "edges": [float(edge) for edge in edges],
        "genuine": [int(count) for count in counts[0]],
        "impostor": [int(count) for count in counts[1]],
        "failed": int(np.count_nonzero(~known)),
    }
