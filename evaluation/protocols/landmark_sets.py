"""Annotated pictures for landmark evaluation: the point CSV; CFP's are read by `facerec.evaluation.protocols.cfp`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box

_POINTS = 68
_COLUMNS = tuple(f"{axis}{i}" for i in range(_POINTS) for axis in "xy")


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """One annotated face.

    Attributes:
        path: the picture.
        name: how reports call it.
        points: (68, 2) float64 px, ibug68; NaN where a point is not annotated.
        box: box of the whole face, px: tight around the annotated points where they span it.
        yaw, pitch: degrees, where the data state them.
        pose: name of the view, where the data have one.
    """

    path: Path
    name: str
    points: NDArray[np.float64]
    box: Box
    yaw: float | None = None
    pitch: float | None = None
    pose: str | None = None


def read_points(file: Path) -> list[AnnotatedPicture]:
    """Annotated faces from a CSV with the columns file, x0, y0, ..., x67, y67 and, optionally, pose, yaw and pitch.

    Pictures lie relative to the CSV. An empty cell is a point that is not annotated. A picture may have several rows,
    one a face.

    Raises:
        InvalidInputError: other columns, cells that are no numbers (naming the line), or pictures that are missing.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            columns = set(rows.fieldnames or ())
            absent = [name for name in ("file", *_COLUMNS) if name not in columns]
            if absent:
                raise InvalidInputError(
                    f"{file}: expected the columns file,x0,y0,...,x67,y67 (and optionally pose,yaw,pitch); "
                    f"missing: {', '.join(absent[:6])}{' ...' if len(absent) > 6 else ''}"
                )
            annotated = [_row(file, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"expected a CSV file of annotated points; cannot read {file}: {error}") from None
    if not annotated:
        raise InvalidInputError(f"{file}: expected at least one annotated picture; got none")
    missing = [one.path for one in annotated if not one.path.is_file()]
    if missing:
        raise InvalidInputError(
            f"expected the pictures of {file} on disk; {len(missing)} of {len(annotated)} are missing, the first: "
            f"{missing[0]}"
        )
    return annotated


def _row(file: Path, line: int, row: dict[str, str]) -> AnnotatedPicture:
    def number(column: str) -> float:
        cell = (row.get(column) or "").strip()
        try:
            return float(cell) if cell else float("nan")
        except ValueError:
            raise InvalidInputError(f"{file}, line {line}: expected a number in {column}; got {cell!r}") from None

    if not row["file"]:
        raise InvalidInputError(f"{file}, line {line}: expected a picture in the column file; got nothing")
    points = np.array([number(column) for column in _COLUMNS]).reshape(_POINTS, 2)
    points[~np.isfinite(points).all(axis=1)] = np.nan
    try:
        box = Box.around(points)
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}, line {line}: {error}") from None
    yaw, pitch = number("yaw"), number("pitch")
    return AnnotatedPicture(
        path=file.parent / row["file"],
        name=row["file"],
        points=points,
        box=box,
        yaw=None if np.isnan(yaw) else yaw,
        pitch=None if np.isnan(pitch) else pitch,
        pose=(row.get("pose") or "").strip() or None,
    )
