"""Review after an enrolment: pictures and names that a person should check, with their scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.recognition.cohort import normalised_scores
from facerec.recognition.impostors import Calibration, LookAlike, sample_entries
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.search import SearchSettings
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import EntryRecord
from facerec.recognition.threshold import counted, gallery_threshold, threshold_of

FindingKind = Literal["same_photo", "looks_like_another", "near_duplicate", "one_person", "odd_picture"]


@dataclass(frozen=True)
class Finding:
    """One finding that a person should check.

    Attributes:
        kind: "same_photo" (one photograph under two names), "looks_like_another" (an entry looks more like somebody
            else), "near_duplicate" (two entries look like one picture), "one_person" (two names may be one person) or
            "odd_picture" (an entry looks like no other of its person).
        sentence: the finding in words, with the numbers.
        people: the names it is about.
        entries: identifiers of the entries it is about, the doubtful one first; of people, their first entries.
        score: the number behind it; None for "same_photo".
    """

    kind: FindingKind
    sentence: str
    people: tuple[str, ...]
    entries: tuple[int, ...]
    score: float | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        score = None if self.score is None else round(self.score, 4)
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "people": list(self.people),
            "entries": list(self.entries),
            "score": score,
        }


@dataclass(frozen=True)
class ReviewSettings:
    """Which findings a person should check.

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


def gallery_findings(gallery: GalleryStore, calibration: Calibration) -> list[Finding]:
    """All findings in a gallery that a person should check: photographs under two names, then entries that look more
    like somebody else, then what `review` finds. `calibration` is that of the gallery (`impostors.calibrate`).
    """
    records = gallery.entries()
    place = {record.entry: record.relative_path for record in records}
    found = _shared_photos(records)
    own = gallery_threshold(calibration.scores)
    for stray in stray_pictures(calibration, own.value if own else None):
        sentence = (
            f"{place[stray.entry]} of {stray.person} looks like {stray.other}, {stray.score:.2f} (other photographs of "
            f"{stray.person}: {stray.own:.2f})"
        )
        people, entries = (stray.person, stray.other), (stray.entry, stray.other_entry)
        found.append(Finding("looks_like_another", sentence, people, entries, stray.score))
    return found + review(gallery, threshold_of(gallery).value)


def review(gallery: GalleryStore, threshold: float | None, settings: ReviewSettings | None = None) -> list[Finding]:
    """Near-duplicates, one person under two names and pictures that look like no other of theirs.

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
    # Pictures with the same bytes are known to be the same and are reported elsewhere.
    other = index.photo[chosen][:, None] != index.photo[chosen][None, :]
    never = (overlap < SearchSettings().least_cells(gallery.shape[0])) | ~other
    scores[never] = -np.inf
    chosen_ids = index.ids[chosen].tolist()
    place = {record.entry: record.relative_path for record in gallery.entries()}
    owner = [index.names[who] for who in index.person[chosen].tolist()]
    looked_at = _Compared(chosen_ids, owner, [f"{place[i]} of {who}" for i, who in zip(chosen_ids, owner, strict=True)])
    found = _near_duplicates(scores, looked_at, settings)
    if threshold is not None:
        person = index.person[chosen]
        scores = normalised_scores(vectors, vectors, gallery.contract_digest)[0]
        scores[never] = -np.inf
        found += _one_person(scores, person, looked_at, threshold, settings)
        found += _odd_pictures(scores, person, looked_at, threshold, settings)
    return found


def stray_pictures(calibration: Calibration, threshold: float | None) -> list[LookAlike]:
    """The entries that look more like somebody else, at `threshold` or above; none without a threshold.

    A misplaced picture makes the one it resembles look odd, too; only the worse of the two is reported.
    """
    odd: dict[int, LookAlike] = {}
    for suspect in calibration.look_alikes:
        if threshold is not None and suspect.score >= threshold and suspect.other_entry not in odd:
            odd[suspect.entry] = suspect
    return list(odd.values())


@dataclass(frozen=True)
class _Compared:
    """The entries that are compared: identifier, person, and how a sentence calls each."""

    ids: list[int]
    person: list[str]
    called: list[str]


def _shared_photos(records: Sequence[EntryRecord]) -> list[Finding]:
    """Photographs with one face under two names, by the names; two faces of a group photograph are none."""
    of_photo: dict[tuple[str, int], dict[str, EntryRecord]] = {}
    for record in records:
        of_photo.setdefault((record.sha256, record.face), {}).setdefault(record.person, record)
    pairs = [
        (people[a], people[b]) for people in of_photo.values() for a, b in itertools.combinations(sorted(people), 2)
    ]
    return [
        Finding(
            "same_photo",
            f"{a.person} ({a.relative_path}) and {b.person} ({b.relative_path}) are the same photograph",
            (a.person, b.person),
            (a.entry, b.entry),
        )
        for a, b in sorted(pairs, key=lambda pair: (pair[0].person, pair[1].person))
    ]


def _near_duplicates(scores: NDArray[np.float32], looked_at: _Compared, settings: ReviewSettings) -> list[Finding]:
    pairs = np.argwhere(np.triu(scores, 1) >= settings.near_duplicate)
    ordered = sorted(pairs.tolist(), key=lambda pair: -scores[pair[0], pair[1]])
    ids, person, called = looked_at.ids, looked_at.person, looked_at.called
    return [
        Finding(
            "near_duplicate",
            f"{called[i]} and {called[j]} look like one picture, {scores[i, j]:.2f}",
            tuple(dict.fromkeys((person[i], person[j]))),
            (ids[j], ids[i]),
            float(scores[i, j]),
        )
        for i, j in ordered[: settings.listed]
    ]


def _one_person(
    scores: NDArray[np.float32],
    person: NDArray[np.int64],
    looked_at: _Compared,
    threshold: float,
    settings: ReviewSettings,
) -> list[Finding]:
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
    found: list[Finding] = []
    reaching = person[np.argwhere(different & (scores >= floor))]
    for a, b in np.unique(reaching[reaching[:, 0] < reaching[:, 1]], axis=0).tolist():
        between = scores[np.ix_(person == a, person == b)]
        between = between[np.isfinite(between)]
        middle = float(np.median(between))
        if middle >= max(own[a], own[b], floor):
            first, second = (int(np.flatnonzero(person == who)[0]) for who in (a, b))
            names = looked_at.person[first], looked_at.person[second]
            pairs = counted(between.size, "pair")
            sentence = f"{names[0]} and {names[1]} may be one person: median score {middle:.2f} over {pairs}"
            entries = looked_at.ids[first], looked_at.ids[second]
            found.append(Finding("one_person", sentence, names, entries, middle))
    return sorted(found, key=lambda one: -(one.score or 0.0))[: settings.listed]


def _odd_pictures(
    scores: NDArray[np.float32],
    person: NDArray[np.int64],
    looked_at: _Compared,
    threshold: float,
    settings: ReviewSettings,
) -> list[Finding]:
    """Pictures below `threshold` to every other of their person, while those others reach it among themselves."""
    found: list[Finding] = []
    for who in np.unique(person).tolist():
        own = np.flatnonzero(person == who)
        if len(own) < settings.least_pictures:
            continue
        best = scores[np.ix_(own, own)].max(axis=1)
        rest = float(np.median(best))
        for i in np.flatnonzero(np.isfinite(best) & (best < threshold)).tolist():
            if rest >= threshold:
                place, score = int(own[i]), float(best[i])
                called, name = looked_at.called[place], looked_at.person[place]
                sentence = f"{called} looks like no other picture of theirs, {score:.2f} (the others: {rest:.2f})"
                other = next(looked_at.ids[int(k)] for k in own.tolist() if k != place)
                found.append(Finding("odd_picture", sentence, (name,), (looked_at.ids[place], other), score))
    return sorted(found, key=lambda one: one.score or 0.0)[: settings.listed]
