"""AFLW-Full, AFLW-F, AFLW-PIFA, AFLW2000-3D, AFW and UHDB31's points for landmark evaluation, each in its markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facerec.evaluation.head_pose import aflw_rotation
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.evaluation.protocols.poses import uhdb31_angles
from facerec.evaluation.protocols.resolution import RESOLUTIONS, reduction
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import AFLW19_SOURCES, AFLW21_SOURCES, AFW6_SOURCES, UHDB31_SOURCES, Sources
from facerec.landmarks.sets.aflw import (
    AflwPart,
    read_aflw2000,
    read_aflw_full,
    read_aflw_pifa,
    read_afw,
    read_uhdb31_points,
)
from facerec.landmarks.sets.public import SetFace
from facerec.landmarks.types import Box

AFLW2000_BINS = ("0-30", "30-60", "60-90")
"""Bins of |yaw| that AFLW2000-3D's figures are published by; an edge belongs to the lower bin."""


def read_aflw_landmarks(folder: Path, part: AflwPart = "test") -> list[AnnotatedPicture]:
    """AFLW-Full's faces of a part (`read_aflw_full`), 19 points, errors over the side of their boxes."""
    return _annotated(read_aflw_full(folder, part), AFLW19_SOURCES)


def read_pifa_landmarks(folder: Path, rows: Sequence[int]) -> list[AnnotatedPicture]:
    """AFLW-PIFA's test faces.

    Args:
        folder: see `read_aflw_pifa`.
        rows: which of the 34 points are AFLW's 1 to 21, in that order. Its ear lobes have no place among the 68 and are
            not measured.

    Raises:
        InvalidInputError: another number of rows, or another tree.
    """
    if len(rows) != len(AFLW21_SOURCES):
        raise InvalidInputError(f"expected {len(AFLW21_SOURCES)} rows, one for each of AFLW's points; got {len(rows)}")
    return _annotated(read_aflw_pifa(folder, "test", rows), AFLW21_SOURCES)


def read_aflw2000_landmarks(folder: Path) -> list[AnnotatedPicture]:
    """AFLW2000-3D's faces (`read_aflw2000`): 68 points, the pose, and the bin of |yaw| as the view."""
    annotated = []
    for face, angles in read_aflw2000(folder):
        assert face.path is not None
        points = face.points.astype(np.float64)
        pitch, yaw, roll = (float(angle) for angle in np.rad2deg(angles))
        rotation = aflw_rotation(pitch, yaw, roll)
        camera = Camera(rotation, np.zeros(2), 1.0)
        bins = AFLW2000_BINS[int(np.searchsorted((30.0, 60.0), abs(yaw)))]
        annotated.append(
            AnnotatedPicture(
                face.path,
                face.name,
                points,
                Box.around(points),
                camera.yaw,
                camera.pitch,
                pose=bins,
                rotation=rotation,
            )
        )
    return annotated


def read_afw_landmarks(folder: Path) -> list[AnnotatedPicture]:
    """AFW's faces (`read_afw`), six points, errors over the side of the set's boxes."""
    return _annotated(read_afw(folder), AFW6_SOURCES)


def read_uhdb31_landmarks(
    folder: Path, landmarks: Path | None = None, resolution: str | None = None
) -> list[AnnotatedPicture]:
    """UHDB31's faces with nine points, each with its pose, yaw and pitch.

    Args:
        folder, landmarks: see `read_uhdb31_points`.
        resolution: a name of `facerec.evaluation.protocols.resolution.RESOLUTIONS`: pictures are sampled down to it by
            area, and points with them; None: as they are.
    """
    annotated = []
    for one in _annotated(read_uhdb31_points(folder, landmarks), UHDB31_SOURCES):
        match = re.search(r"d31(\d{2})\.\w+$", one.name)
        pose = int(match[1]) if match else 0
        if not 1 <= pose <= 21:
            raise InvalidInputError(f"expected UHDB31's poses 01 to 21; got {one.name}")
        yaw, pitch = uhdb31_angles(pose)
        turned = replace(one, yaw=float(yaw), pitch=float(pitch), pose=str(pose))
        annotated.append(turned if resolution is None else _sample_down(turned, resolution))
    return annotated


def _sample_down(one: AnnotatedPicture, resolution: str) -> AnnotatedPicture:
    factor = reduction(one.path, resolution)
    points = (one.points + 0.5) / factor - 0.5  # the corner of the first pixel stays where it is, not its centre
    return replace(one, points=points, box=Box.around(points), size=RESOLUTIONS[resolution])


def _annotated(faces: Iterable[SetFace], sources: Sources) -> list[AnnotatedPicture]:
    annotated = []
    for face in faces:
        assert face.path is not None
        points = face.points.astype(np.float64)
        points[[row for row, rows in enumerate(sources) if not rows]] = np.nan
        box = face.box or Box.around(points)
        annotated.append(
            AnnotatedPicture(
                face.path, face.name, points, box, visible=~face.hidden, sources=sources, face_box=face.box
            )
        )
    return annotated
