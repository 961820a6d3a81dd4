"""The format of the networks: who chooses it, and that the fast one says what the exact one says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facerec.landmarks import precision
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.precision import VARIABLE, inference_dtype, training_autocast


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype) -> None:
    monkeypatch.setenv(VARIABLE, name)
    assert inference_dtype("cpu") == dtype
    assert inference_dtype("cuda") == dtype


@pytest.mark.parametrize("able", [True, False])
def test_auto_takes_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    monkeypatch.setenv(VARIABLE, "auto")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able, raising=False)
    assert inference_dtype("cpu") == (torch.bfloat16 if able else torch.float32)
    assert inference_dtype("cuda") == torch.float32


@pytest.mark.parametrize("able", [True, False])
def test_trainings_on_a_cpu_take_bfloat16_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    monkeypatch.setenv(VARIABLE, "auto")
    monkeypatch.setattr(precision, "_bfloat16_in_hardware", lambda: able)
    layer = torch.nn.Linear(3, 2)
    with training_autocast("cpu"):
        assert layer(torch.zeros(1, 3)).dtype == (torch.bfloat16 if able else torch.float32)


def test_a_release_of_torch_that_cannot_tell_keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not precision._bfloat16_in_hardware()
    assert inference_dtype() == torch.float32


def test_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "int4")
    with pytest.raises(InvalidInputError, match="int4"):
        inference_dtype()


def test_the_fast_path_describes_as_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole path on a real portrait, in both formats: points within half a pixel, signatures all but equal."""
    data = pytest.importorskip("skimage.data", reason="scikit-image has the portrait (extra demo)")
    from facerec.recognition.recognizer import DescribedFace, Recognizer

    image = np.ascontiguousarray(data.astronaut()[:300, 100:400])
    faces = {}
    for name in ("float32", "bfloat16"):
        monkeypatch.setenv(VARIABLE, name)
        found = Recognizer.load().describe(image)
        assert len(found) == 1
        assert isinstance(found[0], DescribedFace)
        faces[name] = found[0]
    plain, fast = faces["float32"], faces["bfloat16"]
    assert fast.signature.contract == plain.signature.contract
    assert fast.face.box.iou(plain.face.box) > 0.95
    apart = np.linalg.norm(fast.face.landmarks.points - plain.face.landmarks.points, axis=1)
    assert np.median(apart) < 0.5
    cosines = (fast.signature.cells * plain.signature.cells).sum(axis=1)
    assert np.array_equal(fast.signature.visible, plain.signature.visible)
    assert cosines[plain.signature.visible].min() > 0.98
