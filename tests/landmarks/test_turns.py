"""A photograph turned by quarters and what was found in it turned back: exact, and what the finder makes of it."""

from typing import Any

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import FaceFinder, FinderRule, FinderSettings
from facerec.landmarks.turns import QUARTER_TURNS, face_before_turn, points_before_turn, turned_image
from facerec.landmarks.types import Box, Face, Landmarks

RULE = FinderRule(1.0, 0.0, 0.0)
"""The finder's probability is the detector's score."""


@pytest.mark.parametrize("degrees", [0, *QUARTER_TURNS, 360, -90])
def test_a_point_of_the_turned_picture_is_the_same_pixel_of_the_photograph(degrees: Any) -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    turned = turned_image(image, degrees)
    y, x = np.mgrid[: turned.shape[0], : turned.shape[1]]
    column, row = np.moveaxis(points_before_turn(np.stack([x, y], axis=-1), image, degrees), -1, 0).astype(int)
    np.testing.assert_array_equal(image[row, column], turned)


def test_a_quarter_is_clockwise() -> None:
    image = np.zeros((3, 4, 3), np.uint8)
    image[0, 0] = 255
    assert turned_image(image, 90)[0, 2, 0] == 255


def test_only_quarters_are_turned_by() -> None:
    with pytest.raises(InvalidInputError, match="multiple of 90"):
        turned_image(np.zeros((3, 4, 3), np.uint8), 45)


def test_a_box_goes_back_with_its_points() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    points = np.random.default_rng(0).uniform(5, 30, (68, 2)).astype(np.float32)
    marks = Landmarks(points, np.ones(68, np.float32), np.ones(68, bool))
    for degrees in QUARTER_TURNS:
        face = Face(turned_image(image, degrees), Box.around(points, 0.9), marks)
        back = face_before_turn(face, image, degrees)
        assert (back.image is image, back.turned, back.box.score) == (True, degrees, 0.9)
        assert back.box.iou(Box.around(back.landmarks.points)) == pytest.approx(1)


class LooksFor:
    """Sees a face of the given score wherever the marked pixel is in the given corner of the picture."""

    def __init__(self, scores: Any) -> None:
        self.scores, self.looked = scores, 0

    def detect(self, image: Any) -> Any:
        self.looked += 1
        height, width = image.shape[:2]
        corners = {0: (0, 0), 90: (0, width - 1), 180: (height - 1, width - 1), 270: (height - 1, 0)}
        return [Box(2, 3, 12, 23, score) for d, score in self.scores.items() if image[corners[d]][0] == 255]


class Points:
    def locate(self, image: Any, boxes: Any) -> Any:
        points = np.linspace((2, 3), (12, 23), 68).astype(np.float32)
        return [Landmarks(points, np.ones(68, np.float32), np.ones(68, bool)) for _ in boxes]


def find(scores: Any, rule: Any = RULE, settings: Any = None) -> Any:
    """What is found in a picture, by how it must be turned to show a face of which score; and how often was looked."""
    image = np.zeros((50, 80, 3), np.uint8)
    image[0, 0] = 255
    detector = LooksFor(scores)
    points: Any = Points()
    return FaceFinder(detector, points, rule, settings=settings).find(image), detector.looked


@pytest.mark.parametrize(("degrees", "box"), [(90, (3, 37, 23, 47)), (180, (67, 26, 77, 46)), (270, (56, 2, 76, 12))])
def test_a_face_that_lies_on_its_side_is_found_where_the_photograph_has_it(degrees: Any, box: Any) -> None:
    (face,), looked = find({degrees: 0.9})
    assert (face.turned, looked) == (degrees, 5)  # upright, with a margin, and at three quarter turns
    assert face.image.shape == (50, 80, 3)
    assert (face.box.x0, face.box.y0, face.box.x1, face.box.y1) == box
    assert face.box.iou(Box.around(face.landmarks.points)) == pytest.approx(1)


def test_a_sure_face_upright_costs_no_further_look() -> None:
    (face,), looked = find({0: 0.96, 90: 0.99})
    assert (face.turned, looked) == (0, 1)


def test_a_doubtful_face_upright_gives_way_to_a_better_one_and_only_to_that() -> None:
    assert [face.turned for face in find({0: 0.6, 180: 0.9})[0]] == [180]
    assert [face.turned for face in find({0: 0.85, 180: 0.82})[0]] == [0]


def test_a_turned_face_must_be_surer_than_an_upright_one() -> None:
    assert [face.turned for face in find({0: 0.6})[0]] == [0]
    assert find({90: 0.75})[0] == []
    assert len(find({90: 0.75}, settings=FinderSettings(turned=0.7))[0]) == 1


def test_another_detector_gets_the_photograph_as_it_is() -> None:
    assert find({90: 0.99}, rule=None) == ([], 1)


def test_probabilities_lie_between_0_and_1() -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        FinderSettings(sure=1.5)


@pytest.mark.parametrize("degrees", QUARTER_TURNS)
def test_portraits_on_their_side_and_upside_down_have_the_points_and_the_signature_of_upright_ones(
    degrees: Any,
) -> None:
    from facerec.cli.portraits import installed_portraits
    from facerec.recognition.recognizer import DescribedFace, Recognizer

    portraits = installed_portraits()
    if not portraits:
        pytest.skip("no installed package carries a portrait (extra demo)")
    recognizer = Recognizer.load()
    for upright in portraits.values():
        lying = turned_image(upright, -degrees)
        known, face = recognizer.describe(upright)[0], recognizer.describe(lying)[0]
        assert isinstance(known, DescribedFace)
        assert isinstance(face, DescribedFace)
        assert (known.face.turned, face.face.turned) == (0, degrees)
        where = points_before_turn(known.face.landmarks.points, lying, degrees)
        assert np.abs(face.face.landmarks.points - where).max() < 0.01
        yaw, pitch, roll = np.subtract(face.fitted.camera.angles, known.fitted.camera.angles)
        assert np.abs([yaw, pitch, (roll + degrees + 180) % 360 - 180]).max() < 0.5
        assert (face.signature.visible == known.signature.visible).all()
        cosines = (face.signature.cells * known.signature.cells).sum(axis=1)
        assert cosines[known.signature.visible].min() > 0.995
