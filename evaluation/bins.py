"""Bins of absolute yaw that recognition and landmark reports share."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

YAW_EDGES = (0, 15, 30, 45, 60, 75, 90)
"""Degrees. 15-degree bins tell half from full profile and still hold tens of pictures in sets of a few hundred."""

YAW_BINS = tuple(f"{low}-{high}" for low, high in pairwise(YAW_EDGES))
"""Names of the bins of |yaw|; a bin holds its lower edge."""

UNKNOWN_YAW = "unknown"
"""The bin of pictures whose yaw is neither given by the data nor estimated by a fit."""


def yaw_bin(yaw: float | None) -> str:
    """Name of the bin of |yaw|, degrees; beyond 90 counts as the last bin."""
    if yaw is None:
        return UNKNOWN_YAW
    last = len(YAW_BINS) - 1
    return YAW_BINS[min(last, int(abs(yaw) // 15))]


def in_order(names: Iterable[str]) -> list[str]:
    """The bins among `names` from frontal to profile, unknown last."""
    there = set(names)
    return [name for name in (*YAW_BINS, UNKNOWN_YAW) if name in there]


PITCH_BINS = ("below -45", "-45 to -15", "-15 to 15", "15 to 45", "above 45")
"""Names of the bins of pitch, degrees, from down to up: 30 degrees wide about level, so that UHDB31's rows are one
each. A bin holds its lower edge."""


def pitch_bin(pitch: float | None) -> str:
    """Name of the bin of pitch, degrees."""
    if pitch is None:
        return UNKNOWN_YAW
    return PITCH_BINS[sum(pitch >= edge for edge in (-45, -15, 15, 45))]


def pose_cell(yaw: float | None, pitch: float | None) -> tuple[float, float] | None:
    """Centre (yaw, pitch) of the cell of 30 by 30 degrees that a pose lies in, level frontal in the middle of one; at
    most (90, 60). None when an angle is unknown."""
    if yaw is None or pitch is None:
        return None

    def nearest(angle: float, end: float) -> float:
        return max(-end, min(end, 30.0 * round(angle / 30))) + 0.0  # no -0

    return nearest(yaw, 90.0), nearest(pitch, 60.0)
