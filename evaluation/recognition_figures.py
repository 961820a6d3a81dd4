"""Loop 2 of a recognition evaluation: from signatures to the figures of a report.

Every figure's denominator is the number of probes or pairs in the protocol. Failures stay in it, as misses or wrong
decisions, and are also counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.bins import in_order, pose_cell, yaw_bin
from facerec.evaluation.curves import add_intervals, curves, histogram, spread_log
from facerec.evaluation.intervals import wilson
from facerec.evaluation.people_intervals import (
    fnir_interval,
    numbered,
    pair_share_interval,
    share_interval,
)
from facerec.evaluation.pooling import pooled_result
from facerec.evaluation.protocols.recognition import Identification, PairSet, Picture, RecognitionProtocol
from facerec.evaluation.ranks import MIN_OVERLAP, cmc, open_set, rank_k
from facerec.evaluation.rows import LITTLE_OVERLAP, PairRow, PersonScores, ProbeRow, probe_rows
from facerec.evaluation.score_figures import StandardSettings, standard_figures
from facerec.evaluation.score_set import ScoreSet, identification_scores, pair_scores
from facerec.evaluation.signatures import PictureResult
from facerec.evaluation.verification import auc, by_folds, det, eer
from facerec.recognition.cohort import normalised_score
from facerec.recognition.search import SearchSettings

_LONGEST_CMC = 50


@dataclass(frozen=True, eq=False)
class RecognitionFigures:
    """Figures of a whole protocol and the rows they came from.

    Attributes:
        identification: by name, JSON-ready (documented in docs/reports.md).
        verification: by name, JSON-ready.
        pictures: of all pictures together: n, found, described, failures.
        probes: rows of probes.csv.
        pairs: rows of pairs.csv.
        score_sets: the scores of each identification and set of pairs.
    """

    identification: dict[str, dict[str, Any]]
    verification: dict[str, dict[str, Any]]
    pictures: dict[str, Any]
    probes: tuple[ProbeRow, ...]
    pairs: tuple[PairRow, ...]
    score_sets: tuple[ScoreSet, ...]


def recognition_figures(
    protocol: RecognitionProtocol,
    results: Sequence[PictureResult],
    rng: np.random.Generator,
    system: str = "",
    settings: StandardSettings | None = None,
) -> RecognitionFigures:
    """All figures of `protocol` under one system.

    Args:
        protocol: who is compared with whom.
        results: one per picture, in the order of `protocol.pictures`.
        rng: draws galleries of smaller sizes.
        system: name of the system that gave the results, for the rows.
        settings: target rates and gallery sizes.
    """
    settings = settings or StandardSettings()
    compared = protocol.compared
    outcomes = [pooled_result(one, results) for one in protocol.templates] or list(results)
    identification: dict[str, dict[str, Any]] = {}
    verification: dict[str, dict[str, Any]] = {}
    probes: list[ProbeRow] = []
    pairs: list[PairRow] = []
    sets: list[ScoreSet] = []
    for one in protocol.identifications:
        found, best = probe_rows(compared, one, outcomes, system)
        probes += found
        figures = identification_figures(compared, one, outcomes, found, protocol.groups, settings)
        figures["scores"] = comparison_figures(
            best, [compared[i].person for i in (*one.probes, *one.unknown)], settings
        )
        sets.append(identification_scores(compared, one, outcomes, best.names, best.scores))
        figures["standard"] = standard_figures(sets[-1], rng, settings)
        identification[one.name] = figures
    for pair_set in protocol.pairs:
        figures, pair_rows = verification_figures(compared, pair_set, outcomes, system, settings)
        pairs += pair_rows
        scores = np.array([np.nan if row.score is None else row.score for row in pair_rows])
        sets.append(pair_scores(compared, pair_set, outcomes, scores))
        verification[pair_set.name] = figures | {"standard": standard_figures(sets[-1], rng, settings)}
    return RecognitionFigures(
        identification, verification, _outcome_of(list(results)), tuple(probes), tuple(pairs), tuple(sets)
    )


def identification_figures(
    pictures: Sequence[Picture],
    one: Identification,
    results: Sequence[PictureResult],
    rows: Sequence[ProbeRow],
    groups: Mapping[str, Sequence[str]],
    settings: StandardSettings,
) -> dict[str, Any]:
    """Figures of one identification from its probe rows; keys in docs/reports.md."""
    known = [row for row in rows if row.known]
    figures: dict[str, Any] = closed_set(known)
    ranks = _ranks(known)
    people = len({pictures[i].person for i in one.gallery})
    figures["cmc"] = [float(share) for share in cmc(ranks, min(_LONGEST_CMC, people))] if known else []
    figures["by_yaw"] = {
        name: closed_set([row for row in known if yaw_bin(row.yaw) == name])
        for name in in_order(yaw_bin(row.yaw) for row in known)
    }
    figures["yaw_source"] = {
        source: sum(row.yaw_source == source for row in known) for source in ("given", "estimated", "unknown")
    }
    poses = sorted({row.pose for row in known if row.pose is not None}, key=lambda pose: (len(pose), pose))
    # One pose for all, as in a set of profiles, would only repeat the overall figures.
    if len(poses) > 1:
        figures["by_pose"] = {}
        for pose in poses:
            inside = [row for row in known if row.pose == pose]
            figures["by_pose"][pose] = closed_set(inside) | _shared_angles(inside)
        figures["by_group"] = {
            name: closed_set([row for row in known if row.pose in inside])
            for name, inside in groups.items()
            if set(inside) <= set(poses)
        }
    if cells := sorted({cell for row in known if (cell := pose_cell(row.yaw, row.pitch)) is not None}):
        figures["by_yaw_pitch"] = {}
        for yaw, pitch in cells:
            inside = [row for row in known if pose_cell(row.yaw, row.pitch) == (yaw, pitch)]
            angles = {"yaw": yaw, "pitch": pitch}
            figures["by_yaw_pitch"][f"{yaw:+.0f} {pitch:+.0f}"] = closed_set(inside) | angles
    figures["gallery"] = {"people": people} | _outcome_of([results[i] for i in one.gallery])
    if one.unknown:
        figures["open_set"] = open_set_figures(rows, settings.fpir)
    return figures


def closed_set(rows: Sequence[ProbeRow]) -> dict[str, Any]:
    """n, people, found, described, failures by stage and reason, rank1 and rank5 with intervals, of known probes."""
    n = len(rows)
    ranks = _ranks(rows)
    described = sum(row.described for row in rows)
    right = int(np.count_nonzero(ranks == 1))
    people = numbered([row.person for row in rows])
    return {
        "n": n,
        "people": len(set(people.tolist())),
        "found": _share(sum(row.found for row in rows), n),
        "described": _share(described, n),
        **_failed_stages([row.failed_at for row in rows]),
        "rank1": rank_k(ranks, 1) if n else None,
        "rank1_interval": list(wilson(right, n)),
        "rank1_people_interval": list(share_interval(ranks == 1, people)) if n else None,
        "rank5": rank_k(ranks, 5) if n else None,
        "rank5_people_interval": list(share_interval(ranks <= 5, people)) if n else None,
        # Over those that could have succeeded, which is the figure of tools that drop failures. Never the headline.
        "rank1_described": _share(right, described),
        "failures": dict(sorted(Counter(row.reason for row in rows if row.reason).items())),
    }


def open_set_figures(rows: Sequence[ProbeRow], targets: Sequence[float]) -> dict[str, Any]:
    """Unknown probes apart from known ones: TPIR at FPIR, by the house's strict rule."""
    known = [row for row in rows if row.known]
    unknown = [row for row in rows if not row.known]
    mates = np.array([np.nan if row.mate_score is None else row.mate_score for row in known])
    alarms = np.array([np.nan if row.rival_score is None else row.rival_score for row in unknown])
    ranks = _ranks(known)
    number = numbered([row.person for row in rows])
    who = number[[row.known for row in rows]]
    raised = ~np.isnan(alarms)
    strangers = number[[not row.known for row in rows]][raised]
    found = open_set(ranks, mates, alarms, targets)
    points = []
    named = np.where((ranks == 1) & ~np.isnan(mates), mates, -np.inf)
    for point in found:
        low, high = fnir_interval(named, who, alarms[raised], strangers, point.target_fpir)
        points.append(
            {
                "target_fpir": point.target_fpir,
                "fpir": point.fpir,
                "fpir_people_interval": list(share_interval(alarms[raised] >= point.threshold, strangers)),
                "threshold": point.threshold,
                "tpir": point.tpir,
                "tpir_interval": list(wilson(int((named >= point.threshold).sum()), len(known))),
                # The threshold moves with the strangers.
                "tpir_people_interval": [1 - high, 1 - low],
            }
        )
    return {
        "known": len(known),
        "unknown": {
            "n": len(unknown),
            "found": _share(sum(row.found for row in unknown), len(unknown)),
            "described": _share(sum(row.described for row in unknown), len(unknown)),
            **_failed_stages([row.failed_at for row in unknown]),
            "failures": dict(sorted(Counter(row.reason for row in unknown if row.reason).items())),
        },
        "tpir_at_fpir": points,
        "curve": _open_set_curve(np.where(ranks == 1, mates, np.nan), alarms[~np.isnan(alarms)]),
    }


def _open_set_curve(named: NDArray[np.float64], alarms: NDArray[np.float64]) -> dict[str, list[float]]:
    """FNIR (1 - TPIR) over FPIR: a known probe counts when its right person is first and above the threshold."""
    if not len(named) or not len(alarms):
        return {"fpir": [], "fnir": []}
    curve = det(np.concatenate([named, alarms]), np.arange(len(named) + len(alarms)) < len(named))
    keep = spread_log(curve.far, curve.frr)
    return {"fpir": [float(v) for v in curve.far[keep]], "fnir": [float(v) for v in curve.frr[keep]]}


def comparison_figures(best: PersonScores, people: Sequence[str], settings: StandardSettings) -> dict[str, Any]:
    """Figures of every probe against every person, as if each were a pair; keys in docs/reports.md.

    Calibration is fitted on one half of the probes' people and judged on the other, both ways round.

    Args:
        best: scores of the P probes, known ones and unknown ones.
        people: who the P probes show.
        settings: target rates.
    """
    order = {person: place for place, person in enumerate(sorted(set(people)))}
    half = np.array([str(order[person] % 2) for person in people])
    same = (np.asarray(people, dtype=object)[:, None] == np.asarray(best.names, dtype=object)[None, :]).ravel()
    scores = best.scores.ravel()
    figures: dict[str, Any] = {"n": len(scores), "genuine": int(np.count_nonzero(same))}
    if not same.any() or same.all():
        return figures
    folds = np.repeat(half, len(best.names)).tolist()
    apart = (
        "the other half of the people"
        if len(order) > 1
        else "the same person (there is only one, so the figure is too good)"
    )
    number = numbered([*people, *best.names])
    first = np.repeat(number[: len(people)], len(best.names))
    second = np.tile(number[len(people) :], len(people))
    figures |= {"auc": auc(scores, same), "eer": eer(scores, same)} | curves(scores, same, folds, apart, settings.fmr)
    return add_intervals(figures, scores, same, first, second)


def verification_figures(
    pictures: Sequence[Picture],
    pair_set: PairSet,
    results: Sequence[PictureResult],
    system: str = "",
    settings: StandardSettings | None = None,
) -> tuple[dict[str, Any], list[PairRow]]:
    """Figures of one set of pairs and its rows of pairs.csv; keys in docs/reports.md."""
    settings = settings or StandardSettings()
    n = len(pair_set.first)
    same = np.asarray(pair_set.same, dtype=bool)
    scores, overlaps = _pair_scores(pair_set, results)
    folds = by_folds(scores, same, pair_set.fold)
    threshold = {fold.fold: fold.threshold for fold in folds}
    rows = [
        PairRow(
            system=system,
            set=pair_set.name,
            fold=fold,
            first=pictures[a].name,
            second=pictures[b].name,
            same=bool(same[i]),
            found=results[a].found and results[b].found,
            described=not np.isnan(overlaps[i]),
            failed_at=_earlier(results[a].failed_at, results[b].failed_at),
            score=None if np.isnan(scores[i]) else float(scores[i]),
            overlap=None if np.isnan(overlaps[i]) else float(overlaps[i]),
            threshold=threshold[fold],
            right=_is_right(scores[i], threshold[fold], bool(same[i])),
        )
        for i, (a, b, fold) in enumerate(zip(pair_set.first, pair_set.second, pair_set.fold, strict=True))
    ]
    right = sum(row.right for row in rows)
    # With pairs of one kind only, accuracy has no meaning.
    both = bool(same.any() and not same.all())
    shares = [fold.accuracy for fold in folds]
    number = numbered([pictures[i].person for i in (*pair_set.first, *pair_set.second)])
    first, second = number[:n], number[n:]
    decided = np.array([row.right for row in rows])
    figures: dict[str, Any] = {
        "n": n,
        "genuine": int(np.count_nonzero(same)),
        "found": _share(sum(row.found for row in rows), n),
        "described": _share(sum(row.described for row in rows), n),
        **_failed_stages([row.failed_at for row in rows]),
        "auc": auc(scores, same),
        # The folds' mean, as the protocols define it; with folds of one size it is `right` / n.
        "accuracy": float(np.mean(shares)) if both else None,
        "accuracy_std": float(np.std(shares, ddof=1)) if both and len(shares) > 1 else None,
        "accuracy_interval": list(wilson(right, n)) if both else None,
        "accuracy_people_interval": list(pair_share_interval(decided, first, second)) if both else None,
        "eer": None,
        "threshold_from": "other folds"
        if len(folds) > 1
        else "the same fold (there is only one, so the figure is too good)",
        "failures": _pair_failures(pair_set, results, scores),
        "folds": {
            fold.fold: {
                "n": fold.n,
                "accuracy": fold.accuracy,
                "threshold": fold.threshold,
                "auc": fold.auc,
                "eer": fold.eer,
            }
            for fold in folds
        },
        "tar_at_far": [],
        "roc": {"far": [], "tar": []},
        "det": {"far": [], "frr": []},
        "histogram": histogram(scores, same),
        "calibration": None,
    }
    if both:
        figures["eer"] = eer(scores, same)
        figures |= curves(scores, same, pair_set.fold, figures["threshold_from"], settings.fmr)
        figures = add_intervals(figures, scores, same, first, second)
    return figures, rows


def _pair_scores(
    pair_set: PairSet, results: Sequence[PictureResult]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores (N,) and overlaps (N,), shares of the cells; NaN where a side has no signature or too little is common."""
    scores, overlaps = (np.full(len(pair_set.first), np.nan) for _ in range(2))
    least = SearchSettings(min_overlap=MIN_OVERLAP)
    for i, (a, b) in enumerate(zip(pair_set.first, pair_set.second, strict=True)):
        one, other = results[a].signature, results[b].signature
        if one is not None and other is not None:
            shared = int((one.visible & other.visible).sum())
            overlaps[i] = shared / len(one.visible)
            comparable = shared >= least.least_cells(len(one.visible))
            scores[i] = normalised_score(one, other).score if comparable else np.nan
    return scores, overlaps


def _is_right(score: float, threshold: float, same: bool) -> bool:
    """Whether the decision at the threshold is right; a pair without score or threshold is wrong."""
    return not np.isnan(score) and not np.isnan(threshold) and bool((score >= threshold) == same)


def _ranks(rows: Sequence[ProbeRow]) -> NDArray[np.float64]:
    return np.array([np.inf if row.rank is None else row.rank for row in rows], dtype=np.float64)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _outcome_of(results: Sequence[PictureResult]) -> dict[str, Any]:
    n = len(results)
    return {
        "n": n,
        "found": _share(sum(result.found for result in results), n),
        "described": _share(sum(result.signature is not None for result in results), n),
        "failures": dict(sorted(Counter(str(r.reason) for r in results if r.reason is not None).items())),
    }


def _shared_angles(rows: Sequence[ProbeRow]) -> dict[str, float]:
    """Yaw and pitch of a pose, where the protocol gives all its pictures the same."""
    if any(row.yaw_source != "given" for row in rows):
        return {}
    angles = {(row.yaw, row.pitch) for row in rows}
    if len(angles) != 1:
        return {}
    yaw, pitch = angles.pop()
    return {} if yaw is None or pitch is None else {"yaw": yaw, "pitch": pitch}


def _failed_stages(failed_at: Sequence[str]) -> dict[str, float | None]:
    """Shares of all pictures (or pairs) that failed at each stage. A picture that cannot be read was not found in."""
    n = len(failed_at)
    return {
        "failed_to_find": _share(sum(at in ("read", "find") for at in failed_at), n),
        "failed_to_fit": _share(sum(at == "fit" for at in failed_at), n),
        "failed_to_describe": _share(sum(at == "describe" for at in failed_at), n),
    }


def _earlier(*failed_at: str | None) -> str:
    """The earliest of the stages at which pictures failed; "" when none did."""
    return next((stage for stage in ("read", "find", "fit", "describe") if stage in failed_at), "")


def _pair_failures(pair_set: PairSet, results: Sequence[PictureResult], scores: NDArray[np.float64]) -> dict[str, int]:
    """Failed pairs by reason; a pair whose two pictures failed counts under the first one's."""
    reasons: Counter[str] = Counter()
    for a, b, score in zip(pair_set.first, pair_set.second, scores, strict=True):
        if np.isnan(score):
            reasons[results[a].reason or results[b].reason or LITTLE_OVERLAP] += 1
    return dict(sorted(reasons.items()))
