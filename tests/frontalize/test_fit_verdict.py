"""A fit that cannot be trusted is refused with its reason, and what it is refused by only counts one way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import fit_face, fit_faces
from facerec.frontalize.fit_verdict import FitEvidence, FitRule, learn_rule
from facerec.frontalize.training.fit_verdict import rate_fits
from facerec.frontalize.types import Camera, FittedFace
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.markup import IBUG68_MIRROR
from facerec.landmarks.types import Landmarks

GOOD = FitEvidence(residual=0.03, shape=0.4, expression=0.5, confidence=0.8, visible=0.8, facing=0.6)


def marks(points: np.ndarray, confidence: float = 0.9) -> Landmarks:
    sure = np.full(68, confidence, dtype=np.float32)
    return Landmarks(points.astype(np.float32), sure, np.ones(68, dtype=bool))


def face(model: FaceModel, yaw: float) -> np.ndarray:
    return Camera.from_angles(yaw, 0, 0, 1.2, (150.0, 150.0)).project(model.landmarks())[:, :2]


@pytest.mark.parametrize("yaw", [0.0, 30.0, -60.0])
def test_landmarks_with_left_and_right_swapped_are_refused(model: FaceModel, yaw: float) -> None:
    points = face(model, yaw)
    fit_face(marks(points), model)
    with pytest.raises(UnusablePhotoError, match=r"fit_unstable: .*swapped"):
        fit_face(marks(points[IBUG68_MIRROR]), model)


def test_landmarks_on_a_line_are_refused(model: FaceModel) -> None:
    line = np.stack([np.linspace(0, 100, 68), np.linspace(0, 40, 68)], axis=1)
    line += np.random.default_rng(0).standard_normal((68, 2))
    with pytest.raises(UnusablePhotoError, match=r"fit_unstable: .*on a line"):
        fit_face(marks(line), model)


def test_one_bad_face_of_a_batch_leaves_the_others_alone(model: FaceModel) -> None:
    points = face(model, 20)
    answers = fit_faces([marks(points), marks(np.full((68, 2), 9.0)), marks(points)], model)
    assert isinstance(answers[1], UnusablePhotoError)
    alone = fit_face(marks(points), model)
    for answer in (answers[0], answers[2]):
        assert isinstance(answer, FittedFace)
        np.testing.assert_allclose(answer.points, alone.points, atol=1e-6)
    assert fit_faces([], model) == []


def test_the_shipped_rule_refuses_what_the_network_is_unsure_of(model: FaceModel) -> None:
    points = face(model, 10)
    with pytest.raises(UnusablePhotoError, match=r"mean confidence is 0\.10"):
        fit_face(marks(points, confidence=0.1), model)
    rule = FitRule.load()
    assert rule.odds(GOOD) < 0
    for worse in (
        replace(GOOD, residual=0.2),
        replace(GOOD, shape=2.0),
        replace(GOOD, confidence=0.1),
        replace(GOOD, visible=0.1),
    ):
        assert rule.odds(worse) >= rule.odds(GOOD)


def test_fits_are_rated_by_their_distance_to_the_annotated_points(model: FaceModel) -> None:
    points = face(model, 10).astype(np.float32)
    size = np.sqrt(np.prod(points.max(axis=0) - points.min(axis=0)))
    nowhere = np.full((68, 2), np.nan, dtype=np.float32)
    partly = np.where(np.arange(68)[:, None] < 30, np.nan, points)
    between = points + np.float32(0.113 * size)  # 0.16 of the face away
    located = [marks(points)] * 5
    good, bad = rate_fits(located, [points, partly, points + np.float32(0.5 * size), nowhere, between])
    assert (len(good), len(bad)) == (2, 2)


def drawn(rng: np.random.Generator, count: int, residual: float, confidence: float) -> list[FitEvidence]:
    return [
        replace(
            GOOD,
            residual=float(residual * np.exp(0.3 * rng.standard_normal())),
            shape=float(rng.uniform(0.2, 0.6)),
            confidence=float(np.clip(confidence + 0.1 * rng.standard_normal(), 0, 1)),
        )
        for _ in range(count)
    ]


def test_a_learnt_rule_loses_the_share_of_good_fits_it_may_and_catches_bad_ones() -> None:
    rng = np.random.default_rng(0)
    good, bad = drawn(rng, 400, 0.03, 0.8), drawn(rng, 200, 0.09, 0.4)
    rule = learn_rule(good, bad, good_lost=0.02)
    assert np.mean([rule.odds(e) > 0 for e in good]) == pytest.approx(0.02, abs=0.006)
    assert np.mean([rule.odds(e) > 0 for e in bad]) > 0.95
    assert rule.weights[0] > 0
    assert rule.weights[2] < 0


def test_a_feature_never_gets_a_weight_of_the_wrong_sign() -> None:
    rng = np.random.default_rng(1)
    # Here bad fits have the smaller residuals: the rule must do without the residual.
    rule = learn_rule(drawn(rng, 200, 0.06, 0.8), drawn(rng, 200, 0.03, 0.4))
    assert rule.weights[0] == 0
    assert rule.weights[2] < 0


def test_too_few_fits_to_learn_from_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 20 good and 20 bad fits; got 20, 3"):
        learn_rule([GOOD] * 20, [GOOD] * 3)
