"""CFP's official tree: names of its people, pictures and fiducials, the box of a face from its fiducials."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import CfpView
from facerec.landmarks.types import Box


def cfp_names(folder: Path) -> list[str]:
    """Names of CFP's people in the order of their numbers."""
    lines = (folder / "Data" / "list_name.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines]


_MIDLINE = (27, 28, 29, 30, 33, 51, 57, 8)


def cfp_full_box(points: NDArray[np.float32], view: CfpView) -> Box:
    """Box of the whole face guessed from CFP's points.

    Frontals are annotated on the image-left half only: the other half is its mirror image about the line through the
    mid-line points. A profile's hidden half lies behind the visible one, so its own box will do.

    Args:
        points: (68, 2) px, NaN where not annotated.
    """
    if view == "profile":
        return Box.around(points)
    middle = points[list(_MIDLINE)].astype(np.float64)
    center = middle.mean(axis=0)
    axis = np.linalg.svd(middle - center)[2][0]
    known = points[np.isfinite(points).all(axis=1)].astype(np.float64) - center
    reflected = 2 * (known @ axis)[:, None] * axis - known
    return Box.around(np.concatenate([known, reflected]) + center)


def read_cfp(folder: Path, people: Collection[int]) -> Iterator[tuple[Path, CfpView, NDArray[np.float64]]]:
    """Pictures of CFP's official tree that are on disk.

    Args:
        folder: the tree with `Data/Images` and `Data/Fiducials`.
        people: numbers, from 1.

    Yields:
        picture path; view; fiducials (30, 2) px as in the file.
    """
    views: tuple[CfpView, CfpView] = ("frontal", "profile")
    for person in sorted(people):
        for view in views:
            for file in sorted((folder / "Data" / "Fiducials" / f"{person:03d}" / view).glob("*.txt")):
                fiducials = np.loadtxt(file, delimiter=",", dtype=np.float64)
                if fiducials.shape != (30, 2):
                    raise InvalidInputError(f"{file}: expected 30 fiducials x,y; got shape {fiducials.shape}")
                yield folder / "Data" / "Images" / f"{person:03d}" / view / f"{file.stem}.jpg", view, fiducials
