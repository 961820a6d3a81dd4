"""`facerec train turned-set`: turn fitted faces to any yaw and pitch, in colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command("turned-set")
@click.argument("face_sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--backgrounds",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs (jpg) without faces; every fifth is left for measuring.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The pictures (npz)."
)
@click.option(
    "--pack",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the turned faces as a landmark pack (npz) too, for `train godp`.",
)
@click.option("--faces", type=click.IntRange(min=1), default=6000, show_default=True, help="Turned pictures.")
@click.option(
    "--worn",
    type=click.IntRange(min=0),
    default=1500,
    show_default=True,
    help="Pictures as they are, the face wearing sunglasses or a mask.",
)
@click.option(
    "--least-yaw",
    type=click.FloatRange(0, 90),
    default=0.0,
    show_default=True,
    help="Turn every face at least so far, degrees, and let only faces that are turned so far wear something.",
)
@click.option(
    "--masks",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Share of masks among what is worn; the others are sunglasses.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of poses and all else.")
def command(
    face_sets: tuple[Path, ...],
    backgrounds: Path,
    output: Path,
    pack: Path | None,
    faces: int,
    worn: int,
    least_yaw: float,
    masks: float,
    seed: int,
) -> None:
    """Turn the faces of FACE_SETS to yaw -92..+92 and pitch -65..+65, a training set of detector, finder and GoDP.

    FACE_SETS are written by `facerec train face-set`, each with its fits beside it (NAME-fits.npz). Sets are drawn
    from equally often, so that all groups of people appear.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.training.turned_pictures import (
        FittedPicture,
        TurnSettings,
        turned_picture,
        worn_picture,
    )
    from facerec.frontalize.types import Camera
    from facerec.landmarks.errors import InvalidInputError
    from facerec.landmarks.image import read_image
    from facerec.landmarks.training.detector_pictures import background_files
    from facerec.landmarks.training.picture_set import FacePicture, PictureSet
    from facerec.recognition.training.crop_fits import CropFits, fits_path
    from facerec.recognition.training.crop_set import CropSet

    sets = [(CropSet.load(path), CropFits.load(fits_path(path))) for path in face_sets]
    settings = TurnSettings(min_yaw=least_yaw, masks=masks)
    usable = [np.flatnonzero(fits.usable()) for _, fits in sets]
    turned_far = [rows[abs(fits.yaw[rows]) >= least_yaw] for rows, (_, fits) in zip(usable, sets, strict=True)]
    wearers = [number for number, rows in enumerate(turned_far) if len(rows)]
    if worn and not wearers:
        raise InvalidInputError(f"expected faces turned by {least_yaw:g} degrees to wear something; got none")
    behind = [read_image(path) for path in background_files(backgrounds, held_out=False)]
    model = FaceModel.load()

    def drawn(rng: np.random.Generator, rows: list[NDArray[np.intp]], among: list[int]) -> FittedPicture:
        number = among[int(rng.integers(len(among)))]
        crops, fits = sets[number]
        row = int(rng.choice(rows[number]))
        camera = Camera(
            fits.rotation[row].astype(np.float64), fits.translation[row].astype(np.float64), float(fits.scale[row])
        )
        return FittedPicture(
            crops.crop(row),
            fits.shape[row].astype(np.float64),
            fits.expression[row].astype(np.float64),
            camera,
            str(crops.person[row]),
            str(crops.source[row]),
        )

    made: list[FacePicture] = []
    console = Console(stderr=True)
    for k in track(range(faces + worn), description="turning", console=console):
        rng = np.random.default_rng([seed, k])
        try:
            if k < faces:
                face = drawn(rng, usable, list(range(len(sets))))
                made.append(turned_picture(face, model, behind, rng, settings))
            else:
                made.append(worn_picture(drawn(rng, turned_far, wearers), model, rng, settings))
        except InvalidInputError:
            continue  # A photograph that shows too little of the face.
    PictureSet.gather(made).save(output)
    click.echo(f"{output}: {len(made)} pictures")
    if pack is not None:
        PictureSet.gather(one for one in made if one.source.startswith("turned")).pack().save(pack)
        click.echo(f"{pack}: the turned ones")
