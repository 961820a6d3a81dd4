from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facerec.landmarks import cores
from facerec.landmarks.cores import limit_threads, usable_cores


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores, all of which the process may run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


def group(root: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        file = root / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "groups").mkdir(exist_ok=True)
    (root / "own").write_text(own)
    return root / "groups", root / "own"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "20000 100000"}, 1),
        ("0::/", {"cpu.max": "9900000 100000"}, 8),
        ("0::/a.slice/b.service", {"a.slice/b.service/cpu.max": "300000 100000"}, 3),
        ("0::/a.slice/b.service", {"a.slice/cpu.max": "100000 100000", "a.slice/b.service/cpu.max": "max 100000"}, 1),
        ("0::/docker/4f", {"cpu.max": "400000 100000"}, 4),  # as a container sees itself
        (
            "3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("3:cpu,cpuacct:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 8),
        ("0::/", {"cpu.max": "what is this"}, 8),
    ],
)
def test_the_quota_of_the_own_group_and_those_around_it_counts(
    own: str, files: dict[str, str], expected: int, eight: None, tmp_path: Path
) -> None:
    assert usable_cores(*group(tmp_path, own, files)) == expected


def test_where_there_are_no_groups_the_affinity_counts(
    eight: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 2


def test_libraries_are_kept_to_what_may_run_unless_somebody_said_otherwise(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 3)
    environment = {"OMP_NUM_THREADS": "5"}
    limit_threads(environment)
    assert environment == {"OMP_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    untouched: dict[str, str] = {}
    limit_threads(untouched)
    assert untouched == {}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_command_on_one_core_starts_one_thread() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from facerec.landmarks.cores import limit_threads; limit_threads()\n"
        "import torch; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "1\n"


def test_nothing_but_the_one_function_counts_cores() -> None:
    root = Path(__file__).parents[2]
    counting = {
        str(path.relative_to(root))
        for layer in ("landmarks", "frontalize", "recognition", "evaluation", "cli")
        for path in (root / layer).rglob("*.py")
        if "cpu_count(" in path.read_text("utf-8") or "sched_getaffinity(" in path.read_text("utf-8")
    }
    assert counting == {"landmarks/cores.py", "evaluation/environment.py"}  # the latter says what the machine has
