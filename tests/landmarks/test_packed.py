"""Packed convolutions give the numbers of plain ones, and training is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facerec.landmarks import packed
from facerec.landmarks.packed import PackedConv2d, pack, prepared
from facerec.landmarks.precision import VARIABLE


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU())
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False)
        self.head = nn.Conv2d(16, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.grouped(self.stem(x)))
        return y


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(2, 3, 24, 20, generator=torch.Generator().manual_seed(0))


def count(network: nn.Module) -> int:
    return sum(isinstance(module, PackedConv2d) for module in network.modules())


def test_packed_convolutions_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch, picture: Tensor) -> None:
    monkeypatch.setenv(VARIABLE, "bfloat16")
    network = Block()
    fast, dtype = prepared(network, "cpu")
    assert count(fast) == 3
    assert dtype == torch.bfloat16
    plain = network.bfloat16().eval()
    with torch.inference_mode():
        for x in (picture, picture[:1, :, :16, :16]):
            x = x.to(dtype).contiguous(memory_format=torch.channels_last)
            assert torch.allclose(fast(x).float(), plain(x).float(), atol=2e-2)


def test_the_network_itself_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "bfloat16")
    network = Block().train()
    prepared(network, "cpu")
    assert network.training
    assert count(network) == 0
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


def test_float32_and_networks_in_training_are_not_packed() -> None:
    assert count(prepared(Block(), "cpu")[0]) == 0
    network = Block().bfloat16()
    pack(network)
    assert count(network) == 0


def test_a_release_without_the_operators_is_slower_not_broken(monkeypatch: pytest.MonkeyPatch, picture: Tensor) -> None:
    monkeypatch.setenv(VARIABLE, "bfloat16")
    monkeypatch.setattr(packed, "_REORDER", "no_such_operator")
    network, dtype = prepared(Block(), "cpu")
    assert count(network) == 0
    with torch.inference_mode():
        assert network(picture.to(dtype)).shape == (2, 7, 12, 10)
