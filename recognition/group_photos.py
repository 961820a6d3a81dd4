"""Group photographs: which of several faces is the person's, as that person's other photographs say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.recognition.cohort import normalised_scores
from facerec.recognition.masked_score import Vectors
from facerec.recognition.search import SearchSettings
from facerec.recognition.shipped_impostors import ShippedImpostors, ThresholdUnavailableError
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewEntry
from facerec.recognition.threshold import GalleryThresholdSettings, counted

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GroupPhoto:
    """A photograph in a person's folder that shows several faces of about one size.

    Attributes:
        faces: the described ones, at least one.
        found: how many faces it shows.
    """

    faces: tuple[NewEntry, ...]
    found: int


@dataclass(frozen=True, eq=False)
class GroupChoice:
    """What became of a group photograph: the face that is the person's, or none, and a sentence that says why."""

    entry: NewEntry | None
    detail: str


def choose_in_groups(person: str, photos: Sequence[GroupPhoto], gallery: GalleryStore) -> list[GroupChoice]:
    """Which face of each of `photos` is that of `person`: the one that most of the other photographs show.

    A face counts as shown by another photograph from the score on that one stranger in a hundred reaches among as many
    comparisons (`least_score`). Where two faces are shown by as many, none is taken. A group photograph whose face is
    known speaks for the others, so the order in which they come does not matter. While no photograph shows the person
    alone, it is the one face that all of the group photographs show.

    Args:
        person: name.
        photos: described under the gallery's contract.
        gallery: holds the person's other photographs.
    """
    contract = gallery.contract_digest
    known = [record.entry for record in gallery.entries(person)]
    faces = [face for photo in photos for face in photo.faces]
    photo_of = np.repeat(np.arange(len(photos)), [len(photo.faces) for photo in photos])
    mine = _stacked(faces)
    among = _scores(mine, mine, contract)
    among[photo_of[:, None] == photo_of[None]] = -np.inf
    alone = _scores(mine, gallery.vectors(known), contract) if known else np.zeros((len(faces), 0), np.float32)
    chosen = {} if known else _shown_by_all(among, photo_of, contract)
    shown = {number: counted(len(photos) - 1, "other photograph") for number in chosen}
    while known or chosen:
        others = np.hstack([alone, among[:, [chosen[number] for number in sorted(chosen)]]])
        fresh: dict[int, int] = {}
        for number in set(range(len(photos))) - chosen.keys():
            own = np.flatnonzero(photo_of == number)
            best, votes = _shown_most(others[own], contract)
            if votes:
                fresh[number] = int(own[best])
                shown[number] = f"{votes} of {counted(others.shape[1], 'other photograph')}"
        if not fresh:
            break
        chosen |= fresh
    why = f"no single one is on {person}'s other photographs" if known else f"no photograph shows {person} alone"
    return [
        GroupChoice(
            faces[chosen[number]],
            f"{photo.found} faces of about one size; this one is on {shown[number]} of {person}",
        )
        if number in chosen
        else GroupChoice(
            None, f"{photo.found} faces of about one size, and {why}; crop it, or add photographs of one face"
        )
        for number, photo in enumerate(photos)
    ]


def least_score(contract: str, comparisons: int) -> float:
    """The score that a share of strangers (`GalleryThresholdSettings.fpir`) reaches in one of so many comparisons.

    Infinite where no impostor scores were measured for models of `contract`: nothing can be said then.
    """
    try:
        curve = ShippedImpostors.load(contract).alike  # a group is often a family
    except ThresholdUnavailableError:
        return math.inf
    fpir = GalleryThresholdSettings().fpir
    return curve.score_at(-math.expm1(math.log1p(-fpir) / max(1, comparisons)))


def _shown_most(scores: Floats, contract: str) -> tuple[int, int]:
    """The row of `scores` (faces, photographs) that is shown by most, and by how many; 0 when two are, or none is."""
    votes = (scores >= least_score(contract, scores.size)).sum(axis=1)
    best = int(votes.argmax())
    return best, int(votes[best]) if (votes == votes[best]).sum() == 1 else 0


def _shown_by_all(among: Floats, photo_of: NDArray[np.int64], contract: str) -> dict[int, int]:
    """For each photograph the face that every other one shows; empty unless it is a single one on each of them."""
    numbers = np.unique(photo_of)
    chosen: dict[int, int] = {}
    for number in numbers.tolist():
        own = np.flatnonzero(photo_of == number)
        best = [among[own][:, photo_of == other].max(axis=1) for other in numbers.tolist() if other != number]
        if not best:
            return {}
        on_all = (np.stack(best) >= least_score(contract, len(own) * (len(photo_of) - len(own)))).all(axis=0)
        if on_all.sum() != 1:
            return {}
        chosen[number] = int(own[on_all.argmax()])
    return chosen


def _scores(first: Vectors, second: Vectors, contract: str) -> Floats:
    scores, overlap = normalised_scores(first, second, contract)
    scores[overlap < SearchSettings().least_cells(first[1].shape[1])] = -np.inf
    return scores


def _stacked(faces: Sequence[NewEntry]) -> Vectors:
    return np.stack([face.signature.cells for face in faces]), np.stack([face.signature.visible for face in faces])
