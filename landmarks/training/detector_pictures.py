"""Pictures for training and testing the detector: annotated faces, and photographs without faces."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import CfpView, cfp_to_ibug68
from facerec.landmarks.sets.ytf import person_of_frame
from facerec.landmarks.training.picture_set import FacePicture, PictureSet
from facerec.landmarks.types import Image

Kind = Literal["profile", "frontal", "frame", "turned", "steep", "worn", "worn profile"]
Floats = NDArray[np.float64]

CFP_MIDLINE = (18, 19, 20, 21, 22, 26, 27, 28, 29, 8)
"""CFP fiducials on the face's middle: nose bridge to base, lips, chin."""

HELD_OUT_EVERY_BACKGROUND = 5

STEEP_YAW, STEEP_PITCH = 50.0, 25.0
"""A turned face beyond both, degrees, is "steep"."""

PROFILE_YAW = 45.0
"""A face that wears something and is turned further, degrees, is a "worn profile"."""


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture with one annotated face.

    Attributes:
        name: where it came from, for reports.
        kind: "profile" and "frontal" (CFP), "frame" (YouTube Faces), "turned" to other poses by rendering, "steep" far
            to the side and up or down at once, "worn" with sunglasses or a mask, "worn profile".
        levels: the picture, (H, W, 3) uint8 RGB, and its halvings: shrunk scenes read the nearest one.
        outline: (N, 2) px, the points whose tight box is the face's box.
        five: (5, 2) px: eyes, nose tip, mouth corners, NaN where not annotated.
        ignored: (M, 4) px, other faces that nobody annotated: neither right nor wrong.
    """

    name: str
    kind: Kind
    levels: tuple[Image, ...]
    outline: Floats
    five: Floats
    ignored: Floats = field(default_factory=lambda: np.zeros((0, 4)))

    @property
    def box(self) -> Floats:
        """(4,) tight box of `outline`, px."""
        return np.concatenate([self.outline.min(axis=0), self.outline.max(axis=0)])


def halvings(image: Image) -> tuple[Image, ...]:
    """`image` and its halvings down to 8 px."""
    levels = [image]
    while min(levels[-1].shape[:2]) >= 16 and len(levels) < 6:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    return tuple(levels)


def read_rgb(path: Path) -> Image:
    """The picture of `path`; raises `InvalidInputError` when it is none."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InvalidInputError(f"expected a picture; got {path}")
    return np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8, copy=False)


def completed_frontal(fiducials: Floats) -> Floats:
    """CFP's 30 half-face points and their reflections about the face's middle line, (60, 2)."""
    middle = fiducials[list(CFP_MIDLINE)]
    center = middle.mean(axis=0)
    along = np.linalg.svd(middle - center)[2][0]
    offset = fiducials - center
    return np.concatenate([fiducials, center + 2 * np.outer(offset @ along, along) - offset])


def _five(points68: Floats) -> Floats:
    return np.stack(
        [points68[36:42].mean(axis=0), points68[42:48].mean(axis=0), points68[30], points68[48], points68[54]]
    )


def cfp_pictures(data: Path, people: Sequence[int], views: Sequence[CfpView]) -> Iterator[AnnotatedPicture]:
    """Pictures of CFP people (numbers from 1), in order. `data` holds `Data/Images` and `Data/Fiducials`."""
    for person in people:
        for view in views:
            for path in sorted((data / "Data" / "Images" / f"{person:03d}" / view).glob("*.jpg")):
                text = data / "Data" / "Fiducials" / f"{person:03d}" / view / f"{path.stem}.txt"
                fiducials = np.loadtxt(text, delimiter=",", dtype=np.float64)
                known = cfp_to_ibug68(fiducials, view)[0].astype(np.float64)
                five = _five(known)
                outline = fiducials
                if view == "frontal":
                    outline = completed_frontal(fiducials)
                    # The reflections of the left eye and mouth corner are the right ones.
                    five[1], five[4] = outline[30 + 12 : 30 + 18].mean(axis=0), outline[30 + 25]
                yield AnnotatedPicture(
                    f"{person:03d}/{view}/{path.name}", view, halvings(read_rgb(path)), outline, five
                )


def frame_pictures(data: Path, people: set[str]) -> Iterator[AnnotatedPicture]:
    """Annotated frames of YouTube Faces of `people` (names as in the file names), in the table's order."""
    with (data / "landmarks68.csv").open(newline="", encoding="utf-8") as stream:
        for row in list(csv.reader(stream))[1:]:
            if person_of_frame(Path(row[0])) in people:
                points = np.array(row[1:137], dtype=np.float64).reshape(68, 2)
                yield AnnotatedPicture(row[0], "frame", halvings(read_rgb(data / row[0])), points, _five(points))


def set_pictures(pictures: PictureSet) -> Iterator[AnnotatedPicture]:
    """The pictures of a set of turned faces and of faces that wear something, in its order."""
    for number, one in enumerate(pictures):
        points = one.points.astype(np.float64)
        five = _five(points)
        yield AnnotatedPicture(f"{one.source}/{number}", _kind_of(one), halvings(one.image), points, five)


def _kind_of(picture: FacePicture) -> Kind:
    yaw, pitch = np.abs(picture.pose[:2])
    if picture.source.startswith("turned"):
        return "steep" if yaw > STEEP_YAW and pitch > STEEP_PITCH else "turned"
    return "worn profile" if yaw > PROFILE_YAW else "worn"


def background_files(folder: Path, held_out: bool) -> list[Path]:
    """Photographs without faces: every fifth of the sorted files is held out."""
    files = sorted(folder.glob("*.jpg"))
    return [path for i, path in enumerate(files) if (i % HELD_OUT_EVERY_BACKGROUND == 0) == held_out]
