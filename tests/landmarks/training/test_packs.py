from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.markup import CFP30_TO_IBUG68, IBUG68_MIRROR
from facerec.landmarks.sets.cfp import cfp_full_box
from facerec.landmarks.sets.ytf import read_points_csv
from facerec.landmarks.training.packs import (
    HIDDEN,
    NOT_ANNOTATED,
    VISIBLE,
    LandmarkPack,
    join_packs,
    pack_cfp,
    pack_points_csv,
    rough_yaw,
    without_offset,
)
from facerec.landmarks.training.people import person_key
from facerec.landmarks.types import Box

Make = Callable[..., LandmarkPack]


def cfp_tree(folder: Path, points: np.ndarray, names: list[str]) -> Path:
    """CFP's official layout with one frontal and one profile per person, both showing the same points."""
    (folder / "Data").mkdir(parents=True)
    (folder / "Data" / "list_name.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for number in range(1, len(names) + 1):
        for view in ("frontal", "profile"):
            images = folder / "Data" / "Images" / f"{number:03d}" / view
            fiducials = folder / "Data" / "Fiducials" / f"{number:03d}" / view
            images.mkdir(parents=True)
            fiducials.mkdir(parents=True)
            write_image(images / "01.jpg", np.full((192, 192, 3), 100 + number, dtype=np.uint8))
            np.savetxt(fiducials / "01.txt", points[CFP30_TO_IBUG68], delimiter=",")
    return folder


def points_csv(folder: Path, names: list[str], points: np.ndarray) -> Path:
    frames = folder / "frames" / "training"
    frames.mkdir(parents=True)
    header = "file," + ",".join(f"{a}{i}" for i in range(68) for a in "xy")
    rows = [f"frames/training/{n}_00.jpg," + ",".join(f"{v:.3f}" for v in points.ravel()) for n in names]
    for name in names:
        write_image(frames / f"{name}_00.jpg", np.full((192, 192, 3), 90, dtype=np.uint8))
    (folder / "landmarks68.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "landmarks68.csv"


def test_a_pack_is_read_back_as_it_was_written(tmp_path: Path, make_pack: Make) -> None:
    pack = make_pack(3)
    pack.save(tmp_path / "deep" / "pack.npz")
    back = LandmarkPack.load(tmp_path / "deep" / "pack.npz")
    for name in ("images", "points", "state", "yaw", "source"):
        assert np.array_equal(getattr(back, name), getattr(pack, name))


def test_files_that_are_no_packs_are_refused(tmp_path: Path, make_pack: Make) -> None:
    (tmp_path / "text.npz").write_text("not an npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    thing = np.array([{}], dtype=object)
    np.savez(tmp_path / "objects.npz", images=thing, points=thing, state=thing, yaw=thing, source=thing)
    for name, why in (
        ("text", "landmark pack"),
        ("other", "lacks points"),
        ("objects", "landmark pack"),
        ("none", "pack"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            LandmarkPack.load(tmp_path / f"{name}.npz")


def test_points_and_states_must_agree(make_pack: Make) -> None:
    pack = make_pack(2)
    state = pack.state.copy()
    state[0, 5] = NOT_ANNOTATED
    with pytest.raises(InvalidInputError, match="exactly where"):
        LandmarkPack(pack.images, pack.points, state, pack.yaw, pack.source)
    state[0, 5] = 7
    with pytest.raises(InvalidInputError, match="states 0"):
        LandmarkPack(pack.images, pack.points, state, pack.yaw, pack.source)
    state[0, 5] = HIDDEN
    assert len(LandmarkPack(pack.images, pack.points, state, pack.yaw, pack.source)) == 2
    with pytest.raises(InvalidInputError, match="192, 192"):
        LandmarkPack(pack.images[:, :100], pack.points, pack.state, pack.yaw, pack.source)


def test_no_held_out_person_gets_into_a_training_pack(tmp_path: Path, make_pack: Make) -> None:
    points = make_pack(1).points[0]
    file = points_csv(tmp_path / "ytf", ["Ann_A", "Bob_B", "Cy_C"], points)
    tree = cfp_tree(tmp_path / "cfp", points, ["Bob B", "Dee D"])
    held_out = {person_key("Bob_B")}
    assert len(pack_points_csv(file, held_out)) == 2
    assert len(pack_points_csv(file, held_out, want_held_out=True)) == 1
    train, test = pack_cfp(tree, held_out), pack_cfp(tree, held_out, want_held_out=True)
    assert {int(v) for v in train.images[:, 96, 96]} == {102}
    assert {int(v) for v in test.images[:, 96, 96]} == {101}
    with pytest.raises(InvalidInputError, match="at least one face"):
        pack_points_csv(file, {person_key(n) for n in ("Ann_A", "Bob_B", "Cy_C")})


def test_the_command_packs_each_set_as_well_where_asked_to(tmp_path: Path, make_pack: Make) -> None:
    points = make_pack(1).points[0]
    points_csv(tmp_path / "ytf", ["Ann_A", "Bob_B", "Cy_C"], points)  # the first of seven is held out
    cfp_tree(tmp_path / "cfp", points, ["Ann A", "Dee D"])
    out = tmp_path / "packs"
    arguments = ["--ytf", str(tmp_path / "ytf"), "--cfp", str(tmp_path / "cfp"), "-o", str(out), "--sets"]
    assert run(["train", "landmark-packs", *arguments]) == 0
    assert len(LandmarkPack.load(out / "real_train.npz")) == 4
    assert len(LandmarkPack.load(out / "real_test.npz")) == 3
    sizes = {path.stem: len(LandmarkPack.load(path)) for path in out.glob("train_*.npz")}
    assert sizes == {"train_ytf": 2, "train_cfp-frontal": 1, "train_cfp-profile": 1}


def test_packed_faces_are_centred_and_of_one_size(tmp_path: Path, make_pack: Make) -> None:
    points = make_pack(1).points[0] * np.float32(0.6) + np.float32(20)
    pack = pack_points_csv(points_csv(tmp_path, ["Ann_A"], points), set())
    low, high = pack.points[0].min(axis=0), pack.points[0].max(axis=0)
    assert np.allclose((low + high) / 2, 95.5, atol=0.01)
    assert (high - low).max() == pytest.approx(128, abs=0.01)
    assert (pack.state == VISIBLE).all()


def test_a_cfp_frontals_box_is_that_of_the_whole_face(tmp_path: Path, make_pack: Make) -> None:
    full = make_pack(1).points[0].astype(np.float64)
    full = (full + (full[IBUG68_MIRROR] * [-1, 1] + [2 * full[27:31, 0].mean(), 0])) / 2
    half = np.full((68, 2), np.nan, dtype=np.float32)
    half[CFP30_TO_IBUG68] = full[CFP30_TO_IBUG68]
    box = cfp_full_box(half, "frontal")
    assert (box.x0, box.x1) == pytest.approx((full[:, 0].min(), full[:, 0].max()), abs=0.1)
    pack = pack_cfp(cfp_tree(tmp_path, full, ["Ann"]), set())
    frontal = pack.source == "cfp-frontal"
    assert (pack.state[frontal] == VISIBLE).sum() == 30
    assert pack.yaw[frontal].tolist() == [0.0]
    assert abs(float(pack.yaw[~frontal][0])) == 75.0


def test_points_of_detectors_are_moved_back_onto_what_they_name(tmp_path: Path, make_pack: Make) -> None:
    """The offset of a set is taken off its points; the picture under them stays."""
    points = make_pack(1).points[0] * np.float32(0.6) + np.float32(20)
    box = Box.around(points)
    moved = without_offset(points, box, 0.1)
    assert np.allclose(points[:, 0] - moved[:, 0], 0.1 * np.sqrt(box.width * box.height), atol=1e-4)
    assert np.array_equal(points[:, 1], moved[:, 1])
    file = points_csv(tmp_path, ["Ann_A"], points)
    (picture,) = tmp_path.glob("frames/*/*")
    ramp = np.tile(np.arange(150, dtype=np.uint8)[None, :, None], (150, 1, 3))
    write_image(picture, ramp)
    plain, shifted = pack_points_csv(file, set(), offset=0.0), pack_points_csv(file, set(), offset=0.1)
    # Both faces are centred on their points, so it is the picture that moves.
    assert np.allclose(plain.points, shifted.points, atol=0.01)
    assert int(plain.images[0, 96, 96]) > int(shifted.images[0, 96, 96])


def test_the_rough_yaw_turns_with_the_nose(make_pack: Make) -> None:
    points = make_pack(1).points[0].copy()
    points[30] = (points[36] + points[45]) / 2
    assert rough_yaw(points) == pytest.approx(0, abs=0.1)
    points[30, 0] += 20
    assert 20 < rough_yaw(points) < 60


def test_points_files_with_other_columns_are_refused(tmp_path: Path, make_pack: Make) -> None:
    file = points_csv(tmp_path, ["Ann_A"], make_pack(1).points[0])
    good = file.read_text()
    file.write_text(good.replace("file,x0", "path,x0"))
    with pytest.raises(InvalidInputError, match=r"columns file,x0,y0"):
        list(read_points_csv(file))
    file.write_text(good.rstrip().rsplit(",", 1)[0] + "\n")
    with pytest.raises(InvalidInputError, match="line 2"):
        list(read_points_csv(file))


def test_chosen_rows_make_a_pack(make_pack: Make) -> None:
    pack = make_pack(5)
    part = pack.rows(np.array([3, 1]))
    assert len(part) == 2
    assert np.array_equal(part.images, pack.images[[3, 1]])
    assert np.array_equal(part.points, pack.points[[3, 1]], equal_nan=True)
    assert part.source.tolist() == pack.source[[3, 1]].tolist()


def test_joined_packs_hold_all_faces(make_pack: Make) -> None:
    joined = join_packs(make_pack(2, source="a"), make_pack(3, source="bcd"))
    assert joined.source.tolist() == ["a", "a", "bcd", "bcd", "bcd"]
