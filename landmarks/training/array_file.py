"""Files of arrays: a frozen dataclass of arrays written as npz and read back."""

from __future__ import annotations

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from facerec.landmarks.errors import InvalidInputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Arrays = TypeVar("Arrays", bound=DataclassInstance)


def save_arrays(path: Path, value: DataclassInstance) -> None:
    """Write the fields of `value`, all of them arrays, as npz; the folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **{field.name: getattr(value, field.name) for field in fields(value)})


def load_arrays(path: Path, kind: type[Arrays], what: str) -> Arrays:
    """Read what `save_arrays` wrote of a value of class `kind`; `what` names it in messages.

    Raises:
        InvalidInputError: the file is no npz, or lacks a field.
    """
    names = [field.name for field in fields(kind)]
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = set(names) - set(file.files)
            if missing:
                raise InvalidInputError(f"expected {what}; {path.name} lacks {', '.join(sorted(missing))}")
            return kind(**{name: file[name] for name in names})
    except InvalidInputError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"expected {what} (npz); {path.name}: {error}") from error
