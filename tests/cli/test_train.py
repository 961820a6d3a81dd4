import sys
from pathlib import Path

import click
import pytest

from facerec.cli import train
from facerec.cli.main import run
from facerec.cli.train_godp import PackChoice


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
