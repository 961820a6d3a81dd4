"""Devices are never swapped silently; names cannot steer a terminal."""

from __future__ import annotations

import pytest
import torch

from facerec.cli.options import printable
from facerec.landmarks import device as device_module
from facerec.landmarks.device import resolve_device
from facerec.landmarks.errors import DeviceError, InvalidInputError


def test_cuda_that_is_absent_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cpu"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"
    assert resolve_device("cpu") == "cpu"


def test_auto_takes_the_gpu_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device_module, "_driver_there", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda") == "cuda"
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(InvalidInputError, match="mps"):
        resolve_device("mps")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Ämélie 김, Jr.", "Ämélie 김, Jr."),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[2J\x07\x7f\x9b", r"\x1b[2J\x07\x7f\x9b"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\udce9.jpg", r"\udce9.jpg"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_names_are_printed_on_one_line_without_control_characters(raw: str, shown: str) -> None:
    assert printable(raw) == shown
    assert printable(shown) == shown
