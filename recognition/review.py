"""What a person should look at after an enrolment: pictures and names that do not fit together, with their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.recognition.cohort import normalised_scores
from facerec.recognition.impostors import Calibration, LookAlike, sample_entries
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.search import SearchSettings
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import EntryIndex
from facerec.recognition.threshold import counted


@dataclass(frozen=True)
class ReviewSettings:
    """What is worth a person's look.

    Attributes:
        near_duplicate: score from which on two photographs are taken for one picture, saved twice.
        least_pictures: a person's pictures before one of them can be called odd: two that differ do not say which.
        strangers: share of the pairs of two people that must score lower than two names that are said to be one.
        max_entries: entries compared; 2000 give two million pairs, in seconds.
        listed: findings of a kind, the clearest ones.
    """

    near_duplicate: float = 0.95
    least_pictures: int = 3
    strangers: float = 0.99
    max_entries: int = 2000
    listed: int = 50


def review(gallery: GalleryStore, threshold: float | None, settings: ReviewSettings | None = None) -> list[str]:
    """Sentences on near-duplicates, on one person under two names and on pictures that look like no other of theirs.

    Args:
        gallery: of a large one `ReviewSettings.max_entries` entries are looked at, spread over its people.
        threshold: the score from which on two pictures count as one person's; without one, near-duplicates only.
        settings: see `ReviewSettings`.
    """
    settings = settings or ReviewSettings()
    index = gallery.index()
    chosen = sample_entries(index, settings.max_entries)
    if len(chosen) < 2:
        return []
    vectors = gallery.vectors(index.ids[chosen])
    scores, overlap = masked_scores(vectors, vectors)
    # Pictures of the same bytes are known to be the same; that is said elsewhere.
    other = index.photo[chosen][:, None] != index.photo[chosen][None, :]
    never = (overlap < SearchSettings().least_cells(gallery.shape[0])) | ~other
    scores[never] = -np.inf
    place = {record.entry: record.relative_path for record in gallery.entries()}
    called = [f"{place[int(entry)]} of {index.names[who]}" for entry, who in _named(index, chosen)]
    found = _near_duplicates(scores, called, settings)
    if threshold is not None:
        person = index.person[chosen]
        scores = normalised_scores(vectors, vectors, gallery.contract_digest)[0]
        scores[never] = -np.inf
        found += _one_person(scores, person, index.names, threshold, settings)
        found += _odd_pictures(scores, person, called, threshold, settings)
    return found


def stray_pictures(calibration: Calibration, threshold: float | None) -> list[LookAlike]:
    """The entries that look more like somebody else, at `threshold` or above; none without a threshold.

    A stray picture makes the one it resembles look odd, too: only the worse of the two is named.
    """
    odd: dict[int, LookAlike] = {}
    for suspect in calibration.look_alikes:
        if threshold is not None and suspect.score >= threshold and suspect.other_entry not in odd:
            odd[suspect.entry] = suspect
    return list(odd.values())


def _named(index: EntryIndex, chosen: NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(index.ids[chosen].tolist(), index.person[chosen].tolist(), strict=True))


def _near_duplicates(scores: NDArray[np.float32], called: list[str], settings: ReviewSettings) -> list[str]:
    pairs = np.argwhere(np.triu(scores, 1) >= settings.near_duplicate)
    ordered = sorted(pairs.tolist(), key=lambda pair: -scores[pair[0], pair[1]])
    return [
        f"{called[i]} and {called[j]} look like one picture, {scores[i, j]:.2f}" for i, j in ordered[: settings.listed]
    ]


def _one_person(
    scores: NDArray[np.float32],
    person: NDArray[np.int64],
    names: tuple[str, ...],
    threshold: float,
    settings: ReviewSettings,
) -> list[str]:
    """People whose pictures are as alike as each one's own: their median reaches the lower quartile of both.

    A threshold from the gallery itself would not do: the pictures of the two count as impostors there and raise it. It
    stands in for people with a single picture. Nothing is said below the score that one stranger in a hundred reaches.
    """
    different = np.isfinite(scores) & (person[:, None] != person[None, :])
    if not different.any():
        return []
    floor = float(np.quantile(scores[different], settings.strangers))
    own: dict[int, float] = {}
    for who in np.unique(person).tolist():
        among = scores[np.ix_(person == who, person == who)]
        among = among[np.isfinite(among)]
        own[who] = float(np.quantile(among, 0.25)) if among.size else threshold
    said: list[tuple[float, str]] = []
    reaching = person[np.argwhere(different & (scores >= floor))]
    for a, b in np.unique(reaching[reaching[:, 0] < reaching[:, 1]], axis=0).tolist():
        between = scores[np.ix_(person == a, person == b)]
        between = between[np.isfinite(between)]
        middle = float(np.median(between))
        if middle >= max(own[a], own[b], floor):
            said.append(
                (
                    middle,
                    f"{names[a]} and {names[b]} may be one person: {middle:.2f} over {counted(between.size, 'pair')}",
                )
            )
    return [sentence for _, sentence in sorted(said, key=lambda item: -item[0])[: settings.listed]]


def _odd_pictures(
    scores: NDArray[np.float32],
    person: NDArray[np.int64],
    called: list[str],
    threshold: float,
    settings: ReviewSettings,
) -> list[str]:
    """Pictures below `threshold` to every other of their person, while those others reach it among themselves."""
    said: list[tuple[float, str]] = []
    for who in np.unique(person).tolist():
        own = np.flatnonzero(person == who)
        if len(own) < settings.least_pictures:
            continue
        best = scores[np.ix_(own, own)].max(axis=1)
        rest = float(np.median(best))
        for i in np.flatnonzero(np.isfinite(best) & (best < threshold)).tolist():
            if rest >= threshold:
                sentence = (
                    f"{called[own[i]]} looks like no other picture of theirs, {best[i]:.2f} (the others: {rest:.2f})"
                )
                said.append((float(best[i]), sentence))
    return [sentence for _, sentence in sorted(said)[: settings.listed]]
