"""Annotated pictures for landmark evaluation: the point CSV; CFP's are read by `facerec.evaluation.protocols.cfp`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.protocols.resolution import sample_down
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import read_image
from facerec.landmarks.markup import IBUG68_SOURCES, Sources
from facerec.landmarks.types import Box, Image

_POINTS = 68
_FLAGS = tuple(f"v{i}" for i in range(_POINTS))
_COLUMNS = tuple(f"{axis}{i}" for i in range(_POINTS) for axis in "xy")


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """One annotated face.

    Attributes:
        path: the picture, or the file that holds it among others (see `picture`).
        name: how reports call it.
        points: (L, 2) float64 px, in the set's own markup; NaN where a point is not annotated.
        box: box of the whole face, px: tight around the annotated points where they span it.
        yaw, pitch: degrees, where the data state them.
        pose: name of the view, where the data have one.
        visible: (L,) bool, whether the camera sees each point, where the data say so.
        sources: which of the 68 points each one is read off; ibug68 itself by default.
        face_box: the set's own AFLW-style box, px, whose side divides NME-Vis and NME-All; where there is none, one is
            computed from the visible points (`facerec.landmarks.detection.boxes.aflw_box`).
        rotation: (3, 3) of the head, as `facerec.frontalize.types.Camera` has it, where the data state the whole pose.
        picture: (H, W, 3) uint8 RGB, where the set keeps pictures inside a file.
        size: (width, height) px to which the picture is sampled down by area; None: as it is. Points are at that size.
    """

    path: Path
    name: str
    points: NDArray[np.float64]
    box: Box
    yaw: float | None = None
    pitch: float | None = None
    pose: str | None = None
    visible: NDArray[np.bool_] | None = None
    sources: Sources = IBUG68_SOURCES
    face_box: Box | None = None
    rotation: NDArray[np.float64] | None = None
    picture: Image | None = None
    size: tuple[int, int] | None = None

    def image(self) -> Image:
        """The picture, (H, W, 3) uint8 RGB, read when asked for; raises `UnusablePhotoError`."""
        return sample_down(read_image(self.path) if self.picture is None else self.picture, self.size)

    def as_ibug68(self) -> NDArray[np.float64]:
        """(68, 2) px: the points that are one of the 68 each; NaN elsewhere."""
        points = np.full((_POINTS, 2), np.nan)
        for row, rows in enumerate(self.sources):
            if len(rows) == 1:
                points[rows[0]] = self.points[row]
        return points

    def seen(self) -> NDArray[np.bool_]:
        """(L,) bool: annotated, and not annotated as hidden."""
        annotated = np.isfinite(self.points).all(axis=1)
        return np.asarray(annotated if self.visible is None else annotated & self.visible)


def read_points(file: Path) -> list[AnnotatedPicture]:
    """Annotated faces from a CSV with the columns file, x0, y0, ..., x67, y67 and, optionally, pose, yaw and pitch.

    Pictures lie relative to the CSV. An empty cell is a point that is not annotated. A picture may have several rows,
    one per face. With the columns v0, ..., v67 as well the file says which points the camera sees (1) and which are
    hidden (0).

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
            flags = {name for name in _FLAGS if name in columns}
            if flags and len(flags) < _POINTS:
                raise InvalidInputError(f"{file}: expected all of the columns v0 to v67, or none; got {len(flags)}")
            annotated = [_row(file, rows.line_num, row, bool(flags)) for row in rows]
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


def _row(file: Path, line: int, row: dict[str, str], flagged: bool) -> AnnotatedPicture:
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
    visible = None
    if flagged:
        flags = [(row.get(name) or "").strip() for name in _FLAGS]
        if not set(flags) <= {"0", "1"}:
            raise InvalidInputError(
                f"{file}, line {line}: expected 0 or 1 in v0 to v67; got {sorted(set(flags) - {'0', '1'})}"
            )
        visible = np.array(flags) == "1"
    return AnnotatedPicture(
        path=file.parent / row["file"],
        name=row["file"],
        points=points,
        box=box,
        yaw=None if np.isnan(yaw) else yaw,
        pitch=None if np.isnan(pitch) else pitch,
        pose=(row.get("pose") or "").strip() or None,
        visible=visible,
    )
