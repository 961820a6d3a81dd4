"""Loop 2 of a recognition evaluation: from signatures to the figures of a report.

Every figure's denominator is the number of probes or pairs in the protocol. What failed stays in it, as a miss or a
wrong decision, and is counted again by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.bins import in_order, yaw_bin
from facerec.evaluation.intervals import bootstrap_people, wilson
from facerec.evaluation.protocols.recognition import Identification, PairSet, Picture, RecognitionProtocol
from facerec.evaluation.ranks import MIN_OVERLAP, cmc, mate_ranks, open_set, person_scores, rank_k, score_matrix
from facerec.evaluation.signatures import PictureResult
from facerec.evaluation.verification import auc, by_folds, eer, roc, tar_at_far
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
        set: the identification's name.
        file, person, pose, yaw, pitch: of the probe; yaw and pitch in degrees.
        yaw_source: "given" by the protocol, "estimated" by the fit, or "unknown".
        known: whether the person is in the gallery.
        found, described: what became of the picture.
        reason: why the probe could not succeed ("" when it could): a reason code, "gallery_failed" or "little_overlap".
        rank: of the right person, 1 is best; None for failures and unknown people.
        mate_score: best score of the right person; None for failures and unknown people.
        mate_file: the gallery picture that gave it.
        rival: the best-scoring other person; rival_score and rival_file go with them.
        overlap: share of the signature's cells that the probe and the mate's picture (for an unknown probe: the
            rival's) both saw, in [0, 1].
    """

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
    """One pair of a verification set, as it goes into pairs.csv. A failed pair has no score and is decided wrongly."""

    set: str
    fold: str
    first: str
    second: str
    same: bool
    found: bool
    described: bool
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
    protocol: RecognitionProtocol, results: Sequence[PictureResult], rng: np.random.Generator
) -> RecognitionFigures:
    """All figures of `protocol`.

    Args:
        protocol: who is compared with whom.
        results: one a picture, in the order of `protocol.pictures`.
        rng: draws the people of the bootstrap intervals.
    """
    identification: dict[str, dict[str, Any]] = {}
    verification: dict[str, dict[str, Any]] = {}
    probes: list[ProbeRow] = []
    pairs: list[PairRow] = []
    for one in protocol.identifications:
        rows = probe_rows(protocol.pictures, one, results)
        probes += rows
        identification[one.name] = identification_figures(protocol.pictures, one, results, rows, rng)
    for pair_set in protocol.pairs:
        figures, pair_rows = verification_figures(protocol.pictures, pair_set, results)
        pairs += pair_rows
        verification[pair_set.name] = figures
    return RecognitionFigures(identification, verification, _fate(list(results)), tuple(probes), tuple(pairs))


def probe_rows(pictures: Sequence[Picture], one: Identification, results: Sequence[PictureResult]) -> list[ProbeRow]:
    """Search every probe, known and unknown, in the gallery of `one`."""
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
    return rows


def identification_figures(
    pictures: Sequence[Picture],
    one: Identification,
    results: Sequence[PictureResult],
    rows: Sequence[ProbeRow],
    rng: np.random.Generator,
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
    figures["gallery"] = {"people": people} | _fate([results[i] for i in one.gallery])
    if one.unknown:
        figures["open_set"] = open_set_figures(rows)
    return figures


def closed_set(rows: Sequence[ProbeRow], rng: np.random.Generator) -> dict[str, Any]:
    """n, found, described, rank1 with its intervals, rank5, failures of known probes."""
    n = len(rows)
    ranks = _ranks(rows)
    described = sum(row.described for row in rows)
    right = int(np.count_nonzero(ranks == 1))
    return {
        "n": n,
        "found": _share(sum(row.found for row in rows), n),
        "described": _share(described, n),
        "rank1": rank_k(ranks, 1) if n else None,
        "rank1_interval": list(wilson(right, n)),
        "rank1_people_interval": list(bootstrap_people(ranks == 1, [r.person for r in rows], rng)) if n else None,
        "rank5": rank_k(ranks, 5) if n else None,
        # Of those that could have succeeded: what tools that drop failures would print. Never the headline.
        "rank1_described": _share(right, described),
        "failures": dict(sorted(Counter(row.reason for row in rows if row.reason).items())),
    }


def open_set_figures(rows: Sequence[ProbeRow]) -> dict[str, Any]:
    """Unknown probes apart from known ones: TPIR at FPIR."""
    known = [row for row in rows if row.known]
    unknown = [row for row in rows if not row.known]
    mates = np.array([np.nan if row.mate_score is None else row.mate_score for row in known])
    alarms = np.array([np.nan if row.rival_score is None else row.rival_score for row in unknown])
    points = []
    for point in open_set(_ranks(known), mates, alarms):
        named = round(point.tpir * len(known))
        points.append(
            {
                "target_fpir": point.target_fpir,
                "fpir": point.fpir,
                "threshold": point.threshold,
                "tpir": point.tpir,
                "tpir_interval": list(wilson(named, len(known))),
            }
        )
    return {
        "known": len(known),
        "unknown": {
            "n": len(unknown),
            "found": _share(sum(row.found for row in unknown), len(unknown)),
            "described": _share(sum(row.described for row in unknown), len(unknown)),
            "failures": dict(sorted(Counter(row.reason for row in unknown if row.reason).items())),
        },
        "tpir_at_fpir": points,
    }


def verification_figures(
    pictures: Sequence[Picture], pair_set: PairSet, results: Sequence[PictureResult]
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
                set=pair_set.name,
                fold=pair_set.fold[i],
                first=pictures[pair_set.first[i]].name,
                second=pictures[pair_set.second[i]].name,
                same=bool(same[i]),
                found=bool(found[i]),
                described=not np.isnan(overlaps[i]),
                score=float(scores[i]) if scored else None,
                overlap=None if np.isnan(overlaps[i]) else float(overlaps[i]),
                threshold=limit,
                right=scored and not np.isnan(limit) and bool((scores[i] >= limit) == same[i]),
            )
        )
    right = sum(row.right for row in rows)
    shares = [fold.accuracy for fold in folds]
    both = bool(same.any() and not same.all())
    figures: dict[str, Any] = {
        "n": n,
        "genuine": int(np.count_nonzero(same)),
        "found": _share(int(found.sum()), n),
        "described": _share(sum(row.described for row in rows), n),
        "auc": auc(scores, same),
        # The folds' mean, as the protocols define it; with folds of one size it is `right` / n.
        "accuracy": float(np.mean(shares)),
        "accuracy_std": float(np.std(shares, ddof=1)) if len(shares) > 1 else None,
        "accuracy_interval": list(wilson(right, n)),
        "eer": eer(scores, same) if both else None,
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
        "histogram": _histogram(scores, same),
    }
    if both:
        figures["tar_at_far"] = [
            {"target_far": p.target_far, "far": p.far, "tar": p.tar, "threshold": p.threshold}
            for p in tar_at_far(scores, same)
        ]
        curve = roc(scores, same)
        keep = _spread(curve.far, curve.tar)
        figures["roc"] = {"far": [float(v) for v in curve.far[keep]], "tar": [float(v) for v in curve.tar[keep]]}
    return figures, rows


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
