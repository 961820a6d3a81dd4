from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.evaluation.protocols.cfp import read_cfp, read_cfp_landmarks
from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.protocols.landmark_sets import read_points
from facerec.evaluation.protocols.lfw import read_lfw
from facerec.evaluation.protocols.pairs import read_pairs
from facerec.evaluation.protocols.poses import uhdb31_angles
from facerec.evaluation.protocols.recognition import RecognitionProtocol
from facerec.evaluation.protocols.synthetic import read_synthetic
from facerec.evaluation.protocols.uhdb31 import read_uhdb31
from facerec.landmarks.errors import InvalidInputError


def names(protocol: RecognitionProtocol, indices: tuple[int, ...]) -> list[str]:
    return [protocol.pictures[i].name for i in indices]


def test_cfp_gallery_is_the_first_frontal_and_probes_are_the_rest(cfp_tree: Path) -> None:
    protocol = read_cfp(cfp_tree, ["7", "8"])
    frontal, profile = protocol.identifications
    assert (frontal.name, profile.name) == ("frontal", "profile")
    people = [f"{p}" for p in range(301, 307)]
    assert names(protocol, frontal.gallery) == [f"Data/Images/{p}/frontal/01.jpg" for p in people]
    assert frontal.gallery == profile.gallery
    assert sorted(names(protocol, frontal.probes)) == [
        f"Data/Images/{p}/frontal/{n}.jpg" for p in people for n in ("02", "03")
    ]
    assert sorted(names(protocol, profile.probes)) == [
        f"Data/Images/{p}/profile/{n}.jpg" for p in people for n in ("01", "02")
    ]


def test_cfp_pairs_are_the_folds_own_and_fp_pairs_a_frontal_with_a_profile(cfp_tree: Path) -> None:
    protocol = read_cfp(cfp_tree, ["08"])
    ff, fp = protocol.pairs
    assert (ff.name, fp.name) == ("FF", "FP")
    assert len(fp.first) == len(ff.first) == 6
    assert set(fp.fold) == {"08"}
    assert names(protocol, fp.first)[0] == "Data/Images/304/frontal/01.jpg"
    assert names(protocol, fp.second)[0] == "Data/Images/304/profile/02.jpg"
    assert names(protocol, ff.second)[0] == "Data/Images/304/frontal/02.jpg"
    for first, second, same in zip(fp.first, fp.second, fp.same, strict=True):
        assert (protocol.pictures[first].person == protocol.pictures[second].person) is same
    assert {p.person for p in protocol.pictures} == {"304", "305", "306"}


def test_cfp_needs_only_the_folds_own_people_on_disk(cfp_tree: Path) -> None:
    for person in ("301", "302", "303"):
        shutil.rmtree(cfp_tree / "Data/Images" / person)
    assert read_cfp(cfp_tree, ["8"]).settings["people"] == 3
    with pytest.raises(InvalidInputError, match="are missing"):
        read_cfp(cfp_tree, ["7"])


def test_cfp_all_folds_by_default(cfp_tree: Path) -> None:
    assert read_cfp(cfp_tree).settings["folds"] == ["07", "08"]


def test_cfp_reports_which_listed_pictures_are_absent(cfp_tree: Path) -> None:
    (cfp_tree / "Data/Images/301/frontal/03.jpg").unlink()
    protocol = read_cfp(cfp_tree)
    assert protocol.settings["listed_but_absent"] == 1
    assert len(protocol.identifications[0].probes) == 11


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("Protocol/Split", "has no folds"),
        ("Protocol/Pair_list_P.txt", "Pair_list_P"),
        ("Data/Images/305/frontal/01.jpg", "missing"),
        ("Data/Images/305/profile/02.jpg", "missing"),
        ("Protocol/Split/FP/08/diff.txt", "diff.txt"),
    ],
)
def test_cfp_refuses_a_wrong_tree_and_names_what_is_missing(cfp_tree: Path, broken: str, message: str) -> None:
    path = cfp_tree / broken
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InvalidInputError, match=message):
        read_cfp(cfp_tree, ["8"])


def test_cfp_names_the_folds_there_are(cfp_tree: Path) -> None:
    with pytest.raises(InvalidInputError, match="among 07, 08; got 09"):
        read_cfp(cfp_tree, ["9"])


def test_cfp_refuses_a_pair_in_the_wrong_list(cfp_tree: Path) -> None:
    folder = cfp_tree / "Protocol/Split/FP/08"
    (folder / "same.txt").write_text((folder / "diff.txt").read_text())
    with pytest.raises(InvalidInputError, match="same pairs"):
        read_cfp(cfp_tree, ["8"])


def write_fiducials(root: Path, view: str, points: np.ndarray) -> None:
    for picture in (root / "Data/Images").glob(f"*/{view}/*.jpg"):
        path = root / "Data/Fiducials" / picture.parent.parent.name / view / f"{picture.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f"{x},{y}" for x, y in points))


def test_cfp_profiles_have_thirty_points_in_the_68_point_markup(cfp_tree: Path) -> None:
    points = np.stack([np.linspace(50, 10, 30), np.arange(30.0)], axis=1)  # the ear right of the nose: faces left
    write_fiducials(cfp_tree, "profile", points)
    annotated = read_cfp_landmarks(cfp_tree, ["7"], "profile")
    assert len(annotated) == 6
    known = np.isfinite(annotated[0].points).all(axis=1)
    assert known.sum() == 30
    np.testing.assert_allclose(annotated[0].points[16], points[0], atol=1e-4)  # the ear of a face that looks left
    box = annotated[0].box
    assert (box.x0, box.x1, box.y0, box.y1) == pytest.approx((10, 50, 0, 29))


def test_the_box_of_a_half_annotated_frontal_covers_the_whole_face(cfp_tree: Path) -> None:
    points = np.stack([np.full(30, 20.0), np.linspace(0, 60, 30)], axis=1)
    middle = [8, 18, 19, 20, 21, 22, 26, 27, 28, 29]
    points[:, 0] = 10.0
    points[middle] = np.stack([np.full(10, 40.0), np.linspace(5, 70, 10)], axis=1)
    write_fiducials(cfp_tree, "frontal", points)
    box = read_cfp_landmarks(cfp_tree, ["7"], "frontal")[0].box
    assert (box.x0, box.x1) == pytest.approx((10, 70), abs=1e-3)


def test_cfp_refuses_fiducials_that_are_not_thirty_lines(cfp_tree: Path) -> None:
    write_fiducials(cfp_tree, "profile", np.zeros((29, 2)))
    with pytest.raises(InvalidInputError, match=r"expected 30 lines 'x,y'; got 29"):
        read_cfp_landmarks(cfp_tree, ["7"], "profile")


def test_csv_paths_are_relative_to_the_file_and_strangers_are_unknown(tmp_path: Path, write_picture: Any) -> None:
    for i, name in enumerate(("a.png", "b.png", "c d.png")):
        write_picture(tmp_path / "in" / name, i)
    file = tmp_path / "in" / "list.csv"
    file.write_text(
        'path,person,role,yaw\na.png,"Doe, Jane\nII",gallery,\nb.png,"Doe, Jane\nII",probe,-31.5\nc d.png,x,Probe,\n'
    )
    protocol = read_csv(file)
    (one,) = protocol.identifications
    assert protocol.pictures[one.gallery[0]].person == "Doe, Jane\nII"
    assert names(protocol, one.probes) == ["b.png"]
    assert names(protocol, one.unknown) == ["c d.png"]
    assert protocol.pictures[one.probes[0]].yaw == -31.5
    assert protocol.pictures[one.unknown[0]].yaw is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,person\na.png,x\n", "missing: role"),
        ("path,person,role\na.png,x,suspect\n", "line 2: .*'suspect'"),
        ("path,person,role,yaw\na.png,x,gallery,left\n", "line 2: expected yaw in degrees"),
        ("path,person,role\na.png,x,gallery\na.png,y,probe\n", "line 3: .*already listed on line 2"),
        ("path,person,role\na.png,x,gallery\n", "at least one gallery and one probe"),
        ("path,person,role\nno.png,x,gallery\nnone.png,x,probe\n", "2 are missing.*no.png"),
        ("", "missing: path, person, role"),
        ("path,person,role\na.png,x\n", "role ''"),
    ],
)
def test_csv_refuses_what_it_cannot_read_and_names_the_line(
    tmp_path: Path, write_picture: Any, text: str, message: str
) -> None:
    write_picture(tmp_path / "a.png", 1)
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_csv(tmp_path / "list.csv")


def test_a_missing_picture_is_a_failure_and_ends_nothing(tmp_path: Path, write_picture: Any) -> None:
    write_picture(tmp_path / "a.png", 1)
    (tmp_path / "list.csv").write_text("path;person;role\na.png;x;gallery\nno.png;x;probe\n", encoding="utf-8-sig")
    protocol = read_csv(tmp_path / "list.csv")
    assert [picture.name for picture in protocol.pictures] == ["a.png", "no.png"]
    assert len(protocol.identifications[0].probes) == 1
    (tmp_path / "pairs.csv").write_text("path_a;path_b;same\na.png;no.png;1\n")
    assert len(read_pairs(tmp_path / "pairs.csv").pictures) == 2


def test_csv_refuses_a_folder_and_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xfe\x00\x01\xfcpath")
    for path in (tmp_path, tmp_path / "x.csv"):
        with pytest.raises(InvalidInputError, match="CSV"):
            read_csv(path)


def test_synthetic_sets_are_marked_as_rendered(tmp_path: Path, write_picture: Any) -> None:
    write_picture(tmp_path / "a.png", 1)
    write_picture(tmp_path / "b.png", 1, 2)
    (tmp_path / "protocol.csv").write_text(
        "path,person,role,pose,yaw,pitch\na.png,x,gallery,11,0,0\nb.png,x,probe,3,-90,-30\n"
    )
    protocol = read_synthetic(tmp_path)
    assert protocol.rendered
    assert protocol.pictures[1].pose == "3"
    with pytest.raises(InvalidInputError, match="facerec synth"):
        read_synthetic(tmp_path / "nowhere")


def test_uhdb31_poses_run_through_three_pitches_for_each_yaw() -> None:
    assert uhdb31_angles(11) == (0, 0)
    assert uhdb31_angles(1) == (-90, 30)
    assert uhdb31_angles(3) == (-90, -30)
    assert uhdb31_angles(21) == (90, -30)
    assert len({uhdb31_angles(pose) for pose in range(1, 22)}) == 21
    with pytest.raises(InvalidInputError, match="expected a UHDB31 pose"):
        uhdb31_angles(22)


def test_uhdb31_enrols_pose_eleven_and_probes_the_twenty_others(tmp_path: Path, write_picture: Any) -> None:
    for subject in (90001, 90002):
        for pose in range(1, 22):
            write_picture(tmp_path / f"{subject}d31{pose:02d}.bmp", subject - 90000, pose)
    protocol = read_uhdb31(tmp_path)
    (one,) = protocol.identifications
    assert len(one.gallery) == 2
    assert len(one.probes) == 40
    assert {protocol.pictures[i].pose for i in one.gallery} == {"11"}
    (tmp_path / "90002d3111.bmp").unlink()
    with pytest.raises(InvalidInputError, match="without pose 11: 90002"):
        read_uhdb31(tmp_path)


def lfw_tree(root: Path, write_picture: Any) -> Path:
    for i, person in enumerate(("Ann_A", "Bob_B")):
        for n in (1, 2):
            write_picture(root / "lfw" / person / f"{person}_{n:04d}.jpg", i, n)
    rows = ["2\t1", "Ann_A\t1\t2", "Ann_A\t1\tBob_B\t2", "Bob_B\t1\t2", "Bob_B\t1\tAnn_A\t2"]
    (root / "pairs.txt").write_text("\n".join(rows) + "\n")
    return root


def test_lfw_folds_alternate_same_and_different_pairs(tmp_path: Path, write_picture: Any) -> None:
    protocol = read_lfw(lfw_tree(tmp_path, write_picture))
    (pairs,) = protocol.pairs
    assert pairs.same == (True, False, True, False)
    assert pairs.fold == ("1", "1", "2", "2")
    assert names(protocol, pairs.second) == [
        "Ann_A/Ann_A_0002.jpg",
        "Bob_B/Bob_B_0002.jpg",
        "Bob_B/Bob_B_0002.jpg",
        "Ann_A/Ann_A_0002.jpg",
    ]
    assert len(read_lfw(tmp_path, ["2"]).pairs[0].same) == 2


def test_lfw_refuses_another_number_of_pairs(tmp_path: Path, write_picture: Any) -> None:
    root = lfw_tree(tmp_path, write_picture)
    (root / "pairs.txt").write_text("2\t2\nAnn_A\t1\t2\n")
    with pytest.raises(InvalidInputError, match="expected 8 pairs"):
        read_lfw(root)


def point_header() -> str:
    return "file," + ",".join(f"x{i},y{i}" for i in range(68))


def test_points_keep_unannotated_ones_apart(tmp_path: Path, write_picture: Any) -> None:
    write_picture(tmp_path / "a.png", 1)
    cells = [str(float(v)) for v in range(136)]
    cells[10] = cells[11] = ""
    (tmp_path / "p.csv").write_text(f"{point_header()},yaw\na.png,{','.join(cells)},-40\n")
    (one,) = read_points(tmp_path / "p.csv")
    assert np.isnan(one.points[5]).all()
    np.testing.assert_array_equal(one.points[6], [12, 13])
    assert one.yaw == -40
    assert (one.box.x0, one.box.y1) == (0, 135)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x0,y0\n", "missing: x1"),
        (point_header() + "\n", "at least one"),
        (point_header() + "\na.png," + ",".join(["1"] * 135) + ",oops\n", "line 2: expected a number in y67"),
        (point_header() + "\na.png," + ",".join(["1"] * 136) + "\n", "line 2: expected a finite box"),
        (point_header() + "\nno.png," + ",".join(map(str, range(136))) + "\n", "1 of 1 are missing"),
    ],
)
def test_points_refuse_what_they_cannot_read(tmp_path: Path, write_picture: Any, text: str, message: str) -> None:
    write_picture(tmp_path / "a.png", 1)
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_points(tmp_path / "p.csv")


def test_the_protocol_digest_follows_contents_people_and_roles(cfp_tree: Path) -> None:
    protocol = read_cfp(cfp_tree)
    contents = [str(i) for i in range(len(protocol.pictures))]
    digest = protocol.digest(contents)
    assert digest == read_cfp(cfp_tree).digest(contents)
    assert digest != protocol.digest([*contents[:-1], "other"])
    assert digest != read_cfp(cfp_tree, ["8"]).digest(contents[: len(read_cfp(cfp_tree, ["8"]).pictures)])
