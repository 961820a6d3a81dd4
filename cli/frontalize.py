"""`facerec frontalize`: texture, mask, frontal view and mesh of every face in photographs."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

import click

from facerec.cli.options import (
    detector_option,
    device_option,
    min_face_option,
    note,
    printable,
    quiet_option,
    resolve_device,
    share_cores,
)
from facerec.landmarks.models import LANDMARK_MODELS


@click.command(
    "frontalize",
    epilog="\b\nExamples:\n  facerec frontalize profile.jpg -o out\n"
    "  facerec frontalize photos/ -o out --mesh glb --contact-sheet",
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write."
)
@click.option("--mesh", default="ply", show_default=True, type=click.Choice(["ply", "obj", "glb", "none"]))
@click.option("--size", default=224, show_default=True, type=click.IntRange(min=32, max=1024), help="Frontal view, px.")
@click.option("--contact-sheet", is_flag=True, help="Also one picture with all of them, contact-sheet.png.")
@click.option(
    "--landmarks", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model."
)
@click.option("--strict", is_flag=True, help="Exit with 3 when a photograph was skipped.")
@detector_option
@min_face_option
@device_option
@quiet_option
def command(
    photos: tuple[Path, ...],
    output: Path,
    mesh: str,
    size: int,
    contact_sheet: bool,
    landmarks: str,
    strict: bool,
    detector: str,
    min_face: float,
    device: str,
    quiet: bool,
) -> None:
    """Turn the faces of PHOTOS to the front.

    For each face, NAME-N names its files, N counting the faces of a photograph from 0 (the largest):
    NAME-N.texture.png (UV chart), .mask.png (what the camera saw), .overlay.png (landmarks and mesh), .frontal.png
    and the mesh. Hidden parts of the frontal view are filled from the mirror twin; the mask tells which.
    """
    import numpy as np

    from facerec.frontalize.render import draw_overlay, frontal_view, textured_mesh, write_mesh
    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.landmarks.image import find_photos, read_image, write_image
    from facerec.recognition.contact_sheet import contact_row, join_rows
    from facerec.recognition.recognizer import DescribedFace, Recognizer

    where, files = resolve_device(device), find_photos(photos)
    share_cores(1, where, len(files))
    recognizer = Recognizer.load(landmarks=landmarks, device=where, detector=detector, smallest=min_face)
    output.mkdir(parents=True, exist_ok=True)
    rows, skipped = [], 0
    used: set[str] = set()
    for photo in files:
        try:
            image = read_image(photo)
            faces = recognizer.describe(image)
            if not faces:
                raise UnusablePhotoError("no_face", "no face found")
        except UnusablePhotoError as error:
            skipped += 1
            note(f"{printable(str(photo))}: {error.reason}: {error.detail}", quiet)
            continue
        # Photographs of one name in two folders must not overwrite each other.
        stem = next(s for s in chain([photo.stem], (f"{photo.stem}~{n}" for n in count(1))) if s not in used)
        used.add(stem)
        for index, face in enumerate(faces):
            if not isinstance(face, DescribedFace):
                skipped += 1
                note(f"{printable(str(photo))}, face {index}: {face.reason}: {face.detail}", quiet)
                continue
            name = f"{stem}-{index}"
            mask = np.rint(face.texture.visible * 255).astype(np.uint8)
            overlay = draw_overlay(image, face.fitted, face.face.landmarks, recognizer.model)
            view = frontal_view(face.texture, face.fitted, recognizer.model, size)
            write_image(output / f"{name}.texture.png", face.texture.pixels)
            write_image(output / f"{name}.mask.png", np.repeat(mask[..., None], 3, axis=2))
            write_image(output / f"{name}.overlay.png", overlay)
            write_image(output / f"{name}.frontal.png", view)
            if mesh != "none":
                write_mesh(textured_mesh(face.texture, face.fitted, recognizer.model), output / f"{name}.{mesh}")
            if contact_sheet:
                rows.append(contact_row(face, recognizer.model))
            yaw, pitch, roll = face.fitted.camera.angles
            seen = float((face.texture.visible > 0).mean())
            click.echo(f"{printable(name)}\tyaw {yaw:.0f}\tpitch {pitch:.0f}\troll {roll:.0f}\tseen {seen:.0%}")
    if rows:
        write_image(output / "contact-sheet.png", join_rows(rows))
    if skipped and strict:
        raise SystemExit(3)
