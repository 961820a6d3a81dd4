"""The command that a weight record keeps makes the same weights when it is given again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from facerec.cli.recorded_command import recorded_command
from facerec.cli.train_dssd import cascade_options
from facerec.cli.train_godp import command as train_godp
from facerec.cli.train_rdssd import command as train_rdssd


def recorded(command: click.Command, arguments: list[str], resolved: dict[str, Any] | None = None) -> str:
    """What a command with the options of `command` records when it is given `arguments`."""
    kept: list[str] = []
    twin = click.Command(
        command.name, params=command.params, callback=lambda **_: kept.append(recorded_command(resolved))
    )
    done = CliRunner().invoke(twin, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return kept[0]


def test_every_option_that_shapes_the_weights_is_recorded_without_folders(tmp_path: Path) -> None:
    pack, start = tmp_path / "a.npz", tmp_path / "earlier.pt"
    pack.write_bytes(b"")
    start.write_bytes(b"")
    shaping = {
        "--pack": f"{pack}:0.5", "--start": str(start), "--samples": "64", "--batch": "8", "--rate": "0.00015",
        "--width": "0.5", "--schedule": "last", "--losses": "godp", "--architecture": "hourglass", "--spatial": "0.25",
        "--yaw-edges": "-30,30", "--seed": "7", "--max-minutes": "9",
    }  # fmt: skip
    given = [word for pair in shaping.items() for word in pair]
    elsewhere = ["--run", str(tmp_path / "run"), "--device", "cpu", "--threads", "2", "-q"]
    text = recorded(train_godp, given + elsewhere)
    assert text.startswith("facerec train godp ")
    for option, value in shaping.items():
        assert f"{option} {value.replace(str(tmp_path) + '/', '')}" in text
    assert str(tmp_path) not in text
    assert "--run" not in text


def test_a_recorded_command_records_itself_again(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    options = ["--pack", "a.npz:0.3", "--latent", "12", "--beta", "0.01", "--star", "--learning", "joint"]
    first = recorded(train_rdssd, options, {"samples": 5600, "gamma": 0.002})
    again = recorded(train_rdssd, first.removeprefix("facerec train rdssd ").split())
    assert first == again
    assert "--star" in first.split()
    assert "--samples 5600" in first


def test_no_option_of_the_cascades_is_forgotten() -> None:
    """An option that is not recorded says where and how a training runs, which a reader of a record need not know."""

    @click.command()
    @cascade_options
    def command(**_: Any) -> None:
        pass

    from facerec.cli.recorded_command import UNRECORDED

    unrecorded = {parameter.name for parameter in command.params if parameter.name in UNRECORDED}
    assert unrecorded == {"run", "test", "threads", "export", "weights_root", "device", "quiet"}
