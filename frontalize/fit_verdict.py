"""Whether a fit can be trusted: checks before and after the fit, and a rule trained on known good and bad fits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import Camera
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Landmarks

Floats = NDArray[np.float64]

FLATTEST = 0.2
"""Least ratio of the second to the first spread of the landmarks: CFP's profiles have 0.47 and more, a line has 0."""

FARTHEST_TURN = -0.25
"""Least cosine between the face's direction and the camera's: below it, the face would be seen from behind (yaw beyond
105 degrees). That is where a fit ends when the landmarks' left and right are swapped; true profiles keep above -0.1.
"""


def check_landmarks(landmarks: Landmarks, min_points: int) -> None:
    """Refuse landmarks nothing can be fitted to.

    Args:
        landmarks: of one face.
        min_points: visible landmarks needed.

    Raises:
        UnusablePhotoError: `fit_unstable`: too few visible points, or all on a line.
    """
    seen = int(landmarks.visible.sum())
    if seen < min_points:
        raise UnusablePhotoError("fit_unstable", f"{seen} visible landmarks, at least {min_points} needed")
    points = landmarks.points.astype(np.float64)
    first, second = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    flat = second / max(first, 1e-9)
    if flat < FLATTEST:
        raise UnusablePhotoError(
            "fit_unstable",
            f"the landmarks lie on a line: their spread across it is {100 * flat:.0f} % of that along it",
        )


@dataclass(frozen=True)
class FitEvidence:
    """The features that distinguish a good fit from a bad one.

    Attributes:
        residual: root mean square distance of the fitted from the given landmarks, a share of the face's size.
        shape, expression: root mean square of the coefficients, standard deviations.
        confidence: mean confidence of the landmarks.
        visible: share of the landmarks that are visible.
        facing: cosine between the direction the face looks in and the direction to the camera.
    """

    residual: float
    shape: float
    expression: float
    confidence: float
    visible: float
    facing: float

    @staticmethod
    def of(landmarks: Landmarks, camera: Camera, residual: float, shape: Floats, expression: Floats) -> FitEvidence:
        """The evidence of one fit; `residual` is a share of the face's size."""
        return FitEvidence(
            residual=residual,
            shape=float(np.sqrt((shape**2).mean())) if len(shape) else 0.0,
            expression=float(np.sqrt((expression**2).mean())) if len(expression) else 0.0,
            confidence=float(landmarks.confidence.mean()),
            visible=float(landmarks.visible.mean()),
            facing=float(camera.rotation[2, 2]),
        )

    def check(self, max_residual: float, max_shape: float) -> None:
        """Refuse fits that cannot be a face, whatever the landmarks' confidence.

        Raises:
            UnusablePhotoError: `fit_unstable`: seen from behind, a residual above `max_residual`, or coefficients above
                `max_shape` standard deviations.
        """
        if self.facing < FARTHEST_TURN:
            raise UnusablePhotoError(
                "fit_unstable", "the face would be seen from behind: left and right of the landmarks are swapped"
            )
        if self.residual > max_residual:
            raise UnusablePhotoError(
                "fit_unstable",
                f"the model misses the landmarks by {100 * self.residual:.1f} % of the face, more than "
                f"{100 * max_residual:.1f} %",
            )
        if self.shape > max_shape:
            raise UnusablePhotoError(
                "fit_unstable", f"the fitted shape is {self.shape:.1f} standard deviations from the mean"
            )


@dataclass(frozen=True)
class FitRule:
    """A logistic rule on a fit's evidence: the log odds that it is bad.

    Attributes:
        weights: of log residual, log (shape + 0.05), mean confidence and visible share, in this order.
        bias: added to their sum; above 0 the fit is called unstable.
    """

    weights: tuple[float, float, float, float]
    bias: float

    @staticmethod
    @cache
    def load() -> FitRule:
        """The rule that comes with the package."""
        *weights, bias = (float(v) for v in load_weights("frontalize", "fit_verdict")["rule"])
        return FitRule((weights[0], weights[1], weights[2], weights[3]), bias)

    def odds(self, evidence: FitEvidence) -> float:
        """Log odds, moved so that 0 is the line, that a fit with this evidence is bad."""
        return float(np.dot(self.weights, _features(evidence))) + self.bias

    def check(self, evidence: FitEvidence) -> None:
        """Refuse a fit that the rule calls bad.

        Raises:
            UnusablePhotoError: `fit_unstable`, with the figures.
        """
        if self.odds(evidence) > 0:
            raise UnusablePhotoError(
                "fit_unstable",
                f"the model misses the landmarks by {100 * evidence.residual:.1f} % of the face and their mean "
                f"confidence is {evidence.confidence:.2f}: such fits are mostly wrong",
            )


def _features(evidence: FitEvidence) -> Floats:
    return np.array(
        [
            np.log(max(evidence.residual, 1e-4)),
            np.log(evidence.shape + 0.05),
            evidence.confidence,
            evidence.visible,
        ]
    )


def learn_rule(good: list[FitEvidence], bad: list[FitEvidence], good_lost: float = 0.01) -> FitRule:
    """Fit the rule by logistic regression, then move its line to the share of good fits that may be lost.

    Args:
        good, bad: evidence of fits known to be right and wrong.
        good_lost: share of the good ones on the wrong side of the line.

    Raises:
        InvalidInputError: fewer than twenty of either.
    """
    from sklearn.linear_model import LogisticRegression

    if min(len(good), len(bad)) < 20:
        raise InvalidInputError(f"expected at least 20 good and 20 bad fits; got {len(good)}, {len(bad)}")
    features = np.array([_features(e) for e in [*good, *bad]])
    is_bad = np.arange(len(features)) >= len(good)
    spread = np.maximum(features.std(axis=0), 1e-9)
    used = np.ones(len(SIGNS), dtype=bool)
    weights = np.zeros(len(SIGNS))
    while used.any():
        fitted = LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced")
        fitted.fit((features / spread)[:, used], is_bad)
        weights[:] = 0.0
        weights[used] = fitted.coef_[0] / spread[used]
        wrong = weights * SIGNS < 0
        if not wrong.any():
            break
        used &= ~wrong
    line = float(np.quantile(features[: len(good)] @ weights, 1.0 - good_lost))
    return FitRule((float(weights[0]), float(weights[1]), float(weights[2]), float(weights[3])), -line)


SIGNS = np.array([1.0, 1.0, -1.0, -1.0])
"""The sign that each weight may have. Of correlated features (residual and confidence), one could otherwise get a
weight of the wrong sign, so that a worse fit would be rated better.
"""
