"""`facerec verify`: whether two photographs show one person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import (
    descriptor_option,
    detector_option,
    device_option,
    json_option,
    min_face_option,
    note,
    printable,
    quiet_option,
    resolve_device,
    share_cores,
    write_json,
)
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.recognition.description import Describer
    from facerec.recognition.recognizer import DescribedFace
    from facerec.recognition.threshold import Threshold


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
@descriptor_option("resnet")
@detector_option
@min_face_option
@device_option
@json_option
@quiet_option
def command(
    first: Path,
    second: Path,
    threshold: float | None,
    far: float | None,
    landmarks: str,
    descriptor: str | None,
    detector: str,
    min_face: float,
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

    from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR
    from facerec.recognition.recognizer import Recognizer
    from facerec.recognition.threshold import (
        ShippedImpostors,
        Threshold,
        ThresholdSettings,
        ThresholdUnavailableError,
        given_threshold,
    )

    where = resolve_device(device)
    share_cores(1, where, photos=2)
    recognizer = Recognizer.load(
        landmarks=landmarks,
        descriptor=descriptor or DEFAULT_DESCRIPTOR,
        device=where,
        detector=detector,
        smallest=min_face,
    )
    contract = recognizer.contract.digest
    if threshold is not None:
        chosen = given_threshold(threshold)
    else:
        try:
            chosen = ShippedImpostors.load(contract).threshold(far or ThresholdSettings().far)
        except ThresholdUnavailableError as error:
            chosen = Threshold(None, None, 0, "none", f"{error}; give a threshold")

    said, notes = compare(recognizer, [(str(path), path) for path in (first, second)], chosen)
    for text in notes:
        note(text, quiet)
    failed = [photo for photo in said["photos"] if "reason" in photo]
    if as_json:
        write_json(said)
    elif failed:
        for photo in failed:
            click.echo(printable(f"none: {photo['file']}: {photo['reason']}: {photo['detail']}"))
    else:
        click.echo(said["reason"])
    return 2 if failed else 0


def compare(
    describer: Describer, photos: Sequence[tuple[str, Path | bytes]], threshold: Threshold
) -> tuple[dict[str, Any], list[str]]:
    """Compare two photographs, each a name and a file or its bytes: what --json says, and notes for a person."""
    from importlib.metadata import version

    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.recognition.decision import decide_pair

    records: list[dict[str, Any]] = []
    faces: list[DescribedFace] = []
    failures: list[UnusablePhotoError] = []
    notes: list[str] = []
    for name, source in photos:
        try:
            face, count = _largest(describer, source)
        except UnusablePhotoError as error:
            failures.append(error)
            records.append({"file": name, "reason": error.reason, "detail": error.detail})
            continue
        faces.append(face)
        records.append(_photo_json(name, face, count))
        if count > 1:
            notes.append(f"{printable(name)} shows {count} faces; the largest is compared")
    score: float | None = None
    overlap: float | None = None
    decision: str = "none"
    reason: str = failures[0].reason if failures else ""
    if not failures:
        a, b = (face.signature for face in faces)
        score, cells = a.score(b)
        overlap = cells / len(a.visible)
        decision, reason = decide_pair(score, overlap, threshold)
    said = {
        "photos": records,
        "score": None if score is None else round(score, 6),
        "overlap": None if overlap is None else round(overlap, 4),
        "decision": decision,
        "reason": reason,
        "threshold": threshold.as_json(),
        "versions": {"facerec": version("facerec"), "contract": describer.contract.digest},
    }
    return said, notes


def _largest(describer: Describer, source: Path | bytes) -> tuple[DescribedFace, int]:
    """The largest face of a photograph, and how many it shows."""
    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.landmarks.image import read_image
    from facerec.recognition.recognizer import UndescribedFace

    faces = describer.describe(read_image(source))
    if not faces:
        raise UnusablePhotoError("no_face", "no face was found")
    if isinstance(faces[0], UndescribedFace):
        raise UnusablePhotoError(faces[0].reason, faces[0].detail)
    return faces[0], len(faces)


def _photo_json(name: str, face: DescribedFace, count: int) -> dict[str, Any]:
    from facerec.recognition.description import visible_share
    from facerec.recognition.identification import box_json, pose_json

    return {
        "file": name,
        "faces": count,
        "box": box_json(face.face.box),
        "pose": pose_json(face.fitted.camera.angles),
        "turned": face.face.turned,
        "visible_fraction": round(visible_share(face), 4),
        "quality": round(face.quality, 4),
        "timings_ms": {stage: round(value, 2) for stage, value in face.timings_ms.items()},
    }
