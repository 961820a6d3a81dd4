"""The choice of a threshold, calibrated on impostors.

A threshold is never a number out of the air. It comes from impostor scores, those of pictures of different people, and
is stated with the share of impostor pairs that reach it (the false accept rate, FAR) and with their number. A gallery
gives its own impostor pairs; while it has too few, a measured distribution that comes with the package takes over.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import FacerecError, InvalidInputError
from facerec.recognition.impostors import ImpostorScores

SHIPPED_IMPOSTORS = Path(__file__).parent / "weights"
"""Folder with the measured impostor scores of the package's own models, `impostors-<descriptor>.json`; see
`ShippedImpostors`."""


@dataclass(frozen=True)
class ThresholdSettings:
    """How a threshold is chosen.

    Attributes:
        far: false accept rate that is aimed at, share of impostor pairs. One in a thousand is the operating point that
            verification papers report, and one that a gallery of 150 people can support by itself.
        least_accepts: impostor pairs that must lie above a threshold before their share is called a rate. The spread
            of a count of n is sqrt(n), so ten fix a rate to about a third.
    """

    far: float = 1e-3
    least_accepts: int = 10

    def __post_init__(self) -> None:
        check_far(self.far)
        if self.least_accepts < 1:
            raise InvalidInputError(f"expected at least 1 accept to calibrate with; got {self.least_accepts}")


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
    def measure(
        scores: NDArray[np.floating], contract: str, people: int, what: str, pairs: int | None = None
    ) -> ShippedImpostors:
        """Quantiles of impostor `scores` (N,), down to the rate that the pairs support.

        Args:
            scores: of impostor pairs; some may stand for several where groups are counted alike.
            contract, people, what: see the class.
            pairs: how many different pairs there were; None: N.
        """
        pairs = len(scores) if pairs is None else pairs
        ordered = np.sort(np.asarray(scores, dtype=np.float64).ravel())[::-1]
        least = ThresholdSettings().least_accepts
        if pairs < 2 * least:
            raise InvalidInputError(f"expected at least {2 * least} impostor scores; got {pairs}")
        fewest = max(1, math.ceil(least * len(ordered) / pairs))
        accepts = [int(n) for n in np.unique(np.geomspace(fewest, len(ordered) / 2, 60).astype(int))[::-1]]
        return ShippedImpostors(
            contract=contract,
            pairs=pairs,
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
            note += f"; FAR {percent(far)} was asked, more pairs would be needed"
        return Threshold(self.score[at], self.far[at], self.pairs, "shipped", note)


def check_far(far: float) -> float:
    """`far` when it is a rate; raises `InvalidInputError` otherwise."""
    if not 0.0 < far < 1.0:
        raise InvalidInputError(f"expected a false accept rate between 0 and 1, e.g. 0.001; got {far}")
    return far


def choose_threshold(
    scores: ImpostorScores, contract: str, settings: ThresholdSettings | None = None, shipped: Path | None = None
) -> Threshold:
    """The threshold at `settings.far`.

    From the gallery's own impostor pairs when they are enough; otherwise from the shipped ones; otherwise above every
    impostor pair of the gallery, with the rate that these few pairs can rule out; otherwise none (`value` is None).
    """
    settings = settings or ThresholdSettings()

    def of_gallery() -> Threshold | None:  # when it is asked for: its bound needs statistics that take long to import
        return gallery_threshold(scores, settings)

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


def gallery_threshold(scores: ImpostorScores, settings: ThresholdSettings | None = None) -> Threshold | None:
    """The gallery's own threshold at `settings.far`, or above all its pairs when they are too few; None without."""
    settings = settings or ThresholdSettings()
    far = settings.far
    if not scores.pairs:
        return None
    supported = scores.pairs * far >= settings.least_accepts
    value = scores.value_at(int(scores.pairs * far) if supported else 0)
    rate, note = _rate(scores.reaching(value), scores.pairs, settings.least_accepts)
    if not supported:
        note += f"; FAR {percent(far)} would take {math.ceil(settings.least_accepts / far):,} pairs"
    return Threshold(value, rate, scores.pairs, "gallery", note)


def _rate(accepts: int, pairs: int, least_accepts: int) -> tuple[float, str]:
    """The rate that `accepts` of `pairs` support, and how to say it."""
    if accepts >= least_accepts:
        return accepts / pairs, _stated(accepts / pairs, pairs, "impostor pairs")
    # Too few to call their share a rate: what can be ruled out with 95 % confidence (Clopper-Pearson; the "rule of
    # three", 3 / n, when none was accepted).
    from scipy.special import betaincinv

    bound = min(1.0, float(betaincinv(accepts + 1, pairs - accepts, 0.95))) if accepts < pairs else 1.0
    return bound, f"FAR below {percent(bound)}: {accepts} of {pairs:,} impostor pairs reach it"


def _stated(far: float, pairs: int, of: str) -> str:
    return f"FAR {percent(far)} over {pairs:,} {of}"


def percent(share: float) -> str:
    """A share in [0, 1] as a person reads it, e.g. "0.1 %"."""
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
