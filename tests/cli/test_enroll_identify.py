"""`facerec enroll`, `identify`, `verify` and `gallery`, with pretended models."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.types import Image
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition import shipped_impostors as shipped_module
from facerec.recognition.impostor_curve import ImpostorCurve
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.shipped_impostors import ShippedImpostors
from facerec.recognition.store.sqlite import Gallery
from tests.pretend_models import PretendRecognizer

NAME = "Smith, Zoë\n\x1b[31m\u202e[bold]Jr."


@pytest.fixture(autouse=True)
def pretended_models(pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def people(tmp_path: Path, pretend: ModuleType) -> Path:
    root = tmp_path / "people"
    for person in range(1, 5):
        for picture in range(2):
            pretend.paint(root / f"p{person}" / f"{picture}.png", (person, 6, picture))
    return root


@pytest.fixture
def gallery(people: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    assert run(["enroll", str(people), "-g", "staff", "--device", "cpu", "-q"]) == 0
    capfd.readouterr()
    return Path("staff")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def enrolled(path: str = "staff") -> str:
    with Gallery.open(path) as gallery:
        return gallery.digest()


def test_enrol_then_identify(people: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["enroll", "people", "-g", "staff", "--device", "cpu"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "Enrolled 8 of 8 photos, 4 people in the gallery" in err
    assert "Next: facerec identify PHOTO -g staff" in err
    probe = pretend.paint(Path("probe.png"), (3, 8, 50), (77, 6, 1))
    assert run(["identify", str(probe), "-g", "staff", "--threshold", "0.4", "--format", "jsonl"]) == 0
    out, err = capfd.readouterr()
    known, stranger = lines(out)
    assert {
        "file", "face", "box", "pose", "turned", "visible_fraction", "quality", "decision", "reason", "candidates",
        "threshold", "timings_ms", "versions",
    } <= set(known)  # fmt: skip
    assert (known["decision"], known["person"], stranger["decision"]) == ("match", "p3", "unknown")
    assert set(known["pose"]) == {"yaw", "pitch", "roll"}
    assert set(known["candidates"][0]) == {"person", "score", "cosine", "p_same", "overlap", "entry", "nobody"}
    assert {"value", "far", "pairs"} <= set(known["threshold"])
    assert "1 match, 1 unknown" in err


@pytest.mark.parametrize("person", [3, 255])
def test_every_format_states_by_how_much_the_photograph_was_turned(
    people: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, person: int
) -> None:
    """A face that was described (3), and one that was found and not fitted (255)."""
    assert run(["enroll", "people", "-g", "staff", "-q"]) == 0
    probe = pretend.paint(Path("probe.png"), (person, 8, 50))
    identify = ["identify", str(probe), "-g", "staff", "--threshold", "0.4", "-q"]
    assert run(identify) == 0
    assert "turned" not in capfd.readouterr().out
    whole = PretendRecognizer.describe

    def turned(self: PretendRecognizer, image: Image) -> list[DescribedFace | UndescribedFace]:
        faces = whole(self, image)
        return [
            replace(one, face=replace(one.face, turned=90))
            if isinstance(one, DescribedFace)
            else replace(one, turned=90)
            for one in faces
        ]

    monkeypatch.setattr(pretend.PretendRecognizer, "describe", turned)
    assert run(identify) == 0
    assert "turned by 90" in " ".join(capfd.readouterr().out.split())
    assert run([*identify, "--json"]) == 0
    assert lines(capfd.readouterr().out)[0]["turned"] == 90
    assert run([*identify, "--format", "csv"]) == 0
    assert next(csv.DictReader(io.StringIO(capfd.readouterr().out)))["turned"] == "90"


def test_enrol_reports_what_it_skipped_and_strict_exits_with_3(
    people: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    (people / "p2" / "0a.jpg").write_bytes(b"\xff\xd8\xff broken")
    (people / "p2" / "0b.jpg").write_bytes(b"")
    (people / "p2" / "0c.jpg").write_text("text")
    pretend.paint(people / "p2" / "0d.png")
    pretend.paint(people / "p2" / "0e.png", (2, 6, 3), (3, 6, 3))
    assert run(["enroll", "people", "-g", "staff", "--faces", "one", "--json"]) == 0
    out, err = capfd.readouterr()
    summary = json.loads(out)
    assert summary["skipped"] == {"unreadable": 3, "multiple_faces": 1, "no_face": 1}
    assert summary["enrolled"] == 8
    assert "Skipped 5: unreadable 3" in err
    assert "staff.skipped.jsonl" in err
    assert len(lines(Path("staff.skipped.jsonl").read_text())) == 5
    assert run(["enroll", "people", "-g", "staff", "--faces", "one", "--strict"]) == 3


def test_a_name_with_commas_and_line_breaks_is_safe_everywhere(
    pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend.paint(Path("1.png"), (1, 6, 0))
    with Path("list.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path", "person"], ["1.png", NAME]])
    assert run(["enroll", "list.csv", "-g", "staff"]) == 0
    capfd.readouterr()
    probe = ["identify", "1.png", "-g", "staff", "--threshold", "0"]
    assert run([*probe, "--format", "jsonl", "-q"]) == 0
    assert lines(capfd.readouterr().out)[0]["person"] == NAME
    assert run([*probe, "--format", "csv", "-q"]) == 0
    (row,) = csv.DictReader(io.StringIO(capfd.readouterr().out, newline=""))
    assert (row["person"], row["decision"], float(row["threshold"])) == (NAME, "match", 0.0)
    assert run(probe) == 0
    table = capfd.readouterr()
    assert run(["gallery", "list", "-g", "staff"]) == 0
    listed = capfd.readouterr()
    for text in (table.out, table.err, listed.out):
        assert "\x1b" not in text
        assert "\u202e" not in text
    for text in (table.out, listed.out):
        assert r"Smith, Zoë\n\x1b[31m\u202e[bold]Jr." in text
    assert len(listed.out.splitlines()) == 2
    assert run(["gallery", "remove", NAME, "-g", "staff", "--yes"]) == 0
    assert "\x1b" not in capfd.readouterr().err
    assert run(["gallery", "list", "-g", "staff", "--json"]) == 0
    assert capfd.readouterr().out == ""


def test_the_same_photograph_under_two_names_is_reported(people: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copy(people / "p1" / "0.png", people / "p2" / "9.png")
    assert run(["enroll", "people", "-g", "staff"]) == 0
    err = capfd.readouterr().err
    assert "Conflicts: 2" in err  # the second: it looks like nobody else in its folder
    assert "p1 (p1/0.png) and p2 (p2/9.png) are the same photograph" in err
    assert run(["gallery", "verify", "-g", "staff"]) == 0
    assert "the same photograph under two names" in capfd.readouterr().out


def test_nothing_is_written_into_the_folder_of_photographs(people: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(people.rglob("*"))
    stamps = [path.stat().st_mtime_ns for path in [people, *before]]
    for path in [p for p in before if p.is_dir()] + [people]:
        path.chmod(0o555)
    assert run(["enroll", "people", "-g", "staff"]) == 0
    assert run(["identify", "people", "-g", "staff"]) == 0
    assert sorted(people.rglob("*")) == before
    assert [path.stat().st_mtime_ns for path in [people, *before]] == stamps


def test_a_dry_run_writes_nothing_and_loads_no_models(
    people: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(recognizer_module, "Recognizer")
    assert run(["enroll", "people", "-g", "staff", "--dry-run", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["people"] == {"p1": 2, "p2": 2, "p3": 2, "p4": 2}
    assert "Would enrol 8 of 8 photos" in err
    assert not Path("staff").exists()


def test_a_gpu_for_the_networks_does_not_ask_for_one_to_search_with(
    gallery: Path, people: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--device auto` where torch has a GPU and FAISS has none: the search stays on the CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    photo = str(next(Path("people").rglob("*.png")))
    assert run(["identify", photo, "-g", "staff", "--json", "-q"]) == 0
    assert lines(capfd.readouterr().out)[0]["decision"] != "none"


def test_threshold_zero_is_honoured(gallery: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    pretend.paint(Path("stranger.png"), (99, 6, 0))
    decisions = {}
    for value in ("0", "-1", "1"):
        assert run(["identify", "stranger.png", "-g", "staff", "--threshold", value, "--json", "-q"]) == 0
        (line,) = lines(capfd.readouterr().out)
        assert line["threshold"]["value"] == float(value)
        decisions[value] = (line["decision"], line["candidates"][0]["score"])
    assert decisions["-1"][0] == "match"
    assert decisions["1"][0] == "unknown"
    assert decisions["0"][0] == ("match" if decisions["0"][1] >= 0 else "unknown")


def test_a_small_gallery_states_which_rate_its_pairs_support(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["identify", "people/p1/0.png", "-g", "staff", "--json"]) == 0
    out, err = capfd.readouterr()
    threshold = lines(out)[0]["threshold"]
    assert (threshold["pairs"], threshold["source"]) == (24, "gallery")
    assert threshold["far"] == pytest.approx(3 / 24, rel=0.1)
    assert threshold["entries"] == 8
    assert threshold["fpir"] == pytest.approx(1 - (1 - threshold["far"]) ** 8, rel=1e-6)
    assert "0 of 24 impostor pairs" in err


def test_a_folder_without_photographs_is_refused(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert run(["identify", "empty", "-g", "staff"]) == 2
    assert run(["enroll", "empty", "-g", "staff"]) == 2
    assert capfd.readouterr().err.count("found none in empty") == 2


def test_an_empty_gallery_answers_unknown(pretend: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    pretend.paint(Path("root") / "ann" / "none.png")
    assert run(["enroll", "root", "-g", "staff"]) == 0
    pretend.paint(Path("probe.png"), (1, 6, 0))
    assert run(["identify", "probe.png", "-g", "staff", "--json"]) == 0
    (line,) = lines(capfd.readouterr().out)
    assert (line["decision"], line["candidates"], line["threshold"]["value"]) == ("unknown", [], None)
    assert run(["gallery", "info", "-g", "staff"]) == 0
    assert run(["gallery", "list", "-g", "staff"]) == 0
    assert run(["gallery", "export", "-g", "staff", "--format", "npz", "-o", "out.npz"]) == 0


def test_a_photo_without_a_face_gives_a_line_and_strict_exits_with_3(
    gallery: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend.paint(Path("none.png"))
    Path("text.jpg").write_text("text")
    probes = ["identify", "none.png", "text.jpg", "people/p1/0.png", "-g", "staff"]
    assert run([*probes, "--json", "-q"]) == 0
    found = lines(capfd.readouterr().out)
    assert (found[0]["file"], found[0]["decision"]) == ("none.png", "none")
    assert [line["reason"] for line in found if line["decision"] == "none"] == ["no_face", "unreadable"]
    assert run([*probes, "--strict"]) == 3
    assert "no_face" in capfd.readouterr().out


def test_other_weights_are_refused_with_the_command_that_resolves_it(
    gallery: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Other(PretendRecognizer):
        @classmethod
        def load(cls, *_: object, **settings: object) -> Other:
            return cls("b")

    monkeypatch.setattr(recognizer_module, "Recognizer", Other)
    before = enrolled()
    for command in (["identify", "people/p1/0.png"], ["enroll", "people"]):
        assert run([*command, "-g", "staff"]) == 2
        err = capfd.readouterr().err
        assert "facerec gallery migrate -g staff" in err
        assert "weights recognition/pretend a there, b here" in err
    assert enrolled() == before
    assert run(["gallery", "migrate", "-g", "staff"]) == 0
    assert "Described 8 photos again" in capfd.readouterr().err
    assert run(["identify", "people/p1/0.png", "-g", "staff", "--threshold", "0.4", "--json"]) == 0
    assert lines(capfd.readouterr().out)[0]["person"] == "p1"
    assert run(["gallery", "migrate", "-g", "staff"]) == 0
    assert "nothing to do" in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not a gallery", b"SQLite format 3\x00" + bytes(200)])
def test_a_file_that_is_no_gallery_is_refused_by_every_command(
    people: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("staff").write_bytes(content)
    for command in (
        ["enroll", "people"],
        ["identify", "people/p1/0.png"],
        *(["gallery", name] for name in ("info", "verify", "list", "migrate", "export")),
        ["gallery", "remove", "p1", "--yes"],
    ):
        assert run([*command, "-g", "staff"]) == 2, command
        assert "expected a gallery made by facerec enroll" in capfd.readouterr().err
    assert Path("staff").read_bytes() == content
    assert run(["identify", "people/p1/0.png", "-g", "none"]) == 2
    assert "there is no none" in capfd.readouterr().err


def test_a_gallery_copied_elsewhere_needs_no_photograph_described_again(
    gallery: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("away").mkdir()
    shutil.move("staff", "away/moved")
    shutil.copytree("people", "copy")
    monkeypatch.setattr(pretend.PretendRecognizer, "describe", lambda self, image: pytest.fail("described again"))
    assert run(["enroll", "copy", "-g", "away/moved", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["new"] == 0


def subprocess_enrolment(tmp_path: Path, delay: float) -> subprocess.Popen[bytes]:
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import pretend_models
        from facerec.recognition import description, recognizer
        class Slow(pretend_models.PretendRecognizer):
            @classmethod
            def load(cls, **_):
                return cls(delay={delay})
        recognizer.Recognizer = Slow
        # A small batch keeps the test short.
        real = description.EnrolmentSettings
        description.EnrolmentSettings = lambda **given: real(batch=2, **given)
        from facerec.cli.main import main
        main()
        """
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, "enroll", "people", "-g", "staff", "--device", "cpu"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


def wait_for_entries(process: subprocess.Popen[bytes], least: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr and process.stderr.read()
        if Path("staff").exists():
            with Gallery.open("staff") as gallery:
                if len(gallery.entries()) >= least:
                    return
        time.sleep(0.02)
    pytest.fail("the enrolment did not come on")


def test_an_enrolment_killed_in_the_middle_is_resumed(
    people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["enroll", "people", "-g", "whole", "-q"]) == 0
    process = subprocess_enrolment(tmp_path, delay=0.2)
    try:
        wait_for_entries(process, 2)
        # A second writer meanwhile is refused with the name of the first; readers are served.
        assert run(["enroll", "people", "-g", "staff"]) == 2
        assert f"is being written by process {process.pid}" in capfd.readouterr().err
        assert run(["gallery", "list", "-g", "staff"]) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with Gallery.open("staff") as gallery:
        kept = len(gallery.entries())
        assert gallery.verify().faults == ()
    assert 2 <= kept < 8
    capfd.readouterr()
    assert run(["enroll", "people", "-g", "staff", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["new"] == 8 - kept
    assert enrolled("staff") == enrolled("whole")


def test_an_interrupted_enrolment_ends_with_130_and_explains_how_to_continue(
    people: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: PretendRecognizer, image: Image) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretend.PretendRecognizer, "describe", interrupt)
    assert run(["enroll", "people", "-g", "staff"]) == 130
    assert "run the same command to continue" in capfd.readouterr().err


def test_a_fault_of_the_models_ends_with_1_after_the_batch(
    people: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = PretendRecognizer.describe

    def faulty(self: PretendRecognizer, image: Image) -> list[DescribedFace | UndescribedFace]:
        if image[1, 0, 0] == 2:
            raise ZeroDivisionError("in the fit")
        return real(self, image)

    monkeypatch.setattr(pretend.PretendRecognizer, "describe", faulty)
    assert run(["enroll", "people", "-g", "staff"]) == 1
    err = capfd.readouterr().err
    assert "Enrolled 6 of 8" in err
    assert "ZeroDivisionError: in the fit" in err
    assert run(["identify", "people", "-g", "staff", "--json", "-q"]) == 1
    assert len(lines(capfd.readouterr().out)) == 8


def test_removal_asks_or_needs_yes(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["gallery", "remove", "p1", "-g", "staff"]) == 2
    assert "--yes" in capfd.readouterr().err
    assert run(["gallery", "remove", "p9", "-g", "staff", "-y"]) == 2
    assert "there is no 'p9'" in capfd.readouterr().err
    assert run(["gallery", "remove", "p1", "p2", "-g", "staff", "-y"]) == 0
    assert "Removed 4 entries" in capfd.readouterr().err
    data = Path("staff").read_bytes()
    assert b"p1/" not in data
    assert run(["gallery", "list", "-g", "staff", "--format", "csv"]) == 0
    assert [row["person"] for row in csv.DictReader(io.StringIO(capfd.readouterr().out))] == ["p3", "p4"]
    assert run(["gallery", "remove", "--entry", "5", "-g", "staff", "-y"]) == 0


def test_info_and_export_show_the_content_of_the_gallery(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["gallery", "info", "-g", "staff", "--json"]) == 0
    info = json.loads(capfd.readouterr().out)
    assert (info["people"], info["photos"], info["entries"]) == (4, 8, 8)
    assert info["digest"] == enrolled()
    assert info["contract"]["content"]["descriptor"] == "pretend"
    assert run(["gallery", "info", "-g", "staff"]) == 0
    assert "4 people, 8 photos, 8 entries" in capfd.readouterr().out
    assert run(["gallery", "export", "-g", "staff"]) == 0
    entries = lines(capfd.readouterr().out)
    assert [e["person"] for e in entries] == ["p1", "p1", "p2", "p2", "p3", "p3", "p4", "p4"]
    assert run(["gallery", "export", "-g", "staff", "--format", "csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capfd.readouterr().out)))) == 8
    assert run(["gallery", "export", "-g", "staff", "--format", "npz", "-o", "out"]) == 0
    with np.load("out", allow_pickle=False) as arrays, Gallery.open("staff") as opened:
        assert arrays["cells"].shape == (8, *opened.shape)
        assert list(arrays["person"]) == [e["person"] for e in entries]
    assert run(["gallery", "export", "-g", "staff", "--format", "npz"]) == 2
    assert run(["gallery", "list", "-g", "staff", "--entries", "--json"]) == 0
    assert run(["gallery", "verify", "-g", "staff", "--json"]) == 0


def test_verify_finds_damage(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Gallery.open("staff") as opened:
        vector = opened.signature(3).cells.tobytes()
    data = bytearray(gallery.read_bytes())
    data[data.index(vector[:30]) + 7] ^= 16
    gallery.write_bytes(data)
    assert run(["gallery", "verify", "-g", "staff"]) == 2
    assert "entry 3" in capfd.readouterr().out
    assert run(["identify", "people/p1/0.png", "-g", "staff"]) == 2
    assert "damaged" in capfd.readouterr().err


# ---- verify ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ShippedImpostors:
    scores = np.random.default_rng(0).normal(0.05, 0.08, 100_000)
    record = ShippedImpostors(pretend.PretendContract().digest, 50, "made up", ImpostorCurve.measure(scores, 10))
    path = tmp_path / "impostors-pretend.json"
    path.write_text(json.dumps(record.as_json()))
    monkeypatch.setattr(shipped_module, "SHIPPED_IMPOSTORS", path.parent)
    return record


def test_two_photographs_are_compared_at_the_shipped_threshold(
    shipped: ShippedImpostors, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, face in (
        ("a", (1, 6, 0)),
        ("b", (1, 8, 1)),
        ("c", (2, 6, 0)),
        ("left", (1, 0, 0)),
        ("right", (1, 12, 0)),
    ):
        pretend.paint(Path(f"{name}.png"), face)
    expected = {("a", "b"): "same", ("a", "c"): "different", ("left", "right"): "abstain"}
    for (first, second), decision in expected.items():
        assert run(["verify", f"{first}.png", f"{second}.png", "--json"]) == 0
        found = json.loads(capfd.readouterr().out)
        assert found["decision"] == decision, found
        assert found["threshold"]["pairs"] == 100_000
        assert found["threshold"]["far"] <= 1e-3
        assert -1 <= found["score"] <= 1
    assert run(["verify", "a.png", "b.png"]) == 0
    assert "over 100,000 impostor pairs" in capfd.readouterr().out


def test_a_gallery_decides_at_the_share_of_strangers_that_is_asked_for(
    shipped: ShippedImpostors, gallery: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values = {}
    for fpir in ("0.1", "0.01", "0.001"):
        assert run(["identify", "people/p1/0.png", "-g", "staff", "--json", "--fpir", fpir]) == 0
        out, err = capfd.readouterr()
        threshold = lines(out)[0]["threshold"]
        assert (threshold["fpir"], threshold["entries"], threshold["source"]) == (float(fpir), 8, "shipped")
        assert threshold["far"] == pytest.approx(1 - (1 - float(fpir)) ** (1 / 8), rel=1e-6)
        assert f"FPIR {100 * float(fpir):g} % among 8 pictures, from 100,000 pairs of strangers" in err
        values[fpir] = threshold["value"]
    assert values["0.1"] < values["0.01"] < values["0.001"]
    assert run(["identify", "people/p1/0.png", "-g", "staff", "--json"]) == 0
    assert lines(capfd.readouterr().out)[0]["threshold"]["value"] == values["0.01"]
    assert run(["identify", "people/p1/0.png", "-g", "staff", "--fpir", "0.1", "--far", "0.1"]) == 2
    assert "one of --threshold, --fpir and --far" in capfd.readouterr().err
    assert run(["gallery", "info", "-g", "staff", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["threshold"]["fpir"] == 0.01
    assert found["expected_tpir"] == {}  # nothing was measured on mates for this made-up descriptor


def test_verify_without_shipped_impostors_wants_a_threshold(
    pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped_module, "SHIPPED_IMPOSTORS", Path("none"))
    pretend.paint(Path("a.png"), (1, 6, 0))
    assert run(["verify", "a.png", "a.png", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["decision"] == "abstain"
    assert run(["verify", "a.png", "a.png", "--threshold", "0"]) == 0
    assert capfd.readouterr().out.startswith("same: 1.00 >= 0.00")
    assert run(["verify", "a.png", "a.png", "--threshold", "0", "--far", "0.1"]) == 2


def test_verify_of_a_photograph_without_a_face_gives_its_reason_and_2(
    pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend.paint(Path("a.png"), (1, 6, 0))
    pretend.paint(Path("none.png"))
    assert run(["verify", "a.png", "none.png", "--json"]) == 2
    found = json.loads(capfd.readouterr().out)
    assert (found["decision"], found["reason"]) == ("none", "no_face")
    assert run(["verify", "none.png", "a.png"]) == 2
    assert UnusablePhotoError("no_face", "no face was found").args[0] in capfd.readouterr().out


def test_people_are_renamed_and_merged(gallery: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["gallery", "rename", "p1", "Zoë", "-g", str(gallery)]) == 0
    assert run(["gallery", "rename", "p2", "p3", "-g", str(gallery)]) == 2
    assert "facerec gallery merge 'p2' --into 'p3'" in capfd.readouterr().err
    assert run(["gallery", "merge", "p2", "p4", "--into", "p3", "-g", str(gallery), "-q"]) == 0
    capfd.readouterr()
    assert run(["gallery", "list", "--json", "-g", str(gallery)]) == 0
    assert {(p["person"], p["entries"]) for p in lines(capfd.readouterr().out)} == {("Zoë", 2), ("p3", 6)}


def test_a_known_stranger_is_reported_in_every_format_and_is_no_match(
    gallery: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    probe = str(pretend.paint(Path("probe.png"), (2, 6, 9)))
    assert run(["gallery", "mark", "p9", "--nobody", "-g", "staff"]) == 2
    assert run(["gallery", "mark", "p2", "-g", "staff"]) == 2
    assert run(["gallery", "mark", "p2", "--nobody", "-g", "staff"]) == 0
    assert "Marked as known strangers in staff: p2" in capfd.readouterr().err
    said = {}
    for form in ("jsonl", "csv", "table"):
        assert run(["identify", probe, "-g", "staff", "--format", form, "--threshold", "0.4"]) == 0
        said[form], summary = capfd.readouterr()
        assert "0 match, 1 unknown" in summary
    (line,), (row,) = lines(said["jsonl"]), csv.DictReader(io.StringIO(said["csv"]))
    assert (line["decision"], line["person"], line["known_stranger"]) == ("unknown", None, "p2")
    assert (row["decision"], row["person"], row["known_stranger"]) == ("unknown", "", "p2")
    assert float(row["margin"]) == line["margin"] == pytest.approx(line["candidates"][0]["score"] - 0.4, abs=2e-6)
    assert "known stranger: p2 0." in said["table"]
    assert run(["gallery", "list", "-g", "staff", "--json"]) == 0
    assert {p["person"]: p["nobody"] for p in lines(capfd.readouterr().out)} == {
        "p1": False, "p2": True, "p3": False, "p4": False
    }  # fmt: skip
    assert run(["gallery", "export", "-g", "staff", "--format", "npz", "-o", "out"]) == 0
    with np.load("out", allow_pickle=False) as arrays:
        assert arrays["nobody"].tolist() == [False] * 2 + [True] * 2 + [False] * 4
        assert arrays["regions"].shape == (8, 16, 16)
        assert arrays["regions"].any()
    capfd.readouterr()
    assert run(["gallery", "info", "-g", "staff", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["known_strangers"] == 1
    assert run(["gallery", "mark", "p2", "--person", "-g", "staff", "-q"]) == 0
    assert run(["identify", probe, "-g", "staff", "--json", "--threshold", "0.4"]) == 0
    assert lines(capfd.readouterr().out)[0]["person"] == "p2"


def test_an_index_is_made_when_asked_and_used_when_asked(
    gallery: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    probe = pretend.paint(Path("probe.png"), (2, 6, 9))
    assert run(["identify", str(probe), "-g", str(gallery), "--json", "-q", "--device", "cpu"]) == 0
    exact = lines(capfd.readouterr().out)
    assert run(["identify", str(probe), "-g", str(gallery), "--search", "hnsw", "--device", "cpu"]) == 2
    assert "facerec gallery index" in capfd.readouterr().err
    assert run(["gallery", "index", "--method", "hnsw", "-g", str(gallery), "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["recall"] == 1.0
    assert "recall@1 100.0 %" in said.err
    assert run(["identify", str(probe), "-g", str(gallery), "--search", "hnsw", "--json", "-q", "--device", "cpu"]) == 0
    (face,) = lines(capfd.readouterr().out)
    assert (face["decision"], face["candidates"]) == (exact[0]["decision"], exact[0]["candidates"])


def test_enrolment_reports_missing_photographs_and_sync_removes_them(
    gallery: Path, people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (people / "p1" / "0.png").unlink()
    arguments = ["enroll", str(people), "-g", str(gallery), "--device", "cpu"]
    assert run(arguments) == 0
    assert "No longer there, or changed: 1 photo of the gallery (--sync removes it)" in capfd.readouterr().err
    assert run([*arguments, "--sync", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["removed"], said["entries"]) == (1, 7)
    assert said["pose_coverage"]["yaw"]["p1"] == [0.0, 0.0]
    assert said["pose_coverage"]["lacks"]["p1"] == ["left profile", "right profile"]
