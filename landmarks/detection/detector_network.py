"""The detector's network, for training and for use with torch; `detector_graph` is the same for onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facerec.landmarks.detection.detector_graph import CHANNELS_OUT, STRIDES, THRESHOLD, DetectorShape
from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.packed import torch_network

_USUAL = ((1, 3, 256, 256), (1, 3, 512, 640))
"""Inputs it mostly gets, (N, C, H, W): thumbnails and small photographs, and photographs of 4 to 3."""


def _convolution(i: int, o: int, size: int = 3, stride: int = 1, norm: bool = True, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, size, stride, size // 2, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(o))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, norm=norm)
        self.second = _convolution(channels, channels, norm=norm, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class DetectorNetwork(nn.Module):
    """Picture -> one map per stride.

    Args:
        shape: size of the network.
        norm: with batch normalisation, for training; `fused` turns it into the form without, for use.
    """

    def __init__(self, shape: DetectorShape | None = None, norm: bool = True) -> None:
        super().__init__()
        self.shape = shape or DetectorShape()
        widths, neck = self.shape.widths, self.shape.neck
        self.stem = _convolution(3, widths[0], stride=2, norm=norm)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(widths[i], widths[i + 1], stride=2, norm=norm),
                *(_Residual(widths[i + 1], norm) for _ in range(self.shape.blocks[i])),
            )
            for i in range(5)
        )
        self.lateral = nn.ModuleList(_convolution(w, neck, size=1, norm=norm, relu=False) for w in widths[2:])
        self.merge = nn.ModuleList(_convolution(neck, neck, norm=norm) for _ in STRIDES)
        self.head = _convolution(neck, neck, norm=norm)
        self.answer = nn.Conv2d(neck, CHANNELS_OUT, 1)
        # A cell holds a face once in a hundred, its edges two cells away: starting there keeps the first steps calm.
        first_answer = torch.tensor([-math.log(99.0), *[0.7] * 4, *[0.0] * 10])
        with torch.no_grad():
            nn.init.normal_(self.answer.weight, std=0.01)
            self.answer.bias = nn.Parameter(first_answer)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps of `pictures`.

        Args:
            pictures: (B, 3, H, W) float, RGB in [-1, 1], H and W multiples of 64.

        Returns:
            One (B, 15, H / s, W / s) tensor per stride s: score logit, four log distances, five points; see `decode`.
        """
        x = self.stem(pictures)
        levels = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i >= 1:
                levels.append(x)
        answers: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(STRIDES))):
            here = self.lateral[i](levels[i])
            if above is not None:
                here = here + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = here
            answers.append(self.answer(self.head(self.merge[i](F.relu(here)))))
        return answers[::-1]

    def fused(self) -> DetectorNetwork:
        """The same function without batch normalisation (its running means folded into the convolutions), for use."""
        twin = DetectorNetwork(self.shape, norm=False)
        state: dict[str, Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
                convolution, norm = module[0], module[1]
                assert isinstance(convolution, nn.Conv2d)
                assert norm.running_mean is not None
                assert norm.running_var is not None
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                state[f"{name}.0.weight"] = (convolution.weight * scale[:, None, None, None]).detach()
                state[f"{name}.0.bias"] = (norm.bias - norm.running_mean * scale).detach()
        state["answer.weight"] = self.answer.weight.detach()
        assert self.answer.bias is not None
        state["answer.bias"] = self.answer.bias.detach()
        twin.load_state_dict(state)
        return twin.eval()


def cell_centers(height: int, width: int, stride: int, device: torch.device | str = "cpu") -> Tensor:
    """(H/s * W/s, 2) centres x, y of the cells of a picture, px, row by row."""
    y = (torch.arange(height // stride, device=device, dtype=torch.float32) + 0.5) * stride - 0.5
    x = (torch.arange(width // stride, device=device, dtype=torch.float32) + 0.5) * stride - 0.5
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2)


def decode(answers: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Read the network's maps.

    Args:
        answers: as `DetectorNetwork` returns them, for pictures of `height` x `width` px.

    Returns:
        logits (B, N), boxes (B, N, 4) x0 y0 x1 y1 px, points (B, N, 5, 2) px, for the N cells of all levels, float32.
    """
    logits, boxes, points = [], [], []
    for answer, stride in zip(answers, STRIDES, strict=True):
        flat = answer.float().flatten(2).transpose(1, 2)
        centers = cell_centers(height, width, stride, answer.device)
        # exp keeps the distances positive; 4 bounds them at 55 cells, far beyond any face of the level.
        distances = flat[..., 1:5].clamp(-4.0, 4.0).exp() * stride
        logits.append(flat[..., 0])
        boxes.append(torch.cat([centers - distances[..., :2], centers + distances[..., 2:]], dim=-1))
        points.append(centers[:, None, :] + flat[..., 5:].reshape(*flat.shape[:2], 5, 2) * stride)
    return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(points, 1)


def normalize(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 in [-1, 1], channels last in memory, the form the network reads."""
    return ((pictures.float() - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)


def network_of(arrays: Mapping[str, NDArray[Any]]) -> DetectorNetwork:
    """The network of the arrays `detector_arrays` gives."""
    network = DetectorNetwork(norm=False)
    state = {key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays.items() if key != THRESHOLD}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInputError(f"expected the weights of this detector; got others: {error}") from None
    return network


def runner(network: DetectorNetwork, device: str = "cpu") -> Network:
    """A network without normalisation (`DetectorNetwork.fused`) as `FaceDetector` takes it."""
    return torch_network(network, device, *_USUAL)


def detector_arrays(network: DetectorNetwork, score_threshold: float) -> dict[str, NDArray[Any]]:
    """Arrays to save: the fused network in float16 and its threshold; `FaceDetector.from_arrays` reads them."""
    arrays: dict[str, NDArray[Any]] = {
        key: value.detach().cpu().numpy().astype(np.float16) for key, value in network.fused().state_dict().items()
    }
    arrays[THRESHOLD] = np.array(score_threshold, dtype=np.float32)
    return arrays
