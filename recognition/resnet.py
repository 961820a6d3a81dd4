"""The residual network that describes a face's normalised view in torch, and dlib's weights as its starting point.

The architecture is that of dlib's face network (29 convolutions, 128 numbers), its normalisation layers folded into
the convolutions. dlib's weights (dlib-models, CC0) come with the package face-recognition-models and are read without
dlib.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.packed import torch_network
from facerec.recognition.resnet_graph import BLOCKS, DIMENSION, MEAN_COLOUR, VIEW_SIZE, for_photographs


class ResidualBlock(nn.Module):
    """ReLU(skip(x) + conv(ReLU(conv(x)))); a halving block averages 2 x 2 on the way round."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        y = self.second(F.relu(self.first(x)))
        skip = F.avg_pool2d(x, 2) if self.halve else x
        # Without padding the two ways may differ by a row and a column, and by channels: zeros fill up, as in dlib.
        height, width = max(y.shape[2], skip.shape[2]), max(y.shape[3], skip.shape[3])
        if y.shape != skip.shape:
            skip = F.pad(
                skip, (0, width - skip.shape[3], 0, height - skip.shape[2], 0, max(0, y.shape[1] - skip.shape[1]))
            )
            y = F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))
        return F.relu(y + skip)


class FaceResNet(nn.Module):
    """(B, 3, 150, 150) of `network_input` to (B, 128), not normalised.

    Args:
        places: whether the 4 x 4 places of the last map but one have a part of their own in the vector (dlib's network
            takes means over places only).
    """

    def __init__(self, places: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        channels = [32] + [outputs for outputs, _ in BLOCKS]
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(inputs, outputs, halve)
                for inputs, (outputs, halve) in zip(channels[:-1], BLOCKS, strict=True)
            )
        )
        # The bias subtracts what all faces share (dlib's strangers have a cosine of 0.85), so that cosines spread.
        self.head = nn.Linear(256, DIMENSION)
        self.places = nn.Linear(256 * 16, DIMENSION, bias=False) if places else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.described(*self.features(x))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions give: (B, 4096) the last map but one, and (B, 256) the means of the last."""
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        x = self.blocks[:-1](x)
        return x.flatten(1), self.blocks[-1](x).mean(dim=(2, 3))

    def described(self, places: Tensor, pooled: Tensor) -> Tensor:
        """(B, 128) of `features`."""
        result: Tensor = self.head(pooled)
        if self.places is not None:
            result = result + self.places(places)
        return result

    def with_places(self) -> FaceResNet:
        """The same network with a part for the places that says nothing yet."""
        out = FaceResNet()
        assert out.places is not None
        with torch.no_grad():
            out.places.weight.zero_()
        out.load_state_dict(self.state_dict(), strict=False)
        return out


class WithPhotoLayers(nn.Module):
    """(B, 3, 150, 150) to (B, 256): a network's vectors, and behind them those by its layers for photographs."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.network, self.photo = network_of(arrays), network_of(for_photographs(arrays))

    def forward(self, x: Tensor) -> Tensor:
        """See the class; the convolutions, which both have alike, run once."""
        found = self.network.features(x)
        return torch.cat([self.network.described(*found), self.photo.described(*found)], dim=1)


def network_input(views: NDArray[np.uint8] | Tensor) -> Tensor:
    """(B, 150, 150, 3) uint8 RGB to (B, 3, 150, 150) float32."""
    tensor = views if isinstance(views, Tensor) else torch.from_numpy(views)
    if tensor.shape[1:] != (VIEW_SIZE, VIEW_SIZE, 3):
        raise InvalidInputError(f"expected views (B, {VIEW_SIZE}, {VIEW_SIZE}, 3); got {tuple(tensor.shape)}")
    mean = torch.tensor(MEAN_COLOUR, device=tensor.device)
    return ((tensor.float() - mean) / 256).permute(0, 3, 1, 2)


def network_of(arrays: Mapping[str, NDArray[Any]]) -> FaceResNet:
    """The network of a weight file's arrays, ready to describe."""
    with torch.device("meta"):  # no random weights, which would be thrown away
        network = FaceResNet("places.weight" in arrays)
    own = {name: value for name, value in arrays.items() if name in network.state_dict()}
    state = {name: torch.from_numpy(np.array(value)).float() for name, value in own.items()}
    network.load_state_dict(state, assign=True)
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def network_arrays(network: FaceResNet, dlib_mean: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
    """The network as arrays for a weight file, float16, beside the mean (128,) of dlib's own vectors."""
    arrays: dict[str, NDArray[Any]] = {
        name: value.detach().cpu().numpy().astype(np.float16) for name, value in network.state_dict().items()
    }
    return arrays | {"dlib_mean": dlib_mean.astype(np.float32)}


def dlib_model_file() -> Path:
    """Where the package face-recognition-models keeps dlib's face network.

    Raises:
        InvalidInputError: the package is not installed (extra `dlib`).
    """
    # The package imports a module that newer setuptools lack; its files do not need it.
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or not package.submodule_search_locations:
        raise InvalidInputError("dlib's face network needs facerec[dlib] (face-recognition-models)")
    return Path(next(iter(package.submodule_search_locations))) / "models" / "dlib_face_recognition_resnet_model_v1.dat"


def runner(network: FaceResNet | WithPhotoLayers, device: str = "cpu") -> Network:
    """The network as `views_network` takes it, on `device`."""
    return torch_network(network, device, (3, 3, VIEW_SIZE, VIEW_SIZE))  # a face's views at a time


def read_dlib_network(path: Path, mean: NDArray[np.floating] | None = None) -> FaceResNet:
    """dlib's face network from its own file.

    Args:
        path: the .dat file.
        mean: (128,) what all faces share, to be subtracted from its vectors; dlib itself subtracts nothing.

    Raises:
        InvalidInputError: not a file of that network.
    """
    data = path.read_bytes()
    convolutions, affines, heads = (_tensors(data, kind) for kind in (b"con_4", b"affine_", b"fc_2"))
    network = FaceResNet(places=False)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not len(convolutions) == len(affines) == len(layers) or len(heads) != 1:
        raise InvalidInputError(
            f"expected dlib's face network of {len(layers)} convolutions in {path.name}; got {len(convolutions)}"
        )
    with torch.no_grad():
        for layer, kernel, affine in zip(layers, convolutions, affines, strict=True):
            if kernel.size != layer.weight.numel() + layer.out_channels or affine.size != 2 * layer.out_channels:
                raise InvalidInputError(f"expected dlib's face network in {path.name}; a layer's size differs")
            weight = torch.from_numpy(kernel[: layer.weight.numel()].reshape(layer.weight.shape))
            bias = torch.from_numpy(kernel[layer.weight.numel() :])
            gain, offset = torch.from_numpy(affine).chunk(2)
            layer.weight.copy_(weight * gain[:, None, None, None])
            assert layer.bias is not None
            layer.bias.copy_(bias * gain + offset)
        network.head.weight.copy_(torch.from_numpy(heads[0].reshape(256, DIMENSION)).T)
        network.head.bias.zero_()
        if mean is not None:
            network.head.bias.copy_(-torch.from_numpy(np.asarray(mean, dtype=np.float32)))
    return network.eval()


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """dlib's compact integer: a byte that tells sign and length, then little-endian bytes. Value and where it ends."""
    control = data[at]
    length = control & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
    return (-value if control & 0x80 else value), at + 1 + length


def _tensors(data: bytes, layer: bytes) -> list[NDArray[np.float32]]:
    """The parameters of all layers of a kind, from the input on; dlib writes a layer's name right before them."""
    label = struct.pack("BB", 1, len(layer)) + layer
    found = []
    at = data.find(label)
    while at >= 0:
        cursor = at + len(label)
        if layer.startswith(b"fc"):
            for _ in range(2):  # numbers of outputs and inputs
                _, cursor = _integer(data, cursor)
        version, cursor = _integer(data, cursor)
        count = 1
        for _ in range(4):
            size, cursor = _integer(data, cursor)
            count *= size
        if version != 2 or not 0 < count * 4 <= len(data) - cursor:
            raise InvalidInputError(f"expected a tensor after {layer.decode()} at byte {at}; got something else")
        found.append(np.frombuffer(data, dtype="<f4", count=count, offset=cursor).copy())
        at = data.find(label, cursor + 4 * count)
    return found
