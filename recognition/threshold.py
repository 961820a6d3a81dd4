"""The choice of a threshold, calibrated on impostors.

Every threshold is computed from impostor scores, the scores of pictures of different people.

- Two pictures (verification): the threshold is stated with the share of impostor pairs that reach it, the false accept
  rate (FAR).
- A gallery (identification): a stranger is compared with every one of its N pictures, so it is stated with the share of
strangers who match anybody at all, the false positive identification rate (FPIR). Where scores are normalised
  (see `cohort`), comparisons of one stranger are nearly independent, and FPIR = 1 - (1 - FAR)^N.

A gallery gives its own impostor pairs; a measured distribution that comes with the package stands in for those that it
has too few of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.impostor_curve import ImpostorCurve
from facerec.recognition.impostors import ImpostorScores, impostor_scores
from facerec.recognition.shipped_impostors import ShippedImpostors, ThresholdUnavailableError
from facerec.recognition.store.protocol import GalleryStore


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


@dataclass(frozen=True)
class GalleryThresholdSettings:
    """How the threshold of a whole gallery is chosen.

    Attributes:
        fpir: share of strangers who may match somebody. One in a hundred.
        least_accepts: own pairs of the gallery that must lie above the score where its curve is compared with the
            shipped one; fewer would let two names of one person move the threshold.
        own_pairs: the gallery's own pairs count as much as the shipped ones from this number on (64 pictures of 64
            people); their weight grows smoothly from 0 to 1.
    """

    fpir: float = 0.01
    least_accepts: int = 30
    own_pairs: int = 2000

    def __post_init__(self) -> None:
        check_fpir(self.fpir)
        if min(self.least_accepts, self.own_pairs) < 1:
            raise InvalidInputError(f"expected at least 1 accept and 1 pair; got {self}")


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
        fpir: share of strangers for whom anybody is named, in a gallery of `entries` pictures; None for a threshold for
            two pictures.
        entries: see `fpir`.
    """

    value: float | None
    far: float | None
    pairs: int
    source: Literal["gallery", "shipped", "given", "none"]
    note: str
    fpir: float | None = None
    entries: int | None = None

    def as_json(self) -> dict[str, Any]:
        """value, far, fpir, entries, pairs, source."""
        return {
            "value": self.value,
            "far": self.far,
            "fpir": self.fpir,
            "entries": self.entries,
            "pairs": self.pairs,
            "source": self.source,
        }


def check_fpir(fpir: float) -> float:
    """`fpir` when it is a rate; raises `InvalidInputError` otherwise."""
    if not 0.0 < fpir < 1.0:
        raise InvalidInputError(f"expected a false positive identification rate between 0 and 1, e.g. 0.01; got {fpir}")
    return fpir


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
        ready = shipped_threshold(ShippedImpostors.load(contract, shipped), settings)
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


def shipped_threshold(shipped: ShippedImpostors, settings: ThresholdSettings | None = None) -> Threshold:
    """The threshold for two pictures at `settings.far`, or at the lowest rate that the shipped pairs support.

    Between two listed rates the stricter one is taken.
    """
    settings = settings or ThresholdSettings()
    curve, far = shipped.alike, settings.far
    least = settings.least_accepts / curve.pairs
    supported = [i for i, rate in enumerate(curve.far) if rate >= least * (1 - 1e-9)]
    if not supported:
        raise ThresholdUnavailableError(f"{curve.pairs} shipped impostor pairs support no rate")
    strict = [i for i in supported if curve.far[i] <= far * (1 + 1e-9)]
    at = strict[0] if strict else supported[-1]
    note = _state_rate(curve.far[at], curve.pairs, "impostor pairs that come with facerec")
    if not strict:
        note += f"; FAR {percent(far)} was requested, which needs more pairs"
    return Threshold(curve.score[at], curve.far[at], curve.pairs, "shipped", note)


def choose_gallery_threshold(
    scores: ImpostorScores,
    contract: str,
    entries: int,
    settings: GalleryThresholdSettings | None = None,
    shipped: Path | None = None,
) -> Threshold:
    """The threshold at which a share `settings.fpir` of strangers matches somebody in a gallery of `entries` pictures.

    It is the score that one impostor pair in 1 / p reaches, p = 1 - (1 - FPIR)^(1 / N), on the shipped curve moved to
    the gallery's own where that is known: by the difference of the two curves at the rarest rate that the gallery's
    pairs support, weighed by their number. So it changes smoothly while a gallery grows.

    Args:
        scores: the gallery's own impostor scores.
        contract: digest of the gallery's contract.
        entries: N, pictures that a stranger is compared with; at least 1 is assumed.
        settings: see there.
        shipped: file of shipped impostor scores; None: the package's.
    """
    settings = settings or GalleryThresholdSettings()
    entries = max(1, entries)
    rate = -math.expm1(math.log1p(-settings.fpir) / entries)
    own = scores.curve(settings.least_accepts)
    source: Literal["gallery", "shipped"]
    try:
        measured: ImpostorCurve | None = ShippedImpostors.load(contract, shipped).gallery_curve()
    except ThresholdUnavailableError as error:
        measured, missing = None, str(error)
    if measured is None:
        if own is None and (above := gallery_threshold(scores)) is not None:
            bound = -math.expm1(entries * math.log1p(-min(above.far or 1.0, 1 - 1e-12)))
            note = f"FPIR below {percent(bound)} among {counted(entries, 'picture')}: {above.note}"
            return replace(above, note=note, fpir=bound, entries=entries)
        if own is None:
            why = f"the gallery has no pictures of two people that could be compared, and {missing}; give a threshold"
            return Threshold(None, None, 0, "none", why)
        value, pairs, of = own.score_at(rate), own.pairs, "impostor pairs of the gallery"
        source = "gallery"
    else:
        value, source, pairs = measured.score_at(rate), "shipped", measured.pairs
        of = "pairs of strangers that come with facerec"
        if own is not None:
            weight = own.pairs / (own.pairs + settings.own_pairs)
            rarest = max(own.far[-1], rate)
            value += weight * (own.score_at(rarest) - measured.score_at(rarest))
            if weight > 0.5:
                source, pairs, of = "gallery", own.pairs, "impostor pairs of the gallery"
    note = f"FPIR {percent(settings.fpir)} among {counted(entries, 'picture')}, from {pairs:,} {of}"
    return Threshold(round(value, 6), rate, pairs, source, note, settings.fpir, entries)


def threshold_of(
    gallery: GalleryStore, *, fpir: float | None = None, far: float | None = None, value: float | None = None
) -> Threshold:
    """The threshold that faces are identified at in `gallery`, which is open.

    Args:
        gallery: its size and its impostor scores count.
        fpir: share of strangers for whom anybody may be named (see `choose_gallery_threshold`); None: that of
            `GalleryThresholdSettings`.
        far: in place of `fpir`, share of impostor pairs that may reach it (see `choose_threshold`).
        value: in place of both, the score itself.

    Raises:
        InvalidInputError: more than one of the three.
    """
    given = {name: v for name, v in (("fpir", fpir), ("far", far), ("threshold", value)) if v is not None}
    if len(given) > 1:
        shown = ", ".join(f"{name}={v}" for name, v in given.items())
        raise InvalidInputError(f"expected one of fpir, far and threshold; got {shown}")
    scores, contract = impostor_scores(gallery), gallery.contract_digest
    if value is not None:
        return given_threshold(value, scores)
    if far is not None:
        return choose_threshold(scores, contract, ThresholdSettings(far=far))
    settings = GalleryThresholdSettings() if fpir is None else GalleryThresholdSettings(fpir=fpir)
    return choose_gallery_threshold(scores, contract, len(gallery.index().ids), settings)


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
        note += f"; FAR {percent(far)} would need {math.ceil(settings.least_accepts / far):,} pairs"
    return Threshold(value, rate, scores.pairs, "gallery", note)


def _rate(accepts: int, pairs: int, least_accepts: int) -> tuple[float, str]:
    """The rate that `accepts` of `pairs` support, and how to say it."""
    if accepts >= least_accepts:
        return accepts / pairs, _state_rate(accepts / pairs, pairs, "impostor pairs")
    # Too few to call their share a rate: what can be ruled out with 95 % confidence (Clopper-Pearson; the "rule of
    # three", 3 / n, when none was accepted).
    from scipy.special import betaincinv

    bound = min(1.0, float(betaincinv(accepts + 1, pairs - accepts, 0.95))) if accepts < pairs else 1.0
    return bound, f"FAR below {percent(bound)}: {accepts} of {pairs:,} impostor pairs reach it"


def counted(number: int, noun: str) -> str:
    """ "1 picture", "1,200 pictures"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _state_rate(far: float, pairs: int, of: str) -> str:
    return f"FAR {percent(far)} over {pairs:,} {of}"


def percent(share: float) -> str:
    """A share in [0, 1] as a person reads it, e.g. "0.1 %"."""
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
