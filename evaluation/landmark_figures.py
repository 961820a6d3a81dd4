"""Figures of a landmark evaluation: found, NME by three lengths, CED, by yaw bin and by part of the face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facerec.evaluation.bins import in_order, yaw_bin
from facerec.evaluation.head_pose import pose_figures
from facerec.evaluation.intervals import wilson
from facerec.evaluation.landmark_errors import (
    CED_LIMITS,
    NORMALISERS,
    LandmarkResult,
    Normaliser,
    Points,
    ced,
    ced_auc,
    face_side,
    failure_rate,
    nme,
    normaliser,
    point_errors,
)
from facerec.evaluation.landmark_trust import confidence_figures, visibility_figures
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.landmarks.markup import IBUG68_REGIONS, read_as

# The CED is drawn to 20 %: beyond that a face's landmarks are of no use.
_CED_AT = np.linspace(0.0, 0.20, 81)


@dataclass(frozen=True)
class FaceRow:
    """One annotated face, as it goes into faces.csv.

    Attributes:
        file: the picture; pose: its view, where the data name one.
        yaw, pitch: degrees; yaw_source says "given" by the data, "estimated" from the annotated points, or "unknown".
        annotated: how many points are annotated.
        found: whether some detected box was this face.
        reason: why not ("" when it was).
        iou: of the best box with the annotated one.
        nme_box, nme_interocular, nme_pupil: errors; None when the face was not found or the length is undefined.
        nme_vis, nme_all: errors of the visible and of all annotated points by the side of the AFLW-style box.
    """

    file: str
    pose: str | None
    yaw: float | None
    pitch: float | None
    yaw_source: str
    annotated: int
    found: bool
    reason: str
    iou: float
    nme_box: float | None
    nme_interocular: float | None
    nme_pupil: float | None
    nme_vis: float | None = None
    nme_all: float | None = None


@dataclass(frozen=True, eq=False)
class _Face:
    """A face with its errors: infinity when not found, NaN when the length is undefined."""

    row: FaceRow
    errors: dict[str, float]
    points: Points | None  # (L,) px over the box length, NaN where not annotated
    regions: Sequence[str]  # (L,) part of the face that each point belongs to


def landmark_figures(
    annotated: Sequence[AnnotatedPicture],
    results: Sequence[LandmarkResult],
    yaws: Sequence[float | None],
    mean_face: Points | None = None,
) -> tuple[dict[str, Any], list[FaceRow]]:
    """All figures, keys in docs/reports.md, and the rows of faces.csv.

    Args:
        annotated: the annotated faces.
        results: what was located, in the same order.
        yaws: yaw of each face estimated from its annotation, degrees, or None; the data's own yaw goes first.
        mean_face: (68, 3) mm, for the AFLW-style box of sets without one; without it they have no NME-Vis and NME-All.
    """
    faces: list[_Face] = []
    for one, result, estimated in zip(annotated, results, yaws, strict=True):
        errors: dict[str, float] = {kind: nme(result.points, one.points, kind, one.sources) for kind in NORMALISERS}
        errors |= _by_face_side(one, result, mean_face)
        yaw, source = (one.yaw, "given") if one.yaw is not None else (estimated, "estimated")
        stated = {kind: float(value) if np.isfinite(value) else None for kind, value in errors.items()}
        row = FaceRow(
            file=one.name,
            pose=one.pose,
            yaw=yaw,
            pitch=one.pitch,
            yaw_source="unknown" if yaw is None else source,
            annotated=int(np.isfinite(one.points).all(axis=1).sum()),
            found=result.points is not None,
            reason=result.reason or "",
            iou=result.iou,
            nme_box=stated["box"],
            nme_interocular=stated["interocular"],
            nme_pupil=stated["pupil"],
            nme_vis=stated["vis"],
            nme_all=stated["all"],
        )
        shares = None
        if result.points is not None:
            length = normaliser(one.points, "box", one.sources)
            shares = point_errors(result.points, one.points, one.sources) / length
        faces.append(_Face(row, errors, shares, [_region(rows) for rows in one.sources]))
    figures = _summary(faces)
    figures |= confidence_figures(annotated, results) | visibility_figures(annotated, results)
    figures["by_part"] = _by_part(faces)
    figures["sideways"] = sideways(annotated, results)
    figures["by_yaw"] = {
        name: _summary([face for face in faces if yaw_bin(face.row.yaw) == name])
        for name in in_order(yaw_bin(face.row.yaw) for face in faces)
    }
    poses = sorted({face.row.pose for face in faces if face.row.pose is not None}, key=lambda pose: (len(pose), pose))
    # One view for all would only repeat the overall figures.
    if len(poses) > 1:
        figures["by_view"] = {}
        for pose in poses:
            inside = [face for face in faces if face.row.pose == pose]
            figures["by_view"][pose] = _summary(inside) | _shared_angles([face.row for face in inside])
        figures["view_mean"] = _view_mean(list(figures["by_view"].values()))
    if mean_face is not None:
        figures |= pose_figures(annotated, results, mean_face)
    figures["yaw_source"] = {
        source: sum(face.row.yaw_source == source for face in faces) for source in ("given", "estimated", "unknown")
    }
    figures["ced"] = {"error": [float(value) for value in _CED_AT]} | {
        f"nme_{kind}": [float(share) for share in ced(defined, _CED_AT)]
        for kind in NORMALISERS
        if len(defined := _defined(faces, kind))
    }
    return figures, [face.row for face in faces]


def sideways(annotated: Sequence[AnnotatedPicture], results: Sequence[LandmarkResult]) -> dict[str, float | None]:
    """How far annotated points lie to the right of the located ones on the mean, and the errors without that.

    A landmark network that learns from mirrored pictures has no side of its own, so where a set annotates both halves
    of its faces alike, a mean offset to one side is its annotators' (or their detector's). Up and down there is no such
    argument: that offset stays in the errors.

    Returns:
        "offset": mean over the annotated points of found faces, share of the box; "nme_box", "nme_interocular": errors
        of the found faces with that subtracted from all annotations. None where nothing was found or the length is
        undefined.
    """
    found = [(one, result.points) for one, result in zip(annotated, results, strict=True) if result.points is not None]
    if not found:
        return {"offset": None, "nme_box": None, "nme_interocular": None}
    lengths = [normaliser(one.points, "box", one.sources) for one, _ in found]
    right = [
        (one.points - read_as(points, one.sources))[:, 0] / length
        for (one, points), length in zip(found, lengths, strict=True)
    ]
    offset = float(np.nanmean(np.concatenate(right)))
    without: dict[str, float | None] = {"offset": offset}
    kinds: tuple[Normaliser, ...] = ("box", "interocular")
    for kind in kinds:
        errors = np.array(
            [
                nme(points, one.points - [offset * length, 0.0], kind, one.sources)
                for (one, points), length in zip(found, lengths, strict=True)
            ]
        )
        without[f"nme_{kind}"] = None if np.isnan(errors).all() else float(np.nanmean(errors))
    return without


def worst_faces(rows: Sequence[FaceRow], most: int) -> list[FaceRow]:
    """The faces that went most wrong: up to half of them not found, the rest by box-normalised error."""
    missed = sorted((row for row in rows if not row.found), key=lambda row: row.file)
    located = sorted((row for row in rows if row.found), key=lambda row: (-(row.nme_box or 0.0), row.file))
    kept = missed[: max(most // 2, most - len(located))]
    return located[: most - len(kept)] + kept


def _by_face_side(one: AnnotatedPicture, result: LandmarkResult, mean_face: Points | None) -> dict[str, float]:
    """NME-Vis and NME-All: "vis" and "all"; infinity when not found, NaN when undefined."""
    undefined = {"vis": float("nan"), "all": float("nan")}
    if mean_face is None and one.face_box is None:
        return undefined
    if result.points is None:
        return {"vis": float("inf"), "all": float("inf")}
    side = face_side(one, result.picture, np.empty((0, 3)) if mean_face is None else mean_face)
    if np.isnan(side):
        return undefined
    off = point_errors(result.points, one.points, one.sources) / side
    seen = one.seen()
    return {"vis": float(off[seen].mean()) if seen.any() else float("nan"), "all": float(np.nanmean(off))}


def _region(rows: Sequence[int]) -> str:
    """Part of the face that a point read off these of the 68 rows belongs to; "" for none."""
    return next((name for name, inside in IBUG68_REGIONS.items() if rows and rows[0] in inside), "")


def _defined(faces: Sequence[_Face], kind: str) -> Points:
    errors = np.array([face.errors[kind] for face in faces], dtype=np.float64)
    return errors[~np.isnan(errors)]


def _shared_angles(rows: Sequence[FaceRow]) -> dict[str, float]:
    """Yaw and pitch of a view, where the data give all its faces the same."""
    angles = {(row.yaw, row.pitch) for row in rows if row.yaw_source == "given"}
    if len(angles) != 1 or any(row.yaw_source != "given" for row in rows):
        return {}
    yaw, pitch = angles.pop()
    return {} if yaw is None or pitch is None else {"yaw": yaw, "pitch": pitch}


def _summary(faces: Sequence[_Face]) -> dict[str, Any]:
    n = len(faces)
    found = sum(face.row.found for face in faces)
    figures: dict[str, Any] = {
        "n": n,
        "found": found / n if n else None,
        "found_interval": list(wilson(found, n)),
        "failures": dict(sorted(Counter(face.row.reason for face in faces if face.row.reason).items())),
    }
    for kind in ("vis", "all"):
        errors = _defined(faces, kind)
        located = errors[np.isfinite(errors)]
        figures[f"nme_{kind}"] = float(located.mean()) if len(located) else None
        figures[f"nme_{kind}_n"] = len(located)
    for kind in NORMALISERS:
        errors = _defined(faces, kind)
        located = errors[np.isfinite(errors)]
        median = float(np.median(errors)) if len(errors) else np.inf
        figures[f"nme_{kind}"] = float(located.mean()) if len(located) else None
        figures[f"nme_{kind}_n"] = len(located)
        figures[f"nme_{kind}_median_with_misses"] = median if np.isfinite(median) else None
        for limit in CED_LIMITS:
            percent = round(100 * limit)
            figures[f"auc{percent}_{kind}"] = ced_auc(errors, limit) if len(errors) else None
            figures[f"failure{percent}_{kind}"] = failure_rate(errors, limit) if len(errors) else None
    return figures


def _view_mean(views: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Mean errors over the views, with equal weight however many faces each has; None where one has none."""
    names = [f"nme_{kind}" for kind in NORMALISERS]
    stated = {name: [view[name] for view in views if view[name] is not None] for name in names}
    return {name: float(np.mean(found)) if len(found) == len(views) else None for name, found in stated.items()}


def _by_part(faces: Sequence[_Face]) -> dict[str, dict[str, Any]]:
    """Box-normalised mean error of each part's annotated points, over found faces."""
    parts: dict[str, dict[str, Any]] = {}
    for name in IBUG68_REGIONS:
        inside = [face.points[[region == name for region in face.regions]] for face in faces if face.points is not None]
        values = np.concatenate(inside) if inside else np.empty(0)
        values = values[np.isfinite(values)]
        parts[name] = {"points": len(values), "nme_box": float(values.mean()) if len(values) else None}
    return parts
