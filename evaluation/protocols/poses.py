"""The 21 poses of UHDB31, 7 yaws by 3 pitches, and their positions in the 3 x 7 grid of a report."""

from __future__ import annotations

from facerec.landmarks.errors import InvalidInputError

UHDB31_YAWS = (-90, -60, -30, 0, 30, 60, 90)
"""Degrees, the grid's columns."""

UHDB31_PITCHES = (30, 0, -30)
"""Degrees, the grid's rows from the top."""

UHDB31_GALLERY_POSE = 11
"""The frontal pose."""

UHDB31_GROUPS = {"centre eight": ("7", "8", "9", "10", "12", "13", "14", "15")}
"""Poses that the literature averages: the eight within 30 degrees around the frontal one."""


def uhdb31_angles(pose: int) -> tuple[int, int]:
    """(yaw, pitch), degrees, of pose 1..21: three pitches after each other for every yaw, so that 11 is frontal.

    Raises:
        InvalidInputError: when `pose` is not within 1..21.
    """
    if not 1 <= pose <= 21:
        raise InvalidInputError(f"expected a UHDB31 pose within 1..21; got {pose}")
    column, row = divmod(pose - 1, 3)
    return UHDB31_YAWS[column], UHDB31_PITCHES[row]
