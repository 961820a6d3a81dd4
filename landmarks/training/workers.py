"""Processes that train one network together, as torchrun starts them: each on faces of its own, gradients averaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True, slots=True)
class Workers:
    """This process among those that train together.

    Attributes:
        rank: its number; 0 writes the files.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def here() -> Workers:
        """Those of this process group; a single one where none was started."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return Workers()
        return Workers(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over the workers, in one exchange."""
        if self.count == 1:
            return
        # A loss that a stage switches off leaves gradients at None, in all workers alike.
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(joined)
        joined /= self.count
        first = 0
        for gradient in gradients:
            gradient.copy_(joined[first : first + gradient.numel()].view_as(gradient))
            first += gradient.numel()

    def agreed(self, value: float, device: torch.device) -> float:
        """The first worker's value: clocks differ, and all must be at the same point of the schedule."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(shared, 0)
        return float(shared)


@contextmanager
def started_workers(device: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, where it did; the device of this one.

    Args:
        device: "cpu" or "cuda"; with several processes on CUDA each takes the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield torch.device(device)
        return
    own = torch.device(device)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield own
    finally:
        distributed.destroy_process_group()
