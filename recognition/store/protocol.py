"""The protocol of every store of galleries, and the contract that a gallery is checked against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.store.records import (
    EntryIndex,
    EntryRecord,
    GalleryInfo,
    NewEntry,
    NewPhoto,
    PersonRecord,
    PhotoRecord,
    Verification,
)

MILVUS_PREFIX = "milvus:"
"""How the address of a gallery in Milvus begins; any other address is a file."""


class ModelContract(Protocol):
    """What a gallery must know of the models that made its signatures (see `recognizer.Contract`)."""

    @property
    def digest(self) -> str:
        """Digest of everything that shapes a signature's numbers."""
        ...

    def as_json(self) -> str:
        """The same, spelt out as a JSON object of strings."""
        ...


class GalleryStore(Protocol):
    """What enrolment and identification need of a gallery: a file (`Gallery`) or Milvus (`MilvusGallery`).

    The methods are those of `Gallery`, with the same meaning. The impostor scores belong to the content: a store drops
    them with every change, and when a writer that changed the content closes it without an error, it measures them.
    """

    @property
    def contract_digest(self) -> str: ...  # noqa: D102
    @property
    def contract_json(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def erased(self) -> bool: ...  # noqa: D102
    def current_state(self) -> str: ...  # noqa: D102
    def check_contract(self, contract: ModelContract) -> None: ...  # noqa: D102
    def info(self) -> GalleryInfo: ...  # noqa: D102
    def people(self) -> list[PersonRecord]: ...  # noqa: D102
    def entries(self, person: str | None = None, sha256: str | None = None) -> list[EntryRecord]: ...  # noqa: D102
    def photos(self, digests: Sequence[str] | None = None) -> list[PhotoRecord]: ...  # noqa: D102
    def stored_entries(self, person: str, sha256: str) -> tuple[NewEntry, ...]: ...  # noqa: D102
    def shared_photos(self) -> list[tuple[str, str]]: ...  # noqa: D102
    def index(self) -> EntryIndex: ...  # noqa: D102
    def vectors(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]: ...  # noqa: D102
    def digest(self) -> str: ...  # noqa: D102
    def verify(self) -> Verification: ...  # noqa: D102
    def add(self, photos: Sequence[NewPhoto]) -> None: ...  # noqa: D102
    def relocate(self, moved: Sequence[tuple[str, str, Path, Path]]) -> None: ...  # noqa: D102
    def remove_people(self, names: Sequence[str]) -> int: ...  # noqa: D102
    def remove_photos(self, photos: Sequence[tuple[str, str]]) -> int: ...  # noqa: D102
    def remove_entries(self, ids: Sequence[int]) -> int: ...  # noqa: D102
    def rename(self, old: str, new: str) -> None: ...  # noqa: D102
    def merge(self, names: Sequence[str], into: str) -> None: ...  # noqa: D102
    def nobodies(self) -> frozenset[str]: ...  # noqa: D102
    def mark(self, names: Sequence[str], nobody: bool) -> None: ...  # noqa: D102
    def store_calibration(self, data: bytes) -> None: ...  # noqa: D102
    def calibration(self) -> bytes: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_one_kind(gallery: object, names: Sequence[str], nobodies: frozenset[str]) -> None:
    """Raise `InvalidInputError` unless all of `names`, who are to be one, are people or all are known strangers."""
    strangers = [name for name in names if name in nobodies]
    if strangers and len(strangers) < len(names):
        person = next(name for name in names if name not in nobodies)
        raise InvalidInputError(
            f"expected people or known strangers to merge in {gallery}, not both; {strangers[0]!r} is a known stranger "
            f"and {person!r} is not. Mark them alike first: facerec gallery mark {strangers[0]!r} --person -g {gallery}"
        )


def contract_mismatch(gallery: str, digest: str, as_json: str, contract: ModelContract) -> ContractError:
    """The error for models of another contract than the gallery's, `digest` and `as_json`."""
    return ContractError(
        f"{gallery} was made under contract {digest[:12]}, the models in use have contract {contract.digest[:12]}; "
        f"their signatures cannot be compared{_differences(as_json, contract.as_json())}\n"
        f"Use the models the gallery was made with, or describe its photographs again: "
        f"facerec gallery migrate -g {gallery}"
    )


def _differences(gallery_json: str, models_json: str) -> str:
    try:
        ours, theirs = json.loads(gallery_json), json.loads(models_json)
        keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    except (ValueError, AttributeError):
        return ""
    return ": " + ", ".join(f"{key} {_short(ours.get(key))} there, {_short(theirs.get(key))} here" for key in keys)


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else text[:12] + "..."
