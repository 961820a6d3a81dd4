"""The public landmark sets that DSSD is compared on: 300-W, COFW and HELEN, as their owners distribute them.

None of them comes with facerec. `facerec.landmarks.training.packs.pack_faces` turns faces of any of them into a
training or test pack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import read_image
from facerec.landmarks.markup import Sources
from facerec.landmarks.types import Box, Image

W300_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "train": ("lfpw/trainset", "helen/trainset", "afw"),
    "common": ("lfpw/testset", "helen/testset"),
    "challenging": ("ibug",),
    "full": ("lfpw/testset", "helen/testset", "ibug"),
}
"""Folders of each part of 300-W: 3148 faces to train on, 554, 135 and 689 to test on."""

W300Part = Literal["train", "common", "challenging", "full"]
Split = Literal["train", "test"]

_PICTURES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")


@dataclass(frozen=True, eq=False)
class SetFace:
    """One annotated face of a public set.

    Attributes:
        name: of the picture, unique within the set.
        path: the picture; None where the set keeps it inside a file.
        picture: (H, W, 3) uint8 RGB where it was inside a file.
        points: (L, 2) float32 px, the centre of the top-left pixel being (0, 0), in the set's own markup.
        hidden: (L,) bool, annotated as occluded.
        box: the set's own face box where it has one, px.
    """

    name: str
    path: Path | None
    picture: Image | None
    points: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    box: Box | None = None

    def image(self) -> Image:
        """The picture, read when asked for."""
        if self.picture is not None:
            return self.picture
        assert self.path is not None
        return read_image(self.path)


def read_pts(file: Path) -> NDArray[np.float32]:
    """Points (L, 2) of a 300-W annotation file, px from 0 (the file counts from 1).

    Raises:
        InvalidInputError: the file has another form; names it.
    """
    try:
        text = file.read_text(encoding="ascii")
        head, _, rest = text.partition("{")
        body, closed, _ = rest.partition("}")
        stated = next(int(line.split(":")[1]) for line in head.splitlines() if line.strip().startswith("n_points"))
        points = np.array([[float(v) for v in line.split()] for line in body.strip().splitlines()], dtype=np.float32)
    except (OSError, UnicodeDecodeError, ValueError, IndexError, StopIteration) as error:
        raise InvalidInputError(
            f"{file}: expected an annotation of 300-W (version, n_points, {{points}}); {error!r}"
        ) from None
    if not closed or points.shape != (stated, 2):
        raise InvalidInputError(f"{file}: expected {stated} points x y in braces; got shape {points.shape}")
    return points - np.float32(1)


def read_300w(folder: Path, part: W300Part) -> Iterator[SetFace]:
    """Faces of 300-W: every `.pts` file of the part's folders, with the picture of the same name beside it.

    Args:
        folder: holds `lfpw/trainset`, `lfpw/testset`, `helen/trainset`, `helen/testset`, `afw` and `ibug`.
        part: see `W300_PARTS`.

    Raises:
        InvalidInputError: a folder without annotations, an annotation without a picture or of another markup.
    """
    if part not in W300_PARTS:
        raise InvalidInputError(f"expected a part of 300-W of {', '.join(W300_PARTS)}; got {part!r}")
    for place in W300_PARTS[part]:
        files = sorted((folder / place).glob("*.pts"))
        if not files:
            raise InvalidInputError(f"expected .pts files of 300-W in {folder / place}; found none")
        for file in files:
            points = read_pts(file)
            if points.shape != (68, 2):
                raise InvalidInputError(f"{file}: expected 68 points; got {len(points)}")
            pictures = [file.with_suffix(ending) for ending in _PICTURES if file.with_suffix(ending).is_file()]
            if not pictures:
                raise InvalidInputError(
                    f"{file}: expected its picture beside it ({', '.join(_PICTURES[:3])}); found none"
                )
            yield SetFace(f"{place}/{file.stem}", pictures[0], None, points, np.zeros(68, dtype=np.bool_))


def read_cofw(file: Path) -> Iterator[SetFace]:
    """Faces of a COFW file, 29 points with occlusion.

    Both forms are read: MATLAB 5 (`COFW_test.mat` in grey) by scipy, MATLAB 7.3 (HDF5, the colour files) by h5py, which
    comes with `pip install facerec[cofw]`. The training file holds `IsTr`, `phisTr`, `bboxesTr`, the test file `IsT`,
    `phisT`, `bboxesT`; a row of `phis` is 29 x, 29 y (px from 1), 29 flags of occlusion.

    Raises:
        InvalidInputError: another kind of file, or h5py is needed and not installed.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(128)
    except OSError as error:
        raise InvalidInputError(f"expected a COFW file; cannot read {file}: {error}") from None
    # A version 7.3 file carries MATLAB's text header before the HDF5 one; files made elsewhere do without it.
    is_hdf5 = b"MATLAB 7.3" in start or start.startswith(b"\x89HDF\r\n\x1a\n")
    yield from (_cofw_hdf5(file) if is_hdf5 else _cofw_v5(file))


def _cofw_v5(file: Path) -> Iterator[SetFace]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(file)
    except (ValueError, NotImplementedError, MatReadError) as error:
        raise InvalidInputError(f"{file}: expected a MATLAB file of COFW; {error}") from None
    suffix = _cofw_suffix(file, content)
    phis, boxes = np.asarray(content[f"phis{suffix}"]), np.asarray(content[f"bboxes{suffix}"])
    for number, picture in enumerate(np.ravel(content[f"Is{suffix}"])):
        yield _cofw_face(file, number, np.asarray(picture), phis[number], boxes[number])


def _cofw_hdf5(file: Path) -> Iterator[SetFace]:
    try:
        import h5py
    except ImportError:
        raise InvalidInputError(
            f"{file} is a MATLAB 7.3 file, which h5py reads; install it with `pip install facerec[cofw]`"
        ) from None
    with h5py.File(file, "r") as content:
        suffix = _cofw_suffix(file, content)
        # HDF5 keeps the axes of MATLAB in the opposite order.
        phis, boxes = np.asarray(content[f"phis{suffix}"]).T, np.asarray(content[f"bboxes{suffix}"]).T
        for number, reference in enumerate(np.ravel(content[f"Is{suffix}"])):
            yield _cofw_face(file, number, np.asarray(content[reference]).T, phis[number], boxes[number])


def _cofw_suffix(file: Path, content: Any) -> str:
    for suffix in ("Tr", "T"):
        if all(f"{name}{suffix}" in content for name in ("Is", "phis", "bboxes")):
            return suffix
    raise InvalidInputError(
        f"{file}: expected IsTr, phisTr, bboxesTr or IsT, phisT, bboxesT; got {sorted(content)[:8]}"
    )


def _cofw_face(file: Path, number: int, picture: NDArray[Any], phi: NDArray[Any], box: NDArray[Any]) -> SetFace:
    if phi.shape != (87,) or box.shape != (4,) or picture.ndim not in (2, 3) or picture.dtype != np.uint8:
        raise InvalidInputError(
            f"{file}, face {number + 1}: expected 87 numbers, a box of 4 and a uint8 picture; got {phi.shape}, "
            f"{box.shape}, {picture.shape} {picture.dtype}"
        )
    rgb = np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture
    points = np.stack([phi[:29], phi[29:58]], axis=1).astype(np.float32) - np.float32(1)
    x, y, w, h = (float(v) for v in box)
    around = Box(x - 1, y - 1, x - 1 + w, y - 1 + h) if w > 0 and h > 0 else None
    return SetFace(f"{file.stem}/{number + 1}", None, np.ascontiguousarray(rgb), points, phi[58:] > 0.5, around)


def read_helen(folder: Path, split: Split) -> Iterator[SetFace]:
    """Faces of HELEN with its own 194 points: 2000 to train on, 330 to test on.

    Args:
        folder: holds `annotation/*.txt` (the picture's name, then 194 lines "x , y"), `trainnames.txt`, `testnames.txt`
            and the pictures NAME.jpg, directly or in folders of their own.
        split: which names file counts.

    Raises:
        InvalidInputError: a file is missing or has another form.
    """
    names_file = folder / f"{split}names.txt"
    try:
        names = names_file.read_text(encoding="utf-8").split()
    except OSError as error:
        raise InvalidInputError(f"expected HELEN's {split}names.txt; {error}") from None
    annotations: dict[str, NDArray[np.float32]] = {}
    for file in sorted((folder / "annotation").glob("*.txt")):
        name, *lines = file.read_text(encoding="utf-8").strip().splitlines()
        try:
            points = np.array([[float(v) for v in line.split(",")] for line in lines], dtype=np.float32)
        except ValueError as error:
            raise InvalidInputError(f"{file}: expected a name and 194 lines x , y; {error}") from None
        if points.shape != (194, 2):
            raise InvalidInputError(f"{file}: expected 194 points; got shape {points.shape}")
        annotations[name.strip()] = points
    pictures = {path.stem: path for path in sorted(folder.rglob("*.jpg"))}
    for name in names:
        if name not in annotations or name not in pictures:
            raise InvalidInputError(f"expected annotation and picture of {name} (from {names_file}) under {folder}")
        yield SetFace(name, pictures[name], None, annotations[name], np.zeros(194, dtype=np.bool_))


COFW29_FROM_IBUG68: Final[dict[int, tuple[int, ...]]] = {
    0: (17,),
    1: (26,),
    2: (21,),
    3: (22,),
    4: (19,),
    6: (24,),
    8: (36,),
    9: (45,),
    10: (39,),
    11: (42,),
    12: (37, 38),
    13: (40, 41),
    14: (43, 44),
    15: (46, 47),
    16: (36, 37, 38, 39, 40, 41),
    17: (42, 43, 44, 45, 46, 47),
    18: (31,),
    19: (35,),
    20: (30,),
    21: (33,),
    22: (48,),
    23: (54,),
    24: (51,),
    25: (62,),
    26: (66,),
    27: (57,),
    28: (8,),
}
"""Rows of the 68-point markup whose mean is a COFW point. Lower rims of the brows (5, 7) have none."""


COFW29_SOURCES: Final[Sources] = tuple(COFW29_FROM_IBUG68.get(row, ()) for row in range(29))
"""Which of the 68 points each of COFW's 29 is read off; none for the lower rims of the brows."""

HELEN_PLACES: Final[tuple[tuple[int, ...], ...]] = (
    tuple(range(134, 154)),
    tuple(range(114, 134)),
    (49,),
    tuple(range(58, 86)),
    (20,),
)
"""Rows of HELEN's 194 points whose mean is a place of the face that the 68 points have too: the eyes by their rims,
the nose's base, the mouth by its outer rim, the chin."""

HELEN_SOURCES: Final[Sources] = (tuple(range(36, 42)), tuple(range(42, 48)), (33,), tuple(range(48, 60)), (8,))
"""Which of the 68 points each of `HELEN_PLACES` is read off."""


def cofw_from_ibug68(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """COFW's 29 points read off shapes (..., 68, 2), NaN where the 68 points have no such place.

    The paper tests a 68-point model on COFW this way: it was trained on 300-W alone.
    """
    if points.shape[-2:] != (68, 2):
        raise InvalidInputError(f"expected shapes (..., 68, 2); got {points.shape}")
    found = np.full((*points.shape[:-2], 29, 2), np.nan, dtype=np.float32)
    for row, sources in COFW29_FROM_IBUG68.items():
        found[..., row, :] = points[..., list(sources), :].mean(axis=-2)
    return found
