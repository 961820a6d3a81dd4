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
from facerec.recognition.training.figures import person_age, person_groups


@dataclass(frozen=True)
class PeopleLimits:
    """How many textures are taken.

    Attributes:
        people: largest number of people, those first whose pictures differ most in yaw.
        per_person: largest number of pictures per person, spread over the yaws of that person.
    """

    people: int = 3000
    per_person: int = 3


@dataclass(frozen=True)
class FrontalLimits:
    """Whose near-frontal textures are taken, one per person.

    Attributes:
        people: largest number of people; every group and sex has as many as the others as long as there are people.
        max_yaw, max_pitch: degrees.
        ages: the youngest and the oldest, of people whose age the set states.
        least_confidence: mean of the landmarks', below which a face is often covered.
    """

    people: int = 3800
    max_yaw: float = 20.0
    max_pitch: float = 15.0
    ages: tuple[int, int] = (18, 70)
    least_confidence: float = 0.4


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
    """Textures of chosen people, lifted one at a time.

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
        """Choose from sets of crops (`CropSet`) whose fits lie beside them (`fits_path`), without calibration's people.

        Raises:
            InvalidInputError: another file, fits that do not belong to their crops, or nobody is left.
        """
        found = _trusted(paths, calibration=False)
        yaw = np.concatenate([fits.yaw for _, fits in found.sets])[found.flat()]
        chosen = spread_over_yaw(found.person, yaw, limits or PeopleLimits())
        if not len(chosen):
            raise InvalidInputError("expected people with two and more faces whose fits can be trusted; got none")
        return found.rows(chosen)

    @staticmethod
    def frontal(paths: Sequence[Path], limits: FrontalLimits, seed: int = 0, calibration: bool = False) -> CropTextures:
        """One near-frontal texture per person, balanced over groups and sexes; people of sets without groups by set.

        Args:
            paths: as in `load`.
            limits: see there.
            seed: decides who is taken where not everybody can be.
            calibration: those on whom thresholds are calibrated instead of all others.

        Raises:
            InvalidInputError: as in `load`.
        """
        found = _trusted(paths, calibration)
        flat = found.flat()
        yaw, pitch, confidence = (
            np.concatenate([getattr(fits, name) for _, fits in found.sets])[flat]
            for name in ("yaw", "pitch", "confidence")
        )
        kind = np.concatenate([crops.group for crops, _ in found.sets])[flat]
        group = person_groups(found.person, kind)
        tilt = np.abs(yaw) + np.abs(pitch)
        usable = (np.abs(yaw) < limits.max_yaw) & (np.abs(pitch) < limits.max_pitch)
        usable &= confidence >= limits.least_confidence
        best: dict[str, int] = {}
        for row in np.flatnonzero(usable)[np.argsort(tilt[usable], kind="stable")].tolist():
            name = str(found.person[row])
            age = person_age(name)
            if age is None or limits.ages[0] <= age <= limits.ages[1]:
                best.setdefault(name, row)
        taken: dict[str, int] = {}
        ranked = []
        names = sorted(best)
        for k in np.random.default_rng(seed).permutation(len(names)).tolist():
            row = best[names[k]]
            of = str(group[row]) or str(found.source[row])
            taken[of] = taken.get(of, 0) + 1
            ranked.append((taken[of], of, row))
        if not ranked:
            raise InvalidInputError("expected near-frontal faces whose fits can be trusted; got none")
        return found.rows(np.array(sorted(row for _, _, row in sorted(ranked)[: limits.people])))

    def flat(self) -> NDArray[np.int64]:
        """(M,) row numbers over all sets, one after the other."""
        first = np.cumsum([0, *(len(crops) for crops, _ in self.sets)])
        return np.asarray(first[self.place[:, 0]] + self.place[:, 1])

    def rows(self, chosen: NDArray[np.intp]) -> CropTextures:
        """Those of the rows `chosen`."""
        return CropTextures(self.sets, self.place[chosen], self.person[chosen], self.source[chosen])

    def __len__(self) -> int:
        return len(self.place)

    def __iter__(self) -> Iterator[FaceTexture]:
        """The textures, in order."""
        return (texture for texture, _ in self.lifted(TEXTURE_SIZE))

    def lifted(self, size: int) -> Iterator[tuple[FaceTexture, NDArray[np.float64]]]:
        """The textures of `size` texels per side and the rotations (3, 3) of their cameras, in order."""
        model = FaceModel.load()
        for number, row in self.place.tolist():
            crops, fits = self.sets[number]
            camera = Camera(
                fits.rotation[row].astype(np.float64), fits.translation[row].astype(np.float64), float(fits.scale[row])
            )
            geometry = model.geometry(fits.shape[row].astype(np.float64), fits.expression[row].astype(np.float64))
            seen = node_visibility(model, geometry, camera)
            yield lift_geometry(crops.crop(row), geometry, camera, seen, size), camera.rotation


def _trusted(paths: Sequence[Path], calibration: bool) -> CropTextures:
    """All rows of sets whose fits can be trusted, of the people thresholds are calibrated on or of the others."""
    sets, place, person, source = [], [], [], []
    for number, path in enumerate(paths):
        crops, fits = CropSet.load(path), CropFits.load(fits_path(path))
        if len(crops) != len(fits.scale):
            raise InvalidInputError(f"expected {len(crops)} fits for {path.name}; got {len(fits.scale)}")
        wanted = [name for name in sorted(set(crops.person.tolist())) if is_calibration_person(name) == calibration]
        rows = np.flatnonzero(fits.usable() & np.isin(crops.person, wanted))
        sets.append((crops, fits))
        place.append(np.stack([np.full(len(rows), number), rows], axis=1))
        person.append(crops.person[rows])
        source.append(crops.source[rows])
    return CropTextures(tuple(sets), np.concatenate(place), np.concatenate(person), np.concatenate(source))
