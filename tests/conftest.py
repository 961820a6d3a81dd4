from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in float32: tests compare with exact twins, on whatever processor they run."""
    monkeypatch.setenv("FACEREC_PRECISION", "float32")


@pytest.fixture(scope="session")
def pretend() -> ModuleType:
    """tests/pretend_models.py: by its path, because pytest's importlib mode puts no test folder on sys.path."""
    name = "pretend_models"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
