"""Fits that are known to be right or wrong, on which the fit verdict is trained.

Landmarks are located in boxes that are about right, shifted and far off, and in boxes on backgrounds; a fit is right
when its points lie where the annotated ones do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, face_size, fit_batch, landmark_weights
from facerec.frontalize.fit_verdict import FitEvidence
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import read_image
from facerec.landmarks.landmarker import Landmarker
from facerec.landmarks.markup import cfp_to_ibug68
from facerec.landmarks.sets.cfp import cfp_full_box, cfp_names, read_cfp
from facerec.landmarks.training.people import held_out_people, person_key
from facerec.landmarks.types import Box, Landmarks

GOOD, BAD = 0.12, 0.2
"""Mean distance of the fitted from the annotated points, share of the face's size, below which a fit is good and above
which it is bad; those between are left out."""

MISPLACED = (((0.0, 0.08), 0.08), ((0.1, 0.4), 0.3), ((0.4, 0.9), 0.8))
"""How far off a box is, shares of its side, and by how much it is zoomed: as detectors find it, as they misplace it,
and on no face at all."""


@dataclass(frozen=True)
class VerdictPictures:
    """How many pictures of each kind are looked at: CFP's profiles and frontals, and backgrounds."""

    profiles: int = 170
    frontals: int = 60
    backgrounds: int = 100


def locate_faces(
    data: Path, locator: Landmarker, wanted: VerdictPictures, rng: np.random.Generator
) -> tuple[list[Landmarks], list[NDArray[np.floating]]]:
    """Landmarks located on training people and on backgrounds, and the annotated points (68, 2), NaN where unknown.

    Args:
        data: holds cfp-dataset/, ytf/ and backgrounds/.
        locator: whose landmarks the verdict is for.
        wanted: pictures of each kind, evenly spread.
        rng: draws the boxes.

    Raises:
        InvalidInputError: no picture is there.
    """
    marks: list[Landmarks] = []
    truth: list[NDArray[np.floating]] = []
    for path, points, box in _annotated(data, wanted):
        boxes = [_shifted(box, shift, zoom, rng) for shift, zoom in MISPLACED]
        marks += locator.locate(read_image(path), boxes)
        truth += [points] * len(boxes)
    # Every fifth background is held out, as for the other trainers.
    files = [p for k, p in enumerate(sorted((data / "backgrounds").glob("*.jpg"))) if k % 5 != 0]
    for file in files[:: max(1, len(files) // max(wanted.backgrounds, 1))]:
        image = read_image(file)
        height, width = image.shape[:2]
        side = rng.uniform(0.3, 0.8) * min(height, width)
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        marks += locator.locate(image, [Box(x, y, x + side, y + side)])
        truth.append(np.full((68, 2), np.nan))
    if not marks:
        raise InvalidInputError(f"expected at least one picture in {data}; got none")
    return marks, truth


def _annotated(data: Path, wanted: VerdictPictures) -> Iterator[tuple[Path, NDArray[np.float32], Box]]:
    """Picture, points (68, 2) and box of CFP's training people."""
    cfp = data / "cfp-dataset"
    held = held_out_people(data / "ytf", cfp)
    numbers = [k for k, name in enumerate(cfp_names(cfp), start=1) if person_key(name) not in held]
    for view, count in (("profile", wanted.profiles), ("frontal", wanted.frontals)):
        chosen = [row for row in read_cfp(cfp, numbers) if row[1] == view]
        for path, kind, fiducials in chosen[:: max(1, len(chosen) // max(count, 1))]:
            points = cfp_to_ibug68(fiducials, kind)[0]
            yield path, points, cfp_full_box(points, kind)


def _shifted(box: Box, shift: tuple[float, float], zoom: float, rng: np.random.Generator) -> Box:
    side, angle = max(box.width, box.height), rng.uniform(0, 2 * np.pi)
    away, scale = side * rng.uniform(*shift), np.exp(rng.uniform(-zoom, zoom)) / 2
    x, y = box.center[0] + away * np.cos(angle), box.center[1] + away * np.sin(angle)
    return Box(x - scale * box.width, y - scale * box.height, x + scale * box.width, y + scale * box.height)


def rate_fits(
    marks: Sequence[Landmarks], truth: Sequence[NDArray[np.floating]]
) -> tuple[list[FitEvidence], list[FitEvidence]]:
    """Fit located landmarks; the evidence of the good fits and of the bad ones.

    Args:
        marks: located landmarks.
        truth: (68, 2) annotated points of each, NaN where unknown; where none is known there is no face.
    """
    fit = fit_batch(
        np.stack([mark.points for mark in marks]).astype(np.float64),
        np.stack([landmark_weights(mark, LOCATED) for mark in marks]),
        FaceModel.load(),
        LOCATED,
    )
    good, bad = [], []
    for k, (mark, points) in enumerate(zip(marks, truth, strict=True)):
        camera = fit.camera(k)
        residual = float(fit.residual[k]) / face_size(camera)
        evidence = FitEvidence.of(mark, camera, residual, fit.shape[k], fit.expression[k])
        known = np.isfinite(points).all(axis=1)
        if not known.any():
            bad.append(evidence)
            continue
        box = Box.around(points)
        off = np.linalg.norm(fit.points[k][known] - points[known], axis=1).mean() / np.sqrt(box.width * box.height)
        if off < GOOD:
            good.append(evidence)
        elif off > BAD:
            bad.append(evidence)
    return good, bad
