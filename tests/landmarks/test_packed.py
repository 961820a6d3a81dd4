"""Packed convolutions give the numbers of plain ones, are used where they are faster, and training is left alone."""

from __future__ import annotations

import time
from copy import deepcopy

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


SHAPE = (2, 3, 24, 20)


@pytest.fixture(autouse=True)
def bfloat16_and_nothing_chosen_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "bfloat16")
    monkeypatch.setattr(packed, "_chosen", {})


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def count(network: nn.Module) -> int:
    return sum(isinstance(module, PackedConv2d) for module in network.modules())


class Packs(PackedConv2d):
    """What `PackedConv2d` is where the library packs: the same numbers, here without the library."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        self.plain = [convolution]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.plain[0](x)
        return y


class Refuses(PackedConv2d):
    def __init__(self, convolution: nn.Conv2d) -> None:
        raise RuntimeError("bf16 path needs the cpu support")


class FailsInUse(Packs):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("could not create a primitive descriptor")


def test_packed_convolutions_give_the_same_numbers(picture: Tensor) -> None:
    plain = Block().bfloat16().eval().requires_grad_(False)
    fast = deepcopy(plain)
    if not pack(fast):
        pytest.skip("the library packs nothing on this processor")
    assert count(fast) == 3
    with torch.inference_mode():
        for x in (picture, picture[:1, :, :16, :16]):
            x = x.bfloat16().contiguous(memory_format=torch.channels_last)
            assert torch.allclose(fast(x).float(), plain(x).float(), atol=2e-2)


@pytest.mark.parametrize("kind", [Refuses, FailsInUse])
def test_where_packing_is_refused_the_network_works_and_gives_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, picture: Tensor, kind: type[PackedConv2d]
) -> None:
    monkeypatch.setattr(packed, "PackedConv2d", kind)
    network = Block()
    own, dtype = prepared(network, "cpu", SHAPE)
    x = picture.to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(own(x), network.bfloat16().eval()(x))


def test_a_network_is_packed_all_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class RefusesGroups(Packs):
        def __init__(self, convolution: nn.Conv2d) -> None:
            if convolution.groups > 1:
                raise RuntimeError("no groups here")
            super().__init__(convolution)

    monkeypatch.setattr(packed, "PackedConv2d", RefusesGroups)
    network = Block().bfloat16().eval().requires_grad_(False)
    assert not pack(network)
    assert sum(type(module) is nn.Conv2d for module in network.modules()) == 3


def test_what_is_slower_packed_is_used_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Packs):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.01)
            return super().forward(x)

    monkeypatch.setattr(packed, "PackedConv2d", Slow)
    assert count(prepared(Block(), "cpu", SHAPE)[0]) == 0


def test_what_is_faster_packed_is_packed_and_timed_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def seconds(network: nn.Module, inputs: list[Tensor]) -> float:
        timed.append([tuple(x.shape) for x in inputs])
        return 0.0 if count(network) else 1.0

    monkeypatch.setattr(packed, "PackedConv2d", Packs)
    monkeypatch.setattr(packed, "_seconds", seconds)
    for _ in range(2):
        assert count(prepared(Block(), "cpu", SHAPE)[0]) == 3
    assert timed == [[SHAPE], [SHAPE]]
    assert count(prepared(Block(), "cpu", (1, 3, 8, 8))[0]) == 3
    assert len(timed) == 4


def test_the_network_itself_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PackedConv2d", Packs)
    network = Block().train()
    prepared(network, "cpu", SHAPE)
    assert network.training
    assert count(network) == 0
    assert all(p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


def test_float32_and_networks_in_training_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PackedConv2d", Packs)
    monkeypatch.setenv(VARIABLE, "float32")
    assert count(prepared(Block(), "cpu", SHAPE)[0]) == 0
    network = Block().bfloat16()
    assert not pack(network)
    assert count(network) == 0


def test_a_release_without_the_operators_is_slower_not_broken(monkeypatch: pytest.MonkeyPatch, picture: Tensor) -> None:
    monkeypatch.setattr(packed, "_REORDER", "no_such_operator")
    network, dtype = prepared(Block(), "cpu", SHAPE)
    assert count(network) == 0
    with torch.inference_mode():
        assert network(picture.to(dtype)).shape == (2, 7, 12, 10)
