"""Finding faces: the detector's candidates, judged again by what the landmark network makes of them.

A patch that only looks like a face from afar gets scattered, unsure landmarks. So the detector may be generous, and
score and landmark confidence decide together:

    a log(score / (1 - score)) + b median(confidence) + c >= 0.

The three numbers are learnt on training pictures and come as the weights `finder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.detector import FaceDetector
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.landmarker import Landmarker, LandmarkerSettings
from facerec.landmarks.types import Box, Face, Image, Landmarks, check_image


def evidence(box: Box, landmarks: Landmarks) -> tuple[float, float]:
    """What the rule weighs: the log-odds of the box's score, and the median landmark confidence."""
    score = float(np.clip(box.score, 1e-3, 1 - 1e-3))
    return float(np.log(score / (1 - score))), float(np.median(landmarks.confidence))


@dataclass(frozen=True)
class FinderRule:
    """The rule's numbers: `score` a, `confidence` b, `bias` c."""

    score: float
    confidence: float
    bias: float

    @staticmethod
    def load() -> FinderRule:
        """The rule that comes with the package."""
        return FinderRule(*(float(v) for v in load_weights("landmarks", "finder")["rule"]))

    def odds(self, box: Box, landmarks: Landmarks) -> float:
        """Log-odds that this is a face, shifted so that 0 is the chosen operating point."""
        s, c = evidence(box, landmarks)
        return self.score * s + self.confidence * c + self.bias


JUDGE: Final = "godp"
"""The landmark model whose confidence the package's rule weighs."""


class FaceFinder:
    """Detector, landmark network and rule together; keeps no state between calls.

    Args:
        detector: makes the candidates.
        landmarker: locates the landmarks that faces get.
        rule: decides which candidates are faces.
        judge: the model whose confidence the rule was learnt on, where `landmarker` is another one.
    """

    def __init__(
        self, detector: FaceDetector, landmarker: Landmarker, rule: FinderRule, judge: Landmarker | None = None
    ) -> None:
        self._detector = detector
        self._landmarker = landmarker
        self._rule = rule
        self._judge = judge

    @staticmethod
    def load(landmarks: str = JUDGE, device: str = "cpu", settings: LandmarkerSettings | None = None) -> FaceFinder:
        """The models that come with the package; `settings` are the landmark model's."""
        located = Landmarker.load(landmarks, device, settings)
        judge = None if landmarks == JUDGE else Landmarker.load(JUDGE, device)
        return FaceFinder(FaceDetector.load(device), located, FinderRule.load(), judge)

    def candidates(self, image: Image) -> list[Face]:
        """All of the detector's candidates with their landmarks, the largest first; most are faces, some are not."""
        check_image(image)
        boxes = sorted(self._detector.detect(image), key=lambda box: -box.width * box.height)
        located = self._landmarker.locate(image, boxes) if boxes else []
        return [Face(image, box, landmarks) for box, landmarks in zip(boxes, located, strict=True)]

    def find(self, image: Image) -> list[Face]:
        """The faces of a picture (H, W, 3), the largest first; an empty list when there is none.

        The score of each face's box is the probability the rule gives it; 0.5 is where it draws the line.
        """
        faces = []
        candidates = self.candidates(image)
        judged = [face.landmarks for face in candidates]
        if self._judge is not None and candidates:
            judged = self._judge.locate(image, [face.box for face in candidates])
        for face, evident in zip(candidates, judged, strict=True):
            odds = self._rule.odds(face.box, evident)
            if odds >= 0:
                b = face.box
                score = float(1 / (1 + np.exp(-np.clip(odds, -30, 30))))
                faces.append(Face(image, Box(b.x0, b.y0, b.x1, b.y1, score), face.landmarks))
        return faces


def learn_rule(
    faces: list[tuple[float, float]], others: list[list[tuple[float, float]]], false_share: float
) -> FinderRule:
    """Fit the rule by logistic regression, then move its line to the false alarms that are allowed.

    Args:
        faces: `evidence` of true faces.
        others: for each picture without a face, the `evidence` of its candidates.
        false_share: share of those pictures that may keep one.
    """
    from sklearn.linear_model import LogisticRegression

    negatives = [e for picture in others for e in picture]
    if len(faces) < 10 or len(negatives) < 10:
        raise InvalidInputError(
            f"expected at least ten faces and ten false candidates; got {len(faces)}, {len(negatives)}"
        )
    x = np.array(faces + negatives)
    y = np.array([1] * len(faces) + [0] * len(negatives))
    fitted = LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced").fit(x, y)
    a, b = (float(v) for v in fitted.coef_[0])
    worst = np.sort([max((a * s + b * c for s, c in picture), default=-np.inf) for picture in others])[::-1]
    allowed = int(false_share * len(others))
    # Just above the first picture that must lose its false face.
    line = float(worst[allowed]) if np.isfinite(worst[allowed]) else min(a * s + b * c for s, c in faces)
    return FinderRule(a, b, -line - 1e-6)
