"""The detector's network as an ONNX graph; `detector_network` is the same in torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from facerec.landmarks.onnx_graph import OnnxGraph, Weights

STRIDES = (8, 16, 32, 64)
"""Size of a cell of each level, px."""

CHANNELS_OUT = 15
"""Per cell: one score, four distances, five points of two coordinates."""

THRESHOLD = "score_threshold"
"""Name of the calibrated threshold in a weight file."""


@dataclass(frozen=True)
class DetectorShape:
    """Size of the network.

    Attributes:
        widths: channels after strides 2, 4, 8, 16, 32, 64. Dense 3x3 convolutions of few channels are faster here than
            depthwise ones, which are bound by memory; these widths take 1.5 G multiplications for 640x480.
        blocks: residual blocks at strides 4, 8, 16, 32, 64.
        neck: channels of the merged levels and of the head they share.
    """

    widths: tuple[int, int, int, int, int, int] = (16, 24, 48, 80, 96, 96)
    blocks: tuple[int, int, int, int, int] = (1, 2, 2, 2, 0)
    neck: int = 48


def detector_graph(arrays: Mapping[str, NDArray[Any]]) -> OnnxGraph:
    """Pictures (N, 3, H, W) to one map (N, 15, H / s, W / s) per stride s, from the finest.

    Args:
        arrays: of the network without normalisation, by torch's names.

    Raises:
        InvalidInputError: other arrays.
    """
    shape, weights, graph = DetectorShape(), Weights(arrays, "this detector"), OnnxGraph()
    widths, neck = shape.widths, shape.neck

    def convolution(x: str, name: str, i: int, o: int, size: int = 3, stride: int = 1, relu: bool = True) -> str:
        weight, bias = weights.take(f"{name}.weight", o, i, size, size), weights.take(f"{name}.bias", o)
        x = graph.convolution(x, weight, bias, stride, size // 2)
        return graph.add("Relu", x) if relu else x

    x = convolution(graph.input("pictures", ("n", 3, "h", "w")), "stem.0", 3, widths[0], stride=2)
    levels = []
    for i in range(5):
        own = widths[i + 1]
        x = convolution(x, f"stages.{i}.0.0", widths[i], own, stride=2)
        for block in range(1, 1 + shape.blocks[i]):
            y = convolution(x, f"stages.{i}.{block}.first.0", own, own)
            y = convolution(y, f"stages.{i}.{block}.second.0", own, own, relu=False)
            x = graph.add("Relu", graph.add("Add", x, y))
        if i >= 1:
            levels.append(x)
    head = weights.take("head.0.weight", neck, neck, 3, 3), weights.take("head.0.bias", neck)
    answer = weights.take("answer.weight", CHANNELS_OUT, neck, 1, 1), weights.take("answer.bias", CHANNELS_OUT)
    answers: list[str] = []
    above = ""
    for i in reversed(range(len(levels))):
        here = convolution(levels[i], f"lateral.{i}.0", widths[2 + i], neck, size=1, relu=False)
        if above:
            here = graph.add("Add", here, graph.doubled(above))
        above = here
        merged = convolution(graph.add("Relu", here), f"merge.{i}.0", neck, neck)
        seen = graph.add("Relu", graph.convolution(merged, *head, padding=1))
        answers.append(graph.convolution(seen, *answer))
    weights.done()
    for i, value in enumerate(reversed(answers)):
        graph.output(value, ("n", CHANNELS_OUT, f"h{i}", f"w{i}"))
    return graph
