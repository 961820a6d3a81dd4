"""The command that a weight record keeps makes the same weights when it is given again."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from facerec.cli import train
from facerec.cli.recorded_command import UNRECORDED, recorded_command
from facerec.cli.train_godp import PackChoice
from facerec.cli.train_godp import command as train_godp
from facerec.cli.train_rdssd import command as train_rdssd

CLI = Path(train.__file__).parent


def recorded(command: click.Command, arguments: list[str], resolved: dict[str, object] | None = None) -> str:
    """What a command with the options of `command` records when it is given `arguments`."""
    kept: list[str] = []
    twin = click.Command(
        command.name, params=command.params, callback=lambda **_: kept.append(recorded_command(resolved))
    )
    done = CliRunner().invoke(twin, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return kept[0]


def trainers() -> dict[str, click.Command]:
    """The commands that write weights, by name."""
    found = {}
    for name in train.command.list_commands(click.Context(train.command)):
        one = train.command.get_command(click.Context(train.command), name)
        assert one is not None
        if any(parameter.name == "weights_root" for parameter in one.params):
            found[name] = one
    return found


def unlike_its_default(parameter: click.Parameter) -> list[str]:
    """Words for `parameter` that mean another value than its default."""
    kind, name = parameter.type, max(parameter.opts, key=len)
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return parameter.secondary_opts if parameter.default is True else [name]
    value = "rdssd"
    if isinstance(kind, (PackChoice, click.Path)):
        a_file = isinstance(kind, PackChoice) or kind.file_okay
        place = Path(f"a {'file' if a_file else 'folder'} for {parameter.name}")
        place.touch() if a_file else place.mkdir(exist_ok=True)
        value = f"{place}:0.123456789012" if isinstance(kind, PackChoice) else str(place)
    elif isinstance(kind, click.Choice):
        value = next(str(one) for one in reversed(kind.choices) if one != parameter.default)
    elif isinstance(kind, click.FloatRange) or kind is click.FLOAT:
        value = "0.12345678901234567"
    elif isinstance(kind, click.IntRange) or kind is click.INT:
        value = "12345"
    return [name, value] if isinstance(parameter, click.Option) else [value]


def parsed(command: click.Command, words: list[str]) -> dict[str, object]:
    """Every choice that shapes the weights, by its argument's name."""
    context = command.make_context(command.name, list(words))
    return {name: value for name, value in context.params.items() if name not in UNRECORDED}


@pytest.mark.parametrize("name", sorted(trainers()))
def test_a_recorded_command_means_the_same_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = trainers()[name]
    words = [word for parameter in command.params for word in unlike_its_default(parameter)]
    chosen, plain = parsed(command, words), {parameter.name: parameter.default for parameter in command.params}
    assert all(value != plain[name] for name, value in chosen.items())
    again = shlex.split(recorded(command, words))
    assert again[:3] == ["facerec", "train", name]
    assert parsed(command, again[3:]) == chosen


@pytest.mark.parametrize("name", sorted(trainers()))
def test_every_trainer_records_the_command_that_it_was_given(name: str) -> None:
    module = "train_dssd" if name == "rdssd" else f"train_{name.replace('-', '_')}"
    source = (CLI / f"{module}.py").read_text("utf-8")
    assert "recorded_command(" in source
    assert 'f"facerec train' not in source  # a line put together by hand forgets options


def test_values_without_an_option_are_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    with pytest.raises(ValueError, match="got words"):
        recorded(train_godp, ["--pack", str(tmp_path / "a.npz")], {"words": 3})


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


def test_a_recorded_command_records_itself_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    options = ["--pack", "a.npz:0.3", "--latent", "12", "--beta", "0.01", "--star", "--learning", "joint"]
    first = recorded(train_rdssd, options, {"samples": 5600, "gamma": 0.002})
    again = recorded(train_rdssd, first.removeprefix("facerec train rdssd ").split())
    assert first == again
    assert "--star" in first.split()
    assert "--samples 5600" in first


def test_only_where_and_how_a_training_runs_is_left_out() -> None:
    left_out = {parameter.name for one in trainers().values() for parameter in one.params} & UNRECORDED
    assert left_out == UNRECORDED - {"help"}
