"""`facerec train face-set`: crops and fits of the training people, on which resnet is trained."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import device_option


@click.command("face-set")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The set (npz).")
@click.option(
    "--extra",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that holds celeba/, lfw-colour/, all-age-faces/ and utkface/train/.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    required=True,
    type=click.Choice(["annotated", "celeba", "lfw-colour", "all-age-faces", "utkface"]),
    help="'annotated' is CFP and YouTube Faces under DATA, the others are in EXTRA.",
)
@click.option(
    "--per-person", default=14, show_default=True, help="Largest number of pictures per person and annotated set."
)
@click.option("--part", default="1/1", show_default=True, help="K/N: every N-th person, from the K-th on.")
@click.option("--size", default=160, show_default=True, help="Side of the crops, px.")
@click.option("--processes", default=1, show_default=True, help="Number of processes that locate and fit.")
@device_option
def command(
    data: Path,
    output: Path,
    extra: Path | None,
    sources: tuple[str, ...],
    per_person: int,
    part: str,
    size: int,
    processes: int,
    device: str,
) -> None:
    """Crop the faces of the people who are not held out, and locate and fit them.

    Writes the encoded crops to OUTPUT and their fits beside it. DATA holds cfp-dataset/ and ytf/, which define who is
    held out. A set of 12,000 crops takes about 35 MB.
    """
    from facerec.cli.options import note
    from facerec.landmarks.device import resolve_device
    from facerec.recognition.training.crop_fits import fit_in_processes, fits_path
    from facerec.recognition.training.crop_set import encode_crops, training_pictures

    first, every = (int(n) for n in part.split("/"))
    pictures = training_pictures(data, extra, sources, per_person)
    people = {person: k for k, person in enumerate(sorted({p.person for p in pictures}))}
    chosen = [p for p in pictures if people[p.person] % every == first - 1]
    crops = encode_crops(chosen, size)
    crops.save(output)
    note(f"{output}: {len(crops)} crops of {len(set(crops.person.tolist()))} people")
    fits = fit_in_processes(output, processes, resolve_device(device))
    fits.save(fits_path(output))
    click.echo(f"{fits_path(output)}: {fits.usable().mean():.1%} of the fits can be used for training")
