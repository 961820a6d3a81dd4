from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from facerec.cli.main import run
from facerec.evaluation.head_pose import aflw_angles, aflw_rotation, pose_figures
from facerec.evaluation.landmark_errors import LandmarkResult, nme
from facerec.evaluation.landmark_figures import landmark_figures
from facerec.evaluation.protocols.aflw import read_aflw2000_landmarks
from facerec.evaluation.protocols.public_sets import read_300w_landmarks, read_cofw_landmarks, read_helen_landmarks
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.markup import read_as
from facerec.landmarks.sets.public import COFW29_SOURCES

BLACK = np.zeros((60, 60, 3), dtype=np.uint8)


def w300_face(folder: Path, place: str, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(5, 50, (68, 2)).round(3)
    (folder / place).mkdir(parents=True)
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    (folder / place / "image_003_1.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}")
    write_image(folder / place / "image_003_1.jpg", BLACK)
    return points


def found(points: np.ndarray | None, box: object = None) -> LandmarkResult:
    return LandmarkResult(points, None, 1.0, 1, None if points is not None else "no_face", "", 0.0)


def head(seed: int = 0) -> np.ndarray:
    """68 points of some solid face, mm, in model space (y down, z away)."""
    return np.random.default_rng(seed).normal(size=(68, 3)) * [40, 50, 30]


def test_a_face_of_300w_is_a_picture_with_its_points_and_their_box(tmp_path: Path) -> None:
    points = w300_face(tmp_path, "ibug", 0)
    (one,) = read_300w_landmarks(tmp_path, "challenging")
    assert one.name == "ibug/image_003_1"
    assert np.allclose(one.points, points, atol=1e-4)
    assert np.allclose([one.box.x0, one.box.y1], [points[:, 0].min(), points[:, 1].max()], atol=1e-4)
    with pytest.raises(InvalidInputError, match="lfpw/testset"):
        read_300w_landmarks(tmp_path, "full")


def test_one_run_over_300w_has_the_figures_of_its_three_subsets(tmp_path: Path) -> None:
    truth = [w300_face(tmp_path, place, k) for k, place in enumerate(("lfpw/testset", "helen/testset", "ibug"))]
    annotated = read_300w_landmarks(tmp_path, "full")
    by_name = {one.name.rsplit("/", 1)[0]: one for one in annotated}
    assert set(by_name) == {"lfpw/testset", "helen/testset", "ibug"}
    results = [found(one.points + (0.5 if one.pose == "common" else 2.0)) for one in annotated]
    figures, _ = landmark_figures(annotated, results, [None] * 3)
    assert figures["by_view"]["common"]["n"] == 2
    assert figures["by_view"]["challenging"]["n"] == 1
    (hard,) = read_300w_landmarks(tmp_path, "challenging")
    assert figures["by_view"]["challenging"]["nme_box"] == pytest.approx(nme(truth[2] + 2.0, hard.points, "box"))
    means = [figures["by_view"][name]["nme_box"] for name in ("common", "challenging")]
    assert figures["view_mean"]["nme_box"] == pytest.approx(np.mean(means))
    assert figures["nme_box"] == pytest.approx((2 * means[0] + means[1]) / 3)


def test_cofw_is_measured_in_its_own_points_from_the_pictures_inside_its_file(tmp_path: Path) -> None:
    shape = np.random.default_rng(1).uniform(10, 50, (68, 2))
    places = read_as(shape, COFW29_SOURCES)
    places[[5, 7]] = 30.0  # lower rims of the brows, which have no place among the 68
    phis = np.concatenate([places.T.ravel() + 1, np.arange(29) == 3])[None]
    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = BLACK[:, :, 0] + np.uint8(7)
    savemat(tmp_path / "COFW_test.mat", {"IsT": cells, "phisT": phis, "bboxesT": np.array([[6.0, 8.0, 40.0, 40.0]])})
    (one,) = read_cofw_landmarks(tmp_path / "COFW_test.mat")
    assert one.image().shape == (60, 60, 3)
    assert (one.image() == 7).all()
    assert np.isnan(one.points[[5, 7]]).all()
    assert one.visible is not None
    assert np.flatnonzero(~one.visible).tolist() == [3]
    for kind in ("box", "interocular", "pupil"):
        assert nme(shape, one.points, kind, one.sources) < 1e-6
        assert nme(shape + [3, 0], one.points, kind, one.sources) > 0.03


def test_helen_is_measured_in_the_places_that_the_68_points_have_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    own = rng.uniform(10, 50, (194, 2))
    (tmp_path / "annotation").mkdir()
    (tmp_path / "annotation" / "1.txt").write_text("1_1\n" + "\n".join(f"{x:.5f} , {y:.5f}" for x, y in own))
    for split in ("train", "test"):
        (tmp_path / f"{split}names.txt").write_text("1_1\n")
    write_image(tmp_path / "1_1.jpg", BLACK)
    (one,) = read_helen_landmarks(tmp_path)
    shape = rng.uniform(10, 50, (68, 2))
    shape[36:42], shape[42:48] = own[134:154].mean(axis=0), own[114:134].mean(axis=0)
    shape[33], shape[8], shape[48:60] = own[49], own[20], own[58:86].mean(axis=0)
    assert nme(shape, one.points, "pupil", one.sources) < 1e-5
    assert one.box.x1 == pytest.approx(own[:, 0].max(), abs=1e-4)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (10.0, 35.0, -20.0), (-25.0, -80.0, 15.0)])
def test_angles_of_aflw2000_come_back_from_their_rotation(angles: tuple[float, float, float]) -> None:
    rotation = aflw_rotation(*angles)
    np.testing.assert_allclose(aflw_angles(rotation), angles, atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_nose_to_the_left_has_a_positive_yaw_in_aflw2000_and_a_negative_one_here() -> None:
    camera = Camera(aflw_rotation(0.0, 40.0, 0.0), np.zeros(2), 1.0)
    assert camera.yaw == pytest.approx(-40)
    assert (camera.rotation @ [0, 0, -1])[0] < 0  # where the nose points: x to the right
    assert Camera(aflw_rotation(20.0, 0.0, 0.0), np.zeros(2), 1.0).pitch == pytest.approx(20)
    assert Camera(aflw_rotation(0.0, 0.0, 20.0), np.zeros(2), 1.0).roll == pytest.approx(20)


def test_aflw2000_is_measured_by_its_bins_and_its_pose(tmp_path: Path) -> None:
    mean_face = head()
    poses = [(5.0, 20.0, 3.0), (-4.0, -45.0, 10.0), (2.0, 75.0, 0.0), (0.0, 110.0, 0.0)]
    for number, pose in enumerate(poses):
        turned = 0.4 * mean_face @ aflw_rotation(*pose).T + [30, 30, 0]
        row = np.concatenate([np.deg2rad(pose), [0, 0, 0, 1]])[None]
        savemat(tmp_path / f"image{number}.mat", {"pt3d_68": turned.T + 1, "Pose_Para": row})
        write_image(tmp_path / f"image{number}.jpg", BLACK)
    annotated = read_aflw2000_landmarks(tmp_path)
    assert [one.pose for one in annotated] == ["0-30", "30-60", "60-90", "60-90"]
    assert annotated[0].yaw == pytest.approx(-20, abs=1)
    results = [found(one.points) for one in annotated]
    figures, _ = landmark_figures(annotated, results, [None] * 4, mean_face)
    assert list(figures["by_view"]) == ["0-30", "30-60", "60-90"]
    assert figures["pose"]["left_out"] == 1
    assert figures["pose"]["mae"] < 0.05
    # A tenth of a turn about the line of sight is ten degrees of roll on an upright face, and of nothing else.
    results[0] = found(0.4 * (mean_face @ aflw_rotation(5.0, 20.0, 13.0).T)[:, :2] + 30)
    results[1] = found(None)
    pose = pose_figures(annotated, results, mean_face)["pose"]
    assert (pose["n"], pose["missed"]) == (3, 1)
    assert pose["mae_roll"] == pytest.approx(5.0, abs=0.1)
    assert pose["mae_yaw"] < 0.1
    # Each bin of yaw counts the same in the mean, and none may be left out.
    assert landmark_figures(annotated, results, [None] * 4, mean_face)[0]["view_mean"]["nme_box"] is None
    results[1] = found(annotated[1].points + 3)
    figures, _ = landmark_figures(annotated, results, [None] * 4, mean_face)
    views = [one["nme_box"] for one in figures["by_view"].values()]
    assert figures["view_mean"]["nme_box"] == pytest.approx(np.mean(views))
    assert figures["view_mean"]["nme_box"] > figures["nme_box"]


def test_other_files_than_aflw2000_s_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="AFLW2000-3D"):
        read_aflw2000_landmarks(tmp_path)
    savemat(tmp_path / "a.mat", {"pt3d_68": np.zeros((2, 68)), "Pose_Para": np.zeros((1, 7))})
    with pytest.raises(InvalidInputError, match=r"a\.mat.*\(3, 68\)"):
        read_aflw2000_landmarks(tmp_path)


def test_a_part_is_for_sets_that_have_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "landmarks", "cfp", str(tmp_path), "--part", "full"]) == 2
    assert "--part is for 300w and aflw only" in capsys.readouterr().err
