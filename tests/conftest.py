from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in float32: tests compare with exact twins, on whatever processor they run."""
    monkeypatch.setenv("FACEREC_PRECISION", "float32")


def _beside(name: str) -> ModuleType:
    """tests/NAME.py: by its path, because pytest's importlib mode puts no test folder on sys.path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def pretend() -> ModuleType:
    """tests/pretend_models.py"""
    return _beside("pretend_models")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A `headless_browser.Browser`."""
    headless = _beside("headless_browser")
    if headless.CHROMIUM is None:
        pytest.skip("needs Chromium")
    one = headless.Browser(tmp_path / "profile")
    yield one
    one.close()
