from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.evaluation.fits import LEAST_IOU
from facerec.evaluation.landmark_errors import (
    LandmarkResult,
    ced,
    ced_auc,
    failure_rate,
    locate_landmarks,
    nme,
    normaliser,
    point_errors,
    yaw_of_points,
)
from facerec.evaluation.landmark_figures import landmark_figures, sideways, worst_faces
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box

INF, NAN = float("inf"), float("nan")


def face(width: float = 30.0, height: float = 40.0) -> np.ndarray:
    """68 points within a box of that size, the outer eye corners 20 px apart, the eyes' means 12 px."""
    rng = np.random.default_rng(0)
    points = rng.random((68, 2)) * [width / 2, height / 2] + [width / 4, height / 4]
    points[0], points[8], points[16] = (0, 0), (width / 2, height), (width, 0)
    points[36:42] = (9, 12)
    points[42:48] = (21, 12)
    points[36], points[45] = (5, 12), (25, 12)
    points[39], points[42] = (13, 12), (17, 12)
    return points


def test_normalisers_are_the_lengths_they_are_named_for() -> None:
    points = face()
    assert normaliser(points, "box") == pytest.approx(np.sqrt(30 * 40))
    assert normaliser(points, "interocular") == pytest.approx(20)
    assert normaliser(points, "pupil") == pytest.approx(12)


def test_the_box_is_that_of_the_annotated_points_alone() -> None:
    points = face()
    points[16] = NAN
    points[points[:, 0] > 20] = NAN
    known = points[np.isfinite(points[:, 0])]
    assert normaliser(points, "box") == pytest.approx(np.sqrt(known[:, 0].max() * 40))


def test_nme_is_the_mean_over_annotated_points() -> None:
    points = face()
    located = points + [3.0, 4.0]
    located[20] += 1000.0
    points[20] = NAN
    assert nme(located, points, "box") == pytest.approx(5 / np.sqrt(30 * 40))
    assert nme(located, points, "interocular") == pytest.approx(5 / 20)
    assert np.isnan(point_errors(located, points)).sum() == 1


def test_nme_is_infinite_when_missed_and_undefined_without_its_points() -> None:
    points = face()
    assert nme(None, points, "box") == INF
    points[45] = NAN
    assert np.isnan(nme(points, points, "interocular"))
    assert np.isnan(nme(points, points, "pupil"))
    assert np.isnan(nme(None, points, "pupil"))


def test_ced_counts_misses_and_its_area_is_that_under_the_staircase() -> None:
    rng = np.random.default_rng(1)
    errors = np.concatenate([rng.random(37) * 0.15, [INF] * 3])
    fine = np.linspace(0, 0.08, 200_001)
    slow = np.array([np.mean(errors <= at) for at in fine[::20_000]])
    np.testing.assert_allclose(ced(errors, fine[::20_000]), slow)
    assert ced_auc(errors, 0.08) == pytest.approx(ced(errors, fine[:-1]).mean(), abs=1e-4)
    assert failure_rate(errors, 0.08) == pytest.approx(np.mean([e > 0.08 for e in errors]))


def test_a_miss_lowers_the_area_and_raises_the_failure_rate() -> None:
    assert ced_auc(np.array([0.0, 0.0]), 0.1) == 1.0
    assert ced_auc(np.array([0.0, INF]), 0.1) == 0.5
    assert failure_rate(np.array([0.0, INF]), 0.1) == 0.5
    assert failure_rate(np.array([0.1]), 0.1) == 0.0


def test_points_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(68, 2\)"):
        normaliser(np.zeros((30, 2)), "box")
    with pytest.raises(InvalidInputError, match=r"\(68, 2\)"):
        point_errors(np.zeros((68, 2)), np.zeros((30, 2)))


def mean_face() -> np.ndarray:
    """A made-up face with depth: a half cylinder of 68 points, mm, looking along -z."""
    rng = np.random.default_rng(2)
    angle = rng.uniform(-1.2, 1.2, size=68)
    return np.stack([70 * np.sin(angle), rng.uniform(-90, 90, size=68), -70 * np.cos(angle)], axis=1)


@pytest.mark.parametrize("yaw", [-85.0, -40.0, 0.0, 12.0, 60.0, 90.0])
@pytest.mark.parametrize("half", [False, True])
def test_yaw_of_annotated_points_is_that_of_the_camera(yaw: float, half: bool) -> None:
    model = mean_face()
    points = Camera.from_angles(yaw, 8.0, -5.0, 1.7, (100.0, 80.0)).project(model)[:, :2]
    if half:
        points[np.random.default_rng(3).permutation(68)[:40]] = NAN
    assert yaw_of_points(points, model) == pytest.approx(yaw, abs=0.5)


def test_yaw_of_too_few_points_is_unknown() -> None:
    points = np.full((68, 2), NAN)
    points[17:22] = 1.0
    assert yaw_of_points(points, mean_face()) is None


@pytest.fixture
def annotated(tmp_path: Path, write_picture: Any) -> list[AnnotatedPicture]:
    faces = []
    for person in (1, 2, 3):
        path = write_picture(tmp_path / f"{person}.png", person)
        points = face()
        faces.append(AnnotatedPicture(path, path.name, points, Box.around(points), yaw=10.0 * person))
    return faces


def test_of_several_boxes_the_one_on_the_annotated_face_counts(
    annotated: Any, make_detector: Any, make_landmarker: Any
) -> None:
    right = Box(0, 0, 30, 41, 0.3)
    detector = make_detector({1: [Box(100, 0, 130, 40, 0.99), right], 2: [Box(20, 0, 50, 40, 0.9)], 3: []})
    results = locate_landmarks(annotated, make_landmarker({1: face(), 2: face()}), detector)
    assert [result.reason for result in results] == [None, "no_face", "no_face"]
    assert results[0].box is right
    assert results[1].iou == pytest.approx(10 / 50)
    assert results[1].iou < LEAST_IOU
    assert [result.faces for result in results] == [2, 1, 0]


def test_annotated_boxes_can_be_fed(annotated: Any, make_landmarker: Any) -> None:
    results = locate_landmarks(annotated, make_landmarker({1: face(), 2: face(), 3: face()}), None)
    assert all(result.points is not None for result in results)
    assert results[0].box is annotated[0].box


def test_a_picture_that_cannot_be_used_is_a_miss_with_its_reason(annotated: Any, make_landmarker: Any) -> None:
    annotated[2].path.write_bytes(b"")
    results = locate_landmarks(annotated, make_landmarker({1: face(), 3: face()}), None)
    assert [result.reason for result in results] == [None, "fit_unstable", "unreadable"]
    assert results[2].points is None
    assert results[2].box is None


def test_figures_count_misses_everywhere_but_in_the_mean(
    annotated: Any, make_detector: Any, make_landmarker: Any
) -> None:
    whole = Box(0, 0, 30, 40)
    detector = make_detector({1: [whole], 2: [whole]})
    landmarker = make_landmarker({1: face(), 2: face() + [6.0, 0.0]}, shift=0.0)
    results = locate_landmarks(annotated, landmarker, detector)
    figures, rows = landmark_figures(annotated, results, [None] * 3)
    length = np.sqrt(30 * 40)
    assert (figures["n"], figures["found"]) == (3, pytest.approx(2 / 3))
    assert figures["nme_box"] == pytest.approx(3 / length, abs=1e-6)
    assert figures["nme_interocular"] == pytest.approx(3 / 20, abs=1e-6)
    assert figures["nme_pupil"] == pytest.approx(3 / 12, abs=1e-6)
    assert figures["nme_box_n"] == 2
    assert figures["nme_box_median_with_misses"] == pytest.approx(6 / length, abs=1e-6)
    assert figures["failure10_box"] == pytest.approx(2 / 3)
    assert figures["failures"] == {"no_face": 1}
    assert figures["ced"]["nme_box"][-1] == pytest.approx(2 / 3)
    assert figures["by_yaw"]["15-30"]["n"] == 1
    assert figures["by_yaw"]["30-45"]["found"] == 0.0
    assert figures["by_yaw"]["30-45"]["nme_box"] is None
    assert figures["by_part"]["jaw"] == {"points": 34, "nme_box": pytest.approx(3 / length, abs=1e-6)}
    assert [row.found for row in rows] == [True, True, False]
    assert [row.file for row in worst_faces(rows, 2)] == ["2.png", "3.png"]


def test_the_given_yaw_goes_before_the_estimate(annotated: Any, make_landmarker: Any) -> None:
    results = locate_landmarks(annotated, make_landmarker({1: face(), 2: face(), 3: face()}), None)
    plain = [AnnotatedPicture(one.path, one.name, one.points, one.box) for one in annotated]
    given, _ = landmark_figures([*annotated[:1], *plain[1:]], results, [88.0, 88.0, None])
    assert given["yaw_source"] == {"given": 1, "estimated": 1, "unknown": 1}
    assert list(given["by_yaw"]) == ["0-15", "75-90", "unknown"]


def test_undefined_normalisers_give_no_figure(annotated: Any, make_landmarker: Any) -> None:
    for one in annotated:
        one.points[45] = NAN
    figures, _ = landmark_figures(annotated, locate_landmarks(annotated, make_landmarker({}), None), [None] * 3)
    assert figures["nme_interocular"] is None
    assert figures["auc8_interocular"] is None
    assert figures["nme_box"] is None
    assert figures["auc8_box"] == 0.0
    assert figures["failure8_box"] == 1.0
    assert "nme_interocular" not in figures["ced"]


def test_an_offset_to_one_side_is_separated_from_the_rest(tmp_path: Path) -> None:
    """Annotations 2 px right and 1 px below of what was located: only the right is the annotation's."""
    truth = face()
    box = float(np.sqrt(30 * 40))
    annotated = [AnnotatedPicture(tmp_path / f"{k}.png", str(k), truth + [2.0, 1.0], Box.around(truth)) for k in (0, 1)]
    results = [
        LandmarkResult(truth, Box.around(truth), 1.0, 1, None, "", 0.0),
        LandmarkResult(None, None, 0.0, 0, "no_face", "", 0.0),
    ]
    found = sideways(annotated, results)
    assert found["offset"] == pytest.approx(2 / box)
    assert found["nme_box"] == pytest.approx(1 / box)
    assert found["nme_interocular"] == pytest.approx(1 / 20)
    assert sideways(annotated[1:], results[1:]) == {"offset": None, "nme_box": None, "nme_interocular": None}
