from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.landmarks.types import Box


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, recognizer: Any, make_detector: Any, make_landmarker: Any) -> None:
    from facerec.landmarks.detection.detector import FaceDetector
    from facerec.landmarks.landmarker import Landmarker
    from facerec.recognition.recognizer import Recognizer

    points = np.random.default_rng(0).random((68, 2)) * [18, 22] + 1
    boxes = {person: [Box.around(points)] for person in range(4)}
    monkeypatch.setattr(Recognizer, "load", lambda **options: recognizer)
    monkeypatch.setattr(FaceDetector, "load", lambda **options: make_detector(boxes))
    monkeypatch.setattr(Landmarker, "load", lambda *names, **options: make_landmarker(dict.fromkeys(range(4), points)))


def cfp(tree: Path, out: Path, *more: str) -> list[str]:
    arguments = ["evaluate", "recognition", "cfp", str(tree), "--folds", "7,8", "--report", str(out)]
    return [*arguments, "--device", "cpu", "--no-photos", *more]


def test_cfp_writes_a_report_and_a_table(cfp_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(cfp(cfp_tree, out)) == 0
    content = json.loads((out / "report.json").read_text("utf-8"))
    assert content["identification"]["profile"]["rank1"] == 1.0
    assert content["verification"]["FP"]["accuracy"] == 1.0
    assert content["machine"]["device"] == "cpu"
    assert content["command"].startswith("facerec evaluate recognition cfp ")
    assert content["settings"]["contract"] == {"made up": "contract-a"}
    assert sorted(path.name for path in out.glob("report.*")) == ["report.csv", "report.html", "report.json"]
    said = capsys.readouterr()
    assert "frontal" in said.out
    assert "100.0" in said.out
    assert "Described" in said.err
    assert "biometric" in said.err


def test_a_second_run_is_read_from_the_cache(cfp_tree: Path, tmp_path: Path, recognizer: Any) -> None:
    run(cfp(cfp_tree, tmp_path / "out"))
    calls = recognizer.calls
    first = (tmp_path / "out/report.json").read_text("utf-8")
    run(cfp(cfp_tree, tmp_path / "out"))
    assert recognizer.calls == calls
    assert (tmp_path / "out/report.json").read_text("utf-8") == first


def test_workers_elsewhere_make_the_same_report(
    cfp_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from facerec.recognition.ray_workers import RayWorkers

    asked = []

    class Elsewhere:
        """Stands where `RayWorkers` does, without Ray (`test_ray_workers` has the real one)."""

        def __init__(self, models: Any) -> None:
            self.models = models

        def map(self, work: Any, items: Any) -> Iterator[Any]:
            for item in items:
                assert item.photo  # its bytes travel: workers need not see the file
                yield work(self.models, item)

    @contextlib.contextmanager
    def connect(address: Any, workers: Any, load: Any, contract_of: Any, contract: Any, gpus: Any) -> Iterator[Any]:
        asked.append((address, workers, gpus))
        assert contract_of(load()) == contract
        yield Elsewhere(load())

    run(cfp(cfp_tree, tmp_path / "here"))
    monkeypatch.setattr(RayWorkers, "connect", connect)
    assert run(cfp(cfp_tree, tmp_path / "there", "--ray", "head:6379", "--workers", "5")) == 0
    assert asked == [("head:6379", 5, 0)]
    made = [json.loads((tmp_path / way / "report.json").read_text("utf-8")) for way in ("here", "there")]
    for content in made:
        for key in ("seconds_per_picture", "timings_ms", "command"):
            content.pop(key)
    assert made[0] == made[1]
    stored = [{p.name for p in (tmp_path / way / "signatures").rglob("*.npz")} for way in ("here", "there")]
    assert stored[0] == stored[1]


def test_results_of_another_number_format_are_not_reused(
    cfp_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEREC_ENGINE", "torch")  # onnxruntime knows float32 alone
    said = []
    for name in ("float32", "bfloat16", "float32"):
        monkeypatch.setenv("FACEREC_PRECISION", name)
        assert run(cfp(cfp_tree, tmp_path / "out")) == 0
        said.append("Described 0 pictures" in capsys.readouterr().err)
    assert said == [False, False, True]


def test_no_cache_keeps_no_signatures(cfp_tree: Path, tmp_path: Path) -> None:
    run(cfp(cfp_tree, tmp_path / "out", "--no-cache"))
    assert not list(tmp_path.rglob("*.npz"))


def test_json_goes_to_stdout_alone(cfp_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cfp(cfp_tree, tmp_path / "out", "--json", "-q")) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["protocol"] == "cfp"
    assert said.err == ""


def test_a_wrong_tree_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cfp(tmp_path, tmp_path / "out")) == 2
    assert "expected CFP's official tree" in capsys.readouterr().err


def test_folds_are_for_cfp_and_lfw_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.csv").write_text("path,person,role\n")
    assert run(["evaluate", "recognition", "csv", str(tmp_path / "list.csv"), "--folds", "7"]) == 2
    assert "--folds is for cfp and lfw only" in capsys.readouterr().err


def test_a_hidden_face_lowers_rank_one(tmp_path: Path, write_picture: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["path,person,role"]
    for person in (1, 2):
        for number, role in ((0, "gallery"), (1, "probe"), (2, "probe")):
            write_picture(tmp_path / f"{person}{number}.png", person, number, 1 if (person, number) == (1, 2) else 0)
            lines.append(f"{person}{number}.png,p{person},{role}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert run(["evaluate", "recognition", "csv", str(tmp_path / "list.csv"), "--json", "--device", "cpu"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["n"], content["rank1"], content["found"]) == (4, 0.75, 0.75)


@pytest.fixture
def points_file(tmp_path: Path, write_picture: Any) -> Path:
    points = np.random.default_rng(0).random((68, 2)) * [18, 22] + 1
    lines = ["file," + ",".join(f"x{i},y{i}" for i in range(68))]
    for person in (1, 2, 9):  # the made-up detector does not know person 9
        write_picture(tmp_path / f"{person}.png", person)
        lines.append(f"{person}.png," + ",".join(f"{value:.3f}" for value in points.ravel()))
    (tmp_path / "points.csv").write_text("\n".join(lines))
    return tmp_path / "points.csv"


def test_landmark_points_write_a_report(points_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "landmarks", "points", str(points_file), "--report", str(out), "--device", "cpu"]
    assert run(arguments) == 0
    content = json.loads((out / "report.json").read_text("utf-8"))
    assert content["n"] == 3
    assert content["found"] == pytest.approx(2 / 3, abs=1e-6)
    assert content["nme_box"] == pytest.approx(0, abs=1e-4)
    assert content["settings"]["boxes"] == "detected"
    assert sum(inside["n"] for inside in content["by_yaw"].values()) == 3
    assert {"nme_interocular", "nme_pupil", "seconds_per_picture", "digests"} <= set(content)
    assert (out / "faces.csv").is_file()
    assert "landmarks" in capsys.readouterr().out


def test_landmarks_of_cfp_in_annotated_boxes(cfp_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in (cfp_tree / "Data/Images").glob("*/profile/*.jpg"):
        path = cfp_tree / "Data/Fiducials" / picture.parent.parent.name / "profile" / f"{picture.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f"{x},{x * x % 13}" for x in range(30)))
    arguments = ["evaluate", "landmarks", "cfp", str(cfp_tree), "--folds", "7", "--view", "profile"]
    assert run([*arguments, "--boxes", "annotated", "--json", "--device", "cpu"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["n"], content["found"]) == (6, 1.0)
    assert content["nme_interocular"] is None
    assert content["settings"]["protocol"]["view"] == "profile"


def test_the_landmark_report_shows_boxes_with_noise_and_the_confidence(points_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "landmarks", "points", str(points_file), "--box-noise", "--report", str(out), "-q"]
    assert run([*arguments, "--device", "cpu", "--no-photos"]) == 0
    content = json.loads((out / "report.json").read_text("utf-8"))
    # The made-up landmarks do not move with their box.
    assert content["box_noise"]["size"] == pytest.approx([0, 0, 0, 0, 0], abs=1e-4)
    assert content["box_noise"]["n"] == 2  # the made-up landmarker gives up on person 9
    assert content["confidence"]["right"] == 1.0
    page = (out / "report.html").read_text("utf-8")
    assert "Errors from boxes that are off" in page
    assert "Reliability of the points" in page
    assert 'data-key="/confidence/auc"' in page


def test_rows_are_for_aflw_pifa_which_needs_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "landmarks", "aflw-pifa", str(tmp_path)]) == 2
    assert "--rows is for aflw-pifa" in capsys.readouterr().err
    assert run(["evaluate", "landmarks", "aflw-pifa", str(tmp_path), "--rows", "1,x"]) == 2
    assert "expected --rows 0,1,..." in capsys.readouterr().err


def test_view_is_for_cfp_only(points_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "landmarks", "points", str(points_file), "--view", "frontal"]) == 2
    assert "for cfp only" in capsys.readouterr().err


def test_compare_reports_what_changed(
    cfp_tree: Path,
    tmp_path: Path,
    write_picture: Any,
    capsys: pytest.CaptureFixture[str],
    make_recognizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from facerec.recognition.recognizer import Recognizer

    run(cfp(cfp_tree, tmp_path / "a"))
    monkeypatch.setattr(Recognizer, "load", lambda **options: make_recognizer("contract-b", noise=8.0))
    run(cfp(cfp_tree, tmp_path / "b"))
    capsys.readouterr()
    assert run(["evaluate", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    comparisons = {one["set"]: one for one in json.loads(capsys.readouterr().out)["comparisons"]}
    assert list(comparisons) == [
        "identification frontal",
        "identification profile",
        "verification FF",
        "verification FP",
    ]
    profile = comparisons["identification profile"]
    assert (profile["n"], profile["first"]) == (12, 1.0)
    assert profile["second"] < 0.9
    assert profile["test"]["only_first"] == round(12 * (1 - profile["second"]))
    p_values = sorted(one["test"]["p_value"] for one in comparisons.values())
    assert min(one["p_holm"] for one in comparisons.values()) == min(1.0, 4 * p_values[0])
    assert run(["evaluate", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "identification profile" in capsys.readouterr().out


def test_reports_on_other_pictures_are_not_compared(
    cfp_tree: Path, tmp_path: Path, write_picture: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(cfp(cfp_tree, tmp_path / "a"))
    write_picture(cfp_tree / "Data/Images/301/profile/01.jpg", 1, 40)
    run(cfp(cfp_tree, tmp_path / "b"))
    assert run(["evaluate", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "same pictures and trials" in capsys.readouterr().err
    assert run(["evaluate", "compare", str(tmp_path / "a"), str(cfp_tree)]) == 2
    assert "is not one" in capsys.readouterr().err
