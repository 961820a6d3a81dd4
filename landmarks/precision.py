"""In which number format the networks run.

Processors with instructions for bfloat16 (AMX, AVX-512 BF16) run the networks two to three times as fast in it; on
others it is slower than float32, so they keep that. What it costs in accuracy is in `benchmarks/results/`. Signatures
of both formats compare with each other, so the format is no part of a gallery's contract.
"""

from __future__ import annotations

import os
from typing import Final

import torch

from facerec.landmarks.errors import InvalidInputError

VARIABLE: Final = "FACEREC_PRECISION"
"""Environment variable that chooses: "auto" (the default), "float32" or "bfloat16"."""


def inference_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """The format of a network's weights and activations on `device`, read when a model is loaded.

    Raises:
        InvalidInputError: the environment variable holds none of the three names.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if wanted in formats:
        return formats[wanted]
    if wanted != "auto":
        raise InvalidInputError(f"expected {VARIABLE} to be auto, float32 or bfloat16; got {wanted!r}")
    fast = torch.device(device).type == "cpu" and _bfloat16_in_hardware()
    return torch.bfloat16 if fast else torch.float32


def training_autocast(device: str | torch.device) -> torch.autocast:
    """The layers of a training run in bfloat16 below this, where that is faster; weights and losses stay float32.

    On a CPU that is a matter of `inference_dtype`; GPUs always gain.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or inference_dtype(kind) == torch.bfloat16)


def _bfloat16_in_hardware() -> bool:
    # Older releases of torch lack one or the other question: then the answer is the safe one.
    questions = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(question is not None and bool(question()) for question in questions)
