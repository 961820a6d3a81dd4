"""`facerec train view-set`: normalised views of the training people for the learnt descriptor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from facerec.recognition.training.texture_set import Lifted


@click.command("view-set")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The set (npz).")
@click.option("--located", is_flag=True, help="Use the located landmarks instead of the annotated ones; LFW needs it.")
@click.option("--source", "sources", multiple=True, type=click.Choice(["ytf", "cfp-frontal", "cfp-profile", "lfw"]))
@click.option("--turned", default=0.0, show_default=True, help="Rendered poses for each near-frontal picture.")
@click.option("--held-out", is_flag=True, help="Use the held-back people instead: a set to measure on.")
@click.option("--per-person", default=40, show_default=True, help="Pictures of a person and set at most.")
@click.option("--part", default="1/1", show_default=True, help="K/N: every N-th picture, from the K-th on.")
@click.option("--seed", default=0, show_default=True)
def command(
    data: Path,
    output: Path,
    located: bool,
    sources: tuple[str, ...],
    turned: float,
    held_out: bool,
    per_person: int,
    part: str,
    seed: int,
) -> None:
    """Make the views of the training people's pictures under DATA (ytf/, cfp-dataset/, lfw/, backgrounds/).

    Annotated pictures are lifted from their points or from points with noise, profiles from both.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from facerec.landmarks.image import read_image
    from facerec.recognition.training.texture_set import annotated_pictures, lift_located, located_pictures
    from facerec.recognition.training.view_set import ViewSet, ViewSettings, annotated_views, turned_view, view_of

    first, every = (int(n) for n in part.split("/"))
    rng = np.random.default_rng([seed, first, every])
    settings = ViewSettings()
    choose = located_pictures if located else annotated_pictures
    pictures = [p for p in choose(data, held_out, per_person) if not sources or p.source in sources]
    pictures = pictures[first - 1 :: every]
    # Backgrounds whose index is a multiple of five are kept for measuring the detector.
    files = [p for k, p in enumerate(sorted((data / "backgrounds").glob("*.jpg"))) if k % 5 != 0]
    backgrounds = [read_image(p) for p in files] if turned else []
    number = {p.path: k for k, p in enumerate(pictures)}
    lifted: Iterable[tuple[Lifted, int]]
    if located:
        lifted = ((row, number[row.picture.path]) for row in lift_located(pictures))
    else:
        lifted = annotated_views(pictures, rng, settings)
    rows = []
    for row, origin in track(lifted, total=len(pictures), description="lifting", console=Console(stderr=True)):
        rows.append(view_of(row, origin))
        if abs(row.fitted.camera.yaw) < settings.frontal and rng.random() < turned:
            rows.append(turned_view(row, origin, backgrounds, rng, settings))
    ViewSet.gather(rows).save(output)
    click.echo(f"{output}: {len(rows)} views of {len({r.person for r in rows})} people")
