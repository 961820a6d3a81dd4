"""The half-face network: what it sees, what it gives, how it is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.halfface import (
    HALF_HEIGHT,
    HALF_WIDTH,
    HalfFaceDescriptor,
    HalfFaceNet,
    HalfFaceSettings,
    PlaceWeights,
    export_arrays,
    halves,
    normalize_half,
)
from facerec.recognition.halfface_training import (
    HalfFaceTraining,
    HalfSet,
    augment,
    half_images,
    halfface_figures,
    train_halfface,
    without_calibration_people,
)
from facerec.recognition.texture_set import is_calibration_person

SMALL = HalfFaceSettings(width=4, blocks=(1, 1, 1), dimension=8)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texture(seed: int = 0, left: bool = True, right: bool = True) -> FaceTexture:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    visible = np.zeros((256, 256), np.float32)
    visible[:, :128] = left
    visible[:, 128:] = right
    return FaceTexture(np.where(visible[..., None] > 0, pixels, 0).astype(np.uint8), visible)


def mirrored(t: FaceTexture) -> FaceTexture:
    return FaceTexture(np.ascontiguousarray(t.pixels[:, ::-1]), np.ascontiguousarray(t.visible[:, ::-1]))


def network(seed: int = 0) -> HalfFaceNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HalfFaceNet(SMALL)


def half_set(people: int = 6, each: int = 4) -> HalfSet:
    rng = np.random.default_rng(0)
    grey, mask, names, source, teacher = [], [], [], [], []
    for person in range(people):
        own = rng.integers(0, 256, (8, 6)).repeat(16, 0).repeat(12, 1)
        for k in range(each):
            noisy = np.clip(own + rng.normal(0, 10, own.shape), 1, 255).astype(np.uint8)
            grey.append(np.stack([noisy, noisy]))
            mask.append(np.ones((2, HALF_HEIGHT, HALF_WIDTH), bool))
            names.append(f"person {person}")
            source.append("cfp-profile" if k == 3 else "cfp-frontal")
            teacher.append(np.eye(people, 128)[person] if k != 3 else np.full(128, np.nan))
    yaw = np.where(np.array(source) == "cfp-profile", 60.0, 0.0).astype(np.float32)
    return HalfSet(
        np.stack(grey), np.stack(mask), np.array(names), np.array(source), yaw, np.array(teacher, np.float32)
    )


def test_a_mirrored_texture_swaps_the_halves():
    (a, _), (b, _) = halves(texture()), halves(mirrored(texture()))
    np.testing.assert_allclose(a[0], b[1], atol=1e-4)
    np.testing.assert_allclose(a[1], b[0], atol=1e-4)
    assert not np.allclose(a[0], a[1])


def test_a_half_has_zero_mean_and_unit_deviation_where_seen_and_zeros_elsewhere():
    mask = np.zeros((HALF_HEIGHT, HALF_WIDTH), np.float32)
    mask[20:90, 10:60] = 1
    grey = np.random.default_rng(0).uniform(0, 255, mask.shape).astype(np.float32)
    out = normalize_half(grey, mask)
    seen = mask > 0
    assert abs(out[0][seen].mean()) < 1e-3
    assert out[0][seen].std() == pytest.approx(1, abs=1e-3)
    assert not out[0][~seen].any()


def test_place_weights_equal_the_depthwise_convolution_they_stand_for():
    x = torch.randn(3, 5, 8, 5, generator=torch.Generator().manual_seed(0))
    layer = PlaceWeights(5, 8, 5)
    slow = torch.nn.functional.conv2d(x, layer.weight[:, None], groups=5)[:, :, 0, 0]
    torch.testing.assert_close(layer(x), slow)


def test_cells_are_left_right_and_both_of_unit_length_and_zero_where_unseen():
    descriptor = HalfFaceDescriptor(network())
    cells, seen = descriptor.describe(texture())
    assert seen.tolist() == [True, True, True]
    np.testing.assert_allclose(np.linalg.norm(cells, axis=1), 1, atol=1e-5)
    cells, seen = descriptor.describe(texture(right=False))
    assert seen.tolist() == [True, False, True]
    assert not cells[1].any()
    np.testing.assert_allclose(cells[2], cells[0], atol=1e-5)
    cells, seen = descriptor.describe(texture(left=False, right=False))
    assert not seen.any()
    assert not cells.any()


def test_opposite_profiles_of_a_symmetric_face_have_the_same_joint_cell():
    t = texture(right=False)
    descriptor = HalfFaceDescriptor(network())
    left, right = descriptor.describe(t)[0][2], descriptor.describe(mirrored(t))[0][2]
    np.testing.assert_allclose(left, right, atol=1e-3)


def test_exported_arrays_give_the_same_vectors_to_half_precision():
    net = network().eval()
    inputs = halves(texture())[0]
    again = HalfFaceDescriptor.from_arrays(export_arrays(net))
    np.testing.assert_allclose(again.embed(inputs), HalfFaceDescriptor(net).embed(inputs), atol=5e-3)


def test_a_texture_of_another_size_is_refused():
    small = FaceTexture(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.float32))
    with pytest.raises(InvalidInputError, match="256 texels"):
        halves(small)


def test_augmentation_is_seeded_and_leaves_unseen_pixels_at_zero():
    grey, mask = (torch.from_numpy(np.stack([v[0]] * 4)) for v in half_images(texture()))
    one, two = (augment(grey, mask, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(one, two)
    assert not one[:, 0][one[:, 1] == 0].any()
    assert one.shape == (4, 2, HALF_HEIGHT, HALF_WIDTH)


def test_training_is_seeded_and_its_losses_fall():
    data = half_set()
    training = HalfFaceTraining(steps=60, batch=12, turned=4, warm_up=1, rate=5e-3)
    losses: list[dict[str, float]] = []
    one = train_halfface(data, SMALL, training, report=lambda _, found, __: losses.append(found), every=20)
    two = train_halfface(data, SMALL, training)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    assert losses[-1]["softmax"] < losses[0]["softmax"]
    assert losses[-1]["teacher"] < losses[0]["teacher"]


def test_figures_are_one_for_vectors_that_tell_people_apart_and_chance_for_those_that_do_not():
    data = half_set()
    figures = halfface_figures(network(), data)
    assert figures["fp_rank1"] == figures["ff_rank1"] == 1.0
    alike = replace(data, grey=np.repeat(data.grey[:1], len(data.grey), axis=0))
    figures = halfface_figures(network(), alike)
    assert figures["fp_rank1"] == pytest.approx(1 / 6)


def test_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    data, file = half_set(), tmp_path / "run" / "checkpoint.pt"
    monkeypatch.setattr("facerec.recognition.halfface_training.SAVE_EVERY", 0.0)
    seen: list[int] = []
    train_halfface(data, SMALL, HalfFaceTraining(steps=3, batch=6, turned=2), file)
    train_halfface(
        data, SMALL, HalfFaceTraining(steps=5, batch=6, turned=2), file, report=lambda s, *_: seen.append(s), every=1
    )
    assert seen == [4, 5]


def test_a_set_without_a_visible_half_is_refused():
    data = half_set()
    with pytest.raises(InvalidInputError, match="visible enough"):
        train_halfface(
            replace(data, mask=np.zeros_like(data.mask)), SMALL, HalfFaceTraining(steps=1, batch=2, turned=2)
        )


def test_a_sixteenth_of_the_people_is_kept_for_calibration_and_out_of_training():
    names = [f"name {k}" for k in range(4000)]
    chosen = [name for name in names if is_calibration_person(name)]
    assert 0.045 < len(chosen) / len(names) < 0.08
    data = half_set()
    mixed = replace(data, person=np.array([chosen[0], *data.person[1:]]))
    kept = without_calibration_people(mixed)
    assert chosen[0] not in kept.person
    assert len(kept.person) == sum(not is_calibration_person(str(p)) for p in mixed.person)


def test_a_set_comes_back_from_its_file(tmp_path):
    data = half_set(2, 4)
    data.save(tmp_path / "a.npz")
    both = HalfSet.load(tmp_path / "a.npz", tmp_path / "a.npz")
    np.testing.assert_array_equal(both.grey[:8], data.grey)
    assert len(both.person) == 16
