"""The learnt signature: one network looks at each half of the UV texture, mirrored to one side, and at its mask.

Faces are near enough to mirror-symmetric that a half seen from the left and a half seen from the right describe the
same person. So the network knows one kind of half only, and a frontal picture gives it two looks. The signature has
three cells: the chart's left half, its right half, and both together. Two pictures are compared half by half where
both saw it, and through the joint cell always, which lets opposite profiles meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError

HALF_HEIGHT, HALF_WIDTH = 128, 72
"""Size of a half as the network sees it, px."""

_ROWS, _COLUMNS = slice(32, 224), slice(28, 136)
"""The half's part of a 256 chart: brows and forehead to chin, jaw to a little beyond the middle column."""


@dataclass(frozen=True)
class HalfFaceSettings:
    """Settings of the network and the description."""

    width: int = 24  # channels of the first stage; the others double
    blocks: tuple[int, int, int] = (1, 2, 2)  # residual blocks a stage
    dimension: int = 256  # numbers a cell
    # Share of the half's texels from which it counts as seen: a half of which the camera sees only the strip along
    # the nose says little about the person.
    min_visible: float = 0.4


class ResidualBlock(nn.Module):
    """x + BN(conv(ReLU(BN(conv(x))))), then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.out = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        result: Tensor = self.out(x + self.body(x))
        return result


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class PlaceWeights(nn.Module):
    """(B, C, H, W) to (B, C): a learnt weight for each place and channel, summed over the places."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, height, width), 1.0 / (height * width)))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        # The same as a depthwise convolution as large as the map, whose gradient is far slower on CPUs.
        return (x * self.weight).sum(dim=(2, 3))


class HalfFaceNet(nn.Module):
    """(B, 2, 128, 72) grey and mask to (B, D) vectors, not normalised."""

    def __init__(self, settings: HalfFaceSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or HalfFaceSettings()
        w = self.settings.width
        stages: list[nn.Module] = [_down(2, w)]
        for inputs, outputs, count in zip((w, 2 * w, 4 * w), (2 * w, 4 * w, 8 * w), self.settings.blocks, strict=True):
            stages.append(_down(inputs, outputs))
            stages += [ResidualBlock(outputs) for _ in range(count)]
        self.features = nn.Sequential(*stages)
        # One weight a place and channel instead of an average: the same pixel is the same part of every face.
        self.pool = nn.Sequential(
            PlaceWeights(8 * w, 8, 5),
            nn.BatchNorm1d(8 * w),
            nn.Linear(8 * w, self.settings.dimension, bias=False),
            nn.BatchNorm1d(self.settings.dimension),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        result: Tensor = self.pool(self.features(x))
        return result


def halves(texture: FaceTexture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The two halves as the network sees them.

    Args:
        texture: a 256-texel chart.

    Returns:
        (2, 2, 128, 72) float32: the chart's left half and its right half mirrored to the left; channels grey (zero mean
        and unit deviation over the half's seen texels, 0 elsewhere) and mask. And (2,) the share of the half seen.
    """
    if texture.visible.shape[0] != 256:
        raise InvalidInputError(f"expected a texture of 256 texels a side; got {texture.visible.shape[0]}")
    grey = cv2.cvtColor(texture.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    seen = (texture.visible > 0).astype(np.float32)
    out = np.zeros((2, 2, HALF_HEIGHT, HALF_WIDTH), dtype=np.float32)
    share = np.zeros(2, dtype=np.float32)
    for side in (0, 1):
        g, m = (grey, seen) if side == 0 else (grey[:, ::-1], seen[:, ::-1])
        size = (HALF_WIDTH, HALF_HEIGHT)
        mask = cv2.resize(np.ascontiguousarray(m[_ROWS, _COLUMNS]), size, interpolation=cv2.INTER_AREA)
        tone = cv2.resize(np.ascontiguousarray((g * m)[_ROWS, _COLUMNS]), size, interpolation=cv2.INTER_AREA)
        out[side] = normalize_half((tone / np.maximum(mask, 1e-6)).astype(np.float32), (mask > 0.5).astype(np.float32))
        share[side] = out[side, 1].mean()
    return out, share


def normalize_half(grey: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, H, W): grey with zero mean and unit deviation over the mask, 0 elsewhere; and the mask (H, W) of 0 and 1."""
    count = max(float(mask.sum()), 1.0)
    mean = float((grey * mask).sum()) / count
    deviation = float(np.sqrt((((grey - mean) * mask) ** 2).sum() / count))
    return np.stack([(grey - mean) / max(deviation, 4.0) * mask, mask]).astype(np.float32)


class HalfFaceDescriptor:
    """The learnt descriptor; see the module."""

    name = "halfface"
    weights = ("halfface",)

    def __init__(self, network: HalfFaceNet) -> None:
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._settings = network.settings

    @staticmethod
    @cache
    def load() -> HalfFaceDescriptor:
        """The descriptor that comes with the package."""
        return HalfFaceDescriptor.from_arrays(load_weights("recognition", "halfface"))

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> HalfFaceDescriptor:
        """A descriptor of the arrays that `export_arrays` gave."""
        width, b1, b2, b3, dimension = (int(v) for v in arrays["settings"])
        network = HalfFaceNet(HalfFaceSettings(width=width, blocks=(b1, b2, b3), dimension=dimension))
        state = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items() if k != "settings"}
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        return HalfFaceDescriptor(network)

    def embed(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) vectors of unit length for (N, 2, 128, 72) halves."""
        with torch.inference_mode():
            batch = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
            vectors: Tensor = nn.functional.normalize(self._network(batch), dim=1)
        return vectors.numpy()

    def describe(self, texture: FaceTexture) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Cells (3, D): left half, right half, both; and which were seen. See `Descriptor.describe`."""
        inputs, share = halves(texture)
        seen = share >= self._settings.min_visible
        cells = np.zeros((3, self._settings.dimension), dtype=np.float32)
        if not seen.any():
            return cells, np.zeros(3, dtype=bool)
        vectors = self.embed(inputs[seen])
        cells[:2][seen] = vectors
        joint = (vectors * share[seen, None]).sum(axis=0)
        cells[2] = joint / max(float(np.linalg.norm(joint)), 1e-9)
        return cells, np.append(seen, True)


def export_arrays(network: HalfFaceNet) -> dict[str, NDArray[Any]]:
    """The network as arrays for a weight file: float16, and its settings."""
    s = network.settings
    arrays: dict[str, NDArray[Any]] = {
        name: value.detach().cpu().numpy().astype(np.float16 if value.is_floating_point() else np.int64)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            arrays[name] = value.numpy()
    arrays["settings"] = np.array([s.width, *s.blocks, s.dimension], dtype=np.int64)
    return arrays
