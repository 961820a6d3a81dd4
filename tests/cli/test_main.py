"""The command line starts fast, imports late, and answers every error with a message and an exit code."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from facerec.cli import __file__ as cli_folder
from facerec.cli.command_list import CommandList
from facerec.cli.main import COMMANDS, facerec, run
from facerec.cli.train import TRAINERS
from facerec.landmarks.errors import ContractError, UnusablePhotoError

HEAVY = {"torch", "faiss", "numpy", "scipy", "cv2", "matplotlib", "trimesh", "sklearn", "PIL", "rich", "jinja2"}


def help_command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from facerec.cli.main import main; main()", *arguments]


def test_help_takes_less_than_300_ms() -> None:
    # Processor time of the child, the least of five: a machine with other work to do must not fail the test.
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(help_command("--help"), capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "enroll" in done.stdout
    assert min(spent) < 0.3


def test_listing_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys; from facerec.cli.main import run; assert run(['--help']) == 0; "
        f"print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


def test_every_trainer_on_disk_is_listed_with_its_help() -> None:
    here = Path(cli_folder).parent
    on_disk = {path.stem.removeprefix("train_").replace("_", "-") for path in here.glob("train_*.py")}
    assert on_disk
    assert on_disk <= set(TRAINERS)
    group = facerec.get_command(click.Context(facerec), "train")
    assert isinstance(group, CommandList)
    for name in on_disk:
        found = group.get_command(click.Context(group), name)
        assert isinstance(found, click.Command)
        assert found.name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there_and_has_help(name: str) -> None:
    found = facerec.get_command(click.Context(facerec), name)
    assert isinstance(found, click.Command)
    assert found.name == name
    assert found.help


def test_loading_the_commands_imports_no_network_and_no_plotting() -> None:
    late = {"torch", "faiss", "matplotlib", "trimesh", "sklearn"}
    code = (
        "import sys, importlib\n"
        f"for name in {list(COMMANDS)!r}: importlib.import_module('facerec.cli.' + name)\n"
        f"print('loaded:', sorted({late!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "loaded: []\n", done.stderr


def serve(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `facerec doctor` raise `error`."""

    @click.command(name="doctor")
    def failing() -> None:
        raise error

    monkeypatch.setattr(CommandList, "get_command", lambda *_: failing)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ContractError("gallery a and models b"), 2, "error: gallery a and models b"),
        (UnusablePhotoError("unreadable", "empty"), 2, "unreadable: empty"),
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), 2, "No such file or directory: a.jpg"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 1, "internal error: ZeroDivisionError: oops"),
        (OSError(12, "Cannot allocate memory"), 1, "internal error"),
        (click.UsageError("bad option"), 2, "bad option"),
        (click.exceptions.Exit(3), 3, ""),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_message_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    serve(monkeypatch, error)
    monkeypatch.delenv("FACEREC_DEBUG", raising=False)
    assert run(["doctor"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert ("--debug" in err) == (code == 1)


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    serve(monkeypatch, ZeroDivisionError("oops"))
    monkeypatch.delenv("FACEREC_DEBUG", raising=False)
    assert run(["--debug", "doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("FACEREC_DEBUG", "1")
    assert run(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_message_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, ContractError("person \x1b[31mred"))
    assert run(["doctor"]) == 2
    assert r"\x1b[31mred" in capsys.readouterr().err


def test_a_misspelt_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["enrol"]) == 2
    assert "Did you mean 'enroll'?" in capsys.readouterr().err
    assert run(["--nonsense"]) == 2


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    err = capsys.readouterr().err
    assert "Examples:" in err
    assert "error" not in err.split("Options:")[0]


def test_the_script_exits_with_the_code_of_the_command(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        help_command("models", "info", "nobody"),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert done.stdout == ""
