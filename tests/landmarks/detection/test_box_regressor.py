"""The box regressor: what it says of a crop, that it can learn, and that foreign boxes land on the face."""

from __future__ import annotations

import numpy as np
import pytest

from facerec.landmarks.crop import Roi
from facerec.landmarks.detection.box_network import BoxNetwork, regressor_arrays, runner
from facerec.landmarks.detection.box_regressor import BoxRegressor, BoxRegressorSettings, decoded, encoded
from facerec.landmarks.detection.patch_graphs import CROP_SIZE
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.training.box_regressor import (
    STORED_SIZE,
    BoxFace,
    BoxTraining,
    train_box_regressor,
    training_crop,
)
from facerec.landmarks.types import Box

MEAN_FACE = np.random.default_rng(0).normal(0, 40, (68, 3))


def disc(seed: int = 0, size: float = 24.0) -> BoxFace:
    """A bright disc with a dark spot on its left: its tight box is the disc, its AFLW box half as large again."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:STORED_SIZE, :STORED_SIZE]
    middle = (STORED_SIZE - 1) / 2
    crop = rng.integers(20, 60, (STORED_SIZE, STORED_SIZE)).astype(np.uint8)
    crop[(x - middle) ** 2 + (y - middle) ** 2 < size**2] = 200
    crop[(x - middle + 9) ** 2 + (y - middle + 6) ** 2 < 16] = 30
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    outline = (middle + size * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)
    return BoxFace(crop, outline, np.array([middle, middle + 3], dtype=np.float32), 3 * size)


def test_decoding_inverts_encoding() -> None:
    roi, aflw, tight = Roi(50, 60, 80), Box(20, 30, 70, 80), Box(35, 40, 65, 85)
    back = decoded(roi, encoded(roi, aflw, tight), 0.4)
    for one, true in ((back.aflw, aflw), (back.tight, tight)):
        assert one.iou(true) == pytest.approx(1.0, abs=1e-5)
        assert one.score == 0.4


def test_a_wild_answer_is_still_a_box() -> None:
    box = decoded(Roi(0, 0, 10), np.array([0, 0, 99, 0, 0, -99, 99], dtype=np.float32), 1.0)
    assert (box.aflw.width, box.tight.width, box.tight.height) == pytest.approx((30, 1, 30))


def test_training_crops_show_what_their_answers_say() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        crop, answer = training_crop(disc(), rng, BoxTraining())
        assert crop.shape == (CROP_SIZE, CROP_SIZE)
        tight = decoded(Roi((CROP_SIZE - 1) / 2, (CROP_SIZE - 1) / 2, CROP_SIZE), answer, 1.0).tight
        y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
        (cx, cy), r = tight.center, tight.width / 2
        inside = (x - cx) ** 2 + (y - cy) ** 2 < (0.8 * r) ** 2
        outside = (x - cx) ** 2 + (y - cy) ** 2 > (1.3 * r) ** 2
        if outside.sum() > 50 and inside.sum() > 10:
            assert np.median(crop[inside]) > np.median(crop[outside]) + 60


def test_it_learns_to_move_boxes_onto_faces() -> None:
    faces = [disc(seed, size) for seed, size in enumerate(np.linspace(20, 28, 12))]
    network = train_box_regressor(faces, BoxTraining(steps=150, batch=24, rate=4e-3))
    regressor = BoxRegressor(runner(network), MEAN_FACE)
    image = np.repeat(disc(99, 25.0).crop[:, :, None], 3, axis=2)
    middle = (STORED_SIZE - 1) / 2
    true = Box(middle - 25, middle - 25, middle + 25, middle + 25)
    wrong = [Box(70, 60, 130, 118, 0.3), Box(60, 75, 140, 150, 0.9)]
    found = regressor.regress(image, wrong)
    assert [one.tight.score for one in found] == [0.3, 0.9]
    for one, before in zip(found, wrong, strict=True):
        assert one.tight.iou(true) > max(0.8, before.iou(true))
        assert one.aflw.width / one.tight.width == pytest.approx(1.5, rel=0.15)


def test_boxes_are_answered_alike_alone_and_together() -> None:
    regressor = BoxRegressor(runner(BoxNetwork()), MEAN_FACE, BoxRegressorSettings(batch=2))
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    boxes = [Box(5, 5, 40, 50), Box(60, 20, 110, 80), Box(-10, 30, 30, 90)]
    together = regressor.regress(image, boxes)
    for box, one in zip(boxes, together, strict=True):
        assert regressor.regress(image, [box])[0].tight.iou(one.tight) > 0.999
    assert regressor.regress(image, []) == []


def test_saved_arrays_give_the_same_answers() -> None:
    network = BoxNetwork().eval()
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    box = [Box(20, 20, 70, 80)]
    arrays = regressor_arrays(network, MEAN_FACE)
    again = BoxRegressor.from_arrays(arrays)
    first = BoxRegressor(runner(network), MEAN_FACE).regress(image, box)[0]
    assert again.regress(image, box)[0].aflw.iou(first.aflw) > 0.99
    assert again.mean_face == pytest.approx(MEAN_FACE, abs=1e-4)
    arrays.pop("answer.1.weight")
    with pytest.raises(InvalidInputError, match="box regressor"):
        BoxRegressor.from_arrays(arrays)


def test_wrong_settings_faces_and_devices_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="rounds"):
        BoxRegressorSettings(rounds=0)
    with pytest.raises(InvalidInputError, match="ten"):
        train_box_regressor([disc()])
    with pytest.raises(DeviceError):
        BoxRegressor.load("cuda")
    with pytest.raises(InvalidInputError, match="mean face"):
        BoxRegressor(runner(BoxNetwork()), MEAN_FACE[:5])
