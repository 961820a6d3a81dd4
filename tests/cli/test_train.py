import sys
from pathlib import Path

import click
import numpy as np
import pytest

from facerec.cli import train
from facerec.cli.main import run
from facerec.cli.train_godp import PackChoice
from facerec.landmarks.training.packs import LandmarkPack


def test_every_trainer_beside_the_group_is_a_command_of_its_name() -> None:
    context = click.Context(train.command)
    names = train.command.list_commands(context)
    assert {"godp", "landmark-packs"} <= set(names)
    for name in names:
        found = train.command.get_command(context, name)
        assert found is not None
        assert found.name == name
        assert found.help


def test_an_unknown_trainer_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_a_pack_is_a_file_with_an_optional_weight(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"")
    kind = PackChoice()
    assert kind.convert(str(file), None, None) == (file, 1.0)
    assert kind.convert(f"{file}:0.25", None, None) == (file, 0.25)
    for wrong in (f"{file}:much", f"{file}:0", f"{file}:-1", f"{file}:nan", f"{tmp_path / 'none.npz'}:1"):
        with pytest.raises(click.BadParameter):
            kind.convert(wrong, None, None)


@pytest.mark.skipif(sys.platform == "win32", reason="a colon cannot be in a file name there")
def test_a_colon_in_a_file_name_is_no_weight(tmp_path: Path) -> None:
    file = tmp_path / "a:3"
    file.write_bytes(b"")
    assert PackChoice().convert(str(file), None, None) == (file, 1.0)


def test_a_file_that_is_no_pack_ends_with_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"not a pack")
    assert run(["train", "godp", "--pack", str(file), "--run", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "landmark pack" in capsys.readouterr().err


@pytest.mark.slow
def test_an_ablation_is_trained_by_settings_and_a_baseline_is_not_exported(tmp_path: Path) -> None:
    import torch

    rng = np.random.default_rng(0)
    points = rng.uniform(40, 150, (3, 68, 2)).astype(np.float32)
    yaw = np.array([-40, 0, 40], dtype=np.float32)
    images = rng.integers(0, 256, (3, 192, 192), dtype=np.uint8)
    LandmarkPack(images, points, np.ones((3, 68), np.int8), yaw, np.array(["drawn"] * 3)).save(tmp_path / "a.npz")
    threads = torch.get_num_threads()
    common = ["train", "godp", "--pack", str(tmp_path / "a.npz"), "--samples", "16", "--batch", "8", "--width", "0.03"]
    common += ["--device", "cpu", "-q", "--weights-root", str(tmp_path / "root")]
    try:
        three = ["--losses", "godp-dsl", "--yaw-edges=-30,30", "--no-export"]
        assert run([*common, "--run", str(tmp_path / "k3"), *three]) == 0
        assert run([*common, "--run", str(tmp_path / "hgn"), "--architecture", "hourglass", "--losses", "sl-a"]) == 0
        assert not (tmp_path / "root").exists()
    finally:
        torch.set_num_threads(threads)  # the command sets those of its process
    state = torch.load(tmp_path / "k3/checkpoint.pt", weights_only=True)
    assert '"losses": "godp-dsl"' in state["settings"]
    assert state["averaged"]["g16.weight"].shape[0] == 3 * 68 + 1
    assert run([*common, "--run", str(tmp_path / "x"), "--yaw-edges", "left"]) == 2
