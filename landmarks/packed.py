"""Networks as they are used: in the device's number format, convolutions packed where that is faster.

torch hands a convolution's kernel to oneDNN in its own order at every call, and oneDNN reorders it at every call. A
kernel that is packed once saves that: on processors with AMX a sixth of the time of small pictures in bfloat16. On
others oneDNN wants yet another order at each pass and falls into its slowest reorder, four times slower in all, and
without AVX-512 it refuses to pack. So packing is tried and timed when a network is loaded, and kept where it pays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.landmarks.engine import Network
from facerec.landmarks.precision import inference_dtype

N = TypeVar("N", bound=nn.Module)

_REORDER: Final = "mkldnn_reorder_conv2d_weight"

_ROUNDS: Final = 3
"""Timed passes of each form: the shortest of three is free of the first one's warming up and of what others do."""

_chosen: dict[tuple[object, ...], bool] = {}
"""Whether packing paid, by network, shapes, format and threads: a network is timed once in a process."""


class PackedConv2d(nn.Module):
    """A convolution for use, not for training: the same numbers as `convolution` gives on a CPU.

    Raises:
        RuntimeError: the library cannot pack it on this processor.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        shape = convolution.padding, convolution.stride, convolution.dilation, convolution.groups
        kernel = convolution.weight.detach().to_mkldnn()
        self._kernel: Tensor = getattr(torch._C._nn, _REORDER)(kernel, *shape)
        self._rest: tuple[Any, ...] = (convolution.bias, *shape, "none", [], "")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._kernel, *self._rest)
        return y


def prepared(network: N, device: str | torch.device, *shapes: tuple[int, ...]) -> tuple[N, torch.dtype]:
    """A copy of a trained network, ready to be used on `device`, and the format it wants its input in.

    The network itself may go on training.

    Args:
        network: trained.
        device: where it will run.
        shapes: inputs (N, C, H, W) it will mostly get: its passes over them decide whether its convolutions are packed.
    """
    dtype = inference_dtype(device)
    own = deepcopy(network).eval().requires_grad_(False)
    own = own.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    key = (str(own), shapes, dtype, torch.get_num_threads())
    if not _chosen.get(key, True):
        return own, dtype
    packed = deepcopy(own)
    if not pack(packed):
        return own, dtype
    if key not in _chosen:
        _chosen[key] = _pays(packed, own, shapes, dtype)
    return (packed if _chosen[key] else own), dtype


def torch_network(
    network: nn.Module,
    device: str | torch.device,
    *shapes: tuple[int, ...],
    answer: Callable[[Any], Sequence[Tensor]] = lambda out: [out] if isinstance(out, Tensor) else out,
) -> Network:
    """A trained network as a function of arrays, run by torch (see `prepared`).

    Args:
        network, device, shapes: see `prepared`.
        answer: from what the network returns to the outputs that are wanted.
    """
    own, dtype = prepared(network, device, *shapes)

    def run(inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            x = torch.from_numpy(inputs).to(device, dtype)
            x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
            return [out.float().cpu().numpy() for out in answer(own(x))]

    return run


def pack(network: nn.Module) -> bool:
    """Pack every convolution of a network that will only be used and computes in bfloat16 on a CPU.

    These operators are torch's own for compiled models.

    Returns:
        Whether any was packed. A release without the operators, or a processor for which the library refuses, leaves
        the network as it is, with the same numbers.
    """
    if not (hasattr(torch._C._nn, _REORDER) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return False
    places = [
        (owner, name, module)
        for owner in network.modules()
        for name, module in owner.named_children()
        if type(module) is nn.Conv2d and _can_be_packed(module)
    ]
    try:
        packed = [PackedConv2d(module) for _, _, module in places]
    except RuntimeError:  # all or none: what refuses one kernel of a network refuses the others
        return False
    for (owner, name, _), one in zip(places, packed, strict=True):
        setattr(owner, name, one)
    return bool(packed)


def _can_be_packed(convolution: nn.Conv2d) -> bool:
    weight = convolution.weight
    plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return plain and weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and not weight.requires_grad


def _pays(packed: nn.Module, plain: nn.Module, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> bool:
    """Whether the packed network is faster over `shapes`; a network that fails when it is used is not."""
    inputs = [torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last) for shape in shapes]
    try:
        return _seconds(packed, inputs) < _seconds(plain, inputs)
    except RuntimeError:
        return False


@torch.inference_mode()
def _seconds(network: nn.Module, inputs: list[Tensor]) -> float:
    """The shortest of `_ROUNDS` passes over all of `inputs`, after one that does not count."""
    spent = []
    for _ in range(1 + _ROUNDS):
        start = time.perf_counter()
        for x in inputs:
            network(x)
        spent.append(time.perf_counter() - start)
    return min(spent[1:])
