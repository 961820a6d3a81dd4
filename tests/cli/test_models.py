"""`facerec models` says what the weights are, and notices when a file is not the recorded one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.landmarks import checkpoint


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with one model in each of two stages."""
    monkeypatch.setattr(checkpoint, "_STAGES", tmp_path)
    for folder, name in (("landmarks", "tiny"), ("recognition", "other")):
        checkpoint.save_weights(
            folder,
            name,
            {"x": np.arange(4, dtype=np.float32)},
            what="a test model",
            training_sets=["CFP folds 01-06"],
            split="by person",
            metric={"nme": 0.05},
            licence="research use only",
            command="facerec train tiny",
        )
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_the_list_shows_licence_and_training_data_of_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["MODEL", "landmarks/tiny", "recognition/other"]
    assert all("research use only" in line and "CFP folds 01-06" in line for line in lines[1:])
    assert run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["weights"]
    assert listed == [record.as_json() for record in checkpoint.weight_records()]


@pytest.mark.usefixtures("installed")
def test_one_model_is_described_in_full_by_either_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tiny", "landmarks/tiny"):
        assert run(["models", "info", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["split"] == "by person"
    assert run(["models", "info", "tiny"]) == 0
    assert "facerec train tiny" in capsys.readouterr().out
    assert run(["models", "info", "unheard"]) == 2
    assert "landmarks/tiny, recognition/other" in capsys.readouterr().err


def test_verify_distinguishes_intact_changed_missing_and_unrecorded_files(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "verify"]) == 0
    capsys.readouterr()
    (installed / "landmarks/weights/tiny.safetensors").write_bytes(b"something else")
    (installed / "recognition/weights/other.safetensors").unlink()
    (installed / "recognition/weights/stray.npz").write_bytes(b"x")
    assert run(["models", "verify", "--json"]) == 2
    status = {item["model"]: item["status"] for item in json.loads(capsys.readouterr().out)["weights"]}
    assert status == {
        "landmarks/tiny": "changed",
        "recognition/other": "missing",
        "recognition/stray.npz": "not recorded",
    }


def test_an_installation_without_weights_does_not_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "_STAGES", tmp_path)
    assert run(["models", "verify"]) == 2
    assert "no weights" in capsys.readouterr().err
