"""Networks as they are used: in the device's number format, convolutions packed for the processor's library.

torch hands a convolution's kernel to oneDNN in its own order at every call, and oneDNN reorders it at every call: for
small pictures in bfloat16 that is a sixth of the time. Here it happens once.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from facerec.landmarks.precision import inference_dtype

N = TypeVar("N", bound=nn.Module)

_REORDER: Final = "mkldnn_reorder_conv2d_weight"


class PackedConv2d(nn.Module):
    """A convolution for use, not for training: the same numbers as `convolution` gives on a CPU."""

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


def prepared(network: N, device: str | torch.device) -> tuple[N, torch.dtype]:
    """A copy of a trained network, ready to be used on `device`, and the format it wants its input in.

    The network itself may go on training.
    """
    dtype = inference_dtype(device)
    own = deepcopy(network).eval().requires_grad_(False)
    own = own.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pack(own)
    return own, dtype


def pack(network: nn.Module) -> None:
    """Pack every convolution of a network that will only be used, where that is known to pay: bfloat16 on a CPU.

    These operators are torch's own for compiled models. A release without them leaves the network as it is, which is
    slower and gives the same numbers.
    """
    if not (hasattr(torch._C._nn, _REORDER) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return
    for owner in list(network.modules()):
        for name, module in list(owner.named_children()):
            if type(module) is nn.Conv2d and _pays(module):
                setattr(owner, name, PackedConv2d(module))


def _pays(convolution: nn.Conv2d) -> bool:
    weight = convolution.weight
    plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return plain and weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and not weight.requires_grad
