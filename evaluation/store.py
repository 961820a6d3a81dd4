"""Results on disk, one small file each: arrays and a JSON header, used only when key and contract match."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a torn, truncated or foreign file can raise on the way; each means: compute the result again.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile)


def cache_folder(folder: Path, device: str) -> Path:
    """Where in FOLDER results of the number format lie that networks on `device` have now.

    The format is no part of a contract, and a run must not take results of another one for its own.
    """
    from facerec.landmarks.engine import engine_on

    if engine_on(device) == "onnx":
        return folder / "float32"
    from facerec.landmarks.precision import inference_dtype

    return folder / str(inference_dtype(device)).removeprefix("torch.")


class ResultStore:
    """Entries by the picture's key, for one contract. A damaged file, or one of another contract, reads as absent."""

    def __init__(self, folder: Path, kind: str, contract: str) -> None:
        """Entries live in FOLDER/KIND-DIGEST, so a changed contract never finds old ones.

        Args:
            folder: where all results are kept.
            kind: what they are, with the version of their format.
            contract: digest of everything that shapes them besides the picture.
        """
        self._contract = contract
        name = hashlib.sha256(f"{kind}\n{contract}".encode()).hexdigest()
        self._folder = folder / f"{kind.partition(':')[0]}-{name[:16]}"

    def path(self, key: str) -> Path:
        """Where the entry of the picture with this key is kept."""
        return self._folder / key[:2] / f"{key}.npz"

    def read(self, key: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header and arrays of an entry; raises one of `UNREADABLE` when there is none that can be believed."""
        data = self.path(key).read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header: dict[str, Any] = json.loads(arrays.pop("header").tobytes())
        if header.pop("contract") != self._contract or header.pop("key") != key:
            raise ValueError("the entry is of another contract or picture")
        return header, arrays

    def write(self, key: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store an entry; a reader sees all of it or nothing."""
        text = json.dumps({**header, "contract": self._contract, "key": key})
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, allow_pickle=False, header=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
