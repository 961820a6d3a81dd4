"""300-W, COFW and HELEN for landmark evaluation (read by `facerec.landmarks.sets.public`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.landmarks.sets.public import (
    COFW29_SOURCES,
    HELEN_PLACES,
    HELEN_SOURCES,
    W300_PARTS,
    Split,
    W300Part,
    read_300w,
    read_cofw,
    read_helen,
)
from facerec.landmarks.types import Box


def read_300w_landmarks(folder: Path, part: W300Part) -> list[AnnotatedPicture]:
    """Annotated faces of a part of 300-W; those of the full test set say which of its two parts they belong to.

    Raises:
        InvalidInputError: another tree; names what was expected.
    """
    annotated = []
    for face in read_300w(folder, part):
        assert face.path is not None
        points = face.points.astype(np.float64)
        subset = "challenging" if face.name.startswith(W300_PARTS["challenging"]) else "common"
        annotated.append(
            AnnotatedPicture(face.path, face.name, points, Box.around(points), pose=subset if part == "full" else None)
        )
    return annotated


def read_cofw_landmarks(file: Path) -> list[AnnotatedPicture]:
    """Annotated faces of a COFW file: 27 of its 29 points, with what is hidden."""
    annotated = []
    for face in read_cofw(file):
        points = face.points.astype(np.float64)
        box = Box.around(points)
        points[[row for row, rows in enumerate(COFW29_SOURCES) if not rows]] = np.nan
        annotated.append(
            AnnotatedPicture(
                file, face.name, points, box, visible=~face.hidden, sources=COFW29_SOURCES, picture=face.picture
            )
        )
    return annotated


def read_helen_landmarks(folder: Path, split: Split = "test") -> list[AnnotatedPicture]:
    """Annotated faces of HELEN, in the five places that its 194 points and the 68 have in common; the box is that of
    all 194."""
    annotated = []
    for face in read_helen(folder, split):
        assert face.path is not None
        everything = face.points.astype(np.float64)
        places = np.array([everything[list(rows)].mean(axis=0) for rows in HELEN_PLACES])
        annotated.append(AnnotatedPicture(face.path, face.name, places, Box.around(everything), sources=HELEN_SOURCES))
    return annotated
