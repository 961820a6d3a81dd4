"""Finding faces: the detector's candidates are verified with the output of two other networks.

A patch that resembles a face only at low resolution gets scattered landmarks with a low confidence, and the verifier,
which sees a larger crop, rejects dogs and ornaments. So the detector may propose many candidates, and all of them
decide together:

    a log(score / (1 - score)) + b median(confidence) + c verifier + d agreement + e visible + f median(confidence of
    visible points) + g >= 0.

Half of a face that wears a mask or is seen from the side may have a low confidence. Where a face is, the network knows
that these points are hidden; elsewhere it does not, so the last two numbers tell the two apart. The numbers are fitted
on training pictures and come, with the verifier's networks, as the weights `finder`. Other detectors
(`facerec.landmarks.detection.detectors`) decide for themselves, because the rule is fitted to the scores of facerec's
own detector.

If no face is found, one may fill the photograph to its edges, as in a portrait that somebody has cut out, so it is
searched again with a margin around it. If none is found with certainty, the photograph may lie on its side, so it is
searched again at quarter turns. If there is still none, or only small doubtful ones, its faces may be too small for the
working size, so it is searched tile by tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.detection.detectors import (
    DEFAULT_DETECTOR,
    ChosenDetector,
    DeepDetector,
    Detector,
    load_detector,
)
from facerec.landmarks.detection.verifier import Verifier, verifier_from_arrays
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.landmarker import Landmarker, LandmarkerSettings, Locator, look_again
from facerec.landmarks.turns import QUARTER_TURNS, face_before_turn, turned_image
from facerec.landmarks.types import Box, Face, Image, Landmarks, check_image

Evidence = NDArray[np.float64]
"""(6,): log-odds of the detector's score, median landmark confidence, the verifier's log-odds, agreement, share of the
landmarks that are visible, median confidence of these."""


def evidence(box: Box, landmarks: Landmarks, verified: float = 0.0) -> Evidence:
    """The inputs of the rule.

    Args:
        box: of the detector.
        landmarks: located in it.
        verified: the verifier's log-odds.

    Returns:
        (6,), see `Evidence`; agreement is the overlap (IoU) of the landmarks' tight box with the detector's; without a
        visible landmark the last two are 0.
    """
    spread = np.ptp(landmarks.points, axis=0)
    agreement = box.iou(Box.around(landmarks.points)) if spread.min() > 0 else 0.0
    confidence, visible = landmarks.confidence, landmarks.visible
    clear = float(np.median(confidence[visible])) if visible.any() else 0.0
    return np.array(
        [_log_odds(box.score), float(np.median(confidence)), verified, agreement, float(visible.mean()), clear]
    )


def _log_odds(score: float) -> float:
    score = float(np.clip(score, 1e-3, 1 - 1e-3))
    return float(np.log(score / (1 - score)))


@dataclass(frozen=True)
class FinderRule:
    """The rule's numbers: `score` a, `confidence` b, `bias` g, `verifier` c, `agreement` d, `visible` e, `clear` f."""

    score: float
    confidence: float
    bias: float
    verifier: float = 0.0
    agreement: float = 0.0
    visible: float = 0.0
    clear: float = 0.0

    @property
    def weights(self) -> Evidence:
        """(6,) in the order of `Evidence`."""
        return np.array([self.score, self.confidence, self.verifier, self.agreement, self.visible, self.clear])

    def odds(self, seen: Evidence) -> float:
        """Log-odds that this is a face, shifted so that 0 is the chosen operating point."""
        return float(self.weights @ seen) + self.bias

    def best_odds(self, score: float, verified: float) -> float:
        """The largest `odds` that any landmarks could give a candidate: what they contribute is between 0 and 1."""
        known = self.score * _log_odds(score) + self.verifier * verified + self.bias
        return known + sum(max(0.0, own) for own in (self.confidence, self.agreement, self.visible, self.clear))

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> FinderRule:
        """The rule of a weight file: array "rule", (7,) in the order of the fields."""
        numbers = arrays.get("rule")
        if numbers is None or numbers.shape != (7,):
            raise InvalidInputError(f"expected finder weights with 'rule' (7,); got {sorted(arrays)[:5]} ...")
        return FinderRule(*(float(v) for v in numbers))


MARGIN: Final = 0.25
"""Margin around a photograph without a face for a second look, share of its longer side; its edge is repeated. Of six
profiles of training people that filled their pictures and were not found it brings four; a half brings three, and so
does grey instead of the edge."""

_MARGIN_LOOK: Final = 1280
"""Longer side, px, to which a larger photograph is shrunk before the margin is put around it."""

RULE_MODEL: Final = "godp"
"""The landmark model whose confidence the package's rule weighs."""


@dataclass(frozen=True)
class FinderSettings:
    """Which faces are wanted.

    Attributes:
        smallest: faces whose box's shorter side is less are left out, px, and every photograph is searched for faces
            down to it. 0 keeps all that are found: how small a face still serves is the user's to say.
        tiny: with 0, a photograph without a face, or with small doubtful ones only, is searched for faces down to this,
            px. To search every photograph would take seconds where one face takes a fraction: see
            `benchmarks/results/finding.md`.
        portrait: a doubtful face whose box's longer side is at least this share of the photograph's is taken for its
            subject, and no smaller ones are searched for.
        sure: a photograph whose best face has less than this probability is turned, too. Of faces in profile one in
            eight has less; of faces upside down that pass for upright ones all had.
        filling: a face that is found only with a margin around the photograph counts if its box's longer side is at
            least this share of the photograph's longer side. Smaller ones need no margin, and each further look is a
            chance to be wrong.
        turned: least probability of a face of a turned photograph, or of one with a margin. Three more looks at a
            picture without people are three more chances to be wrong: at 0.5 they add 1.3 % of such pictures to those
            with a false face, at 0.8 0.8 %, and cost one profile in sixteen.
    """

    smallest: float = 0.0
    tiny: float = 24.0
    sure: float = 0.95
    portrait: float = 0.2
    filling: float = 0.4
    turned: float = 0.8

    def __post_init__(self) -> None:
        if not (np.isfinite(self.tiny) and self.tiny > 0):
            raise InvalidInputError(f"expected a size of tiny faces above 0 px; got {self.tiny}")
        if not all(0 <= share <= 1 for share in (self.sure, self.portrait, self.filling, self.turned)):
            raise InvalidInputError(
                f"expected shares and probabilities between 0 and 1; got {self.sure}, {self.portrait}, "
                f"{self.filling}, {self.turned}"
            )
        if not (np.isfinite(self.smallest) and self.smallest >= 0):
            raise InvalidInputError(f"expected a smallest face of at least 0 px; got {self.smallest}")


class FaceFinder:
    """Detector, landmark network, verifier and rule together; keeps no state between calls.

    Args:
        detector: its boxes are the tight boxes of the 68 landmarks.
        landmarker: locates the landmarks that faces get.
        rule: which candidates are faces; None: the detector returns faces.
        verifier: None: the rule gets 0 in its place.
        settings: which faces are wanted.
        rule_model: the model whose confidence the rule was trained on, where `landmarker` is another one.
    """

    def __init__(
        self,
        detector: Detector,
        landmarker: Locator,
        rule: FinderRule | None,
        verifier: Verifier | None = None,
        settings: FinderSettings | None = None,
        rule_model: Locator | None = None,
    ) -> None:
        self._detector = detector
        self._landmarker = landmarker
        self._rule_model = rule_model
        self._rule = rule
        self._verifier = verifier
        self.settings = settings or FinderSettings()

    @staticmethod
    def load(
        landmarks: str = RULE_MODEL,
        device: str = "cpu",
        settings: LandmarkerSettings | None = None,
        detector: str | ChosenDetector = DEFAULT_DETECTOR,
        wanted: FinderSettings | None = None,
    ) -> FaceFinder:
        """The models that come with the package, or a detector that is plugged in.

        Args:
            landmarks: name of the landmark model.
            device: "cpu" or "cuda".
            settings: how faces are located.
            detector: name of the detector (`facerec.landmarks.detection.detectors.DETECTORS`), or one that is loaded
                already.
            wanted: which faces are wanted.
        """
        chosen = load_detector(detector, device) if isinstance(detector, str) else detector
        landmarker = Landmarker.load(landmarks, device, settings)
        if not chosen.candidates:
            return FaceFinder(chosen.detector, landmarker, None, settings=wanted)
        rule, verifier = load_rule(device)
        rule_model = None if landmarks == RULE_MODEL else Landmarker.load(RULE_MODEL, device)
        return FaceFinder(chosen.detector, landmarker, rule, verifier, wanted, rule_model)

    def candidates(self, image: Image) -> list[Face]:
        """All of the detector's boxes with their landmarks, the largest first; of candidates some are no faces."""
        boxes = self._boxes(image)
        located = self._landmarker.locate(image, boxes) if boxes else []
        return [Face(image, box, landmarks) for box, landmarks in zip(boxes, located, strict=True)]

    def find(self, image: Image) -> list[Face]:
        """The faces of a picture (H, W, 3), the largest first; an empty list when there is none.

        Faces of one size come from top to bottom, then from left to right. Where the rule decided, the score of a
        face's box is the probability that the rule gives it; 0.5 is where it draws the line.

        Where there is none, the picture is looked at with a margin around it. Where the rule is sure of none, it is
        looked at by quarter turns, too, and the faces of the way round that has the best one are the answer: in px of
        `image`, with `Face.turned` saying how.
        """
        settings = self.settings
        looked_at = self._boxes(image, settings.smallest)
        found = self.find_at(image, looked_at)
        if self._rule is None or _best(found) >= settings.sure:
            return found
        found = found or self._filling(image)
        if _best(found) >= settings.sure:
            return found
        for degrees in QUARTER_TURNS:
            faces = [face for face in self._upright(turned_image(image, degrees)) if _best([face]) >= settings.turned]
            if _best(faces) > _best(found):
                found = [face_before_turn(face, image, degrees) for face in faces]
        portrait = settings.portrait * max(image.shape[:2])
        if not settings.smallest and not any(
            face.box.score >= settings.sure or max(face.box.width, face.box.height) >= portrait for face in found
        ):
            boxes = self._boxes(image, settings.tiny)
            if boxes != looked_at:
                found = max(self.find_at(image, boxes), found, key=_best)  # these have the doubtful ones, too
        return sorted(found, key=lambda face: _place(face.box))

    def _upright(self, image: Image) -> list[Face]:
        """The faces that stand upright in a picture."""
        return self.find_at(image, self._boxes(image))

    def _filling(self, image: Image) -> list[Face]:
        """The faces that fill a picture, searched for with a margin around it; their boxes may reach outside."""
        longer = max(image.shape[:2])
        zoom = min(1.0, _MARGIN_LOOK / longer)  # large faces are searched for, so a large picture need not be copied
        small = image if zoom == 1 else cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        margin = round(MARGIN * zoom * longer)
        widened = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        seen = self._detector.detect(np.asarray(widened, np.uint8))
        corners = [(np.array([[box.x0, box.y0], [box.x1, box.y1]]) - margin) / zoom for box in seen]
        boxes = [Box.around(ends, box.score) for ends, box in zip(corners, seen, strict=True)]
        least = max(self.settings.filling * longer, self.settings.smallest)
        large = [box for box in boxes if max(box.width, box.height) >= least]
        return [face for face in self.find_at(image, large) if face.box.score >= self.settings.turned]

    def find_at(self, image: Image, boxes: Sequence[Box]) -> list[Face]:
        """The faces at known boxes, e.g. where they were in the frame before: verified, but not searched for."""
        rule = self._rule
        if rule is None:
            located = self._landmarker.locate(image, boxes) if boxes else []
            return self._faces(image, boxes, located)
        verified = self.verified(image, boxes)
        # Locating is the slow part, and these are rejected whatever their landmarks.
        hopeful = [i for i, box in enumerate(boxes) if rule.best_odds(box.score, float(verified[i])) >= 0]
        rule_model = self._rule_model or self._landmarker
        evident = rule_model.locate(image, [boxes[i] for i in hopeful]) if hopeful else []
        accepted: list[tuple[Box, Landmarks]] = []
        for i, landmarks in zip(hopeful, evident, strict=True):
            odds = rule.odds(evidence(boxes[i], landmarks, float(verified[i])))
            if odds >= 0:
                b = boxes[i]
                score = float(1 / (1 + np.exp(-np.clip(odds, -30, 30))))
                accepted.append((Box(b.x0, b.y0, b.x1, b.y1, score), landmarks))
        located = [landmarks for _, landmarks in accepted]
        if self._rule_model is not None and accepted:
            located = self._landmarker.locate(image, [box for box, _ in accepted])
        return self._faces(image, [box for box, _ in accepted], located)

    def _faces(self, image: Image, boxes: Sequence[Box], located: Sequence[Landmarks]) -> list[Face]:
        """The faces of accepted boxes: what is turned or covered is looked at again."""
        final = look_again(self._landmarker, image, located)
        return [Face(image, box, landmarks) for box, landmarks in zip(boxes, final, strict=True)]

    def verified(self, image: Image, boxes: Sequence[Box]) -> NDArray[np.float64]:
        """(N,) the verifier's log-odds of boxes; 0 without a verifier."""
        return np.zeros(len(boxes)) if self._verifier is None else self._verifier.log_odds(image, boxes)

    def _boxes(self, image: Image, down_to: float = 0.0) -> list[Box]:
        detector = self._detector
        if down_to and isinstance(detector, DeepDetector):
            found = detector.detect_down_to(check_image(image), down_to)
        else:
            found = detector.detect(check_image(image))
        wanted = [box for box in found if min(box.width, box.height) >= self.settings.smallest]
        return sorted(wanted, key=_place)


def _place(box: Box) -> tuple[float, float, float]:
    """The largest first, then from top to bottom and from left to right."""
    return -box.width * box.height, box.y0, box.x0


def _best(faces: Sequence[Face]) -> float:
    return max((face.box.score for face in faces), default=0.0)


def load_rule(device: str = "cpu") -> tuple[FinderRule, Verifier]:
    """The rule and the verifier that come with the package.

    Raises:
        InvalidInputError: the weights are not installed.
        ContractError: the weight file is not the recorded one.
    """
    arrays = load_weights("landmarks", "finder")
    networks = {name.removeprefix("verifier."): v for name, v in arrays.items() if name.startswith("verifier.")}
    return FinderRule.from_arrays(arrays), verifier_from_arrays(networks, device)


def learn_rule(
    faces: Sequence[Evidence],
    others: Sequence[Sequence[Evidence]],
    false_share: float,
    looks: Sequence[Sequence[Evidence]] | None = None,
) -> FinderRule:
    """Fit the rule by logistic regression, then move its line to the false alarms that are allowed.

    Args:
        faces: `evidence` of true faces.
        others: for each picture without a face, the `evidence` of its candidates.
        false_share: share of `looks` that may keep one.
        looks: the same of pictures that no model was trained on; `others` when there are none.

    Raises:
        InvalidInputError: fewer than ten faces or false candidates.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    looks = others if looks is None else looks
    negatives = [e for picture in [*others, *([] if looks is others else looks)] for e in picture]
    if len(faces) < 10 or len(negatives) < 10:
        raise InvalidInputError(
            f"expected at least ten faces and ten false candidates; got {len(faces)}, {len(negatives)}"
        )
    x = np.array([*faces, *negatives])
    y = np.array([1] * len(faces) + [0] * len(negatives))
    scaler = StandardScaler().fit(x)
    fitted = LogisticRegression(C=1.0, max_iter=2000, class_weight="balanced").fit(scaler.transform(x), y)
    weights = np.asarray(fitted.coef_[0] / scaler.scale_, dtype=np.float64)
    worst = np.sort([max((float(weights @ e) for e in picture), default=-np.inf) for picture in looks])[::-1]
    allowed = int(false_share * len(looks))
    # Just above the first picture that must lose its false face.
    line = float(worst[allowed]) if np.isfinite(worst[allowed]) else min(float(weights @ e) for e in faces)
    score, confidence, verifier, agreement, visible, clear = (float(v) for v in weights)
    return FinderRule(score, confidence, -line - 1e-6, verifier, agreement, visible, clear)
