"""Closed-set and open-set identification: rank-k, the CMC curve, TPIR at FPIR.

A failed picture never leaves a denominator. A probe that failed has a row of NaN and misses at every rank; a gallery
picture that failed has a column of NaN, and a person without any usable gallery picture is missed by all their probes.
So is a person whose pictures share too few cells with the probe to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.search import SearchSettings
from facerec.recognition.signature import Signature

Scores = NDArray[np.float64]

MIN_OVERLAP = SearchSettings().min_overlap
"""Share of the cells that two pictures must both have seen to be compared: that of the product's own search."""


def score_matrix(
    probes: Sequence[Signature | None], gallery: Sequence[Signature | None], min_overlap: float = MIN_OVERLAP
) -> tuple[Scores, Scores]:
    """Scores and overlaps of every probe with every gallery entry, both (P, G) float64.

    Those of a search: `probe.score(entry)`, less what strangers score where the descriptor has a cohort. Overlaps are
    shares of the signature's cells in [0, 1]. A failed picture (None) gives NaN scores and zero overlap; a pair that
    shares too few cells has a NaN score, as a search of the gallery would not compare it either.

    Args:
        probes, gallery: P and G signatures; None for pictures that failed.
        min_overlap: share of the cells that both must have seen to be compared; one cell at least.

    Raises:
        ContractError: when the signatures are not all of one contract.
    """
    scores = np.full((len(probes), len(gallery)), np.nan)
    overlaps = np.zeros_like(scores)
    rows = [i for i, signature in enumerate(probes) if signature is not None]
    columns = [i for i, signature in enumerate(gallery) if signature is not None]
    contracts = {s.contract for s in (*probes, *gallery) if s is not None}
    if len(contracts) > 1:
        raise ContractError(f"expected signatures of one contract; got {sorted(contracts)}")
    if not rows or not columns:
        return scores, overlaps

    def stack(signatures: Sequence[Signature | None]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        kept = [s for s in signatures if s is not None]
        return np.stack([s.cells for s in kept]), np.stack([s.visible for s in kept])

    stacked = stack(gallery)
    cells = stacked[1].shape[1]
    found, common = normalised_scores(stack(probes), stacked, contracts.pop(), product="numpy")
    least = SearchSettings(min_overlap=min_overlap).least_cells(cells)
    grid = np.ix_(rows, columns)
    scores[grid] = np.where(common >= least, found, np.nan)
    overlaps[grid] = common / cells
    return scores, overlaps


def person_scores(scores: Scores, gallery_people: Sequence[str]) -> tuple[Scores, list[str], NDArray[np.int64]]:
    """Best score of each person over their gallery entries.

    Args:
        scores: (P, G), NaN where either picture failed.
        gallery_people: G names.

    Returns:
        (P, N) best scores (NaN where no entry of the person could be compared), the N names sorted, and (P, N) the
        gallery column each best score came from (-1 where there is none).
    """
    if scores.ndim != 2 or scores.shape[1] != len(gallery_people):
        raise InvalidInputError(
            f"expected scores (P, {len(gallery_people)}) for {len(gallery_people)} entries; got {scores.shape}"
        )
    names = sorted(set(gallery_people))
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = np.full((len(scores), len(names)), np.nan)
    entry = np.full(best.shape, -1, dtype=np.int64)
    columns: dict[str, list[int]] = {name: [] for name in names}
    for column, name in enumerate(gallery_people):
        columns[name].append(column)
    for j, name in enumerate(names):
        own = np.asarray(columns[name])
        pick = filled[:, own].argmax(axis=1)
        top = filled[np.arange(len(filled)), own[pick]]
        usable = np.isfinite(top)
        best[usable, j] = top[usable]
        entry[usable, j] = own[pick[usable]]
    return best, names, entry


def mate_ranks(best: Scores, names: Sequence[str], probe_people: Sequence[str]) -> NDArray[np.float64]:
    """Rank of the right person for each probe, (P,), 1 is best; infinity for a failed probe or a failed mate.

    Ties count against us: the rank is one more than the number of other people who score at least as much, so a
    system that gives everybody the same score gets no rank 1.

    Args:
        best: (P, N) scores of people from `person_scores`, NaN where there is none.
        names: the N people.
        probe_people: P names, each among `names`.
    """
    place = {name: j for j, name in enumerate(names)}
    strangers = sorted({person for person in probe_people if person not in place})
    if strangers:
        raise InvalidInputError(f"expected every probe's person in the gallery; not there: {strangers[:5]}")
    if best.shape != (len(probe_people), len(names)):
        raise InvalidInputError(f"expected scores ({len(probe_people)}, {len(names)}); got {best.shape}")
    if not len(best):
        return np.empty(0)
    mates = np.asarray([place[person] for person in probe_people])
    mate = best[np.arange(len(best)), mates]
    filled = np.where(np.isnan(best), -np.inf, best)
    # The mate itself is one of those that score at least as much as the mate.
    ranks = (filled >= mate[:, None]).sum(axis=1).astype(np.float64)
    return np.where(np.isnan(mate), np.inf, ranks)


def rank_k(ranks: NDArray[np.float64], k: int) -> float:
    """Share of all probes whose right person is among the first `k`; NaN without probes. Failures are misses."""
    if k < 1:
        raise InvalidInputError(f"expected k >= 1; got {k}")
    return float(np.count_nonzero(ranks <= k)) / len(ranks) if len(ranks) else float("nan")


def cmc(ranks: NDArray[np.float64], longest: int) -> NDArray[np.float64]:
    """Cumulative match characteristic: `rank_k` for k = 1..`longest`, (longest,)."""
    return np.asarray([rank_k(ranks, k) for k in range(1, longest + 1)])


@dataclass(frozen=True)
class OpenSetPoint:
    """One operating point of open-set identification.

    Attributes:
        target_fpir: the false positive identification rate that was asked for.
        fpir: the rate reached, <= target: share of described unknown probes for whom somebody was named.
        threshold: a name is given when the best score >= threshold.
        tpir: share of all known probes (failures included) named rightly: right person first, and above the threshold.
    """

    target_fpir: float
    fpir: float
    threshold: float
    tpir: float


def open_set(
    ranks: NDArray[np.float64],
    mate_scores: NDArray[np.float64],
    unknown_best: NDArray[np.float64],
    targets: Sequence[float] = (0.001, 0.01, 0.1),
) -> list[OpenSetPoint]:
    """TPIR at FPIR, with unknown probes separate from known ones.

    Targets that the unknown probes are too few to support (fewer than one false alarm allowed) are left out. Unknown
    probes that failed (NaN) raise no alarm and would flatter the FPIR, so its denominator is the described ones.

    Args:
        ranks: (P,) from `mate_ranks` for the known probes.
        mate_scores: (P,) score of the right person, NaN for failures.
        unknown_best: (U,) best score over the whole gallery for each unknown probe, NaN for failures.
        targets: FPIR values to report.
    """
    alarms = np.sort(unknown_best[~np.isnan(unknown_best)])[::-1]
    points: list[OpenSetPoint] = []
    for target in targets:
        # 1e-9: 0.1 * 30 must be three alarms, not two.
        allowed = int(target * len(alarms) + 1e-9)
        if allowed < 1 or not len(ranks):
            continue
        # Just above the first alarm that is one too many; ties with it are shut out as well.
        threshold = float(np.nextafter(alarms[allowed], np.inf)) if allowed < len(alarms) else float(alarms[-1])
        fpir = float(np.count_nonzero(alarms >= threshold)) / len(alarms)
        named = (ranks == 1) & (np.nan_to_num(mate_scores, nan=-np.inf) >= threshold)
        points.append(OpenSetPoint(float(target), fpir, threshold, float(np.count_nonzero(named)) / len(ranks)))
    return points
