"""Loop 2 of a recognition evaluation: from signatures to the figures of a report.

Every figure's denominator is the number of probes or pairs in the protocol. What failed stays in it, as a miss or a
wrong decision, and is counted again by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.bins import in_order, yaw_bin
from facerec.evaluation.calibration import calibration_error, cllr, cross_fitted, reliability
from facerec.evaluation.intervals import bootstrap_pairs, bootstrap_people, wilson
from facerec.evaluation.pooling import pooled_result
from facerec.evaluation.protocols.recognition import Identification, PairSet, Picture, RecognitionProtocol
from facerec.evaluation.ranks import MIN_OVERLAP, cmc, mate_ranks, open_set, person_scores, rank_k, score_matrix
from facerec.evaluation.signatures import PictureResult
from facerec.evaluation.verification import auc, by_folds, det, eer, roc, tar_at_far
from facerec.recognition.search import SearchSettings

GALLERY_FAILED = "gallery_failed"
"""Failure of a probe that was described itself, but whose person has no usable gallery picture."""

LITTLE_OVERLAP = "little_overlap"
"""Failure of two described pictures that share too few cells to be compared (see `facerec.evaluation.ranks`)."""

# A curve in a report is a drawing: 200 points are more than a screen's width shows.
_CURVE_POINTS = 200
_LONGEST_CMC = 50
_HISTOGRAM_BINS = 40


@dataclass(frozen=True)
class ProbeRow:
    """One probe of one identification, as it goes into probes.csv.

    Attributes:
        system: the system that described it.
        set: the identification's name.
        file, person, pose, yaw, pitch: of the probe; yaw and pitch in degrees.
        yaw_source: "given" by the protocol, "estimated" by the fit, or "unknown".
        known: whether the person is in the gallery.
        found, described: what became of the picture.
        failed_at: the stage that gave up on the probe's own picture: "read", "find", "fit", "describe"; "" for none.
        reason: why the probe could not succeed ("" when it could): a reason code, "gallery_failed" or "little_overlap".
        rank: of the right person, 1 is best; None for failures and unknown people.
        mate_score: best score of the right person; None for failures and unknown people.
        mate_file: the gallery picture that gave it.
        rival: the best-scoring other person; rival_score and rival_file go with them.
        overlap: share of the signature's cells that the probe and the mate's picture (for an unknown probe: the
            rival's) both saw, in [0, 1].
    """

    system: str
    set: str
    file: str
    person: str
    pose: str | None
    yaw: float | None
    pitch: float | None
    yaw_source: str
    known: bool
    found: bool
    described: bool
    failed_at: str
    reason: str
    rank: int | None
    mate_score: float | None
    mate_file: str | None
    rival: str | None
    rival_score: float | None
    rival_file: str | None
    overlap: float | None


@dataclass(frozen=True)
class PairRow:
    """One pair of a verification set, as it goes into pairs.csv. A failed pair has no score and is decided wrongly.

    `failed_at` is the stage that gave up on one of the two, the earlier one if both failed; "" for none.
    """

    system: str
    set: str
    fold: str
    first: str
    second: str
    same: bool
    found: bool
    described: bool
    failed_at: str
    score: float | None
    overlap: float | None
    threshold: float
    right: bool


@dataclass(frozen=True, eq=False)
class RecognitionFigures:
    """Figures of a whole protocol and the rows they came from.

    Attributes:
        identification: by name, JSON-ready (documented in docs/reports.md).
        verification: by name, JSON-ready.
        pictures: of all pictures together: n, found, described, failures.
        probes: rows of probes.csv.
        pairs: rows of pairs.csv.
    """

    identification: dict[str, dict[str, Any]]
    verification: dict[str, dict[str, Any]]
    pictures: dict[str, Any]
    probes: tuple[ProbeRow, ...]
    pairs: tuple[PairRow, ...]


def recognition_figures(
    protocol: RecognitionProtocol, results: Sequence[PictureResult], rng: np.random.Generator, system: str = ""
) -> RecognitionFigures:
    """All figures of `protocol` under one system.

    Args:
        protocol: who is compared with whom.
        results: one a picture, in the order of `protocol.pictures`.
        rng: draws the people of the bootstrap intervals.
        system: name of the system that gave the results, for the rows.
    """
    compared = protocol.compared
    outcomes = [pooled_result(one, results) for one in protocol.templates] or list(results)
    identification: dict[str, dict[str, Any]] = {}
    verification: dict[str, dict[str, Any]] = {}
    probes: list[ProbeRow] = []
    pairs: list[PairRow] = []
    for one in protocol.identifications:
        found, best = probe_rows(compared, one, outcomes, system)
        probes += found
        figures = identification_figures(compared, one, outcomes, found, rng, protocol.groups)
        figures["scores"] = comparison_figures(best, [compared[i].person for i in (*one.probes, *one.unknown)])
        identification[one.name] = figures
    for pair_set in protocol.pairs:
        verification[pair_set.name], pair_rows = verification_figures(compared, pair_set, outcomes, rng, system)
        pairs += pair_rows
    return RecognitionFigures(identification, verification, _fate(list(results)), tuple(probes), tuple(pairs))


@dataclass(frozen=True, eq=False)
class PersonScores:
    """Every probe against every person.

    Attributes:
        names: the N people of the gallery.
        scores: (P, N) best score over a person's gallery entries, NaN where the two could not be compared.
    """

    names: Sequence[str]
    scores: NDArray[np.float64]


def probe_rows(
    pictures: Sequence[Picture], one: Identification, results: Sequence[PictureResult], system: str = ""
) -> tuple[list[ProbeRow], PersonScores]:
    """Search every probe, known and unknown, in the gallery of `one`; its rows, and its scores against everybody."""
    people = [pictures[i].person for i in one.gallery]
    everyone = (*one.probes, *one.unknown)
    scores, overlaps = score_matrix(
        [results[i].signature for i in everyone], [results[i].signature for i in one.gallery]
    )
    best, names, entries = person_scores(scores, people)
    ranks = mate_ranks(best[: len(one.probes)], names, [pictures[i].person for i in one.probes])
    place = {name: j for j, name in enumerate(names)}
    rows: list[ProbeRow] = []
    for row, index in enumerate(everyone):
        picture, result = pictures[index], results[index]
        mate = place.get(picture.person)
        others = np.where(np.isnan(best[row]), -np.inf, best[row])
        if mate is not None:
            others[mate] = -np.inf
        rival = int(others.argmax())
        named = bool(np.isfinite(others[rival]))
        mated = mate is not None and bool(np.isfinite(best[row, mate]))
        shown = entries[row, mate] if mated else entries[row, rival]
        reason: str = result.reason or ""
        if not reason and mate is not None and not mated:
            usable = any(results[i].signature is not None for i in one.gallery if pictures[i].person == picture.person)
            reason = LITTLE_OVERLAP if usable else GALLERY_FAILED
        yaw, source = (picture.yaw, "given") if picture.yaw is not None else (result.yaw, "estimated")
        rows.append(
            ProbeRow(
                system=system,
                set=one.name,
                file=picture.name,
                person=picture.person,
                pose=picture.pose,
                yaw=yaw,
                pitch=picture.pitch if picture.pitch is not None else result.pitch,
                yaw_source="unknown" if yaw is None else source,
                known=mate is not None,
                found=result.found,
                described=result.signature is not None,
                failed_at=result.failed_at or "",
                reason=reason,
                rank=int(ranks[row]) if row < len(ranks) and np.isfinite(ranks[row]) else None,
                mate_score=float(best[row, mate]) if mated else None,
                mate_file=pictures[one.gallery[entries[row, mate]]].name if mated else None,
                rival=names[rival] if named else None,
                rival_score=float(others[rival]) if named else None,
                rival_file=pictures[one.gallery[entries[row, rival]]].name if named else None,
                overlap=float(overlaps[row, shown]) if mated or named else None,
            )
        )
    return rows, PersonScores(names, best)


def identification_figures(
    pictures: Sequence[Picture],
    one: Identification,
    results: Sequence[PictureResult],
    rows: Sequence[ProbeRow],
    rng: np.random.Generator,
    groups: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Figures of one identification from its probe rows; keys in docs/reports.md."""
    known = [row for row in rows if row.known]
    figures: dict[str, Any] = closed_set(known, rng)
    ranks = _ranks(known)
    people = len({pictures[i].person for i in one.gallery})
    figures["cmc"] = [float(share) for share in cmc(ranks, min(_LONGEST_CMC, people))] if known else []
    figures["by_yaw"] = {
        name: closed_set([row for row in known if yaw_bin(row.yaw) == name], rng)
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
            figures["by_pose"][pose] = closed_set(inside, rng) | _shared_angles(inside)
        figures["by_group"] = {
            name: closed_set([row for row in known if row.pose in inside], rng)
            for name, inside in groups.items()
            if set(inside) <= set(poses)
        }
    figures["gallery"] = {"people": people} | _fate([results[i] for i in one.gallery])
    if one.unknown:
        figures["open_set"] = open_set_figures(rows, rng)
    return figures


def closed_set(rows: Sequence[ProbeRow], rng: np.random.Generator) -> dict[str, Any]:
    """n, found, described, failures by stage and reason, rank1 with its intervals, rank5 of known probes."""
    n = len(rows)
    ranks = _ranks(rows)
    described = sum(row.described for row in rows)
    right = int(np.count_nonzero(ranks == 1))
    return {
        "n": n,
        "found": _share(sum(row.found for row in rows), n),
        "described": _share(described, n),
        **_failed_stages([row.failed_at for row in rows]),
        "rank1": rank_k(ranks, 1) if n else None,
        "rank1_interval": list(wilson(right, n)),
        "rank1_people_interval": list(bootstrap_people(ranks == 1, [r.person for r in rows], rng)) if n else None,
        "rank5": rank_k(ranks, 5) if n else None,
        # Of those that could have succeeded: what tools that drop failures would print. Never the headline.
        "rank1_described": _share(right, described),
        "failures": dict(sorted(Counter(row.reason for row in rows if row.reason).items())),
    }


def open_set_figures(rows: Sequence[ProbeRow], rng: np.random.Generator) -> dict[str, Any]:
    """Unknown probes apart from known ones: TPIR at FPIR."""
    known = [row for row in rows if row.known]
    unknown = [row for row in rows if not row.known]
    mates = np.array([np.nan if row.mate_score is None else row.mate_score for row in known])
    alarms = np.array([np.nan if row.rival_score is None else row.rival_score for row in unknown])
    ranks = _ranks(known)
    points = []
    for point in open_set(ranks, mates, alarms):
        named = (ranks == 1) & (np.nan_to_num(mates, nan=-np.inf) >= point.threshold)
        points.append(
            {
                "target_fpir": point.target_fpir,
                "fpir": point.fpir,
                "threshold": point.threshold,
                "tpir": point.tpir,
                "tpir_interval": list(wilson(int(named.sum()), len(known))),
                "tpir_people_interval": list(bootstrap_people(named, [row.person for row in known], rng)),
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
    keep = _spread_log(curve.far, curve.frr)
    return {"fpir": [float(v) for v in curve.far[keep]], "fnir": [float(v) for v in curve.frr[keep]]}


def comparison_figures(best: PersonScores, people: Sequence[str]) -> dict[str, Any]:
    """Figures of every probe against every person, as if each were a pair; keys in docs/reports.md.

    Calibration is fitted on one half of the probes' people and judged on the other, both ways round.

    Args:
        best: scores of the P probes, known ones and unknown ones.
        people: who the P probes show.
    """
    order = {person: place for place, person in enumerate(sorted(set(people)))}
    half = np.array([str(order[person] % 2) for person in people])
    same = (np.asarray(people, dtype=object)[:, None] == np.asarray(best.names, dtype=object)[None, :]).ravel()
    scores = best.scores.ravel()
    figures: dict[str, Any] = {"n": len(scores), "genuine": int(np.count_nonzero(same))}
    if not same.any() or same.all():
        return figures
    folds = np.repeat(half, len(best.names)).tolist()
    apart = "the other half of the people" if len(order) > 1 else "the same person (one only: flatters)"
    return figures | {"auc": auc(scores, same), "eer": eer(scores, same)} | _curves(scores, same, folds, apart)


def verification_figures(
    pictures: Sequence[Picture],
    pair_set: PairSet,
    results: Sequence[PictureResult],
    rng: np.random.Generator,
    system: str = "",
) -> tuple[dict[str, Any], list[PairRow]]:
    """Figures of one set of pairs and its rows of pairs.csv; keys in docs/reports.md."""
    n = len(pair_set.first)
    same = np.asarray(pair_set.same, dtype=bool)
    scores, overlaps = np.full(n, np.nan), np.full(n, np.nan)
    least = SearchSettings(min_overlap=MIN_OVERLAP)
    for i, (a, b) in enumerate(zip(pair_set.first, pair_set.second, strict=True)):
        one, other = results[a].signature, results[b].signature
        if one is not None and other is not None:
            score, cells = one.score(other)
            overlaps[i] = cells / len(one.visible)
            scores[i] = score if cells >= least.least_cells(len(one.visible)) else np.nan
    found = np.array(
        [results[a].found and results[b].found for a, b in zip(pair_set.first, pair_set.second, strict=True)]
    )
    folds = by_folds(scores, same, pair_set.fold)
    threshold = {fold.fold: fold.threshold for fold in folds}
    rows: list[PairRow] = []
    for i in range(n):
        limit = threshold[pair_set.fold[i]]
        scored = not np.isnan(scores[i])
        rows.append(
            PairRow(
                system=system,
                set=pair_set.name,
                fold=pair_set.fold[i],
                first=pictures[pair_set.first[i]].name,
                second=pictures[pair_set.second[i]].name,
                same=bool(same[i]),
                found=bool(found[i]),
                described=not np.isnan(overlaps[i]),
                failed_at=_earlier(results[pair_set.first[i]].failed_at, results[pair_set.second[i]].failed_at),
                score=float(scores[i]) if scored else None,
                overlap=None if np.isnan(overlaps[i]) else float(overlaps[i]),
                threshold=limit,
                right=scored and not np.isnan(limit) and bool((scores[i] >= limit) == same[i]),
            )
        )
    right = sum(row.right for row in rows)
    shares = [fold.accuracy for fold in folds]
    first, second = ([pictures[i].person for i in side] for side in (pair_set.first, pair_set.second))
    decided = [float(row.right) for row in rows]
    figures: dict[str, Any] = {
        "n": n,
        "genuine": int(np.count_nonzero(same)),
        "found": _share(int(found.sum()), n),
        "described": _share(sum(row.described for row in rows), n),
        **_failed_stages([row.failed_at for row in rows]),
        "auc": auc(scores, same),
        # The folds' mean, as the protocols define it; with folds of one size it is `right` / n.
        "accuracy": float(np.mean(shares)),
        "accuracy_std": float(np.std(shares, ddof=1)) if len(shares) > 1 else None,
        "accuracy_interval": list(wilson(right, n)),
        "accuracy_people_interval": list(bootstrap_pairs(decided, first, second, rng)),
        "eer": None,
        "threshold_from": "other folds" if len(folds) > 1 else "the same fold (one fold only: flatters)",
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
        "histogram": _histogram(scores, same),
        "calibration": None,
    }
    if same.any() and not same.all():
        figures["eer"] = eer(scores, same)
        figures |= _curves(scores, same, pair_set.fold, figures["threshold_from"])
    return figures, rows


def _curves(
    scores: NDArray[np.float64], same: NDArray[np.bool_], folds: Sequence[str], fitted_on: str
) -> dict[str, Any]:
    """What is drawn of scored pairs of both kinds: operating points, ROC, DET, histogram, calibration."""
    curve, trade = roc(scores, same), det(scores, same)
    keep, keep_log = _spread(curve.far, curve.tar), _spread_log(trade.far, trade.frr)
    ratios = cross_fitted(scores, same, folds)
    bins = reliability(ratios, same)
    return {
        "tar_at_far": [
            {"target_far": p.target_far, "far": p.far, "tar": p.tar, "threshold": p.threshold}
            for p in tar_at_far(scores, same)
        ],
        "roc": {"far": [float(v) for v in curve.far[keep]], "tar": [float(v) for v in curve.tar[keep]]},
        "det": {"far": [float(v) for v in trade.far[keep_log]], "frr": [float(v) for v in trade.frr[keep_log]]},
        "histogram": _histogram(scores, same),
        "calibration": {
            "fitted_on": fitted_on,
            "n": len(scores),
            "failed": int(np.count_nonzero(np.isnan(scores))),
            "cllr": cllr(ratios, same),
            "ece": calibration_error(bins),
            "bins": [
                {"low": b.low, "high": b.high, "n": b.n, "predicted": b.predicted, "observed": b.observed} for b in bins
            ],
        },
    }


def worst_probes(rows: Sequence[ProbeRow], most: int) -> list[ProbeRow]:
    """The known probes that went most wrong: half of them failures, half wrong names by how far the rival led.

    Either half leaves its unused places to the other.
    """
    failed = sorted((row for row in rows if row.known and row.reason), key=lambda row: (row.set, row.file))
    wrong = sorted(
        (row for row in rows if row.known and not row.reason and row.rank != 1),
        key=lambda row: ((row.mate_score or 0.0) - (row.rival_score or 0.0), row.set, row.file),
    )
    share = max(most // 2, most - len(wrong))
    kept = failed[:share]
    return wrong[: most - len(kept)] + kept


def _ranks(rows: Sequence[ProbeRow]) -> NDArray[np.float64]:
    return np.array([np.inf if row.rank is None else row.rank for row in rows], dtype=np.float64)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _fate(results: Sequence[PictureResult]) -> dict[str, Any]:
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


def _spread(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the curve's points to draw: all of a short curve, otherwise spread evenly along its length."""
    if len(x) <= _CURVE_POINTS:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    at = np.searchsorted(along, np.linspace(0, along[-1], _CURVE_POINTS))
    return np.unique(np.concatenate([[0], at, [len(x) - 1]]))


def _spread_log(far: NDArray[np.float64], frr: NDArray[np.float64]) -> NDArray[np.int64]:
    """As `_spread`, along the curve as it is drawn: on logarithmic axes."""
    least = 1e-5  # below every axis, so that a rate of 0 has a place
    return _spread(np.log10(np.maximum(far, least)), np.log10(np.maximum(frr, least)))


def _histogram(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> dict[str, Any]:
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
