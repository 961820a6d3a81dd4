"""Whether a landmark model's confidence and visibility can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.landmark_errors import LandmarkResult, point_errors
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.evaluation.verification import auc

CONFIDENT_WITHIN = 0.05
"""A confidence is the probability that a point lies within this share of the longer side of the face's tight box."""

BINS = 10

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def reliability(predicted: Floats, right: Flags) -> dict[str, Any]:
    """How often the prediction was right, by its probability.

    Args:
        predicted: (M,) probabilities.
        right: (M,) whether it was so.

    Returns:
        n; right, the share; auc; ece, the mean gap between prediction and observation over points; and bins of
        prediction: low, high, n, predicted, observed.
    """
    places = np.minimum((predicted * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = places == number
        if inside.any():
            low, high = number / BINS, (number + 1) / BINS
            stated = {"predicted": float(predicted[inside].mean()), "observed": float(right[inside].mean())}
            bins.append({"low": low, "high": high, "n": int(inside.sum())} | stated)
    gap = sum(one["n"] * abs(one["predicted"] - one["observed"]) for one in bins)
    return {
        "n": len(predicted),
        "right": float(right.mean()),
        "auc": auc(predicted, right),
        "ece": gap / len(predicted),
        "bins": bins,
    }


def confidence_figures(annotated: Sequence[AnnotatedPicture], results: Sequence[LandmarkResult]) -> dict[str, Any]:
    """ "confidence": `reliability` over the annotated points of found faces; empty where nothing was found.

    Points that are a mean of several of the 68 have no confidence of their own and are left out.
    """
    predicted, right = [], []
    for one, result in zip(annotated, results, strict=True):
        if result.points is None or result.confidence is None:
            continue
        within = CONFIDENT_WITHIN * max(one.box.width, one.box.height)
        off = point_errors(result.points, one.as_ibug68())
        known = np.isfinite(off)
        predicted.append(result.confidence[known].astype(np.float64))
        right.append(off[known] <= within)
    if not sum(len(part) for part in right):
        return {}
    figures = reliability(np.concatenate(predicted), np.concatenate(right))
    return {"confidence": {"within": CONFIDENT_WITHIN} | figures}


def visibility_figures(annotated: Sequence[AnnotatedPicture], results: Sequence[LandmarkResult]) -> dict[str, Any]:
    """ "visibility": how often a seen point is called visible and a hidden one hidden, over found faces.

    Empty where the data do not say what is hidden, or hide nothing.
    """
    said, truth = [], []
    for one, result in zip(annotated, results, strict=True):
        if one.visible is None or result.visible is None:
            continue
        for row, rows in enumerate(one.sources):
            if len(rows) == 1 and np.isfinite(one.points[row]).all():
                said.append(bool(result.visible[rows[0]]))
                truth.append(bool(one.visible[row]))
    called, seen = np.array(said, dtype=np.bool_), np.array(truth, dtype=np.bool_)
    if not seen.any() or seen.all():
        return {}
    shares = {"seen_right": float(called[seen].mean()), "hidden_right": float((~called[~seen]).mean())}
    return {"visibility": {"seen": int(seen.sum()), "hidden": int((~seen).sum())} | shares}
