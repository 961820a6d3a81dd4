"""300-W's faces for landmark evaluation: the common, the challenging and the full test set."""

from __future__ import annotations

from pathlib import Path

from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.landmarks.sets.public import W300Part, read_300w
from facerec.landmarks.types import Box


def read_300w_landmarks(folder: Path, part: W300Part) -> list[AnnotatedPicture]:
    """Annotated faces of a part of 300-W (`facerec.landmarks.sets.public.read_300w`).

    Raises:
        InvalidInputError: another tree; names what was expected.
    """
    annotated = []
    for face in read_300w(folder, part):
        assert face.path is not None
        points = face.points.astype("float64")
        annotated.append(AnnotatedPicture(path=face.path, name=face.name, points=points, box=Box.around(points)))
    return annotated
