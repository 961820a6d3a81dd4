"""Sets of face crops on disk, on which resnet is trained, small enough to send to a GPU machine.

A crop is a square of the photograph around the face, encoded, with the box of its landmarks. Everything else (fit,
texture, views, turned renderings) follows from it and from the fit, and is computed while training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import fit_batch
from facerec.landmarks.crop import Roi, cut
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.training.array_file import load_arrays, save_arrays
from facerec.landmarks.training.people import held_out_people, person_key
from facerec.landmarks.types import Box, Image
from facerec.recognition.training.texture_set import annotated_pictures

CROP_SCALE = 1.8
"""Side of a crop over the longer side of the tight landmark box: the view that the network is shown takes 1.4, the rest
is room for turning, shifting and zooming out."""

CROP_SIZE = 160
"""Side of a crop, px: CelebA's faces have no more."""

EXTRA_SOURCES = ("celeba", "lfw-colour", "all-age-faces", "utkface")
"""The extra sets, as laid out in folders of these names."""

_FIXED_BOXES: dict[str, tuple[float, float, float, float]] = {
    "celeba": (45.5, 96.5, 132.1, 184.8),
    "lfw-colour": (75.4, 95.7, 175.6, 193.9),
    "all-age-faces": (54.4, 158.0, 215.8, 312.1),
    "utkface": (11.6, 28.9, 179.6, 199.7),
}
"""Where the face lies in a set's aligned pictures (median over 60 of the detector's boxes); the landmarks found from it
give each picture its own box."""

_GROUPS = ("white", "black", "asian", "indian", "other")


@dataclass(frozen=True, eq=False)
class FacePicture:
    """A picture with one face.

    Attributes:
        path: the file.
        person: key of the person (`person_key`, or the set's name and number).
        source: name of the set.
        group: "asian", "black", ... where the set says so, else "".
        box: tight landmark box, px.
    """

    path: Path
    person: str
    source: str
    group: str
    box: Box


@dataclass(frozen=True, eq=False)
class CropSet:
    """Encoded crops.

    Attributes:
        data: (bytes,) uint8, the encoded crops one after the other; ends: (N,) int64, where each ends.
        box: (N, 4) float32, the tight landmark box (x0, y0, x1, y1) in the crop, px.
        person, source, group: (N,) unicode, as in `FacePicture`; name: (N,) unicode, the picture's file name.
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    box: NDArray[np.float32]
    person: NDArray[np.str_]
    source: NDArray[np.str_]
    group: NDArray[np.str_]
    name: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.ends)

    def crop(self, row: int) -> Image:
        """(S, S, 3) uint8 RGB, crop number `row`."""
        first = int(self.ends[row - 1]) if row else 0
        decoded = cv2.imdecode(self.data[first : int(self.ends[row])], cv2.IMREAD_COLOR)
        if decoded is None:
            raise InvalidInputError(f"expected an encoded crop in row {row}; got other bytes")
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def save(self, path: Path) -> None:
        """Write as npz."""
        save_arrays(path, self)

    @staticmethod
    def load(path: Path) -> CropSet:
        """Read what `save` wrote.

        Raises:
            InvalidInputError: another file.
        """
        return load_arrays(path, CropSet, "a set of crops")


def extra_pictures(folder: Path, source: str, held_out: frozenset[str]) -> list[FacePicture]:
    """The pictures of an extra set in FOLDER/SOURCE without the people in `held_out`; of utkface, those to train on."""
    if source not in EXTRA_SOURCES:
        raise InvalidInputError(f"expected a set of {', '.join(EXTRA_SOURCES)}; got {source!r}")
    box = Box(*_FIXED_BOXES[source])
    root = folder / source / "train" if source == "utkface" else folder / source
    found = []
    for path in sorted(root.rglob("*.jpg")):
        group = ""
        if source == "lfw-colour":
            person = person_key(path.parent.name)
        elif source == "celeba":
            person = f"celeba {path.parent.name}"
        else:
            person = f"{source} {path.stem}"
            group = "asian" if source == "all-age-faces" else _GROUPS[int(path.stem.split("_")[2])]
        if person not in held_out:
            found.append(FacePicture(path, person, source, group, box))
    if not found:
        raise InvalidInputError(f"expected pictures in {root}; found none")
    return found


def annotated_faces(data: Path, per_person: int, batch: int = 256) -> Iterator[FacePicture]:
    """CFP's and YouTube Faces' annotated pictures of the training people, boxes from the fitted points."""
    model = FaceModel.load()
    pictures = annotated_pictures(data, held_out=False, per_person=per_person)
    for start in range(0, len(pictures), batch):
        chosen = pictures[start : start + batch]
        points = np.stack([p.points for p in chosen if p.points is not None]).astype(np.float64)
        fit = fit_batch(points, np.asarray(np.isfinite(points).all(axis=2), dtype=np.float64), model)
        for picture, placed in zip(chosen, fit.points, strict=True):
            yield FacePicture(picture.path, picture.person, picture.source, "", Box.around(placed))


def encode_crops(pictures: Iterable[FacePicture], size: int = CROP_SIZE, quality: int = 75) -> CropSet:
    """Cut and encode (WebP); pictures that cannot be read are left out.

    Raises:
        InvalidInputError: no picture is left.
    """
    codes: list[NDArray[np.uint8]] = []
    boxes: list[NDArray[np.float32]] = []
    kept: list[FacePicture] = []
    for picture in pictures:
        try:
            image = read_image(picture.path)
        except UnusablePhotoError:
            continue
        roi = Roi.around(picture.box, CROP_SCALE)
        crop = cut(image, roi, size)
        _, code = cv2.imencode(".webp", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
        codes.append(np.asarray(code, dtype=np.uint8).ravel())
        box = picture.box
        boxes.append(roi.to_crop(np.array([[box.x0, box.y0], [box.x1, box.y1]]), size).ravel())
        kept.append(picture)
    if not kept:
        raise InvalidInputError("expected at least one readable picture; got none")
    return CropSet(
        np.concatenate(codes),
        np.cumsum([len(code) for code in codes]),
        np.stack(boxes).astype(np.float32),
        np.array([p.person for p in kept]),
        np.array([p.source for p in kept]),
        np.array([p.group for p in kept]),
        np.array([p.path.name for p in kept]),
    )


def training_pictures(data: Path, extra: Path | None, sources: Sequence[str], per_person: int) -> list[FacePicture]:
    """All pictures of `sources` ("annotated" and names of extra sets) of people who are not held out."""
    held = held_out_people(data / "ytf", data / "cfp-dataset")
    found: list[FacePicture] = []
    for source in sources:
        if source == "annotated":
            found += annotated_faces(data, per_person)
        elif extra is None:
            raise InvalidInputError(f"expected the folder of the extra sets to read {source}; got none")
        else:
            found += extra_pictures(extra, source, held)
    return found
