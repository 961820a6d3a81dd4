"""Descriptors: what they are shown, which cells they fill, and what a contract must pin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition import descriptors
from facerec.recognition.descriptors import (
    DESCRIPTORS,
    HALF_VIEWS,
    WHOLE_VIEWS,
    Described,
    ViewDescriptor,
    ViewNetwork,
    load_descriptor,
    onnx_network,
)
from facerec.recognition.views import ARCFACE_FRAME, DLIB_FRAME, ViewKind, filled_view, frontal_pixels, photo_view

IMAGE = np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def fitted() -> FittedFace:
    model = FaceModel.load()
    camera = Camera.from_angles(20, 0, 0, 0.9, (200, 150))
    nothing = np.zeros(model.identity.shape[0]), np.zeros(model.expression.shape[0])
    return FittedFace(*nothing, camera, 0.0, camera.project(model.landmarks())[:, :2], np.ones(68, bool))


def texture(left: bool = True, right: bool = True) -> FaceTexture:
    visible = np.zeros((256, 256), np.float32)
    visible[:, :128] = left
    visible[:, 128:] = right
    pixels = np.random.default_rng(0).integers(1, 256, (256, 256, 3), dtype=np.uint8)
    return FaceTexture(np.where(visible[..., None] > 0, pixels, 0).astype(np.uint8), visible)


def corner_pixels(views: np.ndarray) -> np.ndarray:
    """A pretended network: some pixels of the view."""
    return views[:, 40:44, 40:42].reshape(len(views), -1).astype(np.float32) - 100


def described_by(kinds: tuple[ViewKind, ...]) -> ViewDescriptor:
    return ViewDescriptor("pretended", (("w", "0" * 64),), corner_pixels, DLIB_FRAME, kinds)


@pytest.mark.parametrize("kinds", [*HALF_VIEWS.values(), *WHOLE_VIEWS.values()])
def test_each_cell_is_the_network_on_its_view(kinds: tuple[ViewKind, ...]) -> None:
    cells, seen = described_by(kinds).describe(IMAGE, fitted(), texture())
    pixels, mask = frontal_pixels(texture(), DLIB_FRAME)
    assert seen.all()
    for kind, cell in zip(kinds, cells, strict=True):
        view = (
            photo_view(IMAGE, fitted(), DLIB_FRAME) if kind == "photo" else filled_view(pixels, mask, kind, DLIB_FRAME)
        )
        expected = corner_pixels(view[None])[0]
        np.testing.assert_allclose(cell, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_half_that_was_not_seen_is_no_cell() -> None:
    cells, seen = described_by(HALF_VIEWS["both"]).describe(IMAGE, fitted(), texture(right=False))
    assert seen.tolist() == [True, True, True, False]
    assert not cells[3].any()
    np.testing.assert_allclose(np.linalg.norm(cells[:3], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(cells[0], cells[1])  # the photograph's counts twice


def test_without_its_photograph_a_face_is_described_by_its_texture() -> None:
    whole, _ = described_by(HALF_VIEWS["both"]).describe(IMAGE, fitted(), texture())
    cells, seen = described_by(HALF_VIEWS["both"]).describe(None, None, texture())
    assert seen.tolist() == [False, False, True, True]
    assert not cells[:2].any()
    np.testing.assert_array_equal(cells[2:], whole[2:])
    with pytest.raises(InvalidInputError, match="got a texture alone"):
        described_by(("photo",)).describe(None, None, texture())


@pytest.mark.parametrize("name", ["sift", "photo:sift", "frontal:dfd", "photo:", ""])
def test_an_unknown_descriptor_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{next(iter(DESCRIPTORS))}.*got '{name}'"):
        load_descriptor(name)
    assert next(iter(DESCRIPTORS)) == descriptors.DEFAULT_DESCRIPTOR


@pytest.mark.parametrize("name", ["resnet", "photo:resnet", "frontal:resnet"])
def test_the_learnt_descriptor_names_itself_and_its_weights(name: str) -> None:
    loaded = load_descriptor(name)
    assert loaded.name == name
    files = ["recognition/resnet", "recognition/resnet-start"]
    assert [file for file, _ in loaded.weights] == files[: 1 if name.startswith("frontal") else 2]
    cells, seen = loaded.describe(IMAGE, fitted(), texture())
    assert cells.shape == (len(HALF_VIEWS[name.rpartition(":")[0] or "both"]), 128)
    assert seen.all()
    again, _ = loaded.describe(IMAGE, fitted(), texture())
    np.testing.assert_array_equal(cells, again)


def onnx_file(path: Path, size: int = 112, batch: int | str = "n") -> Path:
    """A network that gives the mean of each colour, and one."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("ReduceMean", ["data", "axes"], ["mean"], keepdims=0),
        make.make_node("Concat", ["mean", "mean"], ["out"], axis=1),
    ]
    graph = make.make_graph(
        nodes,
        "mean",
        [make.make_tensor_value_info("data", kind, [batch, 3, size, size])],
        [make.make_tensor_value_info("out", kind, [batch, 6])],
        [make.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("batch", ["n", 1])
def test_an_onnx_network_is_given_112_px_in_rgb_around_zero(tmp_path: Path, batch: int | str) -> None:
    network = onnx_network(onnx_file(tmp_path / "mean.onnx", batch=batch))
    views = np.zeros((2, 112, 112, 3), np.uint8)
    views[1] = (255, 127, 0)
    expected = (views[:, 0, 0].astype(float) - 127.5) / 127.5
    np.testing.assert_allclose(network(views), np.tile(expected, 2), atol=1e-5)


def test_an_onnx_descriptor_is_named_by_its_file_and_pinned_by_its_bytes(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "mean.onnx")
    loaded = load_descriptor(f"frontal:onnx:{path}")
    assert loaded.name == "frontal:onnx:mean.onnx"
    ((name, sha),) = loaded.weights
    assert name == "recognition/mean.onnx"
    assert len(sha) == 64
    cells, seen = loaded.describe(IMAGE, fitted(), texture(right=False))
    assert cells.shape == (1, 6)
    assert seen.tolist() == [True]
    pixels, mask = frontal_pixels(texture(right=False), ARCFACE_FRAME)
    mean = filled_view(pixels, mask, "whole", ARCFACE_FRAME).mean(axis=(0, 1)) - 127.5
    np.testing.assert_allclose(cells[0], np.tile(mean, 2) / np.linalg.norm(np.tile(mean, 2)), atol=1e-3)


def test_a_file_that_is_no_such_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"input \(B, 3, 112, 112\)"):
        load_descriptor(f"onnx:{onnx_file(tmp_path / 'large.onnx', size=160)}")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(InvalidInputError, match=r"expected an ONNX network in text\.onnx"):
        load_descriptor(f"onnx:{tmp_path / 'text.onnx'}")
    with pytest.raises(InvalidInputError, match="expected an ONNX file"):
        load_descriptor("onnx:nowhere.onnx")


def test_the_photographs_second_cell_is_the_second_networks() -> None:
    def other(views: np.ndarray) -> np.ndarray:
        return corner_pixels(255 - views)

    def both(views: np.ndarray) -> np.ndarray:
        return np.stack([corner_pixels(views), corner_pixels(255 - views // 2)], axis=1)

    def described(network: ViewNetwork, second: ViewNetwork | None = None, photo: bool = True) -> Described:
        kinds = HALF_VIEWS["both"]
        one = ViewDescriptor("pretended", (("w", "0" * 64),), network, DLIB_FRAME, kinds, True, second)
        return one.describe(IMAGE if photo else None, fitted() if photo else None, texture())

    plain, alone = described(corner_pixels)[0], described(other)[0]
    cells, seen = described(corner_pixels, other)
    assert seen.all()
    np.testing.assert_array_equal(cells[[0, 2, 3]], plain[[0, 2, 3]])
    np.testing.assert_array_equal(cells[1], alone[0])
    cells, seen = described(corner_pixels, other, photo=False)
    assert seen.tolist() == [False, False, True, True]
    assert not cells[:2].any()
    # Of two vectors the second describes the photograph, the first the halves.
    cells, _ = described(both, other)
    np.testing.assert_array_equal(cells[2:], plain[2:])
    np.testing.assert_array_equal(cells[1], alone[0])
    np.testing.assert_array_equal(cells[0], described(lambda views: both(views)[:, 1])[0][0])


def test_a_photograph_used_both_ways_gives_its_mirror_image_the_same_cell() -> None:
    both = ViewDescriptor("pretended", (("w", "0" * 64),), corner_pixels, DLIB_FRAME, ("photo", "left"), both_ways=True)
    cells, _ = both.describe(IMAGE, fitted(), texture())
    view = photo_view(IMAGE, fitted(), DLIB_FRAME)
    parts = [corner_pixels(v[None])[0] for v in (view, np.ascontiguousarray(view[:, ::-1]))]
    expected = sum(p / np.linalg.norm(p) for p in parts)
    np.testing.assert_allclose(cells[0], expected / np.linalg.norm(expected), atol=1e-6)
    plain, _ = described_by(("photo", "left")).describe(IMAGE, fitted(), texture())
    np.testing.assert_array_equal(cells[1], plain[1])
