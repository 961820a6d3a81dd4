from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests import pretend_models
from tests.headless_browser import CHROMIUM, Browser


def stand_ins(module: ModuleType) -> list[str]:
    """Names in a module of the package that hold something which a test defines."""
    files = {
        name: getattr(sys.modules.get(str(getattr(value, "__module__", None))), "__file__", None)
        for name, value in vars(module).items()
    }
    return [name for name, file in files.items() if file and Path(file).is_relative_to(Path(__file__).parent)]


@pytest.fixture(autouse=True)
def _no_stand_in_stays() -> Iterator[None]:
    """A module that is first imported while a test replaces a name must not keep the replacement for later tests."""
    before = set(sys.modules)
    yield
    kept = {name: stand_ins(sys.modules[name]) for name in sys.modules.keys() - before if name.startswith("facerec.")}
    kept = {name: names for name, names in kept.items() if names}
    assert not kept, f"imported while the test replaced names that they import, and keep what stood there: {kept}"


@pytest.fixture(autouse=True)
def _single_precision(_no_stand_in_stays: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in float32: tests compare with exact twins, on whatever processor they run."""
    monkeypatch.setenv("FACEREC_PRECISION", "float32")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes on one thread: sums of several threads differ in the last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pretend() -> ModuleType:
    """tests/pretend_models.py"""
    return pretend_models


@pytest.fixture(scope="session")
def pretend_service() -> ModuleType:
    """tests/pretend_service.py"""
    return importlib.import_module("tests.pretend_service")  # needs httpx


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building a wheel without the network needs setuptools >= 77 in this environment")
    root, folder = Path(__file__).parent.parent, tmp_path_factory.mktemp("wheel")
    # From a copy: building in place would leave build/lib, and with it modules that were deleted since.
    copy = folder / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(root / name, copy)
    for package in ("facerec", "landmarks", "frontalize", "recognition", "evaluation", "cli"):
        shutil.copytree(root / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", str(folder), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("facerec-*.whl")
    return built


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Chromium."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    one = Browser(tmp_path / "profile")
    yield one
    one.close()
