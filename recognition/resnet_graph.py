"""The residual network that describes a face's normalised view, as an ONNX graph; `resnet` is the same in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import OnnxGraph, Weights

VIEW_SIZE = 150
"""Side of the network's input, px."""

DIMENSION = 128
"""Numbers it gives."""

MEAN_COLOUR = (122.782, 117.001, 104.298)
"""Subtracted from red, green and blue; the rest is divided by 256."""

BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True), (64, False), (64, False), (64, False)],
    *[(128, True), (128, False), (128, False)],
    *[(256, True), (256, False), (256, False)],
    (256, True),
)
"""Channels of each residual block and whether it halves the picture."""

_FOR_PHOTOGRAPHS = {"photo.weight": "head.weight", "photo.bias": "head.bias", "photo_places.weight": "places.weight"}
"""Arrays of a weight file that describe photographs, and those in whose place they stand."""


def for_photographs(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays with the linear layers for photographs, where they have such, in place of those for all views."""
    return {**arrays, **{place: arrays[name] for name, place in _FOR_PHOTOGRAPHS.items() if name in arrays}}


def with_photo_head(arrays: Mapping[str, NDArray[Any]], head: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays, and the linear layers of `head`, arrays of a network, as those for photographs."""
    return {**arrays, **{name: head[place] for name, place in _FOR_PHOTOGRAPHS.items()}}


def resnet_graph(arrays: Mapping[str, NDArray[Any]], photo: bool = False) -> OnnxGraph:
    """Views (N, 3, 150, 150) as `views_network` gives them to (N, 128), not normalised.

    Args:
        arrays: of the network, by torch's names; a weight file may hold others beside them.
        photo: give (N, 256), the vectors by the layers for photographs behind the others.

    Raises:
        InvalidInputError: one is missing or of another shape.
    """
    parts = ("stem", "blocks", "head", "places", *(("photo", "photo_places") if photo else ()))
    own = {name: value for name, value in arrays.items() if name.split(".")[0] in parts}
    graph, weights = OnnxGraph(), Weights(own, "the residual network")

    def convolution(x: str, name: str, i: int, o: int, stride: int, padding: int, size: int = 3) -> str:
        weight, bias = weights.take(f"{name}.weight", o, i, size, size), weights.take(f"{name}.bias", o)
        return graph.convolution(x, weight, bias, stride, padding)

    def filled(x: str, channels: int, side: int) -> str:
        """Zeros behind the last channel, row and column."""
        if not channels and not side:
            return x
        return graph.add("Pad", x, graph.constant(np.array([0, 0, 0, 0, 0, channels, side, side], dtype=np.int64)))

    def block(x: str, number: int, i: int, o: int, halve: bool, side: int) -> tuple[str, int]:
        name = f"blocks.{number}"
        y = graph.add("Relu", convolution(x, f"{name}.first", i, o, 2 if halve else 1, 0 if halve else 1))
        y = convolution(y, f"{name}.second", o, o, 1, 1)
        if not halve:
            return graph.add("Relu", graph.add("Add", y, x)), side
        # Without padding the two ways may differ by a row and a column, and by channels: zeros fill up, as in dlib.
        own, skip = (side - 3) // 2 + 1, side // 2
        x = graph.add("AveragePool", x, kernel_shape=(2, 2), strides=(2, 2))
        wide = max(own, skip)
        return graph.add("Relu", graph.add("Add", filled(y, 0, wide - own), filled(x, o - i, wide - skip))), wide

    x = graph.input("views", ("n", 3, VIEW_SIZE, VIEW_SIZE))
    x = graph.add("Relu", convolution(x, "stem", 3, 32, 2, 0, 7))
    x = graph.add("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2))
    side, channels, places = ((VIEW_SIZE - 7) // 2 + 1 - 3) // 2 + 1, 32, ""
    for number, (outputs, halve) in enumerate(BLOCKS):
        places = graph.add("Flatten", x)
        x, side = block(x, number, channels, outputs, halve, side)
        channels = outputs
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    answers = []
    for head, of_places in (("head", "places"), ("photo", "photo_places"))[: 2 if photo else 1]:
        weight, bias = weights.take(f"{head}.weight", DIMENSION, 256), weights.take(f"{head}.bias", DIMENSION)
        answers.append(graph.linear(pooled, weight, bias))
        if f"{of_places}.weight" in own:
            said = graph.linear(places, weights.take(f"{of_places}.weight", DIMENSION, 256 * 16))
            answers[-1] = graph.add("Add", answers[-1], said)
    weights.done()
    graph.output(graph.add("Concat", *answers, axis=1) if photo else answers[0], ("n", DIMENSION * len(answers)))
    return graph


def views_network(network: Network) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A network of `resnet_graph` or `resnet.runner` as a function of views (N, 150, 150, 3) uint8 RGB to (N, 128).

    One with layers for photographs gives (N, 2, 128), theirs behind the others.
    """

    def run(views: NDArray[np.uint8]) -> NDArray[np.float32]:
        if views.shape[1:] != (VIEW_SIZE, VIEW_SIZE, 3):
            raise InvalidInputError(f"expected views (N, {VIEW_SIZE}, {VIEW_SIZE}, 3); got {views.shape}")
        (out,) = network(np.asarray(cv2.dnn.blobFromImages(list(views), 1 / 256, mean=MEAN_COLOUR), np.float32))
        return out if out.shape[1] == DIMENSION else out.reshape(len(out), -1, DIMENSION)

    return run
