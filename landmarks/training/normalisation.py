"""Batch normalisation for a trained network that ships without: its training can go on as if it had never lost it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def restore_normalisation(layer: nn.Sequential, convolution: nn.Module, _: tuple[Tensor, ...], given: Tensor) -> None:
    """Make a convolution with normalisation equal to a trained one without, whose answer to the pictures is `given`."""
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    own, norm = layer[0], layer[1]
    assert isinstance(own, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    own.weight.copy_(convolution.weight)
    plain = given - convolution.bias[:, None, None]
    norm.running_mean.copy_(plain.mean(dim=(0, 2, 3)))
    norm.running_var.copy_(plain.var(dim=(0, 2, 3)))
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(convolution.bias + norm.running_mean)
