"""`facerec frontalize`: texture, mask, frontal view and mesh of every face in photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import format_options, note, printable, quiet_option, recognizer_options
from facerec.cli.photos import given_photos, photos_argument, report_ignored
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.recognition.recognizer import DescribedFace, RecognizerSettings

_COLUMNS = ("name", "file", "face", "yaw", "pitch", "roll", "visible_fraction")


@click.command(
    "frontalize",
    epilog="\b\nExamples:\n  facerec frontalize profile.jpg -o out\n"
    "  facerec frontalize photos/ -o out --mesh glb --contact-sheet",
)
@photos_argument()
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write."
)
@click.option("--mesh", default="ply", show_default=True, type=click.Choice(["ply", "obj", "glb", "none"]))
@click.option(
    "--size",
    default=224,
    show_default=True,
    type=click.IntRange(min=32, max=1024),
    help="Side of the frontal view, px.",
)
@click.option(
    "--contact-sheet", is_flag=True, help="Also write one picture with all faces and their stages, contact-sheet.png."
)
@click.option("--neutral", is_flag=True, help="Remove the expression from the frontal view and the mesh.")
@click.option("--strict", is_flag=True, help="Exit with 3 when a photograph was skipped.")
@format_options("table", "csv", "jsonl")
@recognizer_options(descriptor=None)
@quiet_option
def command(
    photos: tuple[Path, ...],
    output: Path,
    mesh: str,
    size: int,
    contact_sheet: bool,
    neutral: bool,
    strict: bool,
    form: str,
    models: RecognizerSettings,
    quiet: bool,
) -> int:
    """Render the faces of PHOTOs (- is standard input) as seen from the front.

    The files of each face are called NAME-N, where N counts the faces of a photograph from 0 (the largest):
    NAME-N.texture.png (UV chart), .mask.png (what the camera saw), .overlay.png (landmarks and mesh), .frontal.png and
    the mesh. Hidden parts of the frontal view are filled from the mirrored side; the mask shows which.
    """
    from facerec.cli.output import spinner, write_csv_row, write_line, write_table
    from facerec.frontalize.render import textured_mesh, write_mesh
    from facerec.landmarks.errors import UnusablePhotoError, no_face
    from facerec.landmarks.image import as_image, write_image
    from facerec.landmarks.photo_files import photo_names
    from facerec.recognition.contact_sheet import contact_row, join_rows
    from facerec.recognition.recognizer import UndescribedFace, load_recognizer
    from facerec.recognition.stage_pictures import write_stages

    given = given_photos(photos)
    report_ignored(given.passed_over, quiet)
    files = given.files
    share_cores(1, resolve_device(models.device), len(files))
    with spinner("Loading the models", quiet):
        recognizer = load_recognizer(models)
    output.mkdir(parents=True, exist_ok=True)
    strips, rows, skipped = [], [], 0

    def skip(photo: Path, index: int | None, reason: str, detail: str) -> None:
        nonlocal skipped
        skipped += 1
        if form == "jsonl":
            write_line({"file": str(photo), "face": index, "reason": reason, "detail": detail})
        place = printable(str(photo)) if index is None else f"{printable(str(photo))}, face {index}"
        note(f"{place}: {reason}: {detail}", quiet)

    if form == "csv":
        write_csv_row(_COLUMNS)
    for photo, stem in photo_names(files).items():
        try:
            image = as_image(given.source(photo))
            faces = recognizer.describe(image)
            if not faces:
                raise no_face(*image.shape[:2])
        except UnusablePhotoError as error:
            skip(photo, None, error.reason, error.detail)
            continue
        for index, face in enumerate(faces):
            if isinstance(face, UndescribedFace):
                skip(photo, index, face.reason, face.detail)
                continue
            name = f"{stem}-{index}"
            write_stages(face, recognizer.model, output, name, size, neutral)
            if mesh != "none":
                surface = textured_mesh(face.texture, face.fitted, recognizer.model, neutral)
                write_mesh(surface, output / f"{name}.{mesh}")
            if contact_sheet:
                strips.append(contact_row(face, recognizer.model, f"{name}   {photo}", neutral))
            record = _record(name, photo, index, face)
            if form == "jsonl":
                write_line(record)
            elif form == "csv":
                write_csv_row([record[column] for column in _COLUMNS])
            else:
                rows.append([record[column] for column in _COLUMNS])
    if form == "table":
        write_table(_COLUMNS, rows, right=_COLUMNS[2:])
    if strips:
        write_image(output / "contact-sheet.png", join_rows(strips))
    return 3 if skipped and strict else 0


def _record(name: str, photo: Path, index: int, face: DescribedFace) -> dict[str, Any]:
    from facerec.recognition.answers import SHARES, pose_json, rounded

    return {
        "name": name,
        "file": str(photo),
        "face": index,
        **pose_json(face.fitted.camera.angles),
        "visible_fraction": rounded(face.texture.visible_share, SHARES),
    }
