"""`facerec train texture-set`: lift the UV textures on which descriptors are trained."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("texture-set")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The set (npz).")
@click.option("--located", is_flag=True, help="Use located landmarks instead of annotated ones, and also LFW.")
@click.option("--held-out", is_flag=True, help="Use the held-out people instead, to make a test set.")
@click.option("--per-person", default=40, show_default=True, help="Largest number of pictures per person.")
def command(data: Path, output: Path, located: bool, held_out: bool, per_person: int) -> None:
    """Lift the textures of the training people's pictures under DATA (ytf/, cfp-dataset/, lfw/)."""
    from rich.console import Console
    from rich.progress import track

    from facerec.recognition.training.texture_set import (
        TextureSet,
        annotated_pictures,
        lift_annotated,
        lift_located,
        located_pictures,
    )

    choose, lift = (located_pictures, lift_located) if located else (annotated_pictures, lift_annotated)
    pictures = choose(data, held_out, per_person)
    progress = track(lift(pictures), total=len(pictures), description="lifting", console=Console(stderr=True))
    textures = TextureSet.gather(progress)
    textures.save(output)
    click.echo(f"{output}: {len(textures.person)} textures of {len(set(textures.person))} people")
