"""Verifier and box regressor as ONNX graphs; `verifier_network` and `box_network` are the same in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from facerec.landmarks.onnx_graph import OnnxGraph, Weights

PATCH_SIZE: Final = 64
"""Side of the verifier's patch, px: enough to distinguish eyes from buttons."""

CROP_SIZE: Final = 64
"""Side of the box regressor's grey input, px: eyes and mouth are 3 to 5 px wide there, enough to place a box."""

MEAN_FACE: Final = "mean_face"
"""Name of the mean face in a box regressor's weight file."""

_STRIDES: Final = (2, 2, 1, 2, 1, 2)


def _features(graph: OnnxGraph, weights: Weights, x: str, start: str, channels: Sequence[int]) -> str:
    """Convolutions with their normalisation folded in, then all numbers of a patch in one row."""
    for i, stride in enumerate(_STRIDES):
        name = f"{start}features.{i}"
        shape = channels[i + 1], channels[i], 3, 3
        x = graph.add("Relu", graph.convolution(x, *weights.folded(f"{name}.0", f"{name}.1", shape), stride, 1))
    return graph.add("Flatten", x)


def verifier_graph(arrays: Mapping[str, NDArray[Any]], count: int) -> OnnxGraph:
    """Patches (N, 3, 64, 64) to the mean of `count` networks' log-odds (N, 1).

    Raises:
        InvalidInputError: other arrays.
    """
    graph, weights = OnnxGraph(), Weights(arrays, f"{count} verifier networks")
    patches = graph.input("patches", ("n", 3, PATCH_SIZE, PATCH_SIZE))
    answers = []
    for number in range(count):
        x = _features(graph, weights, patches, f"{number}.", (3, 16, 32, 32, 64, 64, 96))
        name = f"{number}.answer.2"
        answers.append(graph.linear(x, weights.take(f"{name}.weight", 1, 96 * 16), weights.take(f"{name}.bias", 1)))
    weights.done()
    graph.output(graph.add("Mean", *answers), ("n", 1))
    return graph


def box_graph(arrays: Mapping[str, NDArray[Any]]) -> OnnxGraph:
    """Grey crops (N, 1, 64, 64) to seven numbers each (N, 7).

    Raises:
        InvalidInputError: other arrays.
    """
    graph, weights = OnnxGraph(), Weights(arrays, "a box regressor")
    crops = graph.input("crops", ("n", 1, CROP_SIZE, CROP_SIZE))
    x = _features(graph, weights, crops, "", (1, 16, 32, 32, 64, 64, 64))
    x = graph.linear(x, weights.take("answer.1.weight", 96, 64 * 16), weights.take("answer.1.bias", 96))
    x = graph.linear(graph.add("Relu", x), weights.take("answer.3.weight", 7, 96), weights.take("answer.3.bias", 7))
    weights.done()
    graph.output(x, ("n", 7))
    return graph
