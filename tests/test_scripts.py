"""The scripts that install and check facerec, with stand-ins for Python: nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(sys.platform != "linux" or BASH is None, reason="the scripts are tried on Linux")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{BASH}\n{text}\n")
    path.chmod(0o755)


def tools(folder: Path, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


def ran(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BASH), *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_torchs_cpu_build_is_taken_where_pip_finds_it_and_no_gpu_is_there(
    tmp_path: Path, known: bool, gpu: bool
) -> None:
    asked = tmp_path / "asked"
    program(tmp_path / "venv/bin/python", f'echo "$@" >>{asked}; case "$*" in *+cpu*) exit {0 if known else 1};; esac')
    path = tools(tmp_path / "tools", "uname", "sed", "cat", "cksum")
    if gpu:
        program(tmp_path / "tools" / "nvidia-smi", "")
    done = ran(["-ec", ". scripts/environment.sh; prepare dev"], ROOT, PATH=path, FACEREC_VENV=str(tmp_path / "venv"))
    assert done.returncode == 0, done.stderr
    *before, last = asked.read_text().splitlines()
    assert last.endswith(".[dev]")
    assert [line.split("torch==")[1].endswith("+cpu") for line in before] == [True] * (not gpu)
    assert ("knows no index" in done.stderr) is (not known and not gpu)


@pytest.mark.parametrize("fails", ["", "3.13"])
def test_every_installed_python_is_tried_and_the_others_are_named(tmp_path: Path, fails: str) -> None:
    path = tools(tmp_path / "tools", "dirname")
    for version in ("3.11", "3.13"):
        program(tmp_path / "tools" / f"python{version}", "")
    program(tmp_path / "tools" / "python3.14", "exit 127")  # a shim that has nothing behind it
    program(tmp_path / "scripts/test", f'echo "$PYTHON $FACEREC_VENV $*"; [ "$PYTHON" != "python{fails}" ]')
    shutil.copy(ROOT / "scripts" / "test-pythons", tmp_path / "scripts")
    done = ran(["scripts/test-pythons", "tests/cli"], tmp_path, PATH=path)
    assert done.stdout.splitlines() == [
        "python3.11 .venv-3.11 tests/cli",
        "python3.13 .venv-3.13 tests/cli",
        f"tried: 3.11 3.13; not installed: 3.12 3.14; failed: {fails or 'none'}",
    ]
    assert done.returncode == bool(fails)
