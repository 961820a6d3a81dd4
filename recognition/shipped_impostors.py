"""Measured scores of strangers and mates that come with the package's own models."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from facerec.landmarks.errors import FacerecError, InvalidInputError
from facerec.recognition.cohort import cohort_digest
from facerec.recognition.impostor_curve import ImpostorCurve

SHIPPED_IMPOSTORS = Path(__file__).parent / "weights"
"""Folder with the measured scores, `impostors-<descriptor>.json`."""

MATE_YAWS = (0.0, 15.0, 30.0, 60.0, 100.0)
"""Bins of |yaw| by which the scores of mates are kept, degrees."""


class ThresholdUnavailableError(FacerecError):
    """There are no scores to compute a threshold from."""


@dataclass(frozen=True)
class ShippedImpostors:
    """Scores measured on people outside every training set, for galleries too small for their own.

    Attributes:
        contract: digest of the contract of the signatures that were compared.
        people: number of people.
        what: one sentence on the pictures.
        alike: the curve of pairs that are hard to tell apart, for thresholds for two pictures.
        general: the curve of pairs as a gallery of mixed people has them: what a threshold for a whole gallery stands
            on; None: `alike` takes its place.
        cohort: digest of the cohort that normalised the scores; "" without one.
        mates: for each bin of |yaw| of the probe, its upper end in degrees and quantiles (evenly spaced, 0 to 1) of the
            scores against a frontal picture of the same person.
        logit: (a, b) of the probability 1 / (1 + exp(-(a + b score))) that two pictures show one person, when one pair
            in two does; None when it was not measured.
    """

    contract: str
    people: int
    what: str
    alike: ImpostorCurve
    general: ImpostorCurve | None = None
    cohort: str = ""
    mates: tuple[tuple[float, tuple[float, ...]], ...] = field(default=())
    logit: tuple[float, float] | None = None

    def gallery_curve(self) -> ImpostorCurve:
        """The curve for the threshold of a whole gallery."""
        return self.general or self.alike

    def same_person(self, score: float) -> float | None:
        """Probability that two pictures of this score show one person, when one pair in two does; None: not known."""
        if self.logit is None:
            return None
        a, b = self.logit
        return float(1 / (1 + np.exp(-np.clip(a + b * score, -50, 50))))

    def mates_reaching(self, score: float) -> dict[str, float]:
        """Share of a person's own pictures that reach `score` against a frontal one, by |yaw|, e.g. "30-60"."""
        out, low = {}, {high: before for before, high in pairwise(MATE_YAWS)}
        for high, quantiles in self.mates:
            below = float(np.interp(score, quantiles, np.linspace(0, 1, len(quantiles))))
            out[f"{low.get(high, 0.0):.0f}-{min(high, 90.0):.0f}"] = 1 - below
        return out

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values, the content of a file of impostor scores."""
        return {
            "format": 2,
            "contract": self.contract,
            "cohort": self.cohort,
            "people": self.people,
            "what": self.what,
            "alike": _curve_json(self.alike),
            "general": None if self.general is None else _curve_json(self.general),
            "mates": [[high, [round(v, 5) for v in quantiles]] for high, quantiles in self.mates],
            "logit": None if self.logit is None else list(self.logit),
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
            error = ThresholdUnavailableError("no measured impostor scores come with this installation")
            for file in sorted(SHIPPED_IMPOSTORS.glob("impostors-*.json")):
                try:
                    return ShippedImpostors.load(contract, file)
                except ThresholdUnavailableError as other:
                    error = other
            raise error
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            shipped = ShippedImpostors(
                contract=str(record["contract"]),
                people=int(record["people"]),
                what=str(record["what"]),
                alike=_curve(record["alike"]),
                general=None if record["general"] is None else _curve(record["general"]),
                cohort=str(record["cohort"]),
                mates=tuple((float(high), tuple(float(v) for v in values)) for high, values in record["mates"]),
                logit=None if record["logit"] is None else (float(record["logit"][0]), float(record["logit"][1])),
            )
        except FileNotFoundError:
            raise ThresholdUnavailableError("no measured impostor scores come with this installation") from None
        except (OSError, ValueError, KeyError, TypeError, InvalidInputError) as error:
            raise ThresholdUnavailableError(f"the shipped impostor scores {path} cannot be read: {error}") from error
        if shipped.contract != contract:
            raise ThresholdUnavailableError(
                f"the shipped impostor scores belong to contract {shipped.contract[:12]}, not to {contract[:12]}"
            )
        if shipped.cohort != cohort_digest(contract):
            raise ThresholdUnavailableError(
                f"the shipped impostor scores belong to the cohort {shipped.cohort[:12] or 'none'}, not to the present "
                f"one {cohort_digest(contract)[:12] or 'none'}"
            )
        return shipped


def expected_mates(contract: str, score: float) -> dict[str, float]:
    """Share of a person's own pictures that reach `score`, by |yaw|, as measured with the package; {} if it was not."""
    shipped = _shipped(contract)
    return {} if shipped is None else shipped.mates_reaching(score)


def same_person_probability(contract: str, score: float) -> float | None:
    """See `ShippedImpostors.same_person`; None where nothing was measured under `contract`."""
    shipped = _shipped(contract)
    return None if shipped is None else shipped.same_person(score)


@lru_cache(maxsize=8)
def _shipped(contract: str) -> ShippedImpostors | None:
    try:
        return ShippedImpostors.load(contract)
    except ThresholdUnavailableError:
        return None


def _curve_json(curve: ImpostorCurve) -> dict[str, Any]:
    return {"pairs": curve.pairs, "far": list(curve.far), "score": list(curve.score)}


def _curve(record: dict[str, Any]) -> ImpostorCurve:
    far, score = (tuple(float(v) for v in record[key]) for key in ("far", "score"))
    return ImpostorCurve(far, score, int(record["pairs"]))
