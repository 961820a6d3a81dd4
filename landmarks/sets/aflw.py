"""Landmark sets with turned faces, as their owners distribute them: AFLW-Full, -PIFA, AFLW2000-3D, AFW, UHDB31.

None of them comes with facerec. Their points are read off the 68 for evaluation (`facerec.landmarks.markup`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.sets.public import SetFace, Split, read_pts
from facerec.landmarks.types import Box

AflwPart = Literal["train", "test", "frontal"]

AFLW_TRAINING_FACES = 20_000
"""The first so many of AFLW-Full's permutation are for training; the other 4,386 are the test set."""

PIFA_POINTS = 34
UHDB31_POINTS = 9

_UHDB31_NAME: Final = re.compile(r".+d31\d{2}\.(bmp|png|jpe?g)", re.IGNORECASE)
_UHDB31_POINT_FILES: Final = (".pts", ".txt", ".csv")
_AFLW_FOLDERS: Final = ("", "data/flickr", "flickr", "images")


def read_aflw_full(folder: Path, part: AflwPart) -> Iterator[SetFace]:
    """Faces of AFLW-Full, 19 points: AFLW as Zhu et al. (CCL, CVPR 2016) annotated and split it.

    `AFLWinfo_release.mat` holds bbox (N, 4: left, right, top, bottom), data (N, 38: 19 x, then 19 y), mask_new (N, 19:
    1 where visible), nameList, and ra, a permutation from 1 whose first 20,000 are for training. All points have
    coordinates, the hidden ones too. The pictures are AFLW's, named as in nameList, below the folder, its `images`,
    `flickr` or `data/flickr`.

    Args:
        folder: holds `AFLWinfo_release.mat`.
        part: "frontal" (AFLW-F) are the test faces whose 19 points are all visible.

    Raises:
        InvalidInputError: the file or a picture is missing, or the file has another form.
    """
    if part not in ("train", "test", "frontal"):
        raise InvalidInputError(f"expected a part of AFLW-Full of train, test or frontal; got {part!r}")
    file = folder / "AFLWinfo_release.mat"
    content = _mat(file, ("bbox", "data", "mask_new", "nameList", "ra"))
    boxes, data, mask = (np.asarray(content[name], dtype=np.float64) for name in ("bbox", "data", "mask_new"))
    names = [str(np.ravel(cell)[0]) for cell in np.ravel(content["nameList"])]
    order = np.ravel(content["ra"]).astype(np.int64) - 1
    n = len(names)
    if boxes.shape != (n, 4) or data.shape != (n, 38) or mask.shape != (n, 19) or sorted(order) != list(range(n)):
        raise InvalidInputError(
            f"{file}: expected bbox (N, 4), data (N, 38), mask_new (N, 19) and a permutation ra of 1 to N = {n}; got "
            f"{boxes.shape}, {data.shape}, {mask.shape}, ra of {len(order)}"
        )
    rows = order[:AFLW_TRAINING_FACES] if part == "train" else order[AFLW_TRAINING_FACES:]
    for row in rows:
        hidden = mask[row] != 1
        if part == "frontal" and hidden.any():
            continue
        left, right, top, bottom = boxes[row]
        points = np.stack([data[row, :19], data[row, 19:]], axis=1).astype(np.float32)
        yield SetFace(
            f"{names[row]}#{row + 1}",
            _picture(folder, _AFLW_FOLDERS, names[row]),
            None,
            points,
            hidden,
            Box(float(left), float(top), float(right), float(bottom)),
        )


def read_aflw_pifa(folder: Path, split: Split, rows: Sequence[int]) -> Iterator[SetFace]:
    """Faces of AFLW-PIFA: 3,901 to train on, 1,299 to test on (Jourabloo and Liu, ICCV 2015).

    `BoundingBox.mat` holds bboxesTr and bboxesT (N, 4: x, y, width, height), `Landmark.mat` phisTr and phisT (N, 102:
    34 x, 34 y, 34 flags, 1 where visible); pictures are `TrainImages/1.jpg`, ... and `TestImages/1.jpg`, ... . A point
    without coordinates (NaN, or both 0) is not annotated.

    Args:
        folder: holds the two files and the two folders.
        split: which half.
        rows: which of the 34 points, from 0, are wanted. GoDP is scored on AFLW's 21, but which of the 34 these are is
            published nowhere that we know of.

    Raises:
        InvalidInputError: a file or a picture is missing, has another form, or there is no such row.
    """
    if not rows or not set(rows) <= set(range(PIFA_POINTS)):
        raise InvalidInputError(f"expected rows of AFLW-PIFA's {PIFA_POINTS} points, from 0; got {list(rows)}")
    suffix, place = ("Tr", "TrainImages") if split == "train" else ("T", "TestImages")
    boxes = np.asarray(_mat(folder / "BoundingBox.mat", (f"bboxes{suffix}",))[f"bboxes{suffix}"], dtype=np.float64)
    phis = np.asarray(_mat(folder / "Landmark.mat", (f"phis{suffix}",))[f"phis{suffix}"], dtype=np.float64)
    n = len(phis)
    if boxes.shape != (n, 4) or phis.shape != (n, 3 * PIFA_POINTS):
        raise InvalidInputError(
            f"{folder}: expected bboxes{suffix} (N, 4) and phis{suffix} (N, {3 * PIFA_POINTS}); got {boxes.shape}, "
            f"{phis.shape}"
        )
    wanted = list(rows)
    for number in range(n):
        xs, ys, flags = (phis[number, first : first + PIFA_POINTS][wanted] for first in (0, 34, 68))
        points = np.stack([xs, ys], axis=1).astype(np.float32)
        points[(points == 0).all(axis=1) | ~np.isfinite(points).all(axis=1)] = np.nan
        x, y, w, h = (float(value) for value in boxes[number])
        name = f"{place}/{number + 1}.jpg"
        yield SetFace(name, _picture(folder, ("",), name), None, points, flags != 1, Box(x, y, x + w, y + h))


def read_aflw2000(folder: Path) -> Iterator[tuple[SetFace, tuple[float, float, float]]]:
    """Faces of AFLW2000-3D with 68 points and the head's pose (Zhu et al., CVPR 2016): every `.mat` with its picture.

    A file holds `pt3d_68` (3, 68: x, y and depth of the projected 3-D points, px from 1; hidden points too) and
    `Pose_Para` (1, 7: pitch, yaw, roll in radians, shift and scale).

    Args:
        folder: holds `image00002.mat`, `image00002.jpg`, ...

    Yields:
        the face; (pitch, yaw, roll) as in the file, radians: yaw > 0 turns the nose to the image's left, see
        `facerec.evaluation.head_pose`.

    Raises:
        InvalidInputError: no such file, one of another form, or one without a picture.
    """
    files = sorted(folder.glob("*.mat"))
    if not files:
        raise InvalidInputError(f"expected .mat files of AFLW2000-3D in {folder}; found none")
    for file in files:
        content = _mat(file, ("pt3d_68", "Pose_Para"))
        placed, pose = (np.asarray(content[name], dtype=np.float64) for name in ("pt3d_68", "Pose_Para"))
        if placed.shape != (3, 68) or pose.size < 3:
            raise InvalidInputError(
                f"{file}: expected pt3d_68 (3, 68) and Pose_Para (1, 7); got {placed.shape} and {pose.shape}"
            )
        points = (placed[:2].T - 1).astype(np.float32)
        pitch, yaw, roll = (float(value) for value in pose.ravel()[:3])
        picture = _picture(folder, ("",), f"{file.stem}.jpg")
        yield SetFace(file.stem, picture, None, points, np.zeros(68, dtype=np.bool_)), (pitch, yaw, roll)


def read_afw(folder: Path) -> Iterator[SetFace]:
    """The 468 faces of AFW with six points each: eye centres, nose tip, mouth left, centre and right.

    `anno.mat` holds a cell `anno` (205, 4): a picture's name, and for its faces cells of boxes (2, 2: x y of the top
    left and of the bottom right corner), of poses, and of points (6, 2; NaN where not visible), px from 1.

    Args:
        folder: holds `anno.mat` and the pictures.

    Raises:
        InvalidInputError: the file or a picture is missing, or the file has another form.
    """
    file = folder / "anno.mat"
    cells = np.asarray(_mat(file, ("anno",))["anno"])
    if cells.dtype != object or cells.ndim != 2 or cells.shape[1] != 4:
        raise InvalidInputError(f"{file}: expected a cell anno (N, 4); got {cells.shape} of {cells.dtype}")
    for name_cell, box_cell, _, point_cell in cells:
        name = str(np.ravel(name_cell)[0])
        path = _picture(folder, ("",), name)
        for number, (box, points) in enumerate(zip(np.ravel(box_cell), np.ravel(point_cell), strict=True), start=1):
            corners, places = np.asarray(box, dtype=np.float64), np.asarray(points, dtype=np.float32)
            if corners.shape != (2, 2) or places.shape != (6, 2):
                raise InvalidInputError(
                    f"{file}, face {number} of {name}: expected a box (2, 2) and points (6, 2); got {corners.shape}, "
                    f"{places.shape}"
                )
            (x0, y0), (x1, y1) = corners - 1
            around = Box(float(x0), float(y0), float(x1), float(y1))
            yield SetFace(f"{name}#{number}", path, None, places - 1, np.zeros(6, dtype=np.bool_), around)


def read_uhdb31_points(folder: Path, landmarks: Path | None = None) -> Iterator[SetFace]:
    """Faces of UHDB31 with nine points: every picture `{subject}d31{pose}.bmp` (.png, .jpg) and its file of points.

    The points are AFLW's 7, 9, 10, 12, 14, 15, 16, 18 and 20, in that order: eye corners, nose, mouth corners, in a
    file of the picture's name that ends in `.pts` (form of 300-W) or in `.txt` or `.csv` (one line per point, x and y
    parted by blanks or a comma). Both count pixels from 1; a point at (0, 0) is not visible.

    Args:
        folder: holds the pictures, at any depth.
        landmarks: holds the files of points, at any depth; None: they lie beside the pictures.

    Raises:
        InvalidInputError: no such picture, a picture without a file of points or with two, or a file of another form.
    """
    pictures = [path for path in sorted(folder.rglob("*")) if _UHDB31_NAME.fullmatch(path.name)]
    if not pictures:
        raise InvalidInputError(f"expected UHDB31's pictures {{subject}}d31{{pose}}.bmp in {folder}; found none")
    listed: dict[str, list[Path]] = {}
    if landmarks is not None:
        for path in sorted(landmarks.rglob("*")):
            if path.suffix in _UHDB31_POINT_FILES:
                listed.setdefault(path.stem, []).append(path)
    for picture in pictures:
        if landmarks is None:
            files = [file for end in _UHDB31_POINT_FILES if (file := picture.with_suffix(end)).is_file()]
        else:
            files = listed.get(picture.stem, [])
        if len(files) != 1:
            place = "beside it" if landmarks is None else f"in {landmarks}"
            raise InvalidInputError(
                f"{picture}: expected one file of points {place} ({picture.stem}{', '.join(_UHDB31_POINT_FILES)}); "
                f"found {len(files)}"
            )
        points = _uhdb31_file(files[0])
        if points.shape != (UHDB31_POINTS, 2):
            raise InvalidInputError(f"{files[0]}: expected {UHDB31_POINTS} points x y; got shape {points.shape}")
        # The file counts from 1, so what it has at 0 is at -1 here.
        points[(points == -1).all(axis=1)] = np.nan
        name = picture.relative_to(folder).as_posix()
        yield SetFace(name, picture, None, points, np.zeros(UHDB31_POINTS, dtype=np.bool_))


def _uhdb31_file(file: Path) -> NDArray[np.float32]:
    if file.suffix == ".pts":
        return read_pts(file)
    try:
        lines = file.read_text(encoding="utf-8-sig").replace(",", " ").strip().splitlines()
        return np.array([[float(cell) for cell in line.split()] for line in lines], dtype=np.float32) - np.float32(1)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{file}: expected a line x y for each point; {error}") from None


def _mat(file: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, NDArray[Any]] = loadmat(file)
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        raise InvalidInputError(
            f"expected a MATLAB file with {', '.join(names)}; cannot read {file}: {error}"
        ) from None
    missing = [name for name in names if name not in content]
    if missing:
        found = sorted(name for name in content if not name.startswith("__"))
        raise InvalidInputError(f"{file}: expected {', '.join(names)}; got {', '.join(found) or 'nothing'}")
    return content


def _picture(folder: Path, places: Sequence[str], name: str) -> Path:
    for place in places:
        path = folder / place / name
        if path.is_file():
            return path
    tried = ", ".join(str(folder / place) for place in places)
    raise InvalidInputError(f"expected the picture {name} in {tried}; it is not there")
