"""A face's quality: those components of ISO/IEC 29794-5 that follow from the fit, and one unified score.

The score estimates how likely the face is to be recognised: the share of other pictures of the same person that it
matches at the threshold of `facerec verify`. Its rule is learnt on people for calibration (`benchmarks/quality.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.types import Face, Image
from facerec.recognition.answers import DEGREES, PIXELS, SHARES, rounded

EYE_DISTANCE = 65.4
"""Between the middles of the eyes of the face model's mean face, mm."""

_SIDE = 112
"""Faces are brought to this size before sharpness is measured, px: the descriptor sees no more of them."""

_DARK, _BRIGHT = 25, 247
"""Grey levels up to and from which a texel is under- or overexposed, those of the standard."""


@dataclass(frozen=True)
class FaceQuality:
    """The quality of one face in components. Names in brackets are those of ISO/IEC 29794-5.

    Attributes:
        yaw, pitch, roll: of the head, degrees (head pose).
        eye_distance: between the middles of the eyes as it would be seen from the front, px (inter-eye distance).
        margin_left, margin_right, margin_above, margin_below: from the landmarks' box (ear to ear, brows to chin) to
            the edge of the photograph, in eye distances; below 0 where the face leaves it (crop and margin).
        sharpness: spread of the second differences of the face at 112 px over the spread of its grey levels.
        underexposed, overexposed: share of the seen texels that are nearly black or white, in [0, 1].
        dynamic_range: entropy of their grey levels, bits, in [0, 8].
        visible_share: share of the face's chart that the camera saw, in [0, 1] (face occlusion).
        cut: see `FaceTexture.cut`, in [0, 1].
        confidence: mean confidence of the landmarks, in [0, 1]; not in the standard.
    """

    yaw: float
    pitch: float
    roll: float
    eye_distance: float
    margin_left: float
    margin_right: float
    margin_above: float
    margin_below: float
    sharpness: float
    underexposed: float
    overexposed: float
    dynamic_range: float
    visible_share: float
    cut: float
    confidence: float

    @property
    def unified(self) -> float:
        """The one number, in [0, 1] (unified quality score): see the module."""
        return UNIFIED.rate(self)

    def as_json(self) -> dict[str, float | None]:
        """JSON-ready values under the attributes' names, without the pose, which answers have beside it."""
        digits = {"eye_distance": PIXELS, "dynamic_range": DEGREES}
        own = {name: value for name, value in asdict(self).items() if name not in ("yaw", "pitch", "roll")}
        return {name: rounded(value, digits.get(name, SHARES)) for name, value in own.items()}


@dataclass(frozen=True)
class QualityRule:
    """A logistic rule over components: quality = 1 / (1 + exp(-(bias + sum of weight times feature))).

    A feature may only count the way that is sensible: overexposure never improves a face. Yaw, pitch, eye distance and
    margins were tried and found to say nothing beside the landmarks' confidence and the visible share.

    Attributes:
        weights: one for each of `QualityRule.features`.
        bias: added to their sum.
    """

    weights: tuple[float, ...]
    bias: float

    @staticmethod
    def features(quality: FaceQuality) -> NDArray[np.float64]:
        """(5,) what the rule weighs: sharpness, exposure, dynamic range, visible share and confidence."""
        return np.array(
            [
                np.log2(np.clip(quality.sharpness, 0.05, 2.0)),
                quality.underexposed + quality.overexposed,
                quality.dynamic_range / 8.0,
                min(quality.visible_share, 1.0 - quality.cut),
                quality.confidence,
            ]
        )

    def rate(self, quality: FaceQuality) -> float:
        """The number, in [0, 1]."""
        return float(1.0 / (1.0 + np.exp(-(self.bias + np.dot(self.weights, self.features(quality))))))


SIGNS = np.array([1.0, -1.0, 1.0, 1.0, 1.0])
"""Which way each feature may count."""

UNIFIED = QualityRule(weights=(0.403, -0.513, 1.059, 1.768, 10.665), bias=-10.592)
"""The rule behind `FaceQuality.unified`, as `benchmarks/quality.py learn` found it."""


def measure_quality(face: Face, fitted: FittedFace, texture: FaceTexture) -> FaceQuality:
    """The components of a face that was located, fitted and lifted. Costs a millisecond."""
    yaw, pitch, roll = fitted.camera.angles
    eyes = EYE_DISTANCE * fitted.camera.scale
    (x0, y0), (x1, y1) = fitted.points.min(axis=0), fitted.points.max(axis=0)
    height, width = face.image.shape[:2]
    grey = cv2.cvtColor(texture.pixels, cv2.COLOR_RGB2GRAY)[texture.visible > 0]
    shares = np.bincount(grey, minlength=256) / max(len(grey), 1)
    there = shares[shares > 0]
    return FaceQuality(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        eye_distance=eyes,
        margin_left=float(x0) / eyes,
        margin_right=float(width - 1 - x1) / eyes,
        margin_above=float(y0) / eyes,
        margin_below=float(height - 1 - y1) / eyes,
        sharpness=sharpness(face.image, (float(x0), float(y0), float(x1), float(y1))),
        underexposed=float(shares[: _DARK + 1].sum()),
        overexposed=float(shares[_BRIGHT:].sum()),
        dynamic_range=float(-(there * np.log2(there)).sum()) + 0.0,
        visible_share=texture.visible_share,
        cut=texture.cut,
        confidence=float(face.landmarks.confidence.mean()),
    )


def sharpness(image: Image, edges: tuple[float, float, float, float]) -> float:
    """Spread of the Laplacian over the spread of grey levels, at `_SIDE` px; 0 for one colour or outside the picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        edges: left, top, right and bottom of the face, px.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (
        int(np.clip(round(edge), 0, most)) for edge, most in zip(edges, (width, height, width, height), strict=True)
    )
    if right - left < 2 or bottom - top < 2:
        return 0.0
    part = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    larger = max(part.shape) > _SIDE
    # Bilinear, so that a small face has no detail that its pixels do not have.
    part = cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)
    spread = float(part.std())
    return float(cv2.Laplacian(part, cv2.CV_32F).std()) / spread if spread > 1.0 else 0.0
