"""GoDP's weight file in torch: the network, how its maps are read, and its calibration, as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Godp
from facerec.landmarks.godp_graph import Calibration, stated_settings
from facerec.landmarks.packed import torch_network
from facerec.landmarks.score_maps import DecodeSettings


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
    settings, decoding, calibration = stated_settings(arrays)
    network = Godp(settings)
    own = network.state_dict()
    expected = {name for name in own if not name.endswith("num_batches_tracked")}
    if expected != set(arrays) - {"settings"}:
        raise InvalidInputError(
            f"expected the weights of {settings}; missing {sorted(expected - set(arrays))[:3]}, "
            f"unknown {sorted(set(arrays) - expected - {'settings'})[:3]}"
        )
    for name in expected:
        own[name].copy_(torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)))
    return network.eval().requires_grad_(False), decoding, calibration


def runner(network: Godp, device: str = "cpu") -> Network:
    """A trained network as `GodpLandmarker` takes it; it is fused in place."""
    fused = network.eval().requires_grad_(False).fuse()
    shape = (1, 1, ROI_SIZE, ROI_SIZE)
    return torch_network(fused, device, shape, answer=lambda d: (d.refinement_2, d.proposal_2))
