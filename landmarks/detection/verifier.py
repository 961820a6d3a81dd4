"""The verifier: a second look at a candidate, larger and in colour, by networks that learnt nothing but what deceives.

The detector sees a face in two to six of its cells and must answer everywhere; the verifier sees one candidate in 64
px. Two small networks learn each from one half of the training pictures, so that each half is judged by the network
that did not learn it, and the finder's rule learns how far to trust them. In use their log-odds are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facerec.landmarks.batches import in_batches
from facerec.landmarks.crop import Roi, cut
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.packed import prepared
from facerec.landmarks.types import Box, Image

PATCH_SIZE = 64
"""Side of a patch, px: eyes are told from buttons there."""

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
        own = [prepared(network, self.device) for network in networks]
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
        x = _network_input(patches).to(self.device, self._dtype)
        odds = torch.stack([network(x).double() for network in self._networks]).mean(dim=0)
        return np.asarray(odds.cpu().numpy())


def patch(image: Image, box: Box, size: int = PATCH_SIZE) -> Image:
    """What the verifier sees of a box: (size, size, 3) uint8 RGB."""
    return cut(image, Roi.around(box, PATCH_SCALE), size)


def _network_input(patches: NDArray[np.uint8]) -> Tensor:
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


@dataclass(frozen=True)
class VerifierTraining:
    """How a verifier network is trained.

    Attributes:
        seed: of the first weights and of every patch.
        steps: of `batch` patches, half of them faces. 800 take about a minute on one core.
        batch: patches a step.
        rate: peak learning rate of AdamW.
        decay: weight decay.
        shift, scale, tilt: a patch is moved by up to this share of its side, resized by this logarithm (standard
            deviation) and turned by so many degrees (standard deviation).
        coarse: share of patches shrunk to 16 to 64 px first. Training faces are large and false ones mostly small:
            without it, sharpness alone would tell them apart.
        grey: share of patches without colour.
    """

    seed: int = 0
    steps: int = 800
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.05
    shift: float = 0.06
    scale: float = 0.1
    tilt: float = 12.0
    coarse: float = 0.6
    grey: float = 0.25


def varied(patch: NDArray[np.uint8], rng: np.random.Generator, settings: VerifierTraining) -> NDArray[np.uint8]:
    """A patch (S, S, 3), S >= 64, seen otherwise: moved, turned, mirrored, coarser, in another light; (64, 64, 3)."""
    side = patch.shape[0]
    scale = PATCH_SIZE / side * float(np.exp(rng.normal(0, settings.scale)))
    angle = np.deg2rad(rng.normal(0, settings.tilt))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        linear[:, 0] *= -1
    middle = np.full(2, (side - 1) / 2)
    target = np.full(2, (PATCH_SIZE - 1) / 2) + rng.uniform(-settings.shift, settings.shift, 2) * PATCH_SIZE
    matrix = np.concatenate([linear, (target - linear @ middle)[:, None]], axis=1)
    seen = cv2.warpAffine(
        patch, matrix, (PATCH_SIZE, PATCH_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if rng.random() < settings.coarse:
        small = round(float(np.exp(rng.uniform(np.log(16), np.log(PATCH_SIZE)))))
        seen = cv2.resize(seen, (small, small), interpolation=cv2.INTER_AREA)
        seen = cv2.resize(seen, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_LINEAR)
    light = seen.astype(np.float32)
    if rng.random() < settings.grey:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    else:
        light = light * np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    light = (light - 128) * float(np.exp(rng.normal(0, 0.2))) + 128 + float(rng.normal(0, 15))
    if rng.random() < 0.3:
        light = light + rng.normal(0, rng.uniform(1, 8), light.shape).astype(np.float32)
    result: NDArray[np.uint8] = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        done, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])
        if done:
            result = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return result


def train_verifier(
    faces: NDArray[np.uint8],
    others: NDArray[np.uint8],
    settings: VerifierTraining | None = None,
) -> VerifierNetwork:
    """Learn one network.

    Args:
        faces: (N, S, S, 3) uint8 RGB patches of faces, S >= 64.
        others: (M, S, S, 3) of what the detector took for faces and is none.
        settings: see `VerifierTraining`.

    Returns:
        the network, in evaluation mode.

    Raises:
        InvalidInputError: fewer than ten patches of a kind.
    """
    settings = settings or VerifierTraining()
    if min(len(faces), len(others)) < 10:
        raise InvalidInputError(f"expected at least ten faces and ten others; got {len(faces)}, {len(others)}")
    rng = np.random.default_rng(settings.seed)
    with torch.random.fork_rng(devices=[]):
        # Dropout draws from torch's own generator, so all of the training happens in here.
        torch.manual_seed(settings.seed)
        network = VerifierNetwork()
        optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
        half = settings.batch // 2
        labels = torch.cat([torch.ones(half), torch.zeros(settings.batch - half)])
        for step in range(settings.steps):
            share = min((step + 1) / 50, 0.5 * (1 + np.cos(np.pi * step / settings.steps)))
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * share
            drawn = [faces[i] for i in rng.integers(0, len(faces), half)]
            drawn += [others[i] for i in rng.integers(0, len(others), settings.batch - half)]
            x = _network_input(np.stack([varied(one, rng, settings) for one in drawn]))
            # 0.02: an annotator's slip, or a statue, is not worth the largest odds.
            loss = functional.binary_cross_entropy_with_logits(network(x), labels * 0.96 + 0.02)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()
