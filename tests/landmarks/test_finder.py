"""The rule that tells faces from what only looks like one, and the order faces come in."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import FaceFinder, FinderRule, FinderSettings, evidence, learn_rule
from facerec.landmarks.types import Box, Landmarks

PICTURE = np.zeros((100, 100, 3), np.uint8)


class Detector:
    def detect(self, image: Any) -> Any:
        return [Box(0, 0, 10, 10, 0.9), Box(20, 20, 80, 80, 0.6), Box(5, 50, 25, 90, 0.95)]


class Landmarker:
    """Sure about the largest box only."""

    def __init__(self) -> None:
        self.located: list[Box] = []

    def locate(self, image: Any, boxes: Any) -> Any:
        self.located += boxes
        out = []
        for box in boxes:
            sure = 0.9 if box.width > 50 else 0.1
            points = np.full((68, 2), box.x0, np.float32)
            out.append(Landmarks(points, np.full(68, sure, np.float32), np.ones(68, bool)))
        return out


class Verifier:
    """Knows the tall box for what it is."""

    def log_odds(self, image: Any, boxes: Any) -> Any:
        return np.array([-9.0 if box.height > 1.5 * box.width else 3.0 for box in boxes])


def finder_of(detector: Any, landmarker: Any, rule: FinderRule | None, verifier: Any = None, **more: Any) -> FaceFinder:
    """A finder of stand-ins."""
    return FaceFinder(detector, landmarker, rule, verifier, **more)


def test_sure_landmarks_save_a_weak_candidate_and_unsure_ones_cost_a_strong_one() -> None:
    faces = finder_of(Detector(), Landmarker(), FinderRule(1.0, 20.0, -10.0)).find(PICTURE)
    assert [face.box.width for face in faces] == [60]
    assert faces[0].box.score > 0.99


def test_the_verifier_affects_the_decision() -> None:
    rule = FinderRule(0.0, 0.0, 0.0, verifier=1.0)
    found = finder_of(Detector(), Landmarker(), rule, Verifier()).find(PICTURE)
    assert [face.box.width for face in found] == [60, 10]


def test_the_boxes_of_another_detector_are_accepted() -> None:
    found = finder_of(Detector(), Landmarker(), None).find(PICTURE)
    assert [face.box.score for face in found] == [0.6, 0.95, 0.9]


def test_the_rules_model_decides_and_the_landmarker_locates_what_is_left() -> None:
    class Other:
        def locate(self, image: Any, boxes: Any) -> Any:
            assert [box.width for box in boxes] == [60]
            return [Landmarks(np.full((68, 2), 7, np.float32), np.zeros(68, np.float32), np.ones(68, bool))]

    (face,) = finder_of(Detector(), Other(), FinderRule(1.0, 20.0, -10.0), rule_model=Landmarker()).find(PICTURE)
    assert (face.landmarks.points == 7).all()


def test_landmarks_are_located_only_where_they_can_still_matter() -> None:
    """Skipping what no landmarks could save is exact: the faces are those of locating everything."""
    for rule in (
        FinderRule(1.0, 20.0, -21.0),
        FinderRule(2.0, 1.0, -4.0, 0.5),
        FinderRule(1.0, -3.0, 0.0, 0.2, 2.0, -1.0, 5.0),
    ):
        marks = Landmarker()
        finder = finder_of(Detector(), marks, rule, Verifier())
        found = {face.box.x0 for face in finder.find(PICTURE)}
        everything = finder.candidates(PICTURE)
        verified = finder.verified(PICTURE, [face.box for face in everything])
        exact = {
            face.box.x0
            for face, v in zip(everything, verified, strict=True)
            if rule.odds(evidence(face.box, face.landmarks, v)) >= 0
        }
        assert found == exact
    marks = Landmarker()
    finder_of(Detector(), marks, FinderRule(1.0, 1.0, 0.0, 1.0), Verifier()).find(PICTURE)
    assert 5 not in {box.x0 for box in marks.located}


def test_candidates_come_the_largest_first() -> None:
    found = finder_of(Detector(), Landmarker(), FinderRule(0, 0, 0)).candidates(PICTURE)
    areas = [face.box.width * face.box.height for face in found]
    assert areas == sorted(areas, reverse=True)
    assert len(areas) == 3


def test_faces_of_one_size_come_from_top_to_bottom_and_left_to_right_whatever_their_scores() -> None:
    class Crowd:
        def __init__(self, order: Any) -> None:
            self.order = order

        def detect(self, image: Any) -> Any:
            places = [(50, 0), (0, 0), (0, 40), (70, 40)]
            return [Box(x, y, x + 20, y + 20, 0.5 + i / 10) for i in self.order for x, y in [places[i]]]

    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        found = finder_of(Crowd(order), Landmarker(), None).find(PICTURE)
        assert [(f.box.x0, f.box.y0) for f in found] == [(0, 0), (50, 0), (0, 40), (70, 40)]


def test_faces_below_the_smallest_wanted_size_are_left_out() -> None:
    def sides(smallest: Any) -> Any:
        finder = finder_of(Detector(), Landmarker(), None, settings=FinderSettings(smallest))
        return [min(face.box.width, face.box.height) for face in finder.find(PICTURE)]

    assert sides(0) == [60, 20, 10]
    assert sides(20) == [60, 20]
    assert sides(20.5) == [60]
    with pytest.raises(InvalidInputError, match="at least 0"):
        FinderSettings(-1)


class Deep(Detector):
    """Sees one more face where it is asked for smaller ones."""

    def __init__(self, usual: Any) -> None:
        self.usual = usual
        self.asked: list[float | None] = []

    def detect(self, image: Any) -> Any:
        self.asked.append(None)
        return super().detect(image) if self.usual else []

    def detect_down_to(self, image: Any, smallest: Any) -> Any:
        self.asked.append(smallest)
        return [*(super().detect(image) if self.usual else []), Box(60, 60, 64, 65, 0.9)]


def deep(usual: Any, smallest: float = 0.0) -> Any:
    detector = Deep(usual)
    finder = finder_of(detector, Landmarker(), FinderRule(1.0, 0.0, 3.0), settings=FinderSettings(smallest, tiny=4.0))
    return [face.box.width for face in finder.find(PICTURE)], detector.asked


def test_small_faces_are_searched_for_where_none_was_found_and_wherever_a_smallest_one_is_asked_for() -> None:
    assert deep(usual=True) == ([60, 20, 10], [None])
    assert deep(usual=False) == ([4], [None] * 5 + [4.0])
    assert deep(usual=True, smallest=3) == ([60, 20, 10, 4], [3])
    assert deep(usual=True, smallest=15) == ([60, 20], [15])
    assert deep(usual=False, smallest=5)[0] == []


class DoubtfulAndSmall(Deep):
    """Sees a box that the rule doubts, and a small face where it is asked for smaller ones."""

    def __init__(self, doubtful: Box, small: float) -> None:
        super().__init__(usual=False)
        self.doubtful, self.small = doubtful, small

    def detect(self, image: Any) -> Any:
        return [self.doubtful, *super().detect(image)]

    def detect_down_to(self, image: Any, smallest: Any) -> Any:
        return [self.doubtful, *(replace(box, score=self.small) for box in super().detect_down_to(image, smallest))]


@pytest.mark.parametrize(
    ("doubtful", "small", "widths"),
    [
        (Box(10, 10, 25, 25, 0.3), 0.9, [15, 4]),  # small: the face may be smaller still
        (Box(10, 10, 25, 25, 0.3), 0.2, [15, 4]),  # and as doubtful
        (Box(10, 10, 35, 35, 0.3), 0.9, [25]),  # the photograph's subject
        (Box(10, 10, 25, 25, 0.6), 0.9, [15]),  # sure
    ],
)
def test_small_faces_are_searched_for_beside_small_doubtful_ones(
    doubtful: Box, small: float, widths: list[int]
) -> None:
    settings = FinderSettings(tiny=4.0, turned=1.0)
    finder = finder_of(DoubtfulAndSmall(doubtful, small), Landmarker(), FinderRule(1.0, 0.0, 3.0), settings=settings)
    assert [face.box.width for face in finder.find(PICTURE)] == widths


class SeesMargins:
    """Sees a box in the second picture it is shown, which has the margin."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.looked: list[int] = []

    def detect(self, image: Any) -> Any:
        self.looked.append(image.shape[0])
        return [self.box] if len(self.looked) == 2 else []


def test_a_face_that_fills_the_photograph_is_found_with_a_margin_around_it() -> None:
    detector = SeesMargins(Box(20, 30, 120, 130, 0.99))
    (face,) = finder_of(detector, Landmarker(), FinderRule(1.0, 0.0, 0.0)).find(PICTURE)
    assert (face.box.x0, face.box.y0, face.box.x1, face.box.y1) == (-5, 5, 95, 105)
    assert face.image is PICTURE
    assert detector.looked == [100, 150]


def test_a_margin_brings_neither_small_nor_doubtful_faces() -> None:
    small, doubtful = Box(50, 50, 80, 80, 0.99), Box(20, 30, 120, 130, 0.7)
    for box in (small, doubtful):
        assert finder_of(SeesMargins(box), Landmarker(), FinderRule(1.0, 0.0, 0.0)).find(PICTURE) == []


def test_a_margin_around_a_large_photograph_costs_no_second_large_photograph() -> None:
    detector = SeesMargins(Box(320, 320, 1600, 1600, 0.99))
    (face,) = finder_of(detector, Landmarker(), FinderRule(1.0, 0.0, 0.0)).find(np.zeros((2560, 2000, 3), np.uint8))
    assert detector.looked == [2560, 1920]
    assert (face.box.x0, face.box.x1) == (0, 2560)


def test_evidence_is_what_detector_landmarks_and_verifier_say() -> None:
    confidence = np.linspace(0, 1, 68).astype(np.float32)
    points = np.zeros((68, 2), np.float32)
    points[1] = 10, 20
    seen = evidence(Box(0, 0, 20, 20, 0.75), Landmarks(points, confidence, np.ones(68, bool)), -1.5)
    assert seen == pytest.approx([np.log(3), 0.5, -1.5, 0.5, 1.0, 0.5], abs=0.01)
    behind_a_mask = Landmarks(points, confidence, np.arange(68) >= 51)
    assert evidence(Box(0, 0, 20, 20, 0.75), behind_a_mask)[4:] == pytest.approx([0.25, 0.88], abs=0.01)
    assert evidence(Box(0, 0, 20, 20, 0.75), Landmarks(points, confidence, np.zeros(68, bool)))[4:].tolist() == [0, 0]
    collapsed = Landmarks(np.zeros((68, 2), np.float32), confidence, np.ones(68, bool))
    assert evidence(Box(0, 0, 20, 20, 0.75), collapsed)[3] == 0


def made_up(rng: np.random.Generator, middle: Any, count: Any) -> Any:
    return list(rng.normal(middle, 0.2, (count, 6)))


def test_the_learnt_line_keeps_no_more_false_faces_than_allowed() -> None:
    rng = np.random.default_rng(0)
    faces = made_up(rng, (1.5, 0.8, 2.0, 0.7, 0.8, 0.9), 60)
    others = [made_up(rng, (0.5, 0.4, 0.5, 0.5, 0.4, 0.5), 2) for _ in range(100)]
    for share in (0.0, 0.05, 0.2):
        rule = learn_rule(faces, others, share)
        assert sum(any(rule.odds(e) >= 0 for e in p) for p in others) == int(share * 100)
    assert min(rule.score, rule.confidence, rule.verifier) > 0


def test_the_line_is_drawn_on_the_looks_alone() -> None:
    rng = np.random.default_rng(1)
    faces = made_up(rng, (1.5, 0.8, 2.0, 0.7, 0.8, 0.9), 60)
    others = [made_up(rng, (0.5, 0.4, 0.5, 0.5, 0.4, 0.5), 1) for _ in range(50)]
    hard = [made_up(rng, (1.3, 0.7, 1.5, 0.6, 0.7, 0.8), 1) for _ in range(50)]
    rule = learn_rule(faces, others, 0.0, hard)
    assert all(rule.odds(e) < 0 for p in hard for e in p)
    assert any(rule.odds(e) < learn_rule(faces, others, 0.0).odds(e) for e in faces)


def test_too_few_candidates_to_learn_from_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least ten"):
        learn_rule([np.ones(6)] * 20, [[np.zeros(6)]] * 3, 0.1)


def test_other_arrays_are_no_rule() -> None:
    assert FinderRule.from_arrays({"rule": np.arange(7.0)}) == FinderRule(0, 1, 2, 3, 4, 5, 6)
    with pytest.raises(InvalidInputError, match="rule"):
        FinderRule.from_arrays({"rule": np.arange(5.0)})


def test_turned_faces_are_located_again_in_the_box_of_their_own_points() -> None:
    """The answer is the mean of both looks, and visibility the second's."""

    class Turned(Landmarker):
        def locate(self, image: Any, boxes: Any) -> Any:
            self.located += boxes
            out = []
            for box in boxes:
                points = np.full((68, 2), (box.x0, box.y0), np.float32)
                points[34:] = box.x1 - 2, box.y1 - 4
                visible = np.arange(68) < (68 if box.width < 50 else 40)
                out.append(Landmarks(points, np.full(68, 0.9 if box.width > 59 else 0.5, np.float32), visible))
            return out

    landmarker = Turned()
    (large, small) = finder_of(Detector(), landmarker, None).find(PICTURE)[:2]
    first, again = landmarker.located[0], landmarker.located[-1]
    assert (again.x0, again.y0, again.x1, again.y1) == (first.x0, first.y0, first.x1 - 2, first.y1 - 4)
    np.testing.assert_allclose(large.landmarks.points[-1], (first.x1 - 3, first.y1 - 6))
    np.testing.assert_allclose(large.landmarks.confidence, 0.7)
    assert large.landmarks.visible.sum() == 40
    assert small.landmarks.visible.all()
    assert sum(box.width < 50 for box in landmarker.located) == 2  # the other boxes: once each
