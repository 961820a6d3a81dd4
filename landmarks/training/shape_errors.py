"""Errors of located shapes, normalised as DSSD's figures are, for markups of 68, 29 and 194 points.

Figures of the whole product come from `facerec.evaluation.landmark_errors`; these serve training packs, whose faces
have boxes already.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

_EYES: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    68: (tuple(range(36, 42)), tuple(range(42, 48))),
    29: ((16,), (17,)),
    194: (tuple(range(134, 154)), tuple(range(114, 134))),
}
"""Rows whose mean is a pupil, by the number of points: COFW annotates pupils, the others the rim of the eyes."""


def pupil_distance(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance between the pupils of shapes (..., L, 2), in their unit; NaN where an eye is not annotated."""
    count = points.shape[-2]
    if count not in _EYES:
        raise InvalidInputError(f"expected shapes of {sorted(_EYES)} points; got {count}")
    left, right = (points[..., list(rows), :].astype(np.float64).mean(axis=-2) for rows in _EYES[count])
    return np.asarray(np.linalg.norm(left - right, axis=-1))


def box_size(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """sqrt(width * height) of the annotated points' box, for shapes (..., L, 2)."""
    extent = np.nanmax(points, axis=-2).astype(np.float64) - np.nanmin(points, axis=-2)
    return np.asarray(np.sqrt(extent.prod(axis=-1)))


def mean_distance(located: NDArray[np.floating], annotated: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over the annotated points of the distance from their annotation, for shapes (..., L, 2)."""
    if located.shape != annotated.shape:
        raise InvalidInputError(f"expected shapes of one size; got {located.shape} and {annotated.shape}")
    distance = np.linalg.norm(located.astype(np.float64) - annotated, axis=-1)
    return np.asarray(np.nanmean(distance, axis=-1))


def nrmse(located: NDArray[np.floating], annotated: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean point-to-point error over the pupil distance (Eq. 24), a face each; NaN where an eye is not annotated.

    The paper's sum over landmarks lacks its 1 / L; its figures are means.
    """
    return mean_distance(located, annotated) / pupil_distance(annotated)
