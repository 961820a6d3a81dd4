"""The verifier: a second look at a candidate, larger and in colour, by networks that learnt nothing but what deceives.

The detector sees a face in two to six of its cells and must answer everywhere; the verifier sees one candidate in 64
px. Two small networks learn each from one half of the training pictures, so that each half is judged by the network
that did not learn it, and the finder's rule learns how far to trust them. In use their log-odds are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.landmarks.batches import in_batches
from facerec.landmarks.crop import Roi, cut
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.packed import prepared
from facerec.landmarks.types import Box, Image

PATCH_SIZE = 64
"""Side of a patch, px: large enough to tell eyes from buttons."""

PATCH_SCALE = 1.6
"""Side of a patch over the longer side of its box: hair, ears and neck are evidence, too."""

NETWORKS = 2


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


class Verifier:
    """Judges candidates. Holds no state between calls; safe to share between threads.

    Args:
        networks: trained; their log-odds are averaged.
        device: where they run.
        batch: patches looked at together; bounds the memory of a crowd.
    """

    def __init__(
        self, networks: Sequence[VerifierNetwork], device: str | torch.device = "cpu", batch: int = 64
    ) -> None:
        if not networks:
            raise InvalidInputError("expected at least one network; got none")
        self.device = torch.device(device)
        own = [prepared(network, self.device, (1, 3, PATCH_SIZE, PATCH_SIZE)) for network in networks]
        self._networks, self._dtype = [network for network, _ in own], own[0][1]
        self._batch = batch

    def log_odds(self, image: Image, boxes: Sequence[Box]) -> NDArray[np.float64]:
        """(N,) log-odds that each of the boxes in `image` (H, W, 3) uint8 RGB holds a face."""
        if not boxes:
            return np.zeros(0)
        return self.log_odds_of(np.stack([patch(image, box) for box in boxes]))

    @torch.inference_mode()
    def log_odds_of(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The same of patches (N, 64, 64, 3) uint8 RGB."""
        return np.concatenate([np.zeros(0), *in_batches(self._judge, patches, self._batch)])

    def _judge(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        x = network_input(patches).to(self.device, self._dtype)
        odds = torch.stack([network(x).double() for network in self._networks]).mean(dim=0)
        return np.asarray(odds.cpu().numpy())


def patch(image: Image, box: Box, size: int = PATCH_SIZE) -> Image:
    """What the verifier sees of a box: (size, size, 3) uint8 RGB."""
    return cut(image, Roi.around(box, PATCH_SCALE), size)


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


def verifier_from_arrays(arrays: Mapping[str, NDArray[Any]], device: str | torch.device = "cpu") -> Verifier:
    """The inverse of `verifier_arrays`.

    Raises:
        InvalidInputError: other arrays.
    """
    networks = [VerifierNetwork() for _ in range(NETWORKS)]
    expected = verifier_arrays(networks)
    if {k: v.shape for k, v in arrays.items()} != {k: v.shape for k, v in expected.items()}:
        raise InvalidInputError(f"expected the weights of {NETWORKS} verifier networks; got {sorted(arrays)[:5]} ...")
    for number, network in enumerate(networks):
        for name, value in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                value.copy_(torch.from_numpy(arrays[f"{number}.{name}"].astype(np.float32)))
    return Verifier(networks, device)
