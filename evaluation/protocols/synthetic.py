"""Rendered sets of `facerec synth`: people in the 21 poses of UHDB31, listed in the CSV beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from facerec.evaluation.protocols.csv_protocol import read_csv
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture, read_points
from facerec.evaluation.protocols.poses import UHDB31_GROUPS
from facerec.evaluation.protocols.recognition import RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError

POINTS_FILE = "landmarks.csv"
"""The file `facerec synth` writes beside the pictures: their exact 68 points, with pose, yaw and pitch."""

INDEX_FILE = "protocol.csv"
"""The file `facerec synth` writes: path,person,role,pose,yaw,pitch, and set for several lights; the gallery is
pose 11."""


def read_synthetic(data: Path) -> RecognitionProtocol:
    """The set in folder `data` (or its index file itself). Marked as rendered: every page of the report says so.

    Raises:
        InvalidInputError: when there is no index, or it is not one (see `read_csv`).
    """
    file = data / INDEX_FILE if data.is_dir() else data
    if not file.is_file():
        raise InvalidInputError(
            f"expected a folder made by `facerec synth -o DIR`, with {INDEX_FILE}; there is no {file}"
        )
    return replace(read_csv(file, name="synthetic", rendered=True), groups=UHDB31_GROUPS)


def read_synthetic_points(data: Path) -> list[AnnotatedPicture]:
    """The set's pictures with their exact points, the hidden ones where they would be.

    Raises:
        InvalidInputError: when there is no such file, or it is not one (see `read_points`).
    """
    file = data / POINTS_FILE
    if not file.is_file():
        raise InvalidInputError(
            f"expected a folder made by `facerec synth -o DIR`, with {POINTS_FILE}; there is no {file}"
        )
    return read_points(file)
