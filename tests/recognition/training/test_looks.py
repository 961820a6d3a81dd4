"""Looks for training: what a network is shown of a face, and how it is disturbed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from facerec.frontalize.face_model import FaceModel
from facerec.recognition.resnet import network_input
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import load_faces
from facerec.recognition.training.looks import (
    DisturbanceSettings,
    LookMaker,
    LookSettings,
    disturb,
    network_input_of,
)
from facerec.recognition.views import FACE_FRAME


def drawn(face_set: Any, settings: LookSettings, seed: int = 0) -> torch.Tensor:
    faces = load_faces([face_set(2, 6)], size=96)
    views = BatchedViews(FaceModel.load(), FACE_FRAME, texels=96)
    maker = LookMaker(views, settings, torch.Generator().manual_seed(seed))
    return maker.draw(faces, torch.arange(12))[0]


def test_looks_repeat_with_their_generator(face_set: Any) -> None:
    one, again = drawn(face_set, LookSettings()), drawn(face_set, LookSettings())
    torch.testing.assert_close(one, again)
    assert one.shape == (12, 3, FACE_FRAME.size, FACE_FRAME.size)
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1
    assert (drawn(face_set, LookSettings(), 1) != one).any()


def test_a_photograph_that_is_not_turned_is_the_plain_view(face_set: Any) -> None:
    faces = load_faces([face_set(2, 6)], size=96)
    views = BatchedViews(FaceModel.load(), FACE_FRAME, texels=96)
    plain = views.photo(faces.crops.batch(torch.arange(12)), faces.fit)
    torch.testing.assert_close(drawn(face_set, LookSettings(photo=1.0, turned=0.0)), plain)
    turned = drawn(face_set, LookSettings(photo=1.0, turned=1.0))
    near = np.arange(12) % 3 != 2
    changed = (turned != plain).flatten(1).any(1).numpy()
    # Only near-frontal pictures are turned.
    np.testing.assert_array_equal(changed, near)


def test_disturbance_keeps_the_range_and_does_nothing_when_it_is_nil() -> None:
    looks = torch.rand(6, 3, 150, 150, generator=torch.Generator().manual_seed(0))
    strong = disturb(looks.clone(), (120, 120, 120), DisturbanceSettings(jpeg=1.0, coarse=1.0), torch.Generator())
    assert float(strong.min()) >= 0
    assert float(strong.max()) <= 1
    assert (strong != looks).any()
    inputs = network_input_of(looks)
    eight = (looks.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
    torch.testing.assert_close(inputs, network_input(eight), atol=0.003, rtol=0)
