"""The box regressor's network in torch, for training and for GPUs; `patch_graphs` has the same for onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.landmarks.detection.patch_graphs import CROP_SIZE, MEAN_FACE
from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.packed import torch_network


class BoxNetwork(nn.Module):
    """Grey crops (N, 1, 64, 64) of `normalize_roi` to seven numbers each; see `box_regressor.decoded`."""

    def __init__(self) -> None:
        super().__init__()

        def layer(i: int, o: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))

        self.features = nn.Sequential(
            layer(1, 16, 2), layer(16, 32, 2), layer(32, 32, 1), layer(32, 64, 2), layer(64, 64, 1), layer(64, 64, 2)
        )
        self.answer = nn.Sequential(nn.Flatten(), nn.Linear(64 * 16, 96), nn.ReLU(inplace=True), nn.Linear(96, 7))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 7): see `box_regressor.encoded`."""
        out: Tensor = self.answer(self.features(crops))
        return out


def regressor_arrays(network: BoxNetwork, mean_face: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Arrays to save: kernels in float16, statistics in float32, and the mean face."""
    arrays: dict[str, NDArray[Any]] = {MEAN_FACE: mean_face.astype(np.float32)}
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            value = tensor.detach().cpu().numpy()
            arrays[name] = value.astype(np.float16) if value.ndim > 1 else value
    return arrays


def network_of(arrays: Mapping[str, NDArray[Any]]) -> BoxNetwork:
    """The network of the arrays `regressor_arrays` gives, without the mean face.

    Raises:
        InvalidInputError: other arrays.
    """
    network = BoxNetwork()
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    if set(arrays) != set(state):
        raise InvalidInputError(f"expected the weights of a box regressor; got {sorted(arrays)[:5]} ...")
    for key, value in state.items():
        if value.shape != arrays[key].shape:
            raise InvalidInputError(f"expected {key} of shape {tuple(value.shape)}; got {arrays[key].shape}")
        value.copy_(torch.from_numpy(arrays[key].astype(np.float32)))
    return network


def runner(network: BoxNetwork, device: str = "cpu") -> Network:
    """A trained network as `BoxRegressor` takes it."""
    return torch_network(network, device, (1, 1, CROP_SIZE, CROP_SIZE))
