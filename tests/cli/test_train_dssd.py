from pathlib import Path

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.landmarks.training.packs import LandmarkPack


@pytest.mark.parametrize("model", ["dssd", "rdssd"])
def test_a_file_that_is_no_pack_ends_with_bad_input(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"not a pack")
    assert run(["train", model, "--pack", str(file), "--run", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "landmark pack" in capsys.readouterr().err


def test_a_public_set_of_another_form_ends_with_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "public-packs", "300w", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "lfpw/trainset" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_command_offers_the_same_landmark_models(capsys: pytest.CaptureFixture[str]) -> None:
    for command, option in (
        (["landmarks"], "--model"),
        (["enroll"], "--landmarks"),
        (["identify"], "--landmarks"),
        (["verify"], "--landmarks"),
        (["frontalize"], "--landmarks"),
        (["evaluate", "landmarks"], "--model"),
        (["evaluate", "recognition"], "--landmarks"),
    ):
        assert run([*command, "--help"]) == 0
        shown = "".join(capsys.readouterr().out.split())
        assert f"{option}[{'|'.join(LANDMARK_MODELS)}]" in shown, command


def test_packs_of_different_markups_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (68, 29):
        LandmarkPack(
            np.zeros((2, 192, 192), dtype=np.uint8),
            np.full((2, count, 2), 90, dtype=np.float32),
            np.ones((2, count), dtype=np.int8),
            np.zeros(2, dtype=np.float32),
            np.array(["a", "a"]),
        ).save(tmp_path / f"{count}.npz")
    packs = ["--pack", str(tmp_path / "68.npz"), "--pack", str(tmp_path / "29.npz")]
    assert run(["train", "dssd", *packs, "--run", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "one markup" in capsys.readouterr().err
