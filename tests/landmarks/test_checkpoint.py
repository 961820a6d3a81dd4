"""A weight file is read only when it is the recorded one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.checkpoint import (
    MAX_FILE_BYTES,
    WeightRecord,
    load_weights,
    save_weights,
    verify_weights,
    weight_records,
)
from facerec.landmarks.errors import ContractError, InvalidInputError

ARRAYS = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "a": np.array(3, dtype=np.int64)}


def save(root: Path, name: str = "tiny", **changes: Any) -> WeightRecord:
    stated: dict[str, Any] = {
        "what": "a test",
        "training_sets": ["none"],
        "split": "none",
        "metric": {"error": 0.5},
        "licence": "Apache-2.0",
        "command": "facerec train tiny",
    }
    return save_weights("landmarks", name, changes.pop("arrays", ARRAYS), root=root, **(stated | changes))


@pytest.mark.parametrize("form", ["safetensors", "npz"])
def test_what_was_saved_is_loaded_with_shape_type_and_order(tmp_path: Path, form: str) -> None:
    record = save(tmp_path, form=form)
    loaded = load_weights("landmarks", "tiny", root=tmp_path)
    assert sorted(loaded) == sorted(ARRAYS)
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[key], array)
        assert loaded[key].dtype == np.asarray(array).dtype
        assert loaded[key].shape == np.asarray(array).shape
    assert weight_records(tmp_path) == [record]


@pytest.mark.parametrize("form", ["safetensors", "npz"])
def test_the_same_arrays_give_the_same_bytes(tmp_path: Path, form: str) -> None:
    first = save(tmp_path / "1", form=form)
    second = save(tmp_path / "2", form=form, arrays=dict(reversed(ARRAYS.items())))
    assert first.sha256 == second.sha256


def test_changed_bytes_are_refused_and_both_digests_named(tmp_path: Path) -> None:
    record = save(tmp_path)
    load_weights("landmarks", "tiny", root=tmp_path)  # the cached digest must not hide the change below
    path = tmp_path / "landmarks" / "weights" / record.file
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ContractError, match=record.sha256) as caught:
        load_weights("landmarks", "tiny", root=tmp_path)
    assert len([word for word in str(caught.value).replace(";", " ").replace(",", " ").split() if len(word) == 64]) == 2
    with pytest.raises(ContractError):
        verify_weights(record, root=tmp_path)


def test_missing_weights_say_which_and_how_to_get_them(tmp_path: Path) -> None:
    record = save(tmp_path)
    with pytest.raises(InvalidInputError, match=r"'other'.*tiny"):
        load_weights("landmarks", "other", root=tmp_path)
    (tmp_path / "landmarks" / "weights" / record.file).unlink()
    with pytest.raises(InvalidInputError, match=r"tiny\.safetensors.*missing.*facerec train tiny"):
        load_weights("landmarks", "tiny", root=tmp_path)
    with pytest.raises(InvalidInputError, match="expected one of landmarks, frontalize, recognition"):
        load_weights("cli", "tiny", root=tmp_path)


def test_a_name_has_one_record_and_one_file(tmp_path: Path) -> None:
    save(tmp_path, name="zeta")
    save(tmp_path, form="npz")
    record = save(tmp_path, form="safetensors", arrays={"x": np.ones(2, np.float32)})
    assert [r.name for r in weight_records(tmp_path)] == ["tiny", "zeta"]
    assert weight_records(tmp_path)[0] == record
    files = {path.name for path in (tmp_path / "landmarks" / "weights").iterdir()}
    assert files == {"tiny.safetensors", "zeta.safetensors", "weights.json"}


def test_nothing_but_stated_numbers_is_saved(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="objects"):
        save(tmp_path, arrays={"x": np.array([{}], dtype=object)})
    with pytest.raises(InvalidInputError, match="licence"):
        save(tmp_path, licence=" ")
    with pytest.raises(InvalidInputError, match="name"):
        save(tmp_path, name="../up")
    with pytest.raises(InvalidInputError, match="at least one"):
        save(tmp_path, arrays={})
    with pytest.raises(InvalidInputError, match="at most"):
        save(tmp_path, arrays={"x": np.zeros(MAX_FILE_BYTES, np.uint8)})
    assert weight_records(tmp_path) == []


def test_records_of_another_form_are_named_not_guessed(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "landmarks" / "weights" / "weights.json"
    listed = json.loads(path.read_text())
    listed["weights"][0]["file"] = "../../elsewhere.npz"
    path.write_text(json.dumps(listed))
    with pytest.raises(InvalidInputError, match="plain file name"):
        weight_records(tmp_path)
    path.write_text("{}")
    with pytest.raises(InvalidInputError, match=r"weights\.json"):
        weight_records(tmp_path)
