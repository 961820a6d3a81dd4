"""`facerec verify`: whether two photographs show one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import (
    device_option,
    json_option,
    note,
    printable,
    quiet_option,
    resolve_device,
    write_json,
)
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.recognition.enrolment import Describer
    from facerec.recognition.recognizer import DescribedFace


@click.command("verify")
@click.argument("first", metavar="PHOTO", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("second", metavar="PHOTO", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--threshold", type=float, default=None, help="Least score of one person (a cosine; inclusive).")
@click.option(
    "--far",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Take the threshold at this false accept rate.  [default: 0.001]",
)
@click.option(
    "--landmarks", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model."
)
@device_option
@json_option
@quiet_option
def command(
    first: Path,
    second: Path,
    threshold: float | None,
    far: float | None,
    landmarks: str,
    device: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say whether the largest faces of two photographs are one person's.

    The threshold is the one measured on impostors that comes with the models. A photograph without a usable face is
    answered with its reason code and exit code 2.
    """
    if threshold is not None and far is not None:
        raise click.UsageError("expected --threshold or --far, not both")

    from importlib.metadata import version

    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.recognition.recognizer import Recognizer
    from facerec.recognition.threshold import (
        ShippedImpostors,
        Threshold,
        ThresholdSettings,
        ThresholdUnavailableError,
        decide_pair,
        given_threshold,
    )

    recognizer = Recognizer.load(landmarks=landmarks, device=resolve_device(device))
    contract = recognizer.contract.digest
    if threshold is not None:
        chosen = given_threshold(threshold)
    else:
        try:
            chosen = ShippedImpostors.load(contract).threshold(far or ThresholdSettings().far)
        except ThresholdUnavailableError as error:
            chosen = Threshold(None, None, 0, "none", f"{error}; give a threshold")

    photos: list[dict[str, Any]] = []
    faces: list[DescribedFace] = []
    failures: list[UnusablePhotoError] = []
    for path in (first, second):
        try:
            face, count = _largest(recognizer, path)
        except UnusablePhotoError as error:
            failures.append(error)
            photos.append({"file": str(path), "reason": error.reason, "detail": error.detail})
            continue
        faces.append(face)
        photos.append(_photo_json(path, face, count))
        if count > 1:
            note(f"{printable(str(path))} shows {count} faces; the largest is compared", quiet)

    score: float | None = None
    overlap: float | None = None
    decision: str = "none"
    reason: str = failures[0].reason if failures else ""
    if not failures:
        a, b = (face.signature for face in faces)
        score, cells = a.score(b)
        overlap = cells / len(a.visible)
        decision, reason = decide_pair(score, overlap, chosen)
    if as_json:
        write_json(
            {
                "photos": photos,
                "score": None if score is None else round(score, 6),
                "overlap": None if overlap is None else round(overlap, 4),
                "decision": decision,
                "reason": reason,
                "threshold": chosen.as_json(),
                "versions": {"facerec": version("facerec"), "contract": contract},
            }
        )
    elif failures:
        for photo in photos:
            if "reason" in photo:
                click.echo(printable(f"none: {photo['file']}: {photo['reason']}: {photo['detail']}"))
    else:
        click.echo(reason)
    return 2 if failures else 0


def _largest(describer: Describer, path: Path) -> tuple[DescribedFace, int]:
    """The largest face of a photograph, and how many it shows."""
    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.landmarks.image import read_image
    from facerec.recognition.recognizer import UndescribedFace

    faces = describer.describe(read_image(path))
    if not faces:
        raise UnusablePhotoError("no_face", "no face was found")
    if isinstance(faces[0], UndescribedFace):
        raise UnusablePhotoError(faces[0].reason, faces[0].detail)
    return faces[0], len(faces)


def _photo_json(path: Path, face: DescribedFace, count: int) -> dict[str, Any]:
    from facerec.recognition.enrolment import visible_share
    from facerec.recognition.identification import box_json, pose_json

    return {
        "file": str(path),
        "faces": count,
        "box": box_json(face.face.box),
        "pose": pose_json(face.fitted.camera.angles),
        "visible_fraction": round(visible_share(face), 4),
        "quality": round(face.quality, 4),
        "timings_ms": {stage: round(value, 2) for stage, value in face.timings_ms.items()},
    }
