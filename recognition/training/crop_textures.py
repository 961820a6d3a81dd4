"""Textures lifted from sets of crops that have fits beside them: those of thousands of people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.texture import TEXTURE_SIZE, lift_geometry
from facerec.frontalize.types import Camera, FaceTexture
from facerec.frontalize.visibility import node_visibility
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.people import is_calibration_person
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet


@dataclass(frozen=True)
class PeopleLimits:
    """How many textures are taken.

    Attributes:
        people: largest number of people, those first whose pictures differ most in yaw.
        per_person: largest number of pictures per person, spread over the yaws of that person.
    """

    people: int = 3000
    per_person: int = 3


def spread_over_yaw(person: NDArray[np.str_], yaw: NDArray[np.floating], limits: PeopleLimits) -> NDArray[np.intp]:
    """Rows of people with two and more pictures, within the limits.

    Args:
        person: (N,) names; yaw: (N,) degrees.
        limits: see there.

    Returns:
        (M,) row numbers in ascending order.
    """
    label = np.unique(person, return_inverse=True)[1]
    order = np.lexsort((yaw, label))
    own = np.split(order, np.cumsum(np.bincount(label))[:-1])
    several = [rows for rows in own if len(rows) > 1]
    several.sort(key=lambda rows: -float(yaw[rows[-1]] - yaw[rows[0]]))
    taken = [
        rows[np.unique(np.linspace(0, len(rows) - 1, limits.per_person).round().astype(int))]
        for rows in several[: limits.people]
    ]
    return np.sort(np.concatenate(taken)) if taken else np.zeros(0, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class CropTextures:
    """Textures of people whom thresholds are not calibrated on, lifted one at a time.

    Attributes:
        sets: crops with their fits.
        place: (M, 2) int64, set and row of each texture.
        person, source: (M,) unicode.
    """

    sets: tuple[tuple[CropSet, CropFits], ...]
    place: NDArray[np.int64]
    person: NDArray[np.str_]
    source: NDArray[np.str_]

    @staticmethod
    def load(paths: Sequence[Path], limits: PeopleLimits | None = None) -> CropTextures:
        """Choose from sets of crops (`CropSet`) whose fits lie beside them (`fits_path`).

        Raises:
            InvalidInputError: another file, fits that do not belong to their crops, or nobody is left.
        """
        sets = []
        place, person, source, yaw = [], [], [], []
        for number, path in enumerate(paths):
            crops, fits = CropSet.load(path), CropFits.load(fits_path(path))
            if len(crops) != len(fits.scale):
                raise InvalidInputError(f"expected {len(crops)} fits for {path.name}; got {len(fits.scale)}")
            calibration = {name for name in set(crops.person.tolist()) if is_calibration_person(name)}
            rows = np.flatnonzero(fits.usable() & ~np.isin(crops.person, sorted(calibration)))
            sets.append((crops, fits))
            place.append(np.stack([np.full(len(rows), number), rows], axis=1))
            person.append(crops.person[rows])
            source.append(crops.source[rows])
            yaw.append(fits.yaw[rows])
        who = np.concatenate(person)
        chosen = spread_over_yaw(who, np.concatenate(yaw), limits or PeopleLimits())
        if not len(chosen):
            raise InvalidInputError("expected people with two and more faces whose fits can be trusted; got none")
        return CropTextures(tuple(sets), np.concatenate(place)[chosen], who[chosen], np.concatenate(source)[chosen])

    def __len__(self) -> int:
        return len(self.place)

    def __iter__(self) -> Iterator[FaceTexture]:
        """The textures, in order."""
        model = FaceModel.load()
        for number, row in self.place.tolist():
            crops, fits = self.sets[number]
            camera = Camera(
                fits.rotation[row].astype(np.float64), fits.translation[row].astype(np.float64), float(fits.scale[row])
            )
            geometry = model.geometry(fits.shape[row].astype(np.float64), fits.expression[row].astype(np.float64))
            seen = node_visibility(model, geometry, camera)
            yield lift_geometry(crops.crop(row), geometry, camera, seen, TEXTURE_SIZE)
