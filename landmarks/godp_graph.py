"""GoDP as an ONNX graph, and what its weight file states beside the network; `godp` is the same network in torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import OnnxGraph, Weights
from facerec.landmarks.score_maps import DecodeSettings, Logistic

SCORE_STRIDES = (8, 4, 4, 2, 2)
"""Input px per score-map px, in the order of `Decisions`: 20, 40, 40, 80 and 80 px for an input of 160."""

_BLOCK: Final = 8
"""onnxruntime lays channels out in blocks of so many, and computes maps that do not fill them three times as slowly."""

Architecture = Literal["godp", "deconvnet", "hourglass", "coordinates"]
"""GoDP and the paper's baselines on the same ten groups (`facerec.landmarks.training.godp_baselines`)."""


@dataclass(frozen=True, slots=True)
class GodpSettings:
    """Shape of the network.

    Attributes:
        landmarks: L, points of the markup.
        yaw_bins: K, score maps per landmark, one per yaw range; 1 by default, since with the data at hand three maps
            a point share too few turned faces each (the paper's own gain from K = 3 is 0.09 points of NME).
        yaw_edges: K - 1 rising angles, degrees, that part the yaw ranges.
        width: channels over those of VGG-16. 0.25 trains on two CPU cores within an hour and locates a face in about
            40 ms on one of them.
        architecture: "godp", or a baseline to compare it with.
        side: of the input, px: 160, or 64 or 32 for small experiments, whose ROIs are shrunk to it. Places remain
            px of 160.
    """

    landmarks: int = 68
    yaw_bins: int = 1
    yaw_edges: tuple[float, ...] = ()
    width: float = 0.25
    architecture: Architecture = "godp"
    side: int = ROI_SIZE

    def __post_init__(self) -> None:
        if self.landmarks < 1 or self.yaw_bins < 1 or not 0 < self.width <= 4:
            raise InvalidInputError(
                "expected landmarks >= 1, yaw_bins >= 1 and 0 < width <= 4; got "
                f"{self.landmarks}, {self.yaw_bins}, {self.width}"
            )
        if len(self.yaw_edges) != self.yaw_bins - 1 or list(self.yaw_edges) != sorted(set(self.yaw_edges)):
            raise InvalidInputError(
                f"expected {self.yaw_bins - 1} rising yaw edges for {self.yaw_bins} yaw bins; got {self.yaw_edges}"
            )
        # Five halvings, and maps whose pixels are whole pixels of the ROI.
        if self.side < 32 or self.side % 32 or ROI_SIZE % (self.side // 2):
            raise InvalidInputError(f"expected an input side of 32, 64, 160 or 320 px; got {self.side}")

    @property
    def channels(self) -> int:
        """KL + 1: the score maps of a pixel, background last."""
        return self.yaw_bins * self.landmarks + 1

    def width_of(self, vgg: int) -> int:
        """Channels of a layer that has `vgg` of them at full width."""
        # Multiples of 8 keep the vector units of CPU and GPU full.
        return max(8, round(vgg * self.width / 8) * 8)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns evidence into probabilities; saved with the weights.

    Attributes:
        confidence: from the share of a landmark's map that lies around its place to the probability that the place is
            within `close` of the truth.
        visibility: from the proposal's log-odds around that place to the probability that the camera sees the point.
        close: distance that counts as right, share of the ROI's side; 4 % of it are 5 % of the face's.
    """

    confidence: Logistic = field(default_factory=Logistic)
    visibility: Logistic = field(default_factory=Logistic)
    close: float = 0.04


def stated_settings(arrays: Mapping[str, NDArray[Any]]) -> tuple[GodpSettings, DecodeSettings, Calibration]:
    """Shape of the network, decoding and calibration as a weight file states them.

    Raises:
        InvalidInputError: not a weight file of GoDP.
    """
    if "settings" not in arrays:
        raise InvalidInputError(f"expected GoDP weights with an array 'settings'; got {sorted(arrays)[:5]}...")
    stated = json.loads(arrays["settings"].tobytes().decode())
    shape, calibration = stated["network"], stated["calibration"]
    return (
        GodpSettings(**(shape | {"yaw_edges": tuple(shape["yaw_edges"])})),
        DecodeSettings(**stated["decoding"]),
        Calibration(Logistic(**calibration["confidence"]), Logistic(**calibration["visibility"]), calibration["close"]),
    )


def godp_graph(arrays: Mapping[str, NDArray[Any]], settings: GodpSettings) -> OnnxGraph:
    """ROIs (N, 1, 160, 160) to the score maps after the second refinement and the second proposal, (N, KL + 1, 80, 80).

    Args:
        arrays: the network's, by torch's names; `settings`: its shape.

    Raises:
        InvalidInputError: other arrays, another architecture, or another input side than 160 px.
    """
    if settings.architecture != "godp" or settings.side != ROI_SIZE:
        raise InvalidInputError(
            f"expected the architecture godp and a side of {ROI_SIZE} px; got {settings.architecture!r}, "
            f"{settings.side}"
        )
    graph, weights = OnnxGraph(), Weights(arrays, str(settings))
    c, maps = settings.width_of, settings.channels
    spare = -maps % _BLOCK  # empty score maps behind the others, so that they fill whole blocks

    def widened(weight: NDArray[Any], axis: int) -> NDArray[Any]:
        return np.pad(weight, [(0, spare if a == axis else 0) for a in range(weight.ndim)])

    def unit(x: str, name: str, i: int, o: int, scores: bool = False) -> str:
        weight, bias = weights.folded(f"{name}.conv", f"{name}.norm", (o, i, 3, 3))
        weight = widened(weight, 1) if scores else weight
        return graph.add("Relu", graph.convolution(x, weight, bias, padding=1))

    def group(x: str, name: str, widths: Sequence[int], scores: bool = False) -> str:
        """Units; with `scores`, the last channels of the first one's input are score maps."""
        for k, (i, o) in enumerate(pairwise(widths)):
            x = unit(x, f"{name}.{k}", i, o, scores and k == 0)
        return x

    def converter(x: str, name: str, i: int, scores: bool = False) -> str:
        weight, bias = weights.take(f"{name}.weight", maps, i, 1, 1), weights.take(f"{name}.bias", maps)
        weight = widened(weight, 1) if scores else weight
        return graph.convolution(x, widened(weight, 0), widened(bias, 0))

    def pooled(x: str) -> list[str]:
        return graph.add_many("MaxPool", 2, x, kernel_shape=(2, 2), strides=(2, 2))

    def unpooled(x: str, places: str) -> str:
        return graph.add("MaxUnpool", x, places, kernel_shape=(2, 2), strides=(2, 2))

    def corrected(x: str, features: str, name: str, channels: int) -> str:
        both = graph.add("Concat", features, x, axis=1)
        if name in ("g12", "g13"):
            both = group(both, name, (channels + maps, c(128), c(128)), scores=True)
            return graph.add("Add", x, converter(both, f"{name}.2", c(128)))
        return graph.add("Add", x, converter(both, name, channels + maps, scores=True))

    x = group(graph.input("rois", ("n", 1, ROI_SIZE, ROI_SIZE)), "g1", (1, c(64), c(64)))
    g2 = group(graph.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2)), "g2", (c(64), c(128), c(128)))
    x, places_2 = pooled(g2)
    g3 = group(x, "g3", (c(128), *[c(256)] * 3))
    x, places_3 = pooled(g3)
    g4 = group(x, "g4", (c(256), *[c(512)] * 3))
    x, places_4 = pooled(g4)
    x, places_5 = pooled(group(x, "g5", [c(512)] * 4))
    x = group(unpooled(group(x, "g6", [c(512)] * 4), places_5), "g7", [c(512)] * 4)
    # The one hyperlink of GoDP: G4 is added before G8.
    g8 = group(graph.add("Add", unpooled(x, places_4), g4), "g8", (c(512), c(512), c(512), c(256)))
    g9 = group(unpooled(g8, places_3), "g9", (c(256), c(256), c(256), c(128)))
    g10 = group(unpooled(g9, places_2), "g10", (c(128), c(128), c(64)))
    up = graph.doubled(converter(g8, "g14", c(256)), linear=True)
    psi = corrected(corrected(up, g3, "g12", c(256)), g9, "g15", c(128))
    proposal = corrected(graph.doubled(psi, linear=True), g2, "g13", c(128))
    refinement = corrected(proposal, g10, "g16", c(64))
    weights.done()
    cut = [graph.constant(np.array([number], dtype=np.int64)) for number in (0, maps, 1)] if spare else []
    for value in (refinement, proposal):
        value = graph.add("Slice", value, *cut) if cut else value
        graph.output(value, ("n", maps, ROI_SIZE // 2, ROI_SIZE // 2))
    return graph
