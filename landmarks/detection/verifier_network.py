"""The verifier's networks in torch, for training and for GPUs; `patch_graphs` has the same for onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.landmarks.detection.patch_graphs import PATCH_SIZE
from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.packed import torch_network


class VerifierNetwork(nn.Module):
    """Patches (N, 3, 64, 64) in [-1, 1] to (N,) log-odds that they show a face."""

    def __init__(self) -> None:
        super().__init__()

        def layer(i: int, o: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))

        self.features = nn.Sequential(
            layer(3, 16, 2), layer(16, 32, 2), layer(32, 32, 1), layer(32, 64, 2), layer(64, 64, 1), layer(64, 96, 2)
        )
        # Where an eye is matters, so the 4 x 4 places are not averaged away.
        self.answer = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, 1))

    def forward(self, patches: Tensor) -> Tensor:
        """(N,) log-odds."""
        out: Tensor = self.answer(self.features(patches))[:, 0]
        return out


def network_input(patches: NDArray[np.uint8]) -> Tensor:
    """Patches (N, 64, 64, 3) uint8 RGB as the networks take them: (N, 3, 64, 64), -1 to 1."""
    return torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def verifier_arrays(networks: Sequence[VerifierNetwork]) -> dict[str, NDArray[Any]]:
    """Arrays to save: kernels in float16, statistics in float32; the networks' names are their numbers."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                value = tensor.detach().cpu().numpy()
                arrays[f"{number}.{name}"] = value.astype(np.float16) if value.ndim > 1 else value
    return arrays


def networks_of(arrays: Mapping[str, NDArray[Any]], count: int) -> list[VerifierNetwork]:
    """The `count` networks of the arrays `verifier_arrays` gives.

    Raises:
        InvalidInputError: other arrays.
    """
    networks = [VerifierNetwork() for _ in range(count)]
    expected = verifier_arrays(networks)
    if {k: v.shape for k, v in arrays.items()} != {k: v.shape for k, v in expected.items()}:
        raise InvalidInputError(f"expected the weights of {count} verifier networks; got {sorted(arrays)[:5]} ...")
    for number, network in enumerate(networks):
        for name, value in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                value.copy_(torch.from_numpy(arrays[f"{number}.{name}"].astype(np.float32)))
    return networks


def runner(networks: Sequence[VerifierNetwork], device: str = "cpu") -> Network:
    """Trained networks as `Verifier` takes them: the mean of their log-odds."""
    if not networks:
        raise InvalidInputError("expected at least one network; got none")
    own = [torch_network(network, device, (1, 3, PATCH_SIZE, PATCH_SIZE)) for network in networks]

    def run(patches: NDArray[Any]) -> list[NDArray[np.float32]]:
        return [np.mean([network(patches)[0] for network in own], axis=0)[:, None]]

    return run
