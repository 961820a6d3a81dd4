"""Impostor scores: the scores of different people in one gallery, from which its thresholds are computed."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.cohort import cohort_digest, normalised_scores
from facerec.recognition.impostor_curve import ImpostorCurve
from facerec.recognition.search import SearchSettings
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import EntryIndex

_BINS = 40_000
"""Bins of a score histogram over [-1, 1]: a threshold is exact to 1 / 20,000, far below what a score repeats to."""

_SUM_BYTES = 16


@dataclass(frozen=True)
class CalibrationSettings:
    """How a gallery is compared with itself.

    Attributes:
        max_entries: entries compared. 2000 give two million pairs: a FAR of 1e-5, in seconds.
        calibration_bytes: vectors held while calibrating.
    """

    max_entries: int = 2000
    calibration_bytes: int = 512 << 20

    def __post_init__(self) -> None:
        if self.max_entries < 2:
            raise InvalidInputError(f"expected at least 2 entries to calibrate with; got {self.max_entries}")


@dataclass(frozen=True, eq=False)
class ImpostorScores:
    """How impostor pairs of one gallery score.

    Attributes:
        counts: (B,) int64, histogram over [-1, 1].
        strangers: (M,) float32, ascending: the best score of each entry against all other people, which is what a
            stranger who is not enrolled gets (leave one person out).
        entries: number of entries compared.
        people: number of people among them.
        cohort: digest of the cohort that normalised the scores; "" without one.
    """

    counts: NDArray[np.int64]
    strangers: NDArray[np.float32]
    entries: int
    people: int
    cohort: str = ""

    def __post_init__(self) -> None:
        if self.counts.shape != (_BINS,) or (self.counts < 0).any():
            raise InvalidInputError(f"expected a histogram of {_BINS} bins; got shape {self.counts.shape}")

    @property
    def pairs(self) -> int:
        """Number of impostor pairs."""
        return int(self.counts.sum())

    def reaching(self, value: float) -> int:
        """Number of pairs that score at least `value` (to the histogram's resolution)."""
        first = math.ceil((value + 1.0) * _BINS / 2 - 1e-9)
        return int(self.counts[max(0, first) :].sum()) if first < _BINS else 0

    def stranger_rate(self, value: float) -> float:
        """Share of the leave-one-out strangers that would be taken for someone at `value` (FPIR)."""
        return float((self.strangers >= value).mean()) if len(self.strangers) else 0.0

    def value_at(self, accepts: int) -> float:
        """The lowest score that at most `accepts` pairs reach."""
        tail = np.cumsum(self.counts[::-1])[::-1]
        fits = np.flatnonzero(tail <= accepts)
        first = int(fits[0]) if len(fits) else _BINS
        return round(-1.0 + 2.0 * first / _BINS, 6)  # the edge of a bin, without the noise of binary fractions

    def curve(self, least_accepts: int) -> ImpostorCurve | None:
        """Rates and scores down to the rate that `least_accepts` pairs reach; None with too few pairs."""
        if self.pairs < 2 * least_accepts:
            return None
        tail = np.cumsum(self.counts[::-1])[::-1]
        wanted = np.unique(np.geomspace(least_accepts, self.pairs / 2, 60).astype(np.int64))[::-1]
        # The lowest edge that at most so many pairs reach: what is listed is never looser than what was measured.
        edges = np.searchsorted(-tail, -wanted, side="left")
        kept = {int(edge): int(tail[edge]) for edge in edges if edge < _BINS and tail[edge] > 0}
        if not kept:
            return None
        places = sorted(kept)
        return ImpostorCurve(
            tuple(kept[edge] / self.pairs for edge in places),
            tuple(round(-1.0 + 2.0 * edge / _BINS, 6) for edge in places),
            self.pairs,
        )

    def to_bytes(self) -> bytes:
        """A checksum and a compressed npz, for `Gallery.store_calibration`."""
        stream = io.BytesIO()
        used = np.flatnonzero(self.counts)
        np.savez_compressed(
            stream,
            bins=used,
            counts=self.counts[used],
            strangers=self.strangers,
            size=np.array([self.entries, self.people], dtype=np.int64),
            cohort=np.frombuffer(self.cohort.encode(), dtype=np.uint8),
        )
        return _sum(stream.getvalue()) + stream.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> ImpostorScores:
        """Read what `to_bytes` wrote; raises `InvalidInputError` when it is damaged."""
        if data[:_SUM_BYTES] != _sum(data[_SUM_BYTES:]):
            raise InvalidInputError("expected impostor scores as they were stored; these are damaged")
        with np.load(io.BytesIO(data[_SUM_BYTES:]), allow_pickle=False) as stored:
            counts = np.zeros(_BINS, dtype=np.int64)
            counts[stored["bins"]] = stored["counts"]
            entries, people = (int(v) for v in stored["size"])
            cohort = stored["cohort"].tobytes().decode() if "cohort" in stored else ""
            return ImpostorScores(counts, stored["strangers"].astype(np.float32), entries, people, cohort)

    @staticmethod
    def of_scores(scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Histogram (B,) of `scores`, any shape."""
        bins = np.clip(((scores.ravel() + 1.0) * (_BINS / 2)).astype(np.int64), 0, _BINS - 1)
        return np.bincount(bins, minlength=_BINS).astype(np.int64)


@dataclass(frozen=True)
class LookAlike:
    """An entry that looks more like another person than like its own person's other photographs.

    Attributes:
        entry: its identifier.
        person: the name it is enrolled under.
        other: who it looks like.
        other_entry: the entry of theirs that it looks like.
        score: its best score against `other`.
        own: its best score against the other photographs of `person`.
    """

    entry: int
    person: str
    other: str
    other_entry: int
    score: float
    own: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """The results of comparing a gallery with itself.

    Attributes:
        scores: how its impostor pairs score.
        look_alikes: entries that are more similar to somebody else, whatever the score, the clearest first.
            `review.stray_pictures` selects those that a person should check.
    """

    scores: ImpostorScores
    look_alikes: tuple[LookAlike, ...]


def calibrate(
    gallery: GalleryStore, settings: CalibrationSettings | None = None, search: SearchSettings | None = None
) -> Calibration:
    """Compare a gallery with itself: every entry against those of all other people.

    Of a large gallery `CalibrationSettings.max_entries` are taken, spread over as many people as possible, always the
    same ones. Pairs that share too few cells are no impostor pairs, nor are those of two people who have a photograph
    in common: they may be one person under two names.
    """
    settings, search = settings or CalibrationSettings(), search or SearchSettings()
    index = gallery.index()
    shape = gallery.shape
    entry_bytes = max(1, 4 * shape[0] * shape[1])
    most = max(2, min(settings.max_entries, settings.calibration_bytes // entry_bytes))
    chosen = sample_entries(index, most)
    person, photo, ids = index.person[chosen], index.photo[chosen], index.ids[chosen]
    linked = _linked_people(index)
    counts = np.zeros(_BINS, dtype=np.int64)
    others = np.full(len(chosen), -np.inf, dtype=np.float32)
    looks_like = np.zeros(len(chosen), dtype=np.int64)
    own = np.full(len(chosen), -np.inf, dtype=np.float32)
    if len(chosen):
        cells, visible = gallery.vectors(ids)
        least = search.least_cells(shape[0])
        step = max(1, search.block_bytes // entry_bytes)
        for start in range(0, len(chosen), step):
            rows = slice(start, min(start + step, len(chosen)))
            scores, overlap = normalised_scores((cells[rows], visible[rows]), (cells, visible), gallery.contract_digest)
            apart = (overlap >= least) & (photo[rows, None] != photo[None, :])
            impostor = apart & (person[rows, None] != person[None, :])
            for one, other in linked:
                impostor &= ~((person[rows, None] == one) & (person[None, :] == other))
            # Each pair counts once, although it occurs in both orders.
            once = impostor & (np.arange(rows.start, rows.stop)[:, None] < np.arange(len(chosen))[None, :])
            counts += ImpostorScores.of_scores(scores[once])
            against = np.where(impostor, scores, -np.inf)
            looks_like[rows] = against.argmax(axis=1)
            others[rows] = against.max(axis=1)
            own[rows] = np.where(apart & (person[rows, None] == person[None, :]), scores, -np.inf).max(axis=1)
    scores_of = ImpostorScores(
        counts=counts,
        strangers=np.sort(others[np.isfinite(others)]),
        entries=len(chosen),
        people=len(np.unique(person)),
        cohort=cohort_digest(gallery.contract_digest) if len(chosen) else "",
    )
    suspects = np.flatnonzero(np.isfinite(own) & (others > own))
    return Calibration(
        scores_of,
        tuple(
            LookAlike(
                entry=int(ids[i]),
                person=index.names[person[i]],
                other=index.names[person[looks_like[i]]],
                other_entry=int(ids[looks_like[i]]),
                score=float(others[i]),
                own=float(own[i]),
            )
            for i in suspects[np.argsort(own[suspects] - others[suspects], kind="stable")].tolist()
        ),
    )


def recalibrate(gallery: GalleryStore, settings: CalibrationSettings | None = None) -> Calibration:
    """Measure the impostor scores of `gallery`, open for writing, and store them when it has none of this content.

    A store sees to it by itself when a writer that changed it closes (`keep_calibrated`); this gives the findings too.
    """
    found = calibrate(gallery, settings)
    if stored_scores(gallery) is None:
        gallery.store_calibration(found.scores.to_bytes())
    return found


def keep_calibrated(gallery: GalleryStore) -> None:
    """Measure and store the impostor scores of `gallery`, unless those of its present content are there."""
    if stored_scores(gallery) is None:
        recalibrate(gallery)


def impostor_scores(gallery: GalleryStore, settings: CalibrationSettings | None = None) -> ImpostorScores:
    """The gallery's impostor scores: the stored ones when they are of its present content, otherwise measured."""
    stored = stored_scores(gallery)
    return calibrate(gallery, settings).scores if stored is None else stored


def stored_scores(gallery: GalleryStore) -> ImpostorScores | None:
    """The stored impostor scores; None unless they are of the gallery's present content and the present cohort."""
    stored = gallery.calibration()
    if not stored:
        return None
    try:
        scores = ImpostorScores.from_bytes(stored)
    except InvalidInputError:  # damaged, but derived: measured again
        return None
    current = cohort_digest(gallery.contract_digest) if scores.entries else ""
    return scores if scores.cohort == current else None


def sample_entries(index: EntryIndex, most: int) -> NDArray[np.int64]:
    """Places in `index` of at most `most` entries, spread over as many people as possible; always the same ones."""
    # Each person's first entry, then each person's second, ...: a sample of people rather than of one person's photos.
    rank = np.arange(len(index.ids)) - np.searchsorted(index.person, index.person)
    return np.sort(np.lexsort((index.person, rank))[:most])


def _linked_people(index: EntryIndex) -> list[tuple[int, int]]:
    """Both orders of each two people (numbers in `index.names`) who have a photograph in common."""
    people_of: dict[int, set[int]] = {}
    for picture, someone in zip(index.photo.tolist(), index.person.tolist(), strict=True):
        people_of.setdefault(picture, set()).add(someone)
    return sorted({(a, b) for people in people_of.values() for a in people for b in people if a != b})


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES).digest()
