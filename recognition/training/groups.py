"""Pairs of different people of one group and sex: the strangers who are hardest to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.training.people import is_calibration_person
from facerec.landmarks.types import Image
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.recognizer import DescribedFace, Recognizer
from facerec.recognition.signature import Signature
from facerec.recognition.training.figures import LAST_WOMAN

BORDER = 60
"""Px of repeated border around UTKFace's tight crops, without which a detector sees no whole face."""

_GROUPS = ("White", "Black", "Asian", "Indian", "other")


@dataclass(frozen=True, eq=False)
class GroupPicture:
    """A picture of a person who is in no other.

    Attributes:
        path: the file. group: "Asian women", ...
        tight: whether it is a tight crop, see `read_padded`.
    """

    path: Path
    group: str
    tight: bool = True


def utkface_pictures(folder: Path, adults: bool = True) -> list[GroupPicture]:
    """UTKFace's pictures, files AGE_SEX_GROUP_DATE.jpg in a folder; those of adults (18 and older) alone on request."""
    found = []
    for path in sorted(folder.glob("*.jpg")):
        age, sex, group = (int(part) for part in path.stem.split("_")[:3])
        if age >= 18 or not adults:
            found.append(GroupPicture(path, f"{_GROUPS[group]} {'women' if sex else 'men'}"))
    if not found:
        raise InvalidInputError(f"expected pictures AGE_SEX_GROUP_DATE.jpg in {folder}; found none")
    return found


def adult_pictures(extra: Path) -> list[GroupPicture]:
    """The adults of utkface/train/ and all-age-faces/ under `extra` on whom thresholds are calibrated."""
    found = [
        p for p in utkface_pictures(extra / "utkface" / "train") if is_calibration_person(f"utkface {p.path.stem}")
    ]
    for path in sorted((extra / "all-age-faces").glob("*.jpg")):
        number, age = path.stem.split("A")
        if int(age) >= 18 and is_calibration_person(f"all-age-faces {path.stem}"):
            group = f"Asian {'women' if int(number) <= LAST_WOMAN else 'men'}"
            found.append(GroupPicture(path, group, tight=False))
    return found


def read_padded(path: Path) -> Image:
    """A tight crop with its border repeated."""
    image = read_image(path)
    return np.asarray(cv2.copyMakeBorder(image, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE), dtype=np.uint8)


def describe_pictures(
    recognizer: Recognizer, pictures: Sequence[Path], read: Callable[[Path], Image]
) -> list[Signature | None]:
    """The signature of the largest face in each picture, None where there is none."""
    out: list[Signature | None] = []
    for path in pictures:
        try:
            faces = recognizer.describe(read(path))
        except UnusablePhotoError:
            faces = []
        out.append(faces[0].signature if faces and isinstance(faces[0], DescribedFace) else None)
    return out


def all_pairs(signatures: Sequence[Signature], person: Sequence[str]) -> NDArray[np.float32]:
    """Scores of all pairs of signatures of different people."""
    vectors = np.stack([s.cells for s in signatures]), np.stack([s.visible for s in signatures])
    scores, overlap = normalised_scores(vectors, vectors, signatures[0].contract, product="numpy")
    first, second = np.triu_indices(len(person), 1)
    names = np.asarray(person)
    usable = (overlap[first, second] > 0) & (names[first] != names[second])
    return np.asarray(scores[first, second][usable], dtype=np.float32)


def group_scores(signatures: Sequence[Signature], group: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Scores of all pairs within each group, of signatures of one picture per person."""
    out = {}
    for name in sorted(set(group)):
        mine = [s for s, g in zip(signatures, group, strict=True) if g == name]
        out[name] = all_pairs(mine, [str(k) for k in range(len(mine))])
    return out


def balanced(scores: dict[str, NDArray[np.float32]], least: int = 300) -> NDArray[np.float32]:
    """As many scores of each group, quantiles of its own: a rate over them is the mean of the groups' rates.

    Args:
        scores: by group; groups with fewer than `least` pairs are left out.
        least: see above.
    """
    kept = [np.sort(v) for v in scores.values() if len(v) >= least]
    if not kept:
        raise InvalidInputError(f"expected a group with at least {least} pairs; got none")
    count = max(len(v) for v in kept)
    at = (np.arange(count) + 0.5) / count
    return np.concatenate([np.quantile(v, at, method="inverted_cdf") for v in kept]).astype(np.float32)
