"""GoDP's weight file: the network, how its maps are read, and its calibration, as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Godp, GodpSettings
from facerec.landmarks.heatmaps import DecodeSettings, Logistic


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


def godp_arrays(
    network: Godp, calibration: Calibration, decoding: DecodeSettings | None = None
) -> dict[str, NDArray[Any]]:
    """What a weight file of GoDP holds: kernels in float16, normalisation statistics in float32, settings as JSON
    bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        array = tensor.detach().cpu().contiguous().numpy()
        arrays[name] = array.astype(np.float16) if array.ndim > 1 else array
    text = json.dumps(
        {"network": asdict(network.settings), "decoding": asdict(decoding or DecodeSettings())}
        | {"calibration": asdict(calibration)},
        sort_keys=True,
    )
    arrays["settings"] = np.frombuffer(text.encode(), dtype=np.uint8)
    return arrays


def godp_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> tuple[Godp, DecodeSettings, Calibration]:
    """Network (evaluation mode, not fused), decoding and calibration of a weight file."""
    if "settings" not in arrays:
        raise InvalidInputError(f"expected GoDP weights with an array 'settings'; got {sorted(arrays)[:5]}...")
    stated = json.loads(arrays["settings"].tobytes().decode())
    shape = stated["network"]
    network = Godp(GodpSettings(**(shape | {"yaw_edges": tuple(shape["yaw_edges"])})))
    own = network.state_dict()
    expected = {name for name in own if not name.endswith("num_batches_tracked")}
    if expected != set(arrays) - {"settings"}:
        raise InvalidInputError(
            f"expected the weights of {shape}; missing {sorted(expected - set(arrays))[:3]}, "
            f"unknown {sorted(set(arrays) - expected - {'settings'})[:3]}"
        )
    for name in expected:
        own[name].copy_(torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)))
    calibration = stated["calibration"]
    return (
        network.eval().requires_grad_(False),
        DecodeSettings(**stated["decoding"]),
        Calibration(Logistic(**calibration["confidence"]), Logistic(**calibration["visibility"]), calibration["close"]),
    )
