"""Many inputs through a network in batches that fit into the device's memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")


def in_batches(look: Callable[[NDArray[Any]], T], rows: NDArray[Any], size: int) -> list[T]:
    """`look` of every `size` successive rows; of half as many from where the GPU's memory does not suffice.

    Args:
        look: from (B, ...) rows to an answer.
        rows: (N, ...).
        size: largest B, at least 1.

    Raises:
        torch.OutOfMemoryError: a single row does not fit.
    """
    answers: list[T] = []
    first = 0
    while first < len(rows):
        try:
            answers.append(look(rows[first : first + size]))
        except _out_of_memory():
            if size == 1:
                raise
            size = max(1, min(size, len(rows) - first) // 2)
            sys.modules["torch"].cuda.empty_cache()  # does nothing where CUDA was never used
        else:
            first += size
    return answers


def _out_of_memory() -> tuple[type[Exception], ...]:
    """torch's error for a full GPU, where torch is in use."""
    torch = sys.modules.get("torch")
    return () if torch is None else (torch.OutOfMemoryError,)
