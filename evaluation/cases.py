"""Thumbnails of a report's worst errors, with the output of the stages.

They show people. They are made only into reports that a user asks for, never kept elsewhere.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from facerec.evaluation.fits import fit_picture, open_picture
from facerec.evaluation.landmark_errors import LandmarkResult
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.evaluation.protocols.recognition import Picture
from facerec.evaluation.signatures import StagedDescriber
from facerec.landmarks.errors import FacerecError, UnusablePhotoError
from facerec.landmarks.types import Box, Image
from facerec.recognition.recognizer import LiftedFace

if TYPE_CHECKING:
    from facerec.frontalize.face_model import FaceModel

SMALL, LARGE = 160, 240
"""Edge of a thumbnail, px: three beside each other in a column of a page, or one that shows single landmarks."""

# A dozen cases of six pictures stay near 500 kB.
_JPEG_QUALITY = 72

# Room left around the face's box, in box sizes on each side: hair, ears and chin tell people apart for a reader.
_MARGIN = 0.3

# Light blue and orange of Okabe and Ito: apart for colour-blind readers, and seen on light and dark skin.
_ANNOTATED, _LOCATED = (86, 180, 233), (255, 130, 20)


@dataclass(frozen=True)
class CasePicture:
    """One thumbnail.

    Attributes:
        label: what it shows.
        uri: the JPEG as a data URI.
    """

    label: str
    uri: str


def recognition_cases(
    worst: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Picture],
    recognizer: StagedDescriber,
    model: FaceModel | None,
) -> list[list[CasePicture]]:
    """Thumbnails for report.json's "worst" of a recognition report: probe, landmarks, frontal view, mask, mate, rival.

    Args:
        worst: entries with file, mate_file and rival_file.
        pictures: what was compared, by name.
        recognizer: describes the pictures once more, for what the cache does not keep.
        model: the face model that draws overlay and frontal view; None leaves those out.
    """
    cases: list[list[CasePicture]] = []
    for case in worst:
        shots = _stages(pictures[case["file"]], recognizer, model)
        for label, file in (("right person", case["mate_file"]), ("named person", case["rival_file"])):
            if file is not None:
                shots += _stages(pictures[file], recognizer, None, label)[:1]
        cases.append(shots)
    return cases


def failed_cases(
    failed: Mapping[str, Sequence[Mapping[str, Any]]], pictures: Mapping[str, Picture]
) -> dict[str, list[list[CasePicture]]]:
    """One thumbnail for each of a recognition report's "failed_pictures", by reason; none of what cannot be read.

    Args:
        failed: entries with file, by reason.
        pictures: by name.
    """

    def shot(picture: Picture) -> list[CasePicture]:
        try:
            image = open_picture(picture)
        except UnusablePhotoError:
            return []
        whole = Box(-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5)
        return [CasePicture("photograph", _uri(_crop(image, whole, SMALL, margin=0.0)[0]))]

    return {reason: [shot(pictures[row["file"]]) for row in rows] for reason, rows in failed.items()}


def landmark_cases(
    annotated: Sequence[AnnotatedPicture], results: Sequence[LandmarkResult], places: Sequence[int]
) -> list[list[CasePicture]]:
    """One thumbnail for each of a landmark report's "worst", annotated points as rings and located ones as dots.

    Args:
        annotated, results: all faces and what became of them.
        places: index into those of each entry of "worst".
    """
    cases: list[list[CasePicture]] = []
    for place in places:
        one, result = annotated[place], results[place]
        try:
            image = one.image()
        except UnusablePhotoError:
            cases.append([])
            continue
        crop, scale, origin = _crop(image, one.box, LARGE)
        draw = ImageDraw.Draw(crop)
        for points, colour, filled in ((one.points, _ANNOTATED, False), (result.points, _LOCATED, True)):
            if points is not None:
                _draw_points(draw, (points - origin) * scale, colour, filled)
        label = "rings: annotated, dots: located" if result.points is not None else "annotated, not found"
        cases.append([CasePicture(label, _uri(crop))])
    return cases


def _stages(
    picture: Picture, recognizer: StagedDescriber, model: FaceModel | None, label: str = "photograph"
) -> list[CasePicture]:
    try:
        image = open_picture(picture)
        outcome = fit_picture(picture, image, recognizer, 0.0)
        face = recognizer.lift(outcome.resume(image)) if outcome.reason is None else None
    except UnusablePhotoError:
        return []
    if outcome.box is None:
        whole = Box(-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5)
        return [CasePicture(label, _uri(_crop(image, whole, SMALL, margin=0.0)[0]))]
    box = outcome.box
    shots = [CasePicture(label, _uri(_crop(image, box, SMALL)[0]))]
    if label != "photograph" or not isinstance(face, LiftedFace):
        return shots
    crop, scale, origin = _crop(image, box, SMALL)
    overlay: PilImage.Image | None = None
    if model is not None:
        overlay = _overlay(image, face, model, box)
    if overlay is None:
        overlay = crop
        _draw_points(ImageDraw.Draw(overlay), (face.face.landmarks.points - origin) * scale, _LOCATED, True)
    shots.append(CasePicture("landmarks and fit", _uri(overlay)))
    frontal = None if model is None else _frontal(face, model)
    if frontal is not None:
        shots.append(CasePicture("frontal view", _uri(frontal)))
    mask = (255 * np.clip(face.texture.visible, 0, 1)).astype(np.uint8)
    shots.append(CasePicture("seen (mask)", _uri(PilImage.fromarray(mask).resize((SMALL, SMALL)).convert("RGB"))))
    return shots


def _overlay(image: Image, face: LiftedFace, model: FaceModel, box: Box) -> PilImage.Image | None:
    from facerec.frontalize.render import draw_overlay

    try:
        drawn = draw_overlay(image, face.fitted, face.face.landmarks, model)
    except FacerecError:
        return None
    return _crop(drawn, box, SMALL)[0]


def _frontal(face: LiftedFace, model: FaceModel) -> PilImage.Image | None:
    from facerec.frontalize.render import frontal_view

    try:
        view = frontal_view(face.texture, face.fitted, model)
    except FacerecError:
        return None
    return PilImage.fromarray(view).resize((SMALL, SMALL), PilImage.Resampling.LANCZOS)


def _crop(
    image: Image, box: Box, edge: int, margin: float = _MARGIN
) -> tuple[PilImage.Image, float, NDArray[np.float64]]:
    """A square of `edge` px around `box`, white outside the picture; with its scale and its first pixel's place, px."""
    side = max(box.width, box.height) * (1 + 2 * margin)
    x, y = box.center
    left, top = x - side / 2, y - side / 2
    scale = edge / side
    corners = (left + 0.5, top + 0.5, left + side + 0.5, top + side + 0.5)
    # An affine map samples single pixels, so a large face is first made smaller with an area filter.
    source = PilImage.fromarray(image)
    shrink = max(1, int(side / edge))
    if shrink > 1:
        source = source.reduce(shrink)
        corners = tuple(value / shrink for value in corners)  # type: ignore[assignment]
    step_x, step_y = (corners[2] - corners[0]) / edge, (corners[3] - corners[1]) / edge
    cut = source.transform(
        (edge, edge),
        PilImage.Transform.AFFINE,
        (step_x, 0, corners[0], 0, step_y, corners[1]),
        PilImage.Resampling.BILINEAR,
        fillcolor=(255, 255, 255),
    )
    return cut, scale, np.array([left, top])


def _draw_points(
    draw: ImageDraw.ImageDraw, points: NDArray[np.floating[Any]], colour: tuple[int, int, int], filled: bool
) -> None:
    radius = 1.4 if filled else 2.8
    for x, y in points[np.isfinite(points).all(axis=1)]:
        edges = (float(x) - radius, float(y) - radius, float(x) + radius, float(y) + radius)
        draw.ellipse(edges, fill=colour if filled else None, outline=colour)


def _uri(picture: PilImage.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
