"""The descriptors by name: from a lifted face to the cells of a signature.

`resnet` is the learnt one, `dfd` and `dfd-65536` are the published one. Face networks of other makers plug in: `dlib`
(extra) and `onnx:PATH`. A prefix of the name selects what the network sees: `photo:` for the photograph alone,
`frontal:` for the frontal views of the texture, no prefix for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.checkpoint import load_weights, weight_record
from facerec.landmarks.engine import engine_on
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import graph_network
from facerec.landmarks.types import Image
from facerec.recognition.dfd import DFD, plain_cells
from facerec.recognition.resnet_graph import for_photographs, resnet_graph, views_network
from facerec.recognition.views import (
    ARCFACE_FRAME,
    DLIB_FRAME,
    FACE_FRAME,
    ViewFrame,
    ViewKind,
    filled_view,
    frontal_pixels,
    photo_view,
    seen_shares,
)

Described = tuple[NDArray[np.float32], NDArray[np.bool_]]


class Descriptor(Protocol):
    """Describes a face, cell by cell. Stateless: may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The name it is chosen by; of a network in a file, without the file's folder."""
        ...

    @property
    def weights(self) -> tuple[tuple[str, str], ...]:
        """Name, "recognition/FILE", and SHA-256 of each file that shapes its numbers."""
        ...

    def describe(self, image: Image | None, fitted: FittedFace | None, texture: FaceTexture) -> Described:
        """Describe a fitted face.

        Args:
            image: (H, W, 3) uint8 RGB, the photograph; None when only the texture was kept: then what only a
                photograph shows counts as not seen.
            fitted: the face in it; None likewise.
            texture: its lifted texture.

        Returns:
            cells (C, D) of unit length, 0 where not seen; and (C,) which were seen.
        """
        ...


class CompactDFD:
    """DFD with each cell's histogram taken to a few discriminant numbers."""

    name = "dfd"

    def __init__(self) -> None:
        self._dfd = DFD.load()
        self.weights = (_shipped("dfd"),)

    def describe(self, image: Image | None, fitted: FittedFace | None, texture: FaceTexture) -> Described:
        """See `Descriptor.describe`; (64, 48)."""
        return self._dfd.describe(texture)


class PhotoDFD:
    """DFD of the photograph's view in the chart's place, all of it taken as seen: what DFD is without a 3-D fit."""

    name = "photo:dfd"

    def __init__(self) -> None:
        self._dfd = DFD.load()
        self.weights = (_shipped("dfd"),)

    def describe(self, image: Image | None, fitted: FittedFace | None, texture: FaceTexture) -> Described:
        """See `Descriptor.describe`; (64, 48)."""
        if image is None or fitted is None:
            raise InvalidInputError(f"{self.name} describes photographs; got a texture alone")
        size = texture.visible.shape[0]
        view = cv2.resize(photo_view(image, fitted, DLIB_FRAME), (size, size), interpolation=cv2.INTER_LINEAR)
        return self._dfd.describe(FaceTexture(np.asarray(view, dtype=np.uint8), np.ones((size, size), np.float32)))


class PublishedDFD:
    """DFD as published: 64 histograms of 1,024 dominant patterns, 65,536 numbers."""

    name = "dfd-65536"

    def __init__(self) -> None:
        self._dfd = DFD.load()
        self.weights = (_shipped("dfd"),)

    def describe(self, image: Image | None, fitted: FittedFace | None, texture: FaceTexture) -> Described:
        """See `Descriptor.describe`; (64, 1024)."""
        counts, seen = self._dfd.histograms(texture)
        return plain_cells(counts, seen), seen


ViewNetwork = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A face network: (B, S, S, 3) uint8 RGB views to (B, D) float32 vectors, of any length, or to (B, 2, D), of which the
second is meant for photographs and the first for other views."""


HALF_VIEWS: dict[str, tuple[ViewKind, ...]] = {
    # The photograph has two cells, so that it counts as much as both halves together.
    "both": ("photo", "photo", "left", "right"),
    "photo": ("photo", "photo"),
    "frontal": ("left", "right"),
}
"""Views for networks that were trained on halves with their mirror image, one cell each; the photograph's cells are
two networks'."""

WHOLE_VIEWS: dict[str, tuple[ViewKind, ...]] = {"both": ("photo", "whole"), "photo": ("photo",), "frontal": ("whole",)}
"""Views for a network that was trained on whole faces only."""

MIN_SEEN = 0.35
"""Share of a face's half that must be seen for that half to be a view of its own; less is not informative."""


class ViewDescriptor:
    """A face network's vectors of one or several views of a face.

    The photograph is always seen, and so is the frontal view as a whole; the left and the right half, each with its
    mirror, where enough of them was seen. So a profile is compared with the half of a frontal picture that it shows.

    Args:
        name, weights: see `Descriptor`.
        network: gives a vector for each view.
        frame: where it expects the face.
        kinds: the views it is shown, one cell each.
        both_ways: whether the photograph's vector is the mean of its own and its mirror image's.
        second: gives the vector of the photograph's second cell, of as many numbers; None: `network` does.
    """

    def __init__(
        self,
        name: str,
        weights: tuple[tuple[str, str], ...],
        network: ViewNetwork,
        frame: ViewFrame,
        kinds: tuple[ViewKind, ...],
        both_ways: bool = False,
        second: ViewNetwork | None = None,
    ) -> None:
        self.name = name
        self.weights = weights
        self._network = network
        self._frame = frame
        self._kinds = kinds
        self._both_ways = both_ways
        self._second = second

    def describe(self, image: Image | None, fitted: FittedFace | None, texture: FaceTexture) -> Described:
        """See `Descriptor.describe`; one cell per view."""
        pixels, seen = frontal_pixels(texture, self._frame)
        share = dict(
            zip(("left", "right"), seen_shares(seen, self._frame, texture.visible.shape[0]).tolist(), strict=True)
        )
        views: dict[ViewKind, Image] = {}
        for kind in dict.fromkeys(self._kinds):
            if kind != "photo":
                if share.get(kind, 1.0) >= MIN_SEEN:
                    views[kind] = filled_view(pixels, seen, kind, self._frame)
            elif image is not None and fitted is not None:
                views[kind] = photo_view(image, fitted, self._frame)
        if not views:
            raise InvalidInputError(f"{self.name} describes photographs; got a texture alone")
        own = self._vectors(views)
        known = np.array([kind in views for kind in self._kinds])
        size = next(iter(own.values())).shape[-1]
        cells = np.zeros((len(self._kinds), size), dtype=np.float32)
        for kind, vectors in own.items():
            cells[[place for place, one in enumerate(self._kinds) if one == kind]] = vectors
        return cells, known

    def _vectors(self, views: Mapping[ViewKind, Image]) -> dict[ViewKind, NDArray[np.float32]]:
        """(C, D) vectors of unit length of each view, one for each of its cells or one for all."""
        photo = [views["photo"]] if "photo" in views else []
        if self._both_ways:
            photo += [np.ascontiguousarray(view[:, ::-1]) for view in photo]
        rest: list[ViewKind] = [kind for kind in views if kind != "photo"]
        vectors = _unit(self._network(np.stack([*photo, *(views[kind] for kind in rest)])))
        by_layer = vectors if vectors.ndim == 3 else vectors[:, None]
        own: dict[ViewKind, NDArray[np.float32]] = dict(zip(rest, by_layer[len(photo) :, :1], strict=True))
        if photo:
            by = [by_layer[: len(photo), -1], *([] if self._second is None else [_unit(self._second(np.stack(photo)))])]
            own["photo"] = _unit(np.stack(by).sum(axis=1))
        return own


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), dtype=np.float32)


def _shipped(name: str) -> tuple[str, str]:
    return f"recognition/{name}", weight_record("recognition", name).sha256


def _resnet(kinds: str, device: str) -> ViewDescriptor:
    files = ("resnet", "resnet-start") if "photo" in HALF_VIEWS[kinds] else ("resnet",)
    first, *others = (load_weights("recognition", file) for file in files)
    second = [_residual(for_photographs(arrays), device) for arrays in others]
    both = kinds == "both" and "photo.weight" in first
    network = _residual(for_photographs(first) if kinds == "photo" else first, device, both)
    name, weights = _name_of(kinds, "resnet"), tuple(_shipped(file) for file in files)
    return ViewDescriptor(name, weights, network, FACE_FRAME, HALF_VIEWS[kinds], True, *second)


def _residual(arrays: dict[str, NDArray[Any]], device: str, photo: bool = False) -> ViewNetwork:
    if engine_on(device) == "onnx":
        return views_network(graph_network(resnet_graph(arrays, photo)))
    from facerec.recognition.resnet import WithPhotoLayers, network_of, runner

    return views_network(runner(WithPhotoLayers(arrays) if photo else network_of(arrays), device))


def _dlib(kinds: str, device: str) -> ViewDescriptor:
    from facerec.recognition.resnet import dlib_model_file, read_dlib_network, runner

    path = dlib_model_file()
    # dlib compares plain distances of vectors that share a large part; cosines spread once that part is gone.
    mean = load_weights("recognition", "resnet")["dlib_mean"]
    network = views_network(runner(read_dlib_network(path, mean), device))
    weights = (_shipped("resnet"), (f"recognition/{path.name}", _digest(path)))
    return ViewDescriptor(_name_of(kinds, "dlib"), weights, network, DLIB_FRAME, WHOLE_VIEWS[kinds])


def _onnx(kinds: str, path: Path, device: str) -> ViewDescriptor:
    name, network = _name_of(kinds, f"onnx:{path.name}"), onnx_network(path, device)
    return ViewDescriptor(
        name, ((f"recognition/{path.name}", _digest(path)),), network, ARCFACE_FRAME, WHOLE_VIEWS[kinds]
    )


def _name_of(kinds: str, network: str) -> str:
    return network if kinds == "both" else f"{kinds}:{network}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def onnx_network(path: Path, device: str = "cpu") -> ViewNetwork:
    """A face network of the ArcFace kind in an ONNX file: 112 px, RGB, (x - 127.5) / 127.5.

    Raises:
        InvalidInputError: the file holds no such network.
    """
    import onnxruntime

    if not path.is_file():
        raise InvalidInputError(f"expected an ONNX file after onnx:; got {str(path)!r}")
    options = onnxruntime.SessionOptions()
    # The caller decides how many photographs are worked on at once.
    options.intra_op_num_threads = 1
    providers = ["CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"]
    try:
        session: Any = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:
        # onnxruntime has one exception class per kind of error and no common one.
        raise InvalidInputError(f"expected an ONNX network in {path.name}; {error}") from error
    (entry,) = session.get_inputs()[:1]
    size = ARCFACE_FRAME.size
    if list(entry.shape[1:]) != [3, size, size]:
        raise InvalidInputError(f"expected a network of input (B, 3, {size}, {size}) in {path.name}; got {entry.shape}")
    batched = not isinstance(entry.shape[0], int)

    def network(views: NDArray[np.uint8]) -> NDArray[np.float32]:
        inputs = ((views.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
        parts = [inputs] if batched else [inputs[k : k + 1] for k in range(len(inputs))]
        return np.concatenate([session.run(None, {entry.name: part})[0] for part in parts]).astype(np.float32)

    return network


DESCRIPTORS: dict[str, str] = {
    "resnet": "two residual networks on the photograph, one on both halves of the frontal view, 4 x 128 numbers",
    "dfd": "dual-cross features made discriminant (DFD), 64 cells of 48 numbers",
    "dfd-65536": "DFD as published, 64 histograms of 1,024 patterns",
    "dlib": "dlib's face network as it is (extra dlib)",
    "onnx:PATH": "a network of the ArcFace kind, 112 px",
}
"""Descriptors by name; the first is the default. `photo:` or `frontal:` may stand before a network's name, `photo:`
before `dfd`."""

DEFAULT_DESCRIPTOR = next(iter(DESCRIPTORS))


def load_descriptor(name: str, device: str = "cpu") -> Descriptor:
    """The descriptor called `name`.

    Args:
        name: see `DESCRIPTORS`.
        device: "cpu" or "cuda", where networks run.

    Raises:
        InvalidInputError: no such descriptor (the message names the known ones), or its extra is missing.
    """
    plain: dict[str, Callable[[], Descriptor]] = {
        "dfd": CompactDFD,
        "dfd-65536": PublishedDFD,
        "photo:dfd": PhotoDFD,
    }
    if name in plain:
        return plain[name]()
    kinds, network = "both", name
    for prefix in ("photo", "frontal"):
        if name.startswith(f"{prefix}:"):
            kinds, network = prefix, name[len(prefix) + 1 :]
    if network == "resnet":
        return _resnet(kinds, device)
    if network == "dlib":
        return _dlib(kinds, device)
    if network.startswith("onnx:"):
        return _onnx(kinds, Path(network[len("onnx:") :]), device)
    raise InvalidInputError(f"expected a descriptor of {', '.join(DESCRIPTORS)}; got {name!r}")
