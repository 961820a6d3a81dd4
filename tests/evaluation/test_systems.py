"""Several systems in one run, templates of IJB, and the protocols' own refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PilImage

from facerec.cli.main import run
from facerec.evaluation.pooling import pool, pooled_result
from facerec.evaluation.protocols.cfp import read_cfp
from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.protocols.ijb import read_ijb
from facerec.evaluation.protocols.recognition import Template
from facerec.evaluation.protocols.resolution import at_resolution
from facerec.evaluation.protocols.synthetic import read_synthetic_points
from facerec.evaluation.protocols.uhdb31 import read_uhdb31
from facerec.evaluation.recognition_figures import recognition_figures
from facerec.evaluation.side_by_side import compare_systems
from facerec.evaluation.signatures import describe_pictures
from facerec.evaluation.systems import System, parse_systems
from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.signature import Signature

if TYPE_CHECKING:
    from tests.evaluation.conftest import FakeRecognizer, Writer

FINE, NO_FACE, UNSTABLE, HALF, PLAIN = range(5)


def test_a_system_is_a_landmark_model_and_a_descriptor_or_a_descriptor_alone() -> None:
    asked = parse_systems(("godp+dfd, photo:dlib", "onnx:/a+b/c.onnx"), "godp")
    assert asked == [
        System("godp+dfd", "godp", "dfd"),
        System("photo:dlib", "godp", "photo:dlib"),
        System("onnx:/a+b/c.onnx", "godp", "onnx:/a+b/c.onnx"),
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [("dfd,", "got ''"), ("godp+", "got 'godp\\+'"), ("dfd,godp+dfd", "dfd and godp\\+dfd are the same")],
)
def test_systems_without_a_name_or_twice_are_refused(asked: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_systems((asked,), "godp")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, make_recognizer: type[FakeRecognizer]) -> list[tuple[str, str]]:
    """Made-up recognizers in place of the models: "poor" describes badly. The systems that were loaded."""
    from facerec.recognition.recognizer import Recognizer

    asked: list[tuple[str, str]] = []

    def load(landmarks: str, descriptor: str, device: str, detector: str) -> FakeRecognizer:
        asked.append((landmarks, descriptor))
        return make_recognizer(descriptor, noise=8.0 if descriptor == "poor" else 0.3)

    monkeypatch.setattr(Recognizer, "load", load)
    return asked


def evaluate(tree: Path, out: Path, *more: str) -> int:
    arguments = ["evaluate", "recognition", "cfp", str(tree), "--report", str(out), "--device", "cpu", "--no-photos"]
    return run([*arguments, *more])


def test_systems_stand_side_by_side_in_one_report(
    cfp_tree: Path, tmp_path: Path, loaded: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(cfp_tree, tmp_path / "all", "--systems", "godp+good,poor") == 0
    assert loaded == [("godp", "good"), ("godp", "poor")]
    content = json.loads((tmp_path / "all/report.json").read_text("utf-8"))
    assert list(content["systems"]) == ["godp+good", "poor"]
    assert content["system"] == "godp+good"
    assert content["identification"] == content["systems"]["godp+good"]["identification"]
    alone = {}
    for name in ("good", "poor"):
        assert evaluate(cfp_tree, tmp_path / name, "--descriptor", name) == 0
        alone[name] = json.loads((tmp_path / name / "report.json").read_text("utf-8"))
    for system, name in (("godp+good", "good"), ("poor", "poor")):
        for key in ("identification", "verification", "pictures"):
            assert content["systems"][system][key] == alone[name][key]
    assert "systems" not in alone["good"]
    assert "poor" in capsys.readouterr().out


def test_the_comparison_within_a_report_is_that_of_two_reports(
    cfp_tree: Path, tmp_path: Path, loaded: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(cfp_tree, tmp_path / "all", "--systems", "good,poor")
    evaluate(cfp_tree, tmp_path / "good", "--descriptor", "good")
    evaluate(cfp_tree, tmp_path / "poor", "--descriptor", "poor")
    capsys.readouterr()
    assert run(["evaluate", "compare", str(tmp_path / "good"), str(tmp_path / "poor"), "--json"]) == 0
    apart = json.loads(capsys.readouterr().out)["comparisons"]
    within = json.loads((tmp_path / "all/report.json").read_text("utf-8"))["comparisons"]
    assert [one["set"] for one in within] == [one["set"] for one in apart]
    for one, other in zip(within, apart, strict=True):
        assert (one["n"], one["first"], one["second"]) == pytest.approx((other["n"], other["first"], other["second"]))
        assert one["only_first"] == other["test"]["only_first"]
        assert one["p_value"] == pytest.approx(other["test"]["p_value"], abs=1e-6)
        assert one["p_holm"] >= one["p_value"]
    # Of two reports with several systems, those that both have are compared.
    assert run(["evaluate", "compare", str(tmp_path / "all"), str(tmp_path / "good"), "--json"]) == 0
    assert {one["first_system"] for one in json.loads(capsys.readouterr().out)["comparisons"]} == {"good"}
    evaluate(cfp_tree, tmp_path / "full", "--systems", "godp+good,poor")  # the landmark model that goes without saying
    capsys.readouterr()
    assert run(["evaluate", "compare", str(tmp_path / "full"), str(tmp_path / "good"), "--json"]) == 0
    capsys.readouterr()
    evaluate(cfp_tree, tmp_path / "again", "--systems", "poor,good")
    capsys.readouterr()
    assert run(["evaluate", "compare", str(tmp_path / "all"), str(tmp_path / "again"), "--json"]) == 0
    both = json.loads(capsys.readouterr().out)["comparisons"]
    assert {one["first_system"] for one in both} == {"good", "poor"}
    assert all(one["test"]["p_value"] == 1.0 and one["first_system"] == one["second_system"] for one in both)


def test_rows_name_their_system(cfp_tree: Path, tmp_path: Path, loaded: list[tuple[str, str]]) -> None:
    evaluate(cfp_tree, tmp_path / "all", "--systems", "good,poor")
    for file, n in (("probes.csv", 24), ("pairs.csv", 24)):
        with (tmp_path / "all" / file).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert [sum(row["system"] == name for row in rows) for name in ("good", "poor")] == [n, n]


def test_every_two_systems_are_tested_on_every_set(cfp_tree: Path, make_recognizer: type[FakeRecognizer]) -> None:
    protocol = read_cfp(cfp_tree)
    figures = {}
    for name, noise in (("a", 0.3), ("b", 4.0), ("c", 8.0)):
        results = describe_pictures(protocol.pictures, make_recognizer(name, noise)).results
        figures[name] = recognition_figures(protocol, results, np.random.default_rng(0), name)
    found = compare_systems(figures)
    assert len(found) == 4 * 3
    for one in found:
        kind, _, name = one["set"].partition(" ")
        key = {"identification": "rank1", "verification": "accuracy"}[kind]
        for place in ("first", "second"):
            assert one[place] == pytest.approx(getattr(figures[one[f"{place}_system"]], kind)[name][key])


def signature(cells: list[list[float]], seen: list[bool], contract: str = "c") -> Signature:
    array = np.array(cells, dtype=np.float32)
    length = np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9)
    return Signature(array / length * np.array(seen)[:, None], np.array(seen), contract)


def test_a_left_and_a_right_profile_complete_each_other() -> None:
    left, right = signature([[1, 0], [0, 0]], [True, False]), signature([[0, 0], [0, 1]], [False, True])
    both = pool([left, right], ["a", "b"])
    np.testing.assert_allclose(both.cells, [[1, 0], [0, 1]])
    assert both.visible.tolist() == [True, True]


def test_a_hundred_frames_weigh_as_much_as_one_photograph() -> None:
    photo, frame = signature([[1, 0]], [True]), signature([[0, 1]], [True])
    pooled = pool([photo, *[frame] * 100], ["photo", *["video"] * 100])
    np.testing.assert_allclose(pooled.cells, [[np.sqrt(0.5), np.sqrt(0.5)]], atol=1e-6)
    with pytest.raises(ContractError, match="different contracts"):
        pool([photo, signature([[1, 0]], [True], "d")], ["a", "b"])


def ijb_tree(root: Path, write_picture: Writer) -> Path:
    """Persons 1-3 with two templates of two pictures each; person 4 is not enrolled; person 3's gallery is lost."""
    rows: dict[str, list[str]] = {"gallery": [], "probes": []}
    for person in (1, 2, 3, 4):
        for number, kind in ((1, "gallery"), (2, "probes")):
            if person == 4 and kind == "gallery":
                continue
            for k in (0, 1):
                name = f"img/{person}_{number}_{k}.png"
                fate = NO_FACE if k == 0 or (person == 3 and kind == "gallery") else FINE
                write_picture(root / name, person, 10 * number + k, fate)
                rows[kind].append(f"{10 * number + person},p{person},{name},v{person}")
    for kind, lines in rows.items():
        (root / f"{kind}.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME,MEDIA_ID\n" + "\n".join(lines))
    (root / "comparisons.csv").write_text("11,21\n11,22\n12,22\n13,21\n")
    return root


def test_a_template_is_found_when_any_picture_is(
    tmp_path: Path, write_picture: Writer, recognizer: FakeRecognizer
) -> None:
    protocol = read_ijb(ijb_tree(tmp_path, write_picture))
    assert len(protocol.templates) == 7
    run = describe_pictures(protocol.pictures, recognizer)
    figures = recognition_figures(protocol, run.results, np.random.default_rng(0))
    one = figures.identification["gallery"]
    assert (one["n"], one["found"]) == (3, 1.0)
    assert one["rank1"] == pytest.approx(2 / 3)
    assert one["failures"] == {"gallery_failed": 1}
    assert one["gallery"] == {
        "people": 3,
        "n": 3,
        "found": pytest.approx(2 / 3),
        "described": pytest.approx(2 / 3),
        "failures": {"no_face": 1},
    }
    assert one["open_set"]["unknown"]["n"] == 1
    pairs = figures.verification["comparisons"]
    assert (pairs["n"], pairs["genuine"], pairs["found"]) == (4, 2, 0.75)
    assert figures.pictures["n"] == 14
    template = protocol.templates[2]
    lost = pooled_result(template, run.results)
    assert (lost.signature, lost.reason, lost.failed_at) == (None, "no_face", "find")


def test_a_template_fails_at_the_stage_its_best_picture_reached(
    tmp_path: Path, write_picture: Writer, recognizer: FakeRecognizer
) -> None:
    paths = [write_picture(tmp_path / f"{fate}.png", 1, 0, fate) for fate in (NO_FACE, PLAIN, UNSTABLE)]
    from facerec.evaluation.protocols.recognition import Picture

    results = describe_pictures([Picture(path, path.name, "p") for path in paths], recognizer).results
    result = pooled_result(Template("t", "p", (0, 1, 2), ("a", "b", "c")), results)
    assert (result.failed_at, result.faces) == ("describe", 2)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("gallery.csv", None, "gallery.csv and probes.csv"),
        ("gallery.csv", "TEMPLATE_ID,FILENAME\n1,a\n", "missing: SUBJECT_ID"),
        ("probes.csv", "TEMPLATE_ID,SUBJECT_ID,FILENAME\n11,p9,img/1_1_0.png\n", "one person; got p9 and p1"),
        ("comparisons.csv", "11,99\n", "line 1: expected two templates"),
        ("comparisons.csv", "\n", "at least one comparison"),
        ("probes.csv", "TEMPLATE_ID,SUBJECT_ID,FILENAME\n21,p1,img/no.png\n22,p2,img/no.png\n", "1 are missing"),
        (
            "probes.csv",
            "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n77,p1,img/1_1_0.png,1,2,wide,4\n",
            "line 2: expected FACE_X",
        ),
    ],
)
def test_lists_of_templates_that_are_wrong_are_refused(
    tmp_path: Path, write_picture: Writer, file: str, text: str | None, message: str
) -> None:
    ijb_tree(tmp_path, write_picture)
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_ijb(tmp_path)


def test_two_faces_of_one_photograph_are_two_pictures(tmp_path: Path, write_picture: Writer) -> None:
    write_picture(tmp_path / "a.png", 1)
    head = "template_id,subject_id,file,face_x,face_y,face_width,face_height\n"
    (tmp_path / "search_gallery_1.csv").write_text(head + "1,p1,a.png,0,0,10,12\n2,p2,a.png,12,0,10,12\n")
    (tmp_path / "search_probe_1.csv").write_text(head + "3,p1,a.png,0,0,10,12\n")
    protocol = read_ijb(tmp_path)
    assert len(protocol.pictures) == 2
    box = protocol.pictures[0].box
    assert box is not None
    assert (box.x0, box.x1, box.y1) == (-0.5, 9.5, 11.5)


def uhdb31_tree(root: Path, size: tuple[int, int], subjects: int = 1) -> Path:
    for subject in range(90001, 90001 + subjects):
        for pose in range(1, 22):
            PilImage.new("RGB", size, (subject - 90000, pose, 0)).save(root / f"{subject}d31{pose:02d}.bmp")
    return root


def test_resolutions_are_whole_parts_of_the_pictures(tmp_path: Path) -> None:
    protocol = read_uhdb31(uhdb31_tree(tmp_path, (256, 306)))
    small = at_resolution(protocol, "R128")
    assert {picture.size for picture in small.pictures} == {(128, 153)}
    assert small.settings["resolution"] == "R128"
    contents = ["ab"] * len(protocol.pictures)
    assert small.digest(contents) != protocol.digest(contents)
    with pytest.raises(InvalidInputError, match=r"1024 x 1224 px.*has 256 x 306"):
        at_resolution(protocol, "R1024")
    with pytest.raises(InvalidInputError, match="R1024, R256, R128; got 'R64'"):
        at_resolution(protocol, "R64")


def test_a_subject_without_a_pose_is_no_easier_experiment(tmp_path: Path) -> None:
    uhdb31_tree(tmp_path, (8, 8), subjects=2)
    assert read_uhdb31(tmp_path).groups["centre eight"] == ("7", "8", "9", "10", "12", "13", "14", "15")
    (tmp_path / "90002d3103.bmp").unlink()
    with pytest.raises(InvalidInputError, match="1 are missing, the first: 90002d3103"):
        read_uhdb31(tmp_path)


def test_sets_of_a_csv_have_galleries_of_their_own(tmp_path: Path, write_picture: Writer) -> None:
    lines = ["path,person,role,set"]
    for light in ("I01", "I02"):
        for role in ("gallery", "probe"):
            write_picture(tmp_path / light / f"{role}.png", 1)
            lines.append(f"{light}/{role}.png,p1,{role},{light}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    protocol = read_csv(tmp_path / "list.csv")
    assert [(one.name, len(one.gallery), len(one.probes)) for one in protocol.identifications] == [
        ("I01", 1, 1),
        ("I02", 1, 1),
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(InvalidInputError, match="in the set I02; got 1 and 0"):
        read_csv(tmp_path / "list.csv")


def test_rendered_points_need_their_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="facerec synth"):
        read_synthetic_points(tmp_path)
