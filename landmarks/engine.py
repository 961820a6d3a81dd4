"""Which library runs the networks: onnxruntime on a CPU, torch on a GPU and for training.

Both give the same numbers but for rounding, so a contract does not name it. onnxruntime is loaded in a tenth of the
time of torch and runs the small networks faster on processors without instructions for bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

VARIABLE: Final = "FACEREC_ENGINE"
"""Environment variable that chooses: "auto" (the default), "onnx" or "torch"."""

Engine = Literal["onnx", "torch"]

Network = Callable[[NDArray[Any]], list[NDArray[np.float32]]]
"""A network as it is used: from its input (N, ...) float32 to its outputs, each (N, ...). Threads may share it."""


def engine_on(device: str = "cpu") -> Engine:
    """The library that runs the networks on `device`, read when a model is loaded.

    Raises:
        InvalidInputError: the environment variable holds none of the three names, or "onnx" for a GPU.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    gpu = not device.startswith("cpu")
    if wanted not in ("auto", "onnx", "torch"):
        raise InvalidInputError(f"expected {VARIABLE} to be auto, onnx or torch; got {wanted!r}")
    if wanted == "onnx" and gpu:
        raise InvalidInputError(f"expected {VARIABLE} to be auto or torch for the device {device}; got onnx")
    if wanted == "torch" or gpu:
        return "torch"
    return "onnx"
