from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from facerec.evaluation.box_noise import SIGMAS, box_noise_figures, noisy_boxes
from facerec.evaluation.landmark_errors import LandmarkResult, face_side, nme, normaliser, point_errors
from facerec.evaluation.landmark_figures import landmark_figures
from facerec.evaluation.landmark_trust import confidence_figures, reliability, visibility_figures
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture, read_points
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.markup import AFLW19_SOURCES, IBUG68_SOURCES, read_as
from facerec.landmarks.types import Box, Image, Landmarks


@pytest.fixture(scope="module")
def mean_face() -> np.ndarray:
    return FaceModel.load().landmarks()


def turned(mean_face: np.ndarray, yaw: float) -> np.ndarray:
    """(68, 2) px of the mean face turned by `yaw`, about 100 px wide."""
    return (mean_face @ Camera.from_angles(yaw, 0, 0).rotation.T)[:, :2] * 0.8 + [160, 120]


def one_face(points: np.ndarray, **more: object) -> AnnotatedPicture:
    return AnnotatedPicture(Path("a.png"), "a.png", points, Box.around(points), **more)  # type: ignore[arg-type]


def said(points: np.ndarray, confidence: np.ndarray | None = None, visible: np.ndarray | None = None) -> LandmarkResult:
    sure = np.full(68, 0.9, np.float32) if confidence is None else confidence.astype(np.float32)
    seen = np.ones(68, dtype=bool) if visible is None else visible
    return LandmarkResult(points, None, 1.0, 1, None, "", 0.1, sure, seen, (240, 320))


def test_reliability_is_what_was_counted() -> None:
    predicted = np.array([0.05, 0.15, 0.15, 0.95, 0.95, 1.0])
    right = np.array([False, False, True, True, True, True])
    figures = reliability(predicted, right)
    assert [one["n"] for one in figures["bins"]] == [1, 2, 3]
    assert [one["observed"] for one in figures["bins"]] == [0.0, 0.5, 1.0]
    assert figures["ece"] == pytest.approx((0.05 + 2 * 0.35 + 3 * (1 - 2.9 / 3)) / 6)
    assert figures["auc"] == pytest.approx((3 * 2 + 0.5 * 1 + 1 * 1) / 8)


def test_a_sure_point_is_right_within_a_twentieth_of_the_box(mean_face: np.ndarray) -> None:
    points = turned(mean_face, 0)
    one = one_face(points)
    side = max(one.box.width, one.box.height)
    located = points.copy()
    located[:34, 0] += 0.049 * side
    located[34:, 0] += 0.051 * side
    figures = confidence_figures([one], [said(located)])["confidence"]
    assert (figures["n"], figures["right"]) == (68, 0.5)
    assert confidence_figures([one], [LandmarkResult(None, None, 0.0, 0, "no_face", "", 0.1)]) == {}


def test_visibility_counts_both_kinds_and_is_silent_without_hidden_points(mean_face: np.ndarray) -> None:
    points = turned(mean_face, 40)
    truth = np.arange(68) >= 8
    answer = truth.copy()
    answer[[0, 1]] = True
    answer[[20, 21, 22]] = False
    figures = visibility_figures([one_face(points, visible=truth)], [said(points, visible=answer)])["visibility"]
    assert (figures["seen"], figures["hidden"]) == (60, 8)
    assert figures["seen_right"] == pytest.approx(57 / 60)
    assert figures["hidden_right"] == pytest.approx(6 / 8)
    assert visibility_figures([one_face(points)], [said(points)]) == {}


def test_nme_vis_leaves_hidden_points_out_and_divides_by_the_aflw_box(mean_face: np.ndarray) -> None:
    points = turned(mean_face, 30)
    truth = np.arange(68) >= 10
    located = points + [3.0, 4.0]
    located[:10] += 30.0
    one = one_face(points, visible=truth)
    figures, rows = landmark_figures([one], [said(located)], [30.0], mean_face)
    side = face_side(one, (240, 320), mean_face)
    assert figures["nme_vis"] == pytest.approx(5 / side)
    off = np.linalg.norm(located - points, axis=1)
    assert figures["nme_all"] == rows[0].nme_all == pytest.approx(off.mean() / side)
    # As wide as a head is: wider than the landmarks' box, and of the same order.
    assert 0.9 < side / max(one.box.width, one.box.height) < 1.7
    given = one_face(points, visible=truth, face_box=Box(0, 0, 200, 50))
    assert face_side(given, None, mean_face) == pytest.approx(100)
    missed = LandmarkResult(None, None, 0.0, 0, "no_face", "", 0.1)
    figures, _ = landmark_figures([one], [missed], [30.0], mean_face)
    assert figures["nme_vis"] is None


def test_a_set_of_another_markup_is_measured_on_its_own_points(mean_face: np.ndarray) -> None:
    points = turned(mean_face, 10)
    own = read_as(points, AFLW19_SOURCES)
    one = AnnotatedPicture(
        Path("a.png"), "a.png", own, Box.around(own), sources=AFLW19_SOURCES, face_box=Box(0, 0, 100, 100)
    )
    located = points + [0.0, 2.0]
    assert point_errors(located, own, AFLW19_SOURCES) == pytest.approx(np.full(19, 2.0))
    assert normaliser(own, "interocular", AFLW19_SOURCES) == pytest.approx(np.linalg.norm(points[36] - points[45]))
    eyes = points[36:42].mean(axis=0) - points[42:48].mean(axis=0)
    assert normaliser(own, "pupil", AFLW19_SOURCES) == pytest.approx(np.linalg.norm(eyes))
    figures, rows = landmark_figures([one], [said(located)], [10.0], mean_face)
    assert figures["nme_all"] == pytest.approx(0.02)
    assert figures["by_part"]["jaw"]["points"] == 1
    assert rows[0].annotated == 19
    assert np.isfinite(one.as_ibug68()).all(axis=1).sum() == 16


def test_noise_is_on_the_size_or_on_the_place() -> None:
    box = Box(10, 20, 60, 120)
    sizes, places = noisy_boxes(box, np.random.default_rng(0))
    assert all(one.center == pytest.approx(box.center) for one in sizes)
    assert all((one.width, one.height) == pytest.approx((50, 100)) for one in places)
    shifts = np.array([(one.center[0] - 35) / 50 for one in places])
    assert shifts / SIGMAS == pytest.approx(np.full(len(SIGMAS), shifts[0] / SIGMAS[0]))
    draws = [noisy_boxes(box, np.random.default_rng(seed)) for seed in range(300)]
    moved = np.array([places[1].center[1] for _, places in draws])
    assert (moved - 70).std() / 100 == pytest.approx(0.10, rel=0.15)


def test_the_sweep_begins_with_the_plain_box_and_grows_for_what_follows_its_box(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((200, 200, 3), np.uint8))
    rng = np.random.default_rng(1)
    points = rng.uniform(50, 150, (68, 2))
    points[0], points[1] = (50, 50), (150, 150)
    one = AnnotatedPicture(tmp_path / "a.png", "a.png", points, Box.around(points))
    gone = AnnotatedPicture(tmp_path / "gone.png", "gone.png", points, Box.around(points))

    class Follower:
        """Keeps the points where they lie in the box."""

        def locate(self, image: Image, boxes: Sequence[Box]) -> list[Landmarks]:
            return [
                Landmarks(
                    ((points - 50) / 100 * [b.width, b.height] + [b.x0, b.y0]).astype(np.float32),
                    np.ones(68, np.float32),
                    np.ones(68, dtype=bool),
                )
                for b in boxes
            ]

    figures = box_noise_figures([one, gone], Follower(), seed=3)
    assert figures["n"] == 1
    assert figures["sigma"] == [0.0, *SIGMAS]
    assert figures["translation"][0] == figures["size"][0] == pytest.approx(0, abs=1e-6)
    assert figures["translation"] == sorted(figures["translation"])
    shift = noisy_boxes(one.box, np.random.default_rng(3))[1][0].center
    assert figures["translation"][1] == pytest.approx(np.hypot(shift[0] - 100, shift[1] - 100) / 100, rel=1e-4)


def test_the_points_file_may_state_which_points_are_hidden(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((20, 20, 3), np.uint8))
    columns = ["file", *[f"{axis}{i}" for i in range(68) for axis in "xy"], *[f"v{i}" for i in range(68)]]
    values = ["a.png", *[str(i % 19) for i in range(136)], *(["0"] * 3 + ["1"] * 65)]
    file = tmp_path / "points.csv"
    file.write_text(f"{','.join(columns)}\n{','.join(values)}\n")
    (one,) = read_points(file)
    assert one.visible is not None
    assert list(np.flatnonzero(~one.visible)) == [0, 1, 2]
    assert one.seen().sum() == 65
    file.write_text(f"{','.join(columns[:-1])}\n{','.join(values[:-1])}\n")
    with pytest.raises(InvalidInputError, match="all of the columns v0 to v67"):
        read_points(file)
    values[-1] = "yes"
    file.write_text(f"{','.join(columns)}\n{','.join(values)}\n")
    with pytest.raises(InvalidInputError, match="line 2: expected 0 or 1"):
        read_points(file)


def test_the_68_points_are_read_as_themselves() -> None:
    points = np.random.default_rng(0).random((68, 2))
    np.testing.assert_array_equal(read_as(points, IBUG68_SOURCES), points)
    assert nme(points, points, "box") == 0
