"""From scores to decisions: thresholds calibrated on impostors, and what is said about a face.

A threshold is never a number out of the air. It comes from impostor scores, those of pictures of different people, and
is stated with the share of impostor pairs that reach it (the false accept rate, FAR) and with their number. A gallery
gives its own impostor pairs; while it has too few, a measured distribution that comes with the package takes over.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import FacerecError, InvalidInputError
from facerec.recognition.search import SearchResult, SearchSettings, masked_scores
from facerec.recognition.signature import Decision, Match
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import EntryIndex

SHIPPED_IMPOSTORS = Path(__file__).parent / "weights"
"""Folder with the measured impostor scores of the package's own models, `impostors-<descriptor>.json`; see
`ShippedImpostors`."""

_BINS = 40_000
"""Bins of a score histogram over [-1, 1]: a threshold is exact to 1 / 20,000, far below what a score repeats to."""

_SUM_BYTES = 16


@dataclass(frozen=True)
class ThresholdSettings:
    """How a threshold is chosen.

    Attributes:
        far: false accept rate that is aimed at, share of impostor pairs. One in a thousand is the operating point that
            verification papers report, and one that a gallery of 150 people can support by itself.
        least_accepts: impostor pairs that must lie above a threshold before their share is called a rate. The spread
            of a count of n is sqrt(n), so ten fix a rate to about a third.
        max_entries: entries used for calibration. 2000 give two million pairs: a FAR of 1e-5, in seconds.
        calibration_bytes: vectors held while calibrating.
    """

    far: float = 1e-3
    least_accepts: int = 10
    max_entries: int = 2000
    calibration_bytes: int = 512 << 20

    def __post_init__(self) -> None:
        check_far(self.far)
        if self.least_accepts < 1 or self.max_entries < 2:
            raise InvalidInputError("expected at least 1 accept and 2 entries to calibrate with")


class ThresholdUnavailableError(FacerecError):
    """There is nothing to take a threshold from."""


@dataclass(frozen=True)
class Threshold:
    """The score from which on two pictures count as one person's (inclusive).

    Attributes:
        value: the score; None when there is nothing to calibrate it on.
        far: share of the impostor pairs that reach `value`; when fewer than `ThresholdSettings.least_accepts` do, the
            rate that their number can rule out with 95 % confidence. None when no pairs are known.
        pairs: number of impostor pairs behind `far`.
        source: where the pairs come from: the gallery, the package, or none, for a value that was given.
        note: the same for a person, e.g. "FAR 0.1 % over 12,340 impostor pairs".
    """

    value: float | None
    far: float | None
    pairs: int
    source: Literal["gallery", "shipped", "given", "none"]
    note: str

    def as_json(self) -> dict[str, Any]:
        """value, far, pairs, source."""
        return {"value": self.value, "far": self.far, "pairs": self.pairs, "source": self.source}


@dataclass(frozen=True, eq=False)
class ImpostorScores:
    """How impostor pairs of one gallery score.

    Attributes:
        counts: (B,) int64, histogram over [-1, 1].
        strangers: (M,) float32, ascending: the best score of each entry against all other people, which is what a
            stranger who is not enrolled gets (leave one person out).
        entries: number of entries compared.
        people: number of people among them.
    """

    counts: NDArray[np.int64]
    strangers: NDArray[np.float32]
    entries: int
    people: int

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
            return ImpostorScores(counts, stored["strangers"].astype(np.float32), entries, people)

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
        score: its best score against `other`.
        own: its best score against the other photographs of `person`.
    """

    entry: int
    person: str
    other: str
    score: float
    own: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """What comparing a gallery with itself showed."""

    scores: ImpostorScores
    look_alikes: tuple[LookAlike, ...]


@dataclass(frozen=True)
class ShippedImpostors:
    """Impostor scores measured on people outside every training set, for galleries too small for their own.

    Attributes:
        contract: digest of the contract of the signatures that were compared.
        pairs: number of impostor pairs.
        people: number of people.
        what: one sentence on the pictures.
        far: false accept rates, descending.
        score: the score that this share of the pairs reaches, ascending.
    """

    contract: str
    pairs: int
    people: int
    what: str
    far: tuple[float, ...]
    score: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.far) != len(self.score) or not self.far or self.pairs < 1:
            raise InvalidInputError("expected as many impostor scores as rates, at least one, and their pairs")
        if list(self.far) != sorted(self.far, reverse=True) or list(self.score) != sorted(self.score):
            raise InvalidInputError("expected rates that fall and scores that rise")

    @staticmethod
    def measure(scores: NDArray[np.floating], contract: str, people: int, what: str) -> ShippedImpostors:
        """Quantiles of impostor `scores` (N,), down to the rate that N pairs support."""
        ordered = np.sort(np.asarray(scores, dtype=np.float64).ravel())[::-1]
        accepts = [
            int(n)
            for n in np.unique(np.geomspace(ThresholdSettings().least_accepts, len(ordered) / 2, 60).astype(int))[::-1]
        ]
        if len(ordered) < 2 * ThresholdSettings().least_accepts:
            raise InvalidInputError(f"expected at least 20 impostor scores; got {len(ordered)}")
        return ShippedImpostors(
            contract=contract,
            pairs=len(ordered),
            people=people,
            what=what,
            far=tuple(n / len(ordered) for n in accepts),
            score=tuple(float(ordered[n - 1]) for n in accepts),
        )

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values, the content of a file of impostor scores."""
        return {
            "format": 1,
            "contract": self.contract,
            "pairs": self.pairs,
            "people": self.people,
            "what": self.what,
            "far": list(self.far),
            "score": list(self.score),
        }

    @staticmethod
    def load(contract: str, path: Path | None = None) -> ShippedImpostors:
        """The shipped distribution for signatures of `contract`.

        Args:
            contract: digest.
            path: one file; None: the one among the package's that was measured under this contract.

        Raises:
            ThresholdUnavailableError: there is none, or it was measured with other models.
        """
        if path is None:
            files = sorted(SHIPPED_IMPOSTORS.glob("impostors-*.json"))
            if not files:
                raise ThresholdUnavailableError("no measured impostor scores come with this installation")
            error: ThresholdUnavailableError | None = None
            for file in files:
                try:
                    return ShippedImpostors.load(contract, file)
                except ThresholdUnavailableError as other:
                    error = other
            raise error or ThresholdUnavailableError("no measured impostor scores come with this installation")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            shipped = ShippedImpostors(
                contract=str(record["contract"]),
                pairs=int(record["pairs"]),
                people=int(record["people"]),
                what=str(record["what"]),
                far=tuple(float(v) for v in record["far"]),
                score=tuple(float(v) for v in record["score"]),
            )
        except FileNotFoundError:
            raise ThresholdUnavailableError("no measured impostor scores come with this installation") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ThresholdUnavailableError(f"the shipped impostor scores {path} cannot be read: {error}") from error
        if shipped.contract != contract:
            raise ThresholdUnavailableError(
                f"the shipped impostor scores belong to contract {shipped.contract[:12]}, not to {contract[:12]}"
            )
        return shipped

    def threshold(self, far: float, settings: ThresholdSettings | None = None) -> Threshold:
        """The threshold at `far`, or at the lowest rate that the pairs support when that is higher.

        Between two listed rates the stricter one is taken.
        """
        check_far(far)
        least = (settings or ThresholdSettings()).least_accepts / self.pairs
        supported = [i for i, rate in enumerate(self.far) if rate >= least * (1 - 1e-9)]
        if not supported:
            raise ThresholdUnavailableError(f"{self.pairs} shipped impostor pairs support no rate")
        strict = [i for i in supported if self.far[i] <= far * (1 + 1e-9)]
        at = strict[0] if strict else supported[-1]
        note = _stated(self.far[at], self.pairs, "impostor pairs that come with facerec")
        if not strict:
            note += f"; FAR {_percent(far)} was asked, more pairs would be needed"
        return Threshold(self.score[at], self.far[at], self.pairs, "shipped", note)


def check_far(far: float) -> float:
    """`far` when it is a rate; raises `InvalidInputError` otherwise."""
    if not 0.0 < far < 1.0:
        raise InvalidInputError(f"expected a false accept rate between 0 and 1, e.g. 0.001; got {far}")
    return far


def calibrate(
    gallery: GalleryStore, settings: ThresholdSettings | None = None, search: SearchSettings | None = None
) -> Calibration:
    """Compare a gallery with itself: every entry against those of all other people.

    Of a large gallery `ThresholdSettings.max_entries` are taken, spread over as many people as possible, always the
    same ones. Pairs that share too few cells are no impostor pairs, nor are those of two people who have a photograph
    in common: they may be one person under two names.
    """
    settings, search = settings or ThresholdSettings(), search or SearchSettings()
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
            scores, overlap = masked_scores((cells[rows], visible[rows]), (cells, visible))
            apart = (overlap >= least) & (photo[rows, None] != photo[None, :])
            impostor = apart & (person[rows, None] != person[None, :])
            for one, other in linked:
                impostor &= ~((person[rows, None] == one) & (person[None, :] == other))
            # Each pair counts once, though it is met from both sides.
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
    )
    threshold = _from_gallery(scores_of, settings.far, settings)
    odd: list[int] = []
    suspects = np.flatnonzero(np.isfinite(own) & (others > own))
    for i in suspects[np.argsort(own[suspects] - others[suspects], kind="stable")].tolist():
        # A stray picture makes the one it resembles look odd, too: only the worse of the two is named.
        if (
            threshold is not None
            and threshold.value is not None
            and others[i] >= threshold.value
            and int(looks_like[i]) not in odd
        ):
            odd.append(i)
    look_alikes = tuple(
        LookAlike(
            entry=int(ids[i]),
            person=index.names[person[i]],
            other=index.names[person[looks_like[i]]],
            score=float(others[i]),
            own=float(own[i]),
        )
        for i in odd
    )
    return Calibration(scores_of, look_alikes)


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


def impostor_scores(gallery: GalleryStore, settings: ThresholdSettings | None = None) -> ImpostorScores:
    """The gallery's impostor scores: the stored ones when they are of its present content, otherwise measured."""
    stored = gallery.calibration()
    if stored:
        with contextlib.suppress(InvalidInputError):  # damaged, but derived: measured again
            return ImpostorScores.from_bytes(stored)
    return calibrate(gallery, settings).scores


def choose_threshold(
    scores: ImpostorScores, contract: str, settings: ThresholdSettings | None = None, shipped: Path | None = None
) -> Threshold:
    """The threshold at `settings.far`.

    From the gallery's own impostor pairs when they are enough; otherwise from the shipped ones; otherwise above every
    impostor pair of the gallery, with the rate that these few pairs can rule out; otherwise none (`value` is None).
    """
    settings = settings or ThresholdSettings()

    def of_gallery() -> Threshold | None:  # when it is asked for: its bound needs statistics that take long to import
        return _from_gallery(scores, settings.far, settings)

    if scores.pairs * settings.far >= settings.least_accepts and (own := of_gallery()) is not None:
        return own
    try:
        ready = ShippedImpostors.load(contract, shipped).threshold(settings.far, settings)
    except ThresholdUnavailableError as error:
        return of_gallery() or Threshold(
            None,
            None,
            0,
            "none",
            f"the gallery has no pictures of two people that could be compared, and {error}; give a threshold",
        )
    # For a rate that neither supports, whichever has the pairs for the lower one.
    if ready.far is None or ready.far <= settings.far * (1 + 1e-9):
        return ready
    own = of_gallery()
    return own if own is not None and own.far is not None and own.far < ready.far else ready


def given_threshold(value: float, scores: ImpostorScores | None = None) -> Threshold:
    """A threshold that the user gave, with what the gallery's impostor pairs say about it."""
    if not math.isfinite(value):
        raise InvalidInputError(f"expected a finite threshold; got {value}")
    if scores is None or not scores.pairs:
        return Threshold(value, None, 0, "given", "threshold as given")
    rate, note = _rate(scores.reaching(value), scores.pairs, ThresholdSettings().least_accepts)
    return Threshold(value, rate, scores.pairs, "given", f"threshold as given, {note}")


def decide(result: SearchResult, threshold: Threshold, settings: SearchSettings | None = None) -> Decision:
    """What is said about one face by itself; see `decide_together` for the faces of one photograph."""
    return decide_together([result], threshold, settings)[0][0]


def decide_pair(
    score: float, overlap: float, threshold: Threshold, settings: SearchSettings | None = None
) -> tuple[Literal["same", "different", "abstain"], str]:
    """Whether two pictures show one person: the verdict, and a sentence that gives the numbers behind it.

    Args:
        score: masked score of the two.
        overlap: share of the cells that both saw, in [0, 1].
        threshold: what the score is compared with, inclusive.
        settings: gives the least overlap.
    """
    least = (settings or SearchSettings()).min_overlap
    # Overlaps are multiples of 1 / C: what misses the bound by rounding alone does not miss it.
    if overlap <= 0 or overlap < least - 1e-9:
        return "abstain", (
            f"abstain: {_percent(overlap)} of the face seen in both pictures, {_percent(least)} needed to compare them"
        )
    if threshold.value is None:
        return "abstain", f"abstain: score {score:.2f}, but {threshold.note}"
    same = score >= threshold.value
    shown, value = _apart(score, threshold.value)
    return "same" if same else "different", (
        f"{'same' if same else 'different'}: {shown} {'>=' if same else '<'} {value} ({threshold.note}); "
        f"{_percent(overlap)} of the face seen in both pictures"
    )


def decide_together(
    results: Sequence[SearchResult], threshold: Threshold, settings: SearchSettings | None = None
) -> list[tuple[Decision, Match | None]]:
    """Decide on the faces of one photograph, in which a person appears at most once.

    Of all ways to give each face at most one person and each person at most one face, the one with the largest sum of
    (score - threshold) over the faces that reach the threshold is taken. Each result must hold at least as many
    matches as there are faces (as far as there are people), or the best assignment may not be among them.

    Returns:
        For each face the decision, and the match it names (None unless "match").
    """
    settings = settings or SearchSettings()
    if not results:
        return []
    if threshold.value is None:
        return [(_undecided(result, threshold, settings), None) for result in results]
    value = threshold.value
    people = sorted({match.person for result in results for match in result.matches if match.score >= value})
    gains = np.zeros((len(results), len(people)))
    place = {person: j for j, person in enumerate(people)}
    for i, result in enumerate(results):
        for match in result.matches:
            if match.score >= value:
                # The threshold itself is inclusive: a match that just reaches it must be worth more than none.
                gains[i, place[match.person]] = match.score - value + 1e-9
    taken: dict[int, str] = {}
    for i, j in _assignment(gains):
        if gains[i, j] > 0:
            taken[int(i)] = people[int(j)]
    holder = {person: i for i, person in taken.items()}
    return [
        _said(result, next((m for m in result.matches if m.person == taken.get(i)), None), holder, threshold, settings)
        for i, result in enumerate(results)
    ]


def _said(
    result: SearchResult,
    match: Match | None,
    holder: Mapping[str, int],
    threshold: Threshold,
    settings: SearchSettings,
) -> tuple[Decision, Match | None]:
    assert threshold.value is not None
    if match is not None:
        score, value = _apart(match.score, threshold.value)
        reason = (
            f"match: {match.person} {score} >= {value} ({threshold.note}); "
            f"{_percent(match.overlap)} of the face seen in both pictures"
        )
        best = result.matches[0]
        if best.person != match.person:
            reason += f"; {best.person} {best.score:.2f} is face {holder[best.person]} of this photograph"
        return Decision("match", reason), match
    if not result.matches:
        return _undecided(result, threshold, settings), None
    best = result.matches[0]
    if best.score >= threshold.value:
        reason = (
            f"unknown: best {best.person} {best.score:.2f} is face {holder[best.person]} of this photograph, and a "
            f"person appears once"
        )
    else:
        score, value = _apart(best.score, threshold.value)
        reason = f"unknown: best {score} < {value} ({threshold.note})"
    if result.comparable is not None and result.comparable < result.people:
        reason += f"; {result.people - result.comparable} of {result.people} people could not be compared"
    return Decision("unknown", reason), None


def _undecided(result: SearchResult, threshold: Threshold, settings: SearchSettings) -> Decision:
    if not result.people:
        return Decision("unknown", "unknown: the gallery is empty")
    if not result.matches:
        return Decision(
            "abstain",
            f"abstain: no enrolled picture shows enough of what this one shows "
            f"({_percent(result.largest_overlap)} of the face seen in both, {_percent(settings.min_overlap)} needed)",
        )
    return Decision("abstain", f"abstain: best {result.matches[0].score:.2f}, but {threshold.note}")


def _from_gallery(scores: ImpostorScores, far: float, settings: ThresholdSettings) -> Threshold | None:
    """The gallery's own threshold at `far`, or above all its pairs when they do not support it; None without pairs."""
    if not scores.pairs:
        return None
    supported = scores.pairs * far >= settings.least_accepts
    value = scores.value_at(int(scores.pairs * far) if supported else 0)
    rate, note = _rate(scores.reaching(value), scores.pairs, settings.least_accepts)
    if not supported:
        note += f"; FAR {_percent(far)} would take {math.ceil(settings.least_accepts / far):,} pairs"
    return Threshold(value, rate, scores.pairs, "gallery", note)


def _rate(accepts: int, pairs: int, least_accepts: int) -> tuple[float, str]:
    """The rate that `accepts` of `pairs` support, and how to say it."""
    if accepts >= least_accepts:
        return accepts / pairs, _stated(accepts / pairs, pairs, "impostor pairs")
    # Too few to call their share a rate: what can be ruled out with 95 % confidence (Clopper-Pearson; the "rule of
    # three", 3 / n, when none was accepted).
    from scipy.special import betaincinv

    bound = min(1.0, float(betaincinv(accepts + 1, pairs - accepts, 0.95))) if accepts < pairs else 1.0
    return bound, f"FAR below {_percent(bound)}: {accepts} of {pairs:,} impostor pairs reach it"


def _assignment(gains: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, of the largest sum of `gains` (R, C)."""
    if gains.shape[0] == 1 or not gains.size:
        return [(0, int(gains.argmax()))] if gains.size else []
    from scipy.optimize import linear_sum_assignment  # late: a quarter of a second, and most photographs show one face

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES).digest()


def _apart(score: float, value: float) -> tuple[str, str]:
    """Both with two decimals, or with as many as show that they differ."""
    digits = 2
    while f"{score:.{digits}f}" == f"{value:.{digits}f}" and score != value and digits < 9:
        digits += 1
    return f"{score:.{digits}f}", f"{value:.{digits}f}"


def _stated(far: float, pairs: int, of: str) -> str:
    return f"FAR {_percent(far)} over {pairs:,} {of}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
