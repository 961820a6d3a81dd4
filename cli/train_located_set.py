"""`facerec train located-set`: faces of the extra sets with the landmarks that GoDP locates, to train DSSD."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import device_option


@click.command("located-set")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--extra",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that holds celeba/, lfw-colour/, all-age-faces/ and utkface/train/.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    required=True,
    type=click.Choice(["celeba", "lfw-colour", "all-age-faces", "utkface"]),
    help="A set of EXTRA; may be repeated.",
)
@click.option(
    "--faces",
    default=6000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Pictures of each set, spread evenly over its people.",
)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The pack (npz).")
@device_option
def command(data: Path, extra: Path, sources: tuple[str, ...], faces: int, output: Path, device: str) -> None:
    """Locate the faces of people who are not held out, and pack them for `train rdssd`.

    The extra sets have no landmarks of 68 points. GoDP's stand in for them: they err less than DSSD's, and there are
    thousands of people. DATA holds cfp-dataset/ and ytf/, which define who is held out.
    """
    import numpy as np

    from facerec.landmarks.device import resolve_device
    from facerec.landmarks.landmarker import Landmarker, LandmarkerSettings
    from facerec.landmarks.training.located import pack_located
    from facerec.recognition.training.crop_set import training_pictures

    chosen = []
    for source in sources:
        pictures = training_pictures(data, extra, [source], 1)
        rows = np.linspace(0, len(pictures) - 1, min(faces, len(pictures))).astype(int)
        chosen += [(pictures[row].path, pictures[row].box, source) for row in rows]
    landmarker = Landmarker.load("godp", resolve_device(device), LandmarkerSettings(batch=32))
    pack = pack_located(chosen, landmarker)
    pack.save(output)
    click.echo(f"{output}: {len(pack)} of {len(chosen)} faces are located surely enough")
