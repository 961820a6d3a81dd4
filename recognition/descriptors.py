"""The descriptors by name: from a face texture to the cells of a signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.dfd import DFD, plain_cells


class Descriptor(Protocol):
    """Describes what a texture shows, cell by cell. Stateless: may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        ...

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of its weight files in `recognition/weights`."""
        ...

    def describe(self, texture: FaceTexture) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Cells (C, D) of unit length, 0 where not seen; and (C,) which were seen."""
        ...


class CompactDFD:
    """DFD with each cell's histogram taken to a few discriminant numbers."""

    name = "dfd"
    weights = ("dfd",)

    def __init__(self) -> None:
        self._dfd = DFD.load()

    def describe(self, texture: FaceTexture) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See `Descriptor.describe`; (64, 48)."""
        return self._dfd.describe(texture)


class PublishedDFD:
    """DFD as published: 64 histograms of 1,024 dominant patterns, 65,536 numbers."""

    name = "dfd-65536"
    weights = ("dfd",)

    def __init__(self) -> None:
        self._dfd = DFD.load()

    def describe(self, texture: FaceTexture) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See `Descriptor.describe`; (64, 1024)."""
        counts, seen = self._dfd.histograms(texture)
        return plain_cells(counts, seen), seen


DESCRIPTORS: dict[str, Callable[[], Descriptor]] = {
    "dfd": CompactDFD,
    "dfd-65536": PublishedDFD,
}
"""Descriptors by name; the first is the default."""

DEFAULT_DESCRIPTOR = next(iter(DESCRIPTORS))


def load_descriptor(name: str) -> Descriptor:
    """The descriptor called `name`; `InvalidInputError` names the known ones."""
    if name not in DESCRIPTORS:
        raise InvalidInputError(f"expected a descriptor of {', '.join(DESCRIPTORS)}; got {name!r}")
    return DESCRIPTORS[name]()
