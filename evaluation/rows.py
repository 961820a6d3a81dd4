"""Rows of a recognition report: the result of each probe and of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.protocols.recognition import Identification, Picture
from facerec.evaluation.ranks import mate_ranks, person_scores, score_matrix
from facerec.evaluation.signatures import PictureResult

GALLERY_FAILED = "gallery_failed"
"""Failure of a probe that was described itself, but whose person has no usable gallery picture."""

LITTLE_OVERLAP = "little_overlap"
"""Failure of two described pictures that share too few cells to be compared (see `facerec.evaluation.ranks`)."""


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


def worst_probes(rows: Sequence[ProbeRow], most: int) -> list[ProbeRow]:
    """The known probes with the worst errors: half of them failures, half wrong names by the rival's lead.

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
