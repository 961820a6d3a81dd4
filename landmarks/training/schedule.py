"""The learning rate of a training over its course: a linear rise, then half a cosine."""

from __future__ import annotations

import math

LEAST = 1e-3
"""Share of the highest rate below which it does not fall, so that no step is for nothing."""


def cosine_rate(progress: float, warm_up: float = 0.0) -> float:
    """Share of the highest learning rate at `progress`.

    The rise keeps the fresh statistics of normalisation layers and of the optimiser from jumping; the cosine needs no
    milestones, and its slow end settles what the fast middle found.

    Args:
        progress: share of the training that is done, in [0, 1]; more counts as 1.
        warm_up: share of the training in which the rate rises; 1 and more: it only rises.

    Returns:
        In [`LEAST`, 1]; 1 at the end of the rise.
    """
    progress = min(progress, 1.0)
    if warm_up > 0 and progress <= warm_up:
        return max(progress / warm_up, LEAST)
    done = (progress - warm_up) / (1 - warm_up)
    return max(0.5 * (1 + math.cos(math.pi * done)), LEAST)
