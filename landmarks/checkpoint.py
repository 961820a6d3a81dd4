"""Weight files and their records: training data, licence and SHA-256, which is verified on reading.

Each stage keeps its weights in `<folder>/weights/NAME.safetensors` (or `.npz`) and one record per file in
`<folder>/weights/weights.json`. A file is read only when its SHA-256 is the recorded one. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, InvalidInputError

Folder = Literal["landmarks", "frontalize", "recognition"]
"""The stages that own learnt weights."""

FOLDERS: tuple[Folder, ...] = ("landmarks", "frontalize", "recognition")

MAX_FILE_BYTES = 16 * 2**20
"""Largest weight file that may be shipped: the package travels by pip and by git, both slow with large binaries."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# The stages are installed side by side, in a wheel as in a checkout, so the way from here to a sibling is the same.
_STAGES = Path(__file__).resolve().parent.parent

_verified: dict[tuple[str, int, int], str] = {}
_verified_lock = threading.Lock()


@dataclass(frozen=True)
class WeightRecord:
    """What is known about one weight file.

    Attributes:
        folder: the stage that owns it: "landmarks", "frontalize" or "recognition".
        name: the name `load_weights` takes, e.g. "godp".
        file: file name inside `<folder>/weights/`.
        sha256: SHA-256 of the file, 64 hex digits.
        bytes: size of the file.
        what: one sentence for a person.
        training_sets: the data sets whose pictures, annotations or samples shaped the numbers.
        split: which part of them was used and which was held out.
        metric: figures on held-out data, by name.
        licence: what the weights may be used for.
        command: the command that makes them again.
    """

    folder: Folder
    name: str
    file: str
    sha256: str
    bytes: int
    what: str
    training_sets: tuple[str, ...]
    split: str
    metric: dict[str, float | int | str]
    licence: str
    command: str

    def as_json(self) -> dict[str, Any]:
        """The record as JSON-ready values."""
        return asdict(self) | {"training_sets": list(self.training_sets)}


def weights_folder(folder: str, root: Path | None = None) -> Path:
    """Where the weights of stage `folder` lie: `<root>/<folder>/weights`; `root` defaults to the installed package."""
    return (root or _STAGES) / _check_folder(folder) / "weights"


def weight_records(root: Path | None = None) -> list[WeightRecord]:
    """Records of every weight file of every stage, in the order of the path, then by name.

    Raises `InvalidInputError` when a `weights.json` does not have the form `save_weights` writes.
    """
    return [record for folder in FOLDERS for record in _read_records(folder, root)]


def weight_record(folder: str, name: str, root: Path | None = None) -> WeightRecord:
    """The record of the weights `name` of stage `folder`; raises `InvalidInputError` when there is none."""
    records = _read_records(_check_folder(folder), root)
    for record in records:
        if record.name == name:
            return record
    if records:  # the records are whole, so the package never had these
        known = ", ".join(record.name for record in records)
        cure = f"facerec comes without weights for it; train them with `facerec train {name}`"
    else:
        known, cure = "none", "install facerec again to get the weights it ships, or train them with `facerec train`"
    raise InvalidInputError(f"no weights named {name!r} in {weights_folder(folder, root)} (there: {known}); {cure}")


def verify_weights(record: WeightRecord, root: Path | None = None) -> None:
    """Read the weight file again and compare it with its record.

    Raises `InvalidInputError` when the file is missing and `ContractError` when its SHA-256 differs.
    """
    _read_checked(record, root, trust_cache=False)


def load_weights(folder: str, name: str, root: Path | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of the weights `name` of stage `folder`, by name, after their SHA-256 was checked.

    Args:
        folder: "landmarks", "frontalize" or "recognition".
        name: the record's name, e.g. "godp".
        root: folder that holds the stages; the installed package by default.

    Raises:
        InvalidInputError: no such record, or the file is missing; says how to get it.
        ContractError: the file is not the recorded one; names both digests.
    """
    record = weight_record(folder, name, root)
    data = _read_checked(record, root, trust_cache=True)
    if record.file.endswith(".npz"):
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    from safetensors.numpy import load  # late: the command line imports this module for its records only

    return dict(load(data))


def save_weights(
    folder: str,
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    *,
    what: str,
    training_sets: Sequence[str],
    split: str,
    metric: Mapping[str, float | int | str],
    licence: str,
    command: str,
    form: Literal["safetensors", "npz"] = "safetensors",
    root: Path | None = None,
) -> WeightRecord:
    """Write `arrays` to `<folder>/weights/NAME.<form>` and its record into `weights.json`; return the record.

    The same arrays give the same bytes. "npz" is compressed: for tables such as a face model's modes; networks go
    into "safetensors". The other arguments are the fields of `WeightRecord`. An older file of the same name is
    replaced. Raises `InvalidInputError` for a bad name or form, object arrays, or a file over `MAX_FILE_BYTES`.
    """
    owner = _check_folder(folder)
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"expected a weight name of a-z, 0-9, '.', '_' and '-'; got {name!r}")
    if form not in ("safetensors", "npz"):
        raise InvalidInputError(f"expected the form 'safetensors' or 'npz'; got {form!r}")
    for text, field in ((what, "what"), (split, "split"), (licence, "licence"), (command, "command")):
        if not text.strip():
            raise InvalidInputError(f"expected the weights' {field!r} to be stated; got an empty text")
    data = _encode(arrays, form)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(f"expected a weight file of at most {MAX_FILE_BYTES} bytes; {name} has {len(data)}")
    record = WeightRecord(
        folder=owner,
        name=name,
        file=f"{name}.{form}",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        what=what,
        training_sets=tuple(training_sets),
        split=split,
        metric=dict(metric),
        licence=licence,
        command=command,
    )
    target = weights_folder(owner, root)
    target.mkdir(parents=True, exist_ok=True)
    kept = [other for other in _read_records(owner, root) if other.name != name]
    replaced = [other for other in _read_records(owner, root) if other.name == name and other.file != record.file]
    _replace(target / record.file, data)
    records = sorted([*kept, record], key=lambda item: item.name)
    listed = [{key: value for key, value in item.as_json().items() if key != "folder"} for item in records]
    text = json.dumps({"weights": listed}, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    _replace(target / "weights.json", text.encode())
    for other in replaced:
        (target / other.file).unlink(missing_ok=True)
    return record


def _check_folder(folder: str) -> Folder:
    for known in FOLDERS:
        if folder == known:
            return known
    raise InvalidInputError(f"expected one of {', '.join(FOLDERS)}; got {folder!r}")


def _read_records(folder: Folder, root: Path | None) -> list[WeightRecord]:
    path = weights_folder(folder, root) / "weights.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["weights"]
        records = [
            WeightRecord(**(entry | {"folder": folder, "training_sets": tuple(entry["training_sets"])}))
            for entry in listed
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"expected weight records as `save_weights` writes them in {path}; {error!r}") from None
    for record in records:
        if Path(record.file).name != record.file:
            raise InvalidInputError(f"expected a plain file name in {path}; got {record.file!r}")
    return sorted(records, key=lambda record: record.name)


def _read_checked(record: WeightRecord, root: Path | None, *, trust_cache: bool) -> bytes:
    path = weights_folder(record.folder, root) / record.file
    try:
        # The state is taken before the bytes, so a file replaced in between is hashed again next time.
        state = path.stat()
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(
            f"the weight file {path} is missing; install facerec again to get it, or train it with `{record.command}`"
        ) from None
    key = (str(path), state.st_mtime_ns, state.st_size)
    with _verified_lock:
        digest = _verified.get(key) if trust_cache else None
    if digest is None:
        digest = hashlib.sha256(data).hexdigest()
        with _verified_lock:
            _verified[key] = digest
    if digest != record.sha256:
        raise ContractError(
            f"the weight file {path} is not the recorded one: expected SHA-256 {record.sha256}, got {digest}; "
            f"install facerec again, or train it with `{record.command}`"
        )
    return data


def _encode(arrays: Mapping[str, NDArray[Any]], form: Literal["safetensors", "npz"]) -> bytes:
    ordered = {key: np.array(arrays[key], order="C") for key in sorted(arrays)}
    if not ordered:
        raise InvalidInputError("expected at least one array; got none")
    for key, array in ordered.items():
        if array.dtype == object:
            raise InvalidInputError(f"expected arrays of numbers; {key!r} holds objects")
    if form == "npz":
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **ordered)
        return stream.getvalue()
    from safetensors.numpy import save

    return bytes(save(ordered))


def _replace(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and move it into place, so that a reader sees the old file or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
