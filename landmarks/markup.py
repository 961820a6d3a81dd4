"""Landmark markups: the order of their points, mirror pairs, and how one is read as another.

Everything inside facerec uses the 68 points of the iBUG markup ("ibug68"): 0-16 jaw, 17-21 and 22-26 brows, 27-30 nose
bridge to tip, 31-35 nose base, 36-41 and 42-47 eyes, 48-59 outer and 60-67 inner lips, each counted from the image's
left on a frontal face.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

IBUG68: Final = "ibug68"

IBUG68_REGIONS: Final[dict[str, range]] = {
    "jaw": range(17),
    "left_brow": range(17, 22),
    "right_brow": range(22, 27),
    "nose_bridge": range(27, 31),
    "nose_base": range(31, 36),
    "left_eye": range(36, 42),
    "right_eye": range(42, 48),
    "outer_lips": range(48, 60),
    "inner_lips": range(60, 68),
}
"""Names of the parts; left and right are the image's on a frontal face."""

IBUG68_OUTER_EYE_CORNERS: Final = (36, 45)
"""Between them is the interocular distance that errors on 68 points are normalised by."""


def _indices(values: list[int]) -> NDArray[np.intp]:
    array = np.array(values, dtype=np.intp)
    array.setflags(write=False)
    return array


IBUG68_MIRROR: Final[NDArray[np.intp]] = _indices(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46),
        *(39, 38, 37, 36, 41, 40),
        *range(54, 47, -1),
        *range(59, 54, -1),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
"""(68,): row i of a mirrored face is row IBUG68_MIRROR[i] of the face. Its own inverse."""

COFW29_MIRROR: Final[NDArray[np.intp]] = _indices(
    [1, 0, 3, 2, 6, 7, 4, 5, 9, 8, 11, 10, 14, 15, 12, 13, 17, 16, 19, 18, 20, 21, 23, 22, 24, 25, 26, 27, 28]
)
"""(29,): the same for COFW's markup: brows 0-7, eyes 8-15, pupils 16-17, nose 18-21, mouth 22-27, chin 28."""

AFLW19_MIRROR: Final[NDArray[np.intp]] = _indices([5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18])
"""(19,): the same for AFLW's markup without ears: brows 0-5, eyes 6-11, nose 12-14, mouth 15-17, chin 18."""

AFLW21_MIRROR: Final[NDArray[np.intp]] = _indices(
    [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 16, 15, 14, 13, 12, 19, 18, 17, 20]
)
"""(21,): the same with the ears at 12 and 16."""

AFLW21_EARS: Final = (12, 16)

_MIRRORS: Final = {68: IBUG68_MIRROR, 29: COFW29_MIRROR, 19: AFLW19_MIRROR, 21: AFLW21_MIRROR}

MIRRORED_MARKUPS: Final = tuple(_MIRRORS)
"""Numbers of points of the markups whose mirror pairs are known."""


def mirror_rows(count: int) -> NDArray[np.intp]:
    """Rows of a mirrored face for the markup of `count` points; `InvalidInputError` when its pairs are not known."""
    if count not in MIRRORED_MARKUPS:
        known = ", ".join(str(one) for one in sorted(MIRRORED_MARKUPS))
        raise InvalidInputError(f"expected a markup with known mirror pairs ({known} points); got {count} points")
    return _MIRRORS[count]


Sources = tuple[tuple[int, ...], ...]
"""A markup read off the 68 points: for each of its points the rows whose mean it is, none where they have no such
place."""

IBUG68_SOURCES: Final[Sources] = tuple((row,) for row in range(68))

AFLW19_SOURCES: Final[Sources] = (
    *((17,), (19,), (21,), (22,), (24,), (26,)),
    *((36,), (36, 37, 38, 39, 40, 41), (39,), (42,), (42, 43, 44, 45, 46, 47), (45,)),
    *((31,), (30,), (35,)),
    *((48,), (62, 66), (54,)),
    (8,),
)
"""AFLW's points 1-12, 14-16 and 18-21: brows, eyes and mouth by left, centre and right, nose, chin."""

AFLW21_SOURCES: Final[Sources] = (*AFLW19_SOURCES[:12], (), *AFLW19_SOURCES[12:15], (), *AFLW19_SOURCES[15:])
"""All of AFLW's 21 points; its ear lobes (13 and 17) have no place among the 68."""

AFW6_SOURCES: Final[Sources] = (AFLW19_SOURCES[7], AFLW19_SOURCES[10], (30,), (48,), (62, 66), (54,))
"""AFW's six points: eye centres, nose tip, mouth left, centre and right."""


def read_as(points: NDArray[np.floating], sources: Sources) -> NDArray[np.float64]:
    """Points (..., 68, 2) read as another markup (..., L, 2); NaN where they have no such place."""
    if points.shape[-2:] != (68, 2):
        raise InvalidInputError(f"expected shapes (..., 68, 2); got {points.shape}")
    found = np.full((*points.shape[:-2], len(sources), 2), np.nan)
    for row, rows in enumerate(sources):
        if rows:
            found[..., row, :] = points[..., list(rows), :].mean(axis=-2)
    return found


CFP30_TO_IBUG68: Final[NDArray[np.intp]] = _indices(
    [*range(9), 17, 19, 21, *range(36, 42), *range(27, 31), 33, 32, 31, 48, 51, 62, 57, 66]
)
"""(30,): the row of ibug68 each fiducial of a CFP frontal picture is (CFP frontals carry the image-left half only)."""

CFP30_PROFILE_TO_IBUG68: Final[NDArray[np.intp]] = _indices(
    [*range(9), 17, 19, 21, 36, 37, 38, 39, 41, 40, *range(27, 31), 33, 32, 31, 48, 51, 62, 57, 66]
)
"""(30,): the same for a profile whose nose points to the image's right; the two lower-lid points are swapped there."""

UHDB31_TO_IBUG68: Final[NDArray[np.intp]] = _indices([36, 39, 42, 45, 31, 30, 35, 48, 54])
"""(9,): eye corners, nose left/tip/right and mouth corners, the points GoDP is scored on for UHDB31 (AFLW's 7, 9, 10,
12, 14, 15, 16, 18, 20)."""

UHDB31_SOURCES: Final[Sources] = tuple((int(row),) for row in UHDB31_TO_IBUG68)

CfpView = Literal["frontal", "profile"]


def mirror_points(points: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Points of the mirrored picture.

    Args:
        points: (..., 68, 2) px, ibug68; NaN rows stay NaN.
        width: width of the picture, px.

    Returns:
        (..., 68, 2) float32, px, in ibug68 order of the mirrored face.
    """
    if points.shape[-2:] != (68, 2):
        raise InvalidInputError(f"expected points of shape (..., 68, 2); got {points.shape}")
    mirrored: NDArray[np.float32] = points[..., IBUG68_MIRROR, :].astype(np.float32)
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored


def cfp_faces_right(fiducials: NDArray[np.floating]) -> bool:
    """Whether the nose of a CFP profile points to the image's right: its nose tip lies right of its ear.

    Args:
        fiducials: (30, 2) px.
    """
    _check_cfp(fiducials)
    return bool(fiducials[18:22, 0].mean() > fiducials[0:3, 0].mean())


def cfp_to_ibug68(fiducials: NDArray[np.floating], view: CfpView) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read CFP's 30 fiducials as rows of the 68-point markup.

    Args:
        fiducials: (30, 2) px, as in the data set's files.
        view: "frontal" or "profile".

    Returns:
        points (68, 2) float32, px, NaN where CFP has no such point; annotated (68,) bool.
    """
    _check_cfp(fiducials)
    if view not in ("frontal", "profile"):
        raise InvalidInputError(f"expected a CFP view 'frontal' or 'profile'; got {view!r}")
    rows = CFP30_TO_IBUG68 if view == "frontal" else CFP30_PROFILE_TO_IBUG68
    if view == "profile" and not cfp_faces_right(fiducials):
        rows = IBUG68_MIRROR[rows]
    points = np.full((68, 2), np.nan, dtype=np.float32)
    points[rows] = fiducials
    annotated = np.zeros(68, dtype=np.bool_)
    annotated[rows] = np.isfinite(fiducials).all(axis=1)
    return points, annotated


def _check_cfp(fiducials: NDArray[np.floating]) -> None:
    if fiducials.shape != (30, 2):
        raise InvalidInputError(f"expected CFP fiducials of shape (30, 2); got {fiducials.shape}")
