from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from scipy.io import savemat

from facerec.evaluation.protocols.aflw import (
    read_aflw_landmarks,
    read_afw_landmarks,
    read_pifa_landmarks,
    read_uhdb31_landmarks,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.markup import AFLW19_MIRROR, AFLW19_SOURCES, AFLW21_MIRROR, IBUG68_MIRROR, read_as
from facerec.landmarks.sets import aflw as aflw_sets
from facerec.landmarks.sets.aflw import read_aflw_full, read_aflw_pifa, read_afw, read_uhdb31_points


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((60, 80, 3), 90, np.uint8))


def cell(values: list[object], shape: tuple[int, ...]) -> np.ndarray:
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    return cells.reshape(shape)


@pytest.fixture
def aflw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four faces of which the permutation puts rows 3, 1 into the training half."""
    monkeypatch.setattr(aflw_sets, "AFLW_TRAINING_FACES", 2)
    names: list[object] = [f"0/image{number}.png" for number in range(4)]
    for name in names:
        picture(tmp_path / "data" / "flickr" / str(name))
    data = np.arange(4 * 38, dtype=float).reshape(4, 38)
    mask = np.ones((4, 19))
    mask[2, [0, 18]] = 0
    content = {"bbox": np.tile([10.0, 50.0, 5.0, 45.0], (4, 1)), "data": data, "mask_new": mask}
    content |= {"nameList": cell(names, (4, 1)), "ra": np.array([[4, 2, 3, 1]])}
    savemat(tmp_path / "AFLWinfo_release.mat", content)
    return tmp_path


def test_aflw_full_is_split_by_its_permutation(aflw: Path) -> None:
    assert [face.name for face in read_aflw_full(aflw, "train")] == ["0/image3.png#4", "0/image1.png#2"]
    test = list(read_aflw_full(aflw, "test"))
    assert [face.name for face in test] == ["0/image2.png#3", "0/image0.png#1"]
    np.testing.assert_array_equal(test[0].points[1], [76 + 1, 76 + 19 + 1])
    assert list(np.flatnonzero(test[0].hidden)) == [0, 18]
    assert test[0].box is not None
    assert (test[0].box.x0, test[0].box.y0, test[0].box.x1, test[0].box.y1) == (10, 5, 50, 45)
    assert test[0].image().shape == (60, 80, 3)


def test_aflw_f_are_the_test_faces_that_show_every_point(aflw: Path) -> None:
    assert [one.name for one in read_aflw_landmarks(aflw, "frontal")] == ["0/image0.png#1"]
    (hidden, _) = read_aflw_landmarks(aflw, "test")
    assert hidden.seen().sum() == 17
    assert hidden.face_box == hidden.box


def test_the_error_for_a_wrong_aflw_names_what_was_expected_and_where(aflw: Path) -> None:
    (aflw / "data" / "flickr" / "0" / "image0.png").unlink()
    with pytest.raises(InvalidInputError, match=r"expected the picture 0/image0\.png in .*flickr"):
        list(read_aflw_full(aflw, "test"))
    savemat(aflw / "AFLWinfo_release.mat", {"bbox": np.zeros((2, 4))})
    with pytest.raises(InvalidInputError, match="expected bbox, data, mask_new, nameList, ra; got bbox"):
        list(read_aflw_full(aflw, "test"))
    (aflw / "AFLWinfo_release.mat").unlink()
    with pytest.raises(InvalidInputError, match=r"cannot read .*AFLWinfo_release\.mat"):
        list(read_aflw_full(aflw, "test"))


def test_pifa_gives_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    phis = np.arange(2 * 102, dtype=float).reshape(2, 102)
    phis[:, 68:] = 1
    phis[1, [5, 34 + 5]] = 0  # not annotated
    phis[1, 68 + 6] = 0  # hidden
    savemat(tmp_path / "Landmark.mat", {"phisT": phis, "phisTr": phis[:1]})
    savemat(tmp_path / "BoundingBox.mat", {"bboxesT": [[1, 2, 30, 40]] * 2, "bboxesTr": [[1, 2, 30, 40]]})
    for number in (1, 2):
        picture(tmp_path / "TestImages" / f"{number}.jpg")
    first, second = read_aflw_pifa(tmp_path, "test", [4, 5, 6])
    np.testing.assert_array_equal(first.points[0], [4, 38])
    assert np.isnan(second.points[1]).all()
    assert list(second.hidden) == [False, False, True]
    assert first.box is not None
    assert (first.box.x1, first.box.y1) == (31, 42)
    measured = read_pifa_landmarks(tmp_path, list(range(21)))
    assert np.isnan(measured[0].points[[12, 16]]).all()  # ear lobes
    with pytest.raises(InvalidInputError, match="expected 21 rows"):
        read_pifa_landmarks(tmp_path, [1, 2])
    with pytest.raises(InvalidInputError, match="34 points"):
        list(read_aflw_pifa(tmp_path, "test", [34]))


def test_afw_has_several_faces_per_picture_and_counts_from_one(tmp_path: Path) -> None:
    points = np.arange(12, dtype=float).reshape(6, 2) + 1
    absent = points.copy()
    absent[2] = np.nan
    box = np.array([[3.0, 4.0], [23.0, 44.0]])
    faces = [cell([box, box], (1, 2)), cell([np.zeros(3)] * 2, (1, 2)), cell([points, absent], (1, 2))]
    savemat(tmp_path / "anno.mat", {"anno": cell(["a.jpg", *faces], (1, 4))})
    picture(tmp_path / "a.jpg")
    one, two = read_afw(tmp_path)
    np.testing.assert_array_equal(one.points[0], [0, 1])
    assert one.box is not None
    assert (one.box.x0, one.box.y1) == (2, 43)
    assert np.isnan(two.points[2]).all()
    assert [face.name for face in read_afw_landmarks(tmp_path)] == ["a.jpg#1", "a.jpg#2"]
    savemat(tmp_path / "anno.mat", {"anno": np.zeros((2, 3))})
    with pytest.raises(InvalidInputError, match="expected a cell anno"):
        list(read_afw(tmp_path))


def test_uhdb31_has_nine_points_and_its_pose(tmp_path: Path) -> None:
    lines = "\n".join(f"{x} {x + 1}" for x in (1, 2, 3, 4, 5, 6, 7, 8))
    picture(tmp_path / "90001d3104.png")
    with pytest.raises(InvalidInputError, match=r"one file of points beside it.*found 0"):
        list(read_uhdb31_points(tmp_path))
    (tmp_path / "90001d3104.pts").write_text(f"version: 1\nn_points: 9\n{{\n{lines}\n0 0\n}}\n")
    (one,) = read_uhdb31_landmarks(tmp_path)
    assert (one.pose, one.yaw, one.pitch) == ("4", -60.0, 30.0)
    np.testing.assert_array_equal(one.points[0], [0, 1])
    assert np.isnan(one.points[8]).all()
    with pytest.raises(InvalidInputError, match=r"expected UHDB31's pictures"):
        list(read_uhdb31_points(tmp_path / "90001d31"))


@pytest.mark.parametrize(("ending", "gap"), [("txt", "  "), ("csv", ",")])
def test_uhdb31_s_points_may_lie_in_a_folder_of_their_own(tmp_path: Path, ending: str, gap: str) -> None:
    (tmp_path / "pictures" / "90001").mkdir(parents=True)
    (tmp_path / "points").mkdir()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (306 * 2, 256 * 2, 3), dtype=np.uint8)
    PilImage.fromarray(image).save(tmp_path / "pictures" / "90001" / "90001d3111.bmp")
    points = rng.uniform(100, 500, (9, 2)).round(2)
    text = "\n".join(f"{x + 1}{gap}{y + 1}" for x, y in points)
    (tmp_path / "points" / f"90001d3111.{ending}").write_text(text)
    (one,) = read_uhdb31_landmarks(tmp_path / "pictures", tmp_path / "points")
    np.testing.assert_allclose(one.points, points, atol=1e-4)
    (half,) = read_uhdb31_landmarks(tmp_path / "pictures", tmp_path / "points", "R256")
    small = half.image()
    assert small.shape == (306, 256, 3)
    assert abs(int(small[10, 20, 0]) - image[20:22, 40:42, 0].mean()) <= 1
    # The centre of the first block of two by two pixels is the centre of the first new pixel.
    np.testing.assert_allclose(half.points, (points - 0.5) / 2, atol=1e-4)
    with pytest.raises(InvalidInputError, match="whole multiple"):
        read_uhdb31_landmarks(tmp_path / "pictures", tmp_path / "points", "R1024")


def test_reading_68_points_as_aflw_goes_through_the_mirror() -> None:
    points = np.random.default_rng(0).random((68, 2))
    swapped = read_as(points[IBUG68_MIRROR], AFLW19_SOURCES)
    np.testing.assert_allclose(swapped, read_as(points, AFLW19_SOURCES)[AFLW19_MIRROR])
    assert list(AFLW21_MIRROR[AFLW21_MIRROR]) == list(range(21))
