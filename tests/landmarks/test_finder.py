"""The rule that tells faces from what only looks like one."""

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import FaceFinder, FinderRule, evidence, learn_rule
from facerec.landmarks.types import Box, Landmarks

PICTURE = np.zeros((100, 100, 3), np.uint8)


class Detector:
    def detect(self, image):
        return [Box(0, 0, 10, 10, 0.9), Box(20, 20, 80, 80, 0.6), Box(5, 50, 25, 90, 0.95)]


class Landmarker:
    """Sure about the largest box only."""

    def locate(self, image, boxes):
        out = []
        for box in boxes:
            sure = 0.9 if box.width > 50 else 0.1
            points = np.full((68, 2), box.x0, np.float32)
            out.append(Landmarks(points, np.full(68, sure, np.float32), np.ones(68, bool)))
        return out


def test_sure_landmarks_save_a_weak_candidate_and_unsure_ones_cost_a_strong_one():
    faces = FaceFinder(Detector(), Landmarker(), FinderRule(1.0, 20.0, -10.0)).find(PICTURE)
    assert [face.box.width for face in faces] == [60]
    assert faces[0].box.score > 0.99


class Located:
    """Another landmark model: sure of everything, its points elsewhere."""

    def locate(self, image, boxes):
        return [Landmarks(np.full((68, 2), -1, np.float32), np.ones(68, np.float32), np.ones(68, bool)) for _ in boxes]


def test_a_judge_decides_and_the_chosen_model_locates():
    """The rule's numbers belong to one model's confidence, whichever model the points come from."""
    faces = FaceFinder(Detector(), Located(), FinderRule(1.0, 20.0, -10.0), judge=Landmarker()).find(PICTURE)
    assert [face.box.width for face in faces] == [60]
    assert (faces[0].landmarks.points == -1).all()


def test_candidates_come_the_largest_first():
    found = FaceFinder(Detector(), Landmarker(), FinderRule(0, 0, 0)).candidates(PICTURE)
    areas = [face.box.width * face.box.height for face in found]
    assert areas == sorted(areas, reverse=True)
    assert len(areas) == 3


def test_evidence_is_the_scores_log_odds_and_the_median_confidence():
    confidence = np.linspace(0, 1, 68).astype(np.float32)
    marks = Landmarks(np.zeros((68, 2), np.float32), confidence, np.ones(68, bool))
    score, middle = evidence(Box(0, 0, 1, 1, 0.75), marks)
    assert score == pytest.approx(np.log(3))
    assert middle == pytest.approx(0.5, abs=0.01)


def test_the_learnt_line_keeps_no_more_false_faces_than_allowed():
    rng = np.random.default_rng(0)
    faces = [(float(s), float(c)) for s, c in rng.normal((1.5, 0.8), 0.2, (60, 2))]
    others = [[(float(s), float(c)) for s, c in rng.normal((0.5, 0.4), 0.2, (2, 2))] for _ in range(100)]
    for share in (0.0, 0.05, 0.2):
        rule = learn_rule(faces, others, share)
        kept = sum(any(rule.score * s + rule.confidence * c + rule.bias >= 0 for s, c in p) for p in others)
        assert kept == int(share * 100)


def test_too_few_candidates_to_learn_from_are_refused():
    with pytest.raises(InvalidInputError, match="at least ten"):
        learn_rule([(1.0, 1.0)] * 20, [[(0.0, 0.0)]] * 3, 0.1)
