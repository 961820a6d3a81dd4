"""`facerec doctor` names what is wrong and says so with its exit code."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from facerec.cli import doctor
from facerec.cli.main import run
from facerec.landmarks import checkpoint


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    return {item["subject"]: item for item in json.loads(capsys.readouterr().out)["findings"]}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(doctor.REQUIRED, "absent-package", "absent_package")
    assert run(["doctor", "--json", "--no-self-test"]) == 2
    found = findings(capsys)
    assert found["absent-package"]["status"] == "wrong"
    assert found["numpy"]["status"] == "ok"


def test_every_extra_is_listed_with_what_it_gives_and_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extras = set(metadata.metadata("facerec").get_all("Provides-Extra") or []) - {"dev"}
    monkeypatch.setitem(doctor.EXTRAS, "video", ({"absent-package": "absent_package"}, "films"))
    run(["doctor", "--json", "--no-self-test"])
    found = findings(capsys)
    assert {f"facerec[{extra}]" for extra in extras} <= set(found)
    assert found["facerec[video]"]["status"] == "note"
    assert "films" in found["facerec[video]"]["detail"]
    assert "pip install 'facerec[video]'" in found["facerec[video]"]["detail"]


def test_a_gpu_that_is_not_there_is_wrong_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["doctor", "--json", "--no-self-test", "--device", "cuda"]) == 2
    assert findings(capsys)["device"]["status"] == "wrong"
    run(["doctor", "--json", "--no-self-test"])
    assert findings(capsys)["device"]["detail"].startswith("cpu")


def test_an_installation_without_weights_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "_STAGES", tmp_path)
    assert run(["doctor", "--json"]) == 2
    found = findings(capsys)
    assert found["weights"]["status"] == "wrong"
    assert "self test" not in found


def test_this_installation_runs_the_whole_path_on_a_portrait(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json", "--device", "cpu"]) == 0
    found = findings(capsys)
    assert found["self test"]["status"] == "ok"
    assert "cells seen" in found["self test"]["detail"]


def test_the_build_of_torch_is_named_and_one_for_a_gpu_that_is_not_there_is_noted() -> None:
    cpu, cuda, idle = (
        doctor.torch_build(*build)
        for build in (("2.13.0+cpu", None, False), ("2.13.0", "13.0", True), ("2.13.0", "13.0", False))
    )
    assert (cpu.status, cuda.status, idle.status) == ("ok", "ok", "note")
    assert "for a CPU" in cpu.detail
    assert "5 GB smaller" in idle.detail
    assert "smaller" not in cuda.detail
