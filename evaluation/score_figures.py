"""The standard's figures of a set of scores of any system: rates with counts, intervals, poses and groups.

All are over completed comparisons with failures apart (`facerec.evaluation.standard_rates`), at one global threshold
for each target rate: bins of pose and groups use the threshold of the whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.bins import PITCH_BINS, UNKNOWN_YAW, YAW_BINS, pitch_bin, yaw_bin
from facerec.evaluation.curves import spread_log
from facerec.evaluation.people_intervals import (
    ComparedPeople,
    auc_interval,
    eer_interval,
    fnir_interval,
    fnmr_interval,
    pair_share_interval,
    share_interval,
)
from facerec.evaluation.score_set import Sample, ScoreSet
from facerec.evaluation.standard_rates import (
    FEW_ERRORS,
    FMR_TARGETS,
    FPIR_TARGETS,
    Rate,
    Searches,
    chosen_searches,
    false_accept_rate,
    false_negatives,
    false_positives,
    false_reject_rate,
    gini,
    returned,
    searches,
    threshold_at,
    worst_to_best,
    worst_to_mean,
)
from facerec.evaluation.verification import auc, det, eer
from facerec.landmarks.errors import InvalidInputError

Indices = NDArray[np.int64]

DISCARDED = tuple(round(0.05 * i, 2) for i in range(11))
"""Shares of comparisons that are discarded by quality: beyond a half nobody would."""


@dataclass(frozen=True)
class StandardSettings:
    """Settings of the standard's figures.

    Attributes:
        fmr: target FMRs of verification.
        fpir: target FPIRs of identification.
        gallery_sizes: numbers of enrolled people N; the whole gallery is always among them.
        ranks: R of FNIR(N, R, T): the first name, a short list, a page of candidates.
        drawn_galleries: galleries drawn for a size below the whole; their mean is steady to a few per cent of the rate.
    """

    fmr: tuple[float, ...] = FMR_TARGETS
    fpir: tuple[float, ...] = FPIR_TARGETS
    gallery_sizes: tuple[int, ...] = ()
    ranks: tuple[int, ...] = (1, 5, 20)
    drawn_galleries: int = 20

    def __post_init__(self) -> None:
        if not all(0 < rate < 1 for rate in (*self.fmr, *self.fpir)) or not self.fmr or not self.fpir:
            raise InvalidInputError(f"expected rates between 0 and 1; got {self.fmr} and {self.fpir}")
        if any(size < 2 for size in self.gallery_sizes):
            raise InvalidInputError(f"expected galleries of at least 2 people; got {self.gallery_sizes}")


def counted(rate: Rate, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    """A rate as JSON: rate, errors, trials, whether errors are few, the bound where there is none, the interval."""
    figures = {
        "rate": rate.rate,
        "errors": rate.errors,
        "trials": rate.trials,
        "few_errors": rate.few,
        "bound": rate.bound,
    }
    return figures if interval is None else figures | {"interval": list(interval)}


def standard_figures(
    one: ScoreSet, rng: np.random.Generator, settings: StandardSettings | None = None
) -> dict[str, Any]:
    """All of the standard's figures of one set of scores; keys in docs/reports.md."""
    settings = settings or StandardSettings()
    first, second, people = one.people()
    same = first == second
    done = ~np.isnan(one.scores)
    figures = _acquisition(one, same, done) | {"people": people}
    scores, kind, a, b = one.scores[done], same[done], first[done], second[done]
    if not kind.all():
        figures |= _verification(one, (scores, kind, a, b), figures["fta"]["rate"] or 0.0, settings)
    best = one.matrix()
    if best is not None and kind.any() and not kind.all():
        figures["identification"] = _identification(one, best, rng, settings)
    return figures


def _acquisition(one: ScoreSet, same: NDArray[np.bool_], done: NDArray[np.bool_]) -> dict[str, Any]:
    """Numbers of comparisons, FTA over attempts, FTE over people, and what failed although both sides were there."""
    used = np.zeros(len(one.probes), dtype=np.bool_)
    used[one.probe] = True
    attempts = [sample.acquired for sample, there in zip(one.probes, used, strict=True) if there]
    enrolled: dict[str, bool] = {}
    for sample in one.references:
        enrolled[sample.person] = enrolled.get(sample.person, False) or sample.acquired
    there = np.array([sample.acquired for sample in one.references])[one.reference]
    there &= np.array([sample.acquired for sample in one.probes])[one.probe]
    return {
        "comparisons": {
            "n": len(same),
            "genuine": int(same.sum()),
            "impostor": int((~same).sum()),
            "completed_genuine": int((same & done).sum()),
            "completed_impostor": int((~same & done).sum()),
        },
        "fta": counted(Rate(attempts.count(False), len(attempts))),
        "fte": counted(Rate(list(enrolled.values()).count(False), len(enrolled))),
        "failed_to_compare": counted(Rate(int((there & ~done).sum()), int(there.sum()))),
    }


Completed = tuple[NDArray[np.float64], NDArray[np.bool_], Indices, Indices]


def _verification(one: ScoreSet, completed: Completed, fta: float, settings: StandardSettings) -> dict[str, Any]:
    """FMR, FNMR, FAR, FRR at the target FMRs; AUC, EER and DET of completed comparisons; bins and groups.

    Without genuine comparisons (one picture of each person) there are FMRs alone.
    """
    scores, same, a, b = completed
    impostor, genuine = int((~same).sum()), int(same.sum())
    targets = tuple(target for target in settings.fmr if target * impostor >= 1 - 1e-9)
    points = []
    for target in targets:
        threshold = threshold_at(scores[~same], target)
        point = _at_threshold(completed, threshold)
        far, fnmr = false_accept_rate(point["fmr"]["rate"], fta), point["fnmr"]["rate"]
        frr = None if fnmr is None else false_reject_rate(fnmr, fta)
        points.append({"target_fmr": target, "threshold": threshold} | point | {"far": far, "frr": frr})
    figures: dict[str, Any] = {}
    if genuine:
        people = ComparedPeople.of(a, b)
        for point in points:
            # The threshold moves with the strangers here, and is held fixed in the interval of the FMR.
            point["fnmr"]["interval"] = list(fnmr_interval(scores, same, people, point["target_fmr"]))
        curve = det(scores, same)
        keep = spread_log(curve.far, curve.frr)
        figures = {
            "auc": auc(scores, same),
            "auc_interval": list(auc_interval(scores, same, people)),
            "eer": eer(scores, same),
            "eer_interval": list(eer_interval(scores, same, people)),
            "det": {"fmr": [float(v) for v in curve.far[keep]], "fnmr": [float(v) for v in curve.frr[keep]]},
        }
    return figures | {
        "fnmr_at_fmr": points,
        "fmr_out_of_reach": [target for target in settings.fmr if target not in targets],
        "by_yaw": _by_pose(one, completed, points, "yaw"),
        "by_pitch": _by_pose(one, completed, points, "pitch"),
        "by_group": _by_group(one, completed, points),
        "discard": _discard(one, completed, points),
    }


def _discard(one: ScoreSet, completed: Completed, points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """FNMR at each target's fixed threshold when the worst genuine comparisons by quality are discarded.

    A comparison is as good as its worse side. [] where no quality is known. A good quality lets the FNMR fall at once.
    """
    scores, same, _, _ = completed
    done = _keep_completed(one)
    sides = [
        np.array([np.inf if sample.quality is None else sample.quality for sample in samples])[index[done]]
        for samples, index in ((one.references, one.reference), (one.probes, one.probe))
    ]
    quality = np.minimum(*sides)[same]
    if not len(quality) or not np.isfinite(quality).all():
        return []
    order = np.argsort(quality, kind="stable")
    ordered = scores[same][order]
    label = _labels([yaw_bin(sample.yaw) for sample in one.probes], one.probe[done][same])[order]
    curves = []
    for point in points:
        missed = ordered < point["threshold"]
        curve = {"target_fmr": point["target_fmr"], "discarded": list(DISCARDED)} | _after_discarding(missed)
        if set(label) != {UNKNOWN_YAW}:
            curve["by_yaw"] = {
                name: {"trials": int((label == name).sum())} | _after_discarding(missed[label == name])
                for name in (*YAW_BINS, UNKNOWN_YAW)
                if np.any(label == name)
            }
        curves.append(curve)
    return curves


def _after_discarding(missed: NDArray[np.bool_]) -> dict[str, Any]:
    """FNMR and errors of what stays after each share of `DISCARDED`; `missed` (N,) has the worst quality first."""
    # At least one comparison stays.
    kept = [missed[int(share * len(missed)) :] for share in DISCARDED]
    return {"fnmr": [float(one.mean()) for one in kept], "errors": [int(one.sum()) for one in kept]}


def _at_threshold(completed: Completed, threshold: float, chosen: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """FMR and FNMR with counts, numbers of people and intervals, of the chosen comparisons."""
    scores, same, a, b = completed
    figures: dict[str, Any] = {}
    accepted = scores >= threshold
    for name, kind, wrong in (("fmr", ~same, accepted), ("fnmr", same, ~accepted)):
        inside = kind if chosen is None else kind & chosen
        errors = wrong[inside]
        interval = pair_share_interval(errors, a[inside], b[inside])
        people = len(np.unique(np.concatenate([a[inside], b[inside]])))
        figures[name] = counted(Rate(int(errors.sum()), len(errors)), interval) | {"people": people}
    return figures


def _keep_completed(one: ScoreSet) -> NDArray[np.int64]:
    return np.flatnonzero(~np.isnan(one.scores))


def _labels(values: Sequence[str], index: Indices) -> NDArray[np.str_]:
    return np.asarray(values)[index]


def _by_pose(one: ScoreSet, completed: Completed, points: Sequence[dict[str, Any]], angle: str) -> dict[str, Any]:
    """FMR and FNMR by bin of the probes' pose, at the global threshold of each target; {} where no pose is known."""
    find: Callable[[float | None], str] = yaw_bin if angle == "yaw" else pitch_bin
    names = [find(getattr(sample, angle)) for sample in one.probes]
    if set(names) <= {UNKNOWN_YAW}:
        return {}
    label = _labels(names, one.probe[_keep_completed(one)])
    order = (*(YAW_BINS if angle == "yaw" else PITCH_BINS), UNKNOWN_YAW)
    return {
        name: [
            {"target_fmr": point["target_fmr"]} | _at_threshold(completed, point["threshold"], label == name)
            for point in points
        ]
        for name in order
        if np.any(label == name)
    }


def _by_group(one: ScoreSet, completed: Completed, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By grouping: at each target FMR's threshold the rates of each group, of each two groups, and how they differ.

    A group's comparisons have both sides in it: comparisons across groups are easier to tell apart and would flatter.
    """
    done = _keep_completed(one)
    found: dict[str, Any] = {}
    for grouping in sorted({name for sample in (*one.references, *one.probes) for name, _ in sample.groups}):
        sides = [
            _labels([dict(sample.groups).get(grouping, "") for sample in samples], index[done])
            for samples, index in ((one.references, one.reference), (one.probes, one.probe))
        ]
        values = sorted(set(sides[0]) & set(sides[1]) - {""})
        found[grouping] = []
        for point in points:
            threshold = point["threshold"]
            groups = {
                str(value): _at_threshold(completed, threshold, (sides[0] == value) & (sides[1] == value))
                for value in values
            }
            across = [
                {"first": str(x), "second": str(y)}
                | {"fmr": _at_threshold(completed, threshold, _between(sides, x, y))["fmr"]}
                for i, x in enumerate(values)
                for y in values[i + 1 :]
            ]
            found[grouping].append(
                {"target_fmr": point["target_fmr"], "threshold": threshold, "groups": groups}
                | {"between": across, "differential": differential(groups)}
            )
    return found


def _between(sides: Sequence[NDArray[np.str_]], x: str, y: str) -> NDArray[np.bool_]:
    return np.asarray(((sides[0] == x) & (sides[1] == y)) | ((sides[0] == y) & (sides[1] == x)))


def differential(groups: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How much FMR and FNMR differ between groups (ISO/IEC 19795-10): worst to best, worst to geometric mean, Gini.

    Each with the worst group's name, and `few_errors` when any group's figure rests on fewer than 30 errors.
    """
    result: dict[str, Any] = {}
    for name in ("fmr", "fnmr"):
        stated = {group: one[name] for group, one in groups.items() if one[name]["rate"] is not None}
        rates = [one["rate"] for one in stated.values()]
        result[name] = {
            "worst": max(stated, key=lambda group: stated[group]["rate"]) if stated else None,
            "best": min(stated, key=lambda group: stated[group]["rate"]) if stated else None,
            "worst_to_best": worst_to_best(rates),
            "worst_to_geometric_mean": worst_to_mean(rates),
            "gini": gini(rates),
            "few_errors": any(one["errors"] < FEW_ERRORS for one in stated.values()),
        }
    return result


def _identification(
    one: ScoreSet, best: NDArray[np.float64], rng: np.random.Generator, settings: StandardSettings
) -> dict[str, Any]:
    """FPIR and FNIR(N, R, T) for the whole gallery with intervals, for smaller ones, and by the probes' pose."""
    names = [sample.person for sample in one.references]
    who = [sample.person for sample in one.probes]
    found, source = searches(best, names, who)
    if not len(found.mate) or not len(found.strangers):
        return {}
    targets = tuple(target for target in settings.fpir if target * len(found.strangers) >= 1 - 1e-9)
    ranks = tuple(rank for rank in settings.ranks if rank <= len(names))
    _, number = np.unique([*found.people, *found.stranger_people], return_inverse=True)
    own, other = number[: len(found.mate)], number[len(found.mate) :]
    people = len(np.unique(own))
    points = []
    for target in targets:
        threshold = threshold_at(found.strangers, target)
        fpir = counted(false_positives(found, threshold), share_interval(found.strangers >= threshold, other))
        fnir = {}
        for rank in ranks:
            named = np.where(returned(found, rank, -np.inf), found.mate, -np.inf)
            rate = false_negatives(found, rank, threshold)
            fnir[str(rank)] = counted(rate, fnir_interval(named, own, found.strangers, other, target))
        points.append({"target_fpir": target, "threshold": threshold, "fpir": fpir, "fnir": fnir})
    whole = {
        str(rank): counted(false_negatives(found, rank), share_interval(~returned(found, rank, -np.inf), own))
        for rank in ranks
    }
    figures = {
        "gallery_size": len(names),
        "people": people,
        "searches": {"mated": len(found.mate), "non_mated": len(found.strangers), "non_mated_are": source},
        "fnir": whole,
        "fnir_at_fpir": points,
        "fpir_out_of_reach": [target for target in settings.fpir if target not in targets],
    }
    sizes = [size for size in settings.gallery_sizes if size < len(names)]
    if sizes:
        figures["gallery_sizes"] = [
            _at_size(best, names, who, size, targets, ranks, rng, settings.drawn_galleries) for size in sizes
        ]
    figures["gallery_sizes_out_of_reach"] = [size for size in settings.gallery_sizes if size > len(names)]
    for angle in ("yaw", "pitch"):
        figures[f"by_{angle}"] = _searches_by_pose(one, found, source, points, angle, names)
    return figures


def _at_size(
    best: NDArray[np.float64],
    names: Sequence[str],
    people: Sequence[str],
    size: int,
    targets: Sequence[float],
    ranks: Sequence[int],
    rng: np.random.Generator,
    galleries: int,
) -> dict[str, Any]:
    """FNIR for galleries of `size` people: means over galleries drawn at random, each with a threshold of its own."""
    place = {name: j for j, name in enumerate(names)}
    mates = np.array([place.get(person, -1) for person in people], dtype=np.int64)
    drawn = [
        chosen_searches(best, mates, np.sort(rng.permutation(len(names))[:size]), people)[0] for _ in range(galleries)
    ]
    drawn = [one for one in drawn if len(one.mate)]

    def mean(rates: Sequence[Rate]) -> dict[str, Any]:
        # Errors and trials of all galleries together hold the same searches many times: their number is of one gallery.
        stated = [rate.rate for rate in rates if rate.rate is not None]
        errors, trials = (float(np.mean([getattr(rate, key) for rate in rates])) for key in ("errors", "trials"))
        return {
            "rate": float(np.mean(stated)) if stated else None,
            "errors": round(errors, 1),
            "trials": round(trials, 1),
            "few_errors": errors < FEW_ERRORS,
        }

    points = []
    for target in targets:
        thresholds = [threshold_at(one.strangers, target) for one in drawn]
        fpir = [false_positives(one, at) for one, at in zip(drawn, thresholds, strict=True)]
        fnir = {
            str(rank): mean([false_negatives(one, rank, at) for one, at in zip(drawn, thresholds, strict=True)])
            for rank in ranks
            if rank <= size
        }
        points.append({"target_fpir": target, "fpir": mean(fpir), "fnir": fnir})
    return {
        "gallery_size": size,
        "drawn_galleries": len(drawn),
        "fnir": {str(rank): mean([false_negatives(one, rank) for one in drawn]) for rank in ranks if rank <= size},
        "fnir_at_fpir": points,
    }


def _searches_by_pose(
    one: ScoreSet,
    found: Searches,
    source: str,
    points: Sequence[dict[str, Any]],
    angle: str,
    names: Sequence[str],
) -> dict[str, Any]:
    """FPIR and FNIR (rank 1) by bin of the searching probe's pose, at the global threshold of each target."""
    find: Callable[[float | None], str] = yaw_bin if angle == "yaw" else pitch_bin

    def side(samples: Sequence[Sample]) -> tuple[NDArray[np.str_], Indices]:
        people = np.unique([sample.person for sample in samples], return_inverse=True)[1]
        return np.array([find(getattr(sample, angle)) for sample in samples]), people

    enrolled = set(names)
    mated = [sample for sample in one.probes if sample.person in enrolled]
    others = mated if source == "own person left out" else [s for s in one.probes if s.person not in enrolled]
    (bins, own), (stranger_bins, other) = side(mated), side(others)
    if set(bins) | set(stranger_bins) <= {UNKNOWN_YAW}:
        return {}
    order = (*(YAW_BINS if angle == "yaw" else PITCH_BINS), UNKNOWN_YAW)
    cells: dict[str, Any] = {}
    for name in order:
        inside, beside = bins == name, stranger_bins == name
        if not inside.any() and not beside.any():
            continue
        cells[name] = []
        for point in points:
            missed = ~returned(found, 1, point["threshold"])[inside]
            alarms = (found.strangers >= point["threshold"])[beside]
            cells[name].append(
                {"target_fpir": point["target_fpir"]}
                | {
                    key: counted(Rate(int(wrong.sum()), len(wrong)), share_interval(wrong, who))
                    | {"people": len(np.unique(who))}
                    for key, wrong, who in (("fpir", alarms, other[beside]), ("fnir", missed, own[inside]))
                }
            )
    return cells
