"""YouTube Faces: names of its people, and the points that were made for its frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError


def person_of_frame(path: Path) -> str:
    """Name of the person in a YouTube Faces frame NAME_VF.jpg."""
    return path.stem.rsplit("_", 1)[0]


def ytf_people(folder: Path) -> list[str]:
    """Sorted names of all people in the frames folder of YouTube Faces, its training and its test part together."""
    return sorted({person_of_frame(p) for p in folder.glob("frames/*/*.jpg")})


def read_points_csv(path: Path) -> Iterator[tuple[Path, NDArray[np.float32]]]:
    """Rows of a points file: columns file, x0, y0 ... x67, y67, px; pictures relative to the file.

    Yields:
        picture path; points (68, 2) float32.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        header = next(rows, [])
        expected = ["file", *[f"{axis}{i}" for i in range(68) for axis in "xy"]]
        if header != expected:
            raise InvalidInputError(
                f"{path}: expected the columns file,x0,y0,...,x67,y67; got {','.join(header[:5])}..."
            )
        for number, row in enumerate(rows, start=2):
            try:
                points = np.array(row[1:], dtype=np.float32).reshape(68, 2)
            except ValueError as error:
                raise InvalidInputError(f"{path}, line {number}: expected 136 numbers; {error}") from error
            yield path.parent / row[0], points
