"""`facerec landmarks`: locate the 68 landmarks of the faces in photographs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import (
    count,
    detector_option,
    device_option,
    format_options,
    min_face_option,
    note,
    quiet_option,
)
from facerec.cli.photos import given_photos, photos_argument, report_ignored
from facerec.landmarks.device import resolve_device
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.landmarks.types import Face

EXIT_SKIPPED = 3


@click.command("landmarks")
@photos_argument()
@click.option("--model", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model.")
@format_options("jsonl", "pts")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for pts files.")
@click.option(
    "--overlay",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for photographs with the points drawn on them.",
)
@click.option(
    "--boxes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of shifted boxes per face whose results are combined, for more stable points.",
)
@click.option("--mirrored", is_flag=True, help="Also use the mirror image of each face.")
@click.option("--strict", is_flag=True, help="Exit with code 3 when a photograph was skipped.")
@detector_option
@min_face_option
@device_option
@quiet_option
def command(
    photos: tuple[Path, ...],
    model: str,
    form: str,
    output: Path | None,
    overlay: Path | None,
    boxes: int,
    mirrored: bool,
    strict: bool,
    detector: str,
    min_face: float,
    device: str,
    quiet: bool,
) -> int:
    """Locate the 68 landmarks of every face in PHOTOs (- is standard input), and their visibility.

    jsonl (also: --json) writes one line for each face to stdout; pts writes NAME-N.pts, the 300-W format, for face N of
    each photograph (from 0, the largest) to the folder of --output; --overlay writes NAME.overlay.png. Coordinates are
    pixels of the upright photograph, the centre of the top-left pixel being (0, 0); pts files count from 1, as 300-W
    does. For a photograph that cannot be used, a line with its reason code is written, and the others are still
    processed.
    """
    if form == "pts" and output is None:
        raise click.UsageError("--format pts needs -o/--output DIR")
    from facerec.cli.output import spinner
    from facerec.landmarks.errors import UnusablePhotoError, no_face
    from facerec.landmarks.finder import FaceFinder, FinderSettings
    from facerec.landmarks.image import read_image, write_image
    from facerec.landmarks.landmarker import LandmarkerSettings
    from facerec.landmarks.photo_files import photo_names
    from facerec.recognition.answers import landmarks_json

    where = resolve_device(device)
    given = given_photos(photos)
    report_ignored(given.passed_over, quiet)
    files = given.files
    settings = LandmarkerSettings(mirrored=mirrored, boxes=boxes)
    with spinner("Loading the models", quiet):
        finder = FaceFinder.load(model, where, settings, detector, FinderSettings(min_face))
    for folder in (output, overlay):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    names = photo_names(files)
    skipped = 0
    for file in files:
        try:
            image = read_image(given.source(file))
            faces = finder.find(image)
            if not faces:
                raise no_face(*image.shape[:2])
        except UnusablePhotoError as error:
            skipped += 1
            if form == "jsonl":
                _write_line({"file": str(file), "reason": error.reason, "detail": error.detail})
            else:
                note(f"{file}: {error.reason}: {error.detail}")
            continue
        for number, face in enumerate(faces):
            if form == "jsonl":
                _write_line({"file": str(file)} | landmarks_json(face, number, model))
            elif output is not None:
                (output / f"{names[file]}-{number}.pts").write_text(pts_text(face), encoding="ascii")
        if overlay is not None:
            write_image(overlay / f"{names[file]}.overlay.png", overlaid(faces))
    note(f"{len(files) - skipped} of {count(len(files), 'photograph')} with a face", quiet)
    return EXIT_SKIPPED if strict and skipped else 0


def pts_text(face: Face) -> str:
    """A face's points in the 300-W file format, counted from 1."""
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in face.landmarks.points)
    return f"version: 1\nn_points: {len(face.landmarks.points)}\n{{\n{rows}\n}}\n"


def overlaid(faces: list[Face]) -> Any:
    """The faces' photograph with boxes and points drawn in: visible ones filled green, hidden ones as red rings.

    Args:
        faces: at least one, all of one photograph.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    import cv2

    picture = faces[0].image.copy()
    for face in faces:
        box = face.box
        # Drawn for the size of the face, so that points neither vanish in large photographs nor cover small faces.
        radius = max(1, round(max(box.width, box.height) / 100))
        corners = [(round(box.x0), round(box.y0)), (round(box.x1), round(box.y1))]
        cv2.rectangle(picture, corners[0], corners[1], (255, 200, 0), max(1, radius // 2))
        for (x, y), visible in zip(face.landmarks.points, face.landmarks.visible, strict=True):
            center = (round(float(x)), round(float(y)))
            if visible:
                cv2.circle(picture, center, radius, (0, 230, 0), -1, cv2.LINE_AA)
            else:
                cv2.circle(picture, center, radius, (255, 40, 40), 1, cv2.LINE_AA)
    return picture


def _write_line(value: dict[str, Any]) -> None:
    # ASCII escapes work on every terminal and for every file name, names that are not UTF-8 included.
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
