"""Distances of located landmarks from annotated ones, and how often there are none.

A face that is not found has an infinite error. It stays in `n`, lowers `found`, the cumulative error distribution (CED)
and its area, and raises the failure rate; only the mean error, which would otherwise be infinite, is over found faces
and is labelled so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.fits import LEAST_IOU
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.frontalize.types import Camera
from facerec.landmarks.detection.boxes import aflw_box
from facerec.landmarks.detection.detectors import Detector
from facerec.landmarks.errors import InvalidInputError, ReasonCode, UnusablePhotoError
from facerec.landmarks.landmarker import Locator, look_again
from facerec.landmarks.markup import IBUG68_OUTER_EYE_CORNERS, IBUG68_REGIONS, IBUG68_SOURCES, Sources, read_as
from facerec.landmarks.types import Box, Landmarks

Points = NDArray[np.float64]
Normaliser = Literal["box", "interocular", "pupil"]
NORMALISERS: tuple[Normaliser, ...] = ("box", "interocular", "pupil")

CED_LIMITS = (0.08, 0.10)
"""Errors at which the area under the CED and the failure rate are taken."""

_EYES = tuple(tuple(IBUG68_REGIONS[name]) for name in ("left_eye", "right_eye"))


@dataclass(frozen=True, eq=False)
class LandmarkResult:
    """The result for one annotated face.

    Attributes:
        points: (68, 2) located points, px; None when the face was not found.
        box: the box the landmarks were located in; None when the face was not found.
        iou: best overlap of a detected box with the annotated one, in [0, 1] (1 for boxes that were given).
        faces: how many boxes were detected.
        reason: why there are no points; None when there are.
        detail: the reason in a sentence.
        seconds: wall-clock time for this picture.
        confidence, visible: (68,) what the model says of each point; None when the face was not found.
        picture: (height, width), px; None when the picture cannot be read.
    """

    points: Points | None
    box: Box | None
    iou: float
    faces: int
    reason: ReasonCode | None
    detail: str
    seconds: float
    confidence: NDArray[np.float32] | None = None
    visible: NDArray[np.bool_] | None = None
    picture: tuple[int, int] | None = None


def locate_landmarks(
    annotated: Sequence[AnnotatedPicture],
    locator: Locator,
    detector: Detector | None,
    advance: Callable[[int], None] | None = None,
) -> list[LandmarkResult]:
    """Locate the annotated faces' landmarks.

    Args:
        annotated: pictures with annotations.
        locator: locates 68 points in a box.
        detector: finds the boxes; the one that overlaps the annotated box most is taken, and the face is not found when
            that overlap is below `LEAST_IOU`. None feeds the annotated boxes themselves.
        advance: called with 1 after each picture, for a progress bar.
    """
    results: list[LandmarkResult] = []
    for one in annotated:
        started = time.perf_counter()
        found: Landmarks | None = None
        picture: tuple[int, int] | None = None
        best: Box | None = one.box if detector is None else None
        iou, faces = 1.0 if detector is None else 0.0, 0
        reason: ReasonCode | None = None
        detail = ""
        try:
            image = one.image()
            picture = (image.shape[0], image.shape[1])
            if detector is not None:
                boxes = list(detector.detect(image))
                faces = len(boxes)
                overlaps = [one.box.iou(box) for box in boxes]
                iou = max(overlaps, default=0.0)
                if iou >= LEAST_IOU:
                    best = boxes[overlaps.index(iou)]
            if best is None:
                reason = "no_face"
                detail = f"{faces} faces found, the best overlap with the annotated one is {iou:.2f} < {LEAST_IOU}"
            else:
                located = locator.locate(image, [best])
                # A detected face is looked at again as the finder does; an annotated box needs no second look.
                found = (look_again(locator, image, located) if detector is not None else located)[0]
        except UnusablePhotoError as error:
            reason, detail, best = error.reason, error.detail, None
        except Exception as error:
            error.add_note(f"while locating landmarks in {one.path}")
            raise
        seconds = time.perf_counter() - started
        points = None if found is None else found.points.astype(np.float64)
        confidence, visible = (None, None) if found is None else (found.confidence, found.visible)
        results.append(LandmarkResult(points, best, iou, faces, reason, detail, seconds, confidence, visible, picture))
        if advance is not None:
            advance(1)
    return results


def normaliser(annotated: Points, kind: Normaliser, sources: Sources = IBUG68_SOURCES) -> float:
    """The length in px that errors are divided by; NaN when the points it needs are not annotated.

    "box": sqrt(w h) of the annotated points' tight box. "interocular": between the outer eye corners. "pupil": between
    the means of the two eyes' points, or between the eyes' centres of a markup that has these.

    Args:
        annotated: (L, 2) px, NaN rows are not annotated.
        kind: which length.
        sources: of the L points.
    """
    if annotated.shape != (len(sources), 2):
        raise InvalidInputError(f"expected annotated points ({len(sources)}, 2); got {annotated.shape}")

    def mean_of(rows: tuple[int, ...]) -> Points:
        if rows in sources:
            return np.asarray(annotated[sources.index(rows)])
        own = [sources.index((row,)) for row in rows if (row,) in sources]
        # Some of an eye's points say nothing about where its middle is.
        return np.asarray(annotated[own].mean(axis=0)) if len(own) == len(rows) else np.full(2, np.nan)

    if kind == "box":
        box = Box.around(annotated)
        return float(np.sqrt(box.width * box.height))
    if kind == "interocular":
        left, right = (mean_of((row,)) for row in IBUG68_OUTER_EYE_CORNERS)
    else:
        left, right = (mean_of(rows) for rows in _EYES)
    length = float(np.linalg.norm(left - right))
    return length if length > 0 else float("nan")


def point_errors(located: Points, annotated: Points, sources: Sources = IBUG68_SOURCES) -> Points:
    """Distance of each point from its annotation, (L,) px; NaN where there is no annotation.

    Args:
        located: (68, 2) px.
        annotated: (L, 2) px.
        sources: of the L points.
    """
    if located.shape != (68, 2) or annotated.shape != (len(sources), 2):
        raise InvalidInputError(
            f"expected points (68, 2) and ({len(sources)}, 2); got {located.shape} and {annotated.shape}"
        )
    return np.asarray(np.linalg.norm(read_as(located, sources) - annotated, axis=1))


def nme(located: Points | None, annotated: Points, kind: Normaliser, sources: Sources = IBUG68_SOURCES) -> float:
    """Normalised mean error of one face: the mean distance over annotated points by `normaliser`.

    Infinity when the face was not found (`located` is None), NaN when the normaliser is undefined.
    """
    length = normaliser(annotated, kind, sources)
    if np.isnan(length):
        return float("nan")
    if located is None:
        return float("inf")
    return float(np.nanmean(point_errors(located, annotated, sources))) / length


def face_side(one: AnnotatedPicture, picture: tuple[int, int] | None, mean_face: Points) -> float:
    """Side of the AFLW-style box, px, which NME-Vis and NME-All are divided by: the set's own, or computed.

    NaN where there is neither such a box nor enough visible points for one, or the picture is not known.

    Args:
        one: the annotated face.
        picture: (height, width), px.
        mean_face: (68, 3) mm.
    """
    if one.face_box is not None:
        return float(np.sqrt(one.face_box.width * one.face_box.height))
    points = one.as_ibug68()
    seen = np.zeros(68, dtype=np.bool_)
    for row, rows in enumerate(one.sources):
        if len(rows) == 1:
            seen[rows[0]] = one.seen()[row]
    if picture is None:
        return float("nan")
    try:
        box = aflw_box(points, seen, mean_face, picture)
    except InvalidInputError:
        return float("nan")
    return box.width


def ced(errors: Points, at: Points) -> Points:
    """Cumulative error distribution: the share of all faces with an error <= each value of `at`; misses: infinity."""
    return np.asarray(np.searchsorted(np.sort(errors), at, side="right") / max(len(errors), 1))


def ced_auc(errors: Points, limit: float) -> float:
    """Area under the CED from 0 to `limit`, divided by `limit`: 1 when every error is 0. NaN without faces.

    The CED is a staircase, so the area is exact: the mean of 1 - error / limit, not below 0.
    """
    if not len(errors):
        return float("nan")
    return float(np.maximum(0.0, 1.0 - errors / limit).mean())


def failure_rate(errors: Points, limit: float) -> float:
    """Share of all faces with an error above `limit`, misses included. NaN without faces."""
    return float(np.count_nonzero(errors > limit)) / len(errors) if len(errors) else float("nan")


def yaw_of_points(annotated: Points, mean_face: Points) -> float | None:
    """Yaw of an annotated face, degrees, see `rotation_of_points`. None with fewer than six points.

    It leans on the annotation alone, so a face that was not found still has its place in a by-yaw table.
    """
    rotation = rotation_of_points(annotated, mean_face)
    return None if rotation is None else Camera(rotation, np.zeros(2), 1.0).yaw


def rotation_of_points(annotated: Points, mean_face: Points) -> Points | None:
    """Rotation (3, 3) of a head, as `Camera` has it: a rigid mean face put on its points. None with fewer than six.

    The points on the jaw's outline are left out: on a turned face they slide along the cheek.

    Args:
        annotated: (68, 2) px, NaN rows are not annotated.
        mean_face: (68, 3) the mean face's landmarks in model space.
    """
    rows = np.flatnonzero(np.isfinite(annotated).all(axis=1))
    rows = rows[(rows >= 17) | (rows == 8)]
    if len(rows) < 6:
        return None
    target = annotated[rows] - annotated[rows].mean(axis=0)
    model = mean_face[rows] - mean_face[rows].mean(axis=0)
    # A profile started from the front can settle in a mirror-like pose, so the fit starts from several.
    rotation = np.stack([Camera.from_angles(yaw, 0, 0).rotation for yaw in (-75.0, -40.0, 0.0, 40.0, 75.0)])
    scale = np.full(len(rotation), np.sqrt((target**2).sum() / (model**2).sum()))
    # Thirty turns tell the starts apart; only the best is continued, until it hardly moves (a thousandth of a degree).
    rotation, scale = _pose_in_turns(model, target, rotation, scale, turns=30)
    turned = scale[:, None, None] * (model @ rotation.transpose(0, 2, 1))[:, :, :2]
    best = ((turned - target) ** 2).sum(axis=(1, 2)).argmin(keepdims=True)
    rotation, _ = _pose_in_turns(model, target, rotation[best], scale[best], turns=500)
    found: Points = rotation[0]
    return found


def _pose_in_turns(model: Points, target: Points, rotation: Points, scale: Points, turns: int) -> tuple[Points, Points]:
    """Rotations (S, 3, 3) and scales (S,) that put `model` (N, 3) on `target` (N, 2), both about their means.

    In turns: the depths that the current pose implies, and the pose that fits points and depths best (Procrustes). No
    turn raises the error.
    """
    size = float((model**2).sum())
    points = np.empty((len(rotation), len(model), 3))
    points[:, :, :2] = target
    for _ in range(turns):
        points[:, :, 2] = scale[:, None] * (model @ rotation[:, 2].T).T
        left, values, right = np.linalg.svd(points.transpose(0, 2, 1) @ model)
        handed = np.sign(np.linalg.det(left @ right))
        left[:, :, 2] *= handed[:, None]
        before, rotation = rotation, left @ right
        scale = (values[:, 0] + values[:, 1] + handed * values[:, 2]) / size
        if np.abs(rotation - before).max() < 2e-5:
            break
    return rotation, scale
