"""`facerec train half-set`: texture halves for the half-face network to learn from, with a teacher's vectors."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("half-set")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The set (npz).")
@click.option("--located", is_flag=True, help="Use the located landmarks instead of the annotated ones; LFW needs it.")
@click.option("--source", "sources", multiple=True, type=click.Choice(["ytf", "cfp-frontal", "cfp-profile", "lfw"]))
@click.option("--held-out", is_flag=True, help="Use the held-back people instead: a set to measure on.")
@click.option("--teacher/--no-teacher", default=True, show_default=True, help="The dlib extra's vectors of frontals.")
@click.option("--per-person", default=40, show_default=True, help="Pictures of a person and set at most.")
def command(
    data: Path, output: Path, located: bool, sources: tuple[str, ...], held_out: bool, teacher: bool, per_person: int
) -> None:
    """Lift the halves of the training people's pictures under DATA (ytf/, cfp-dataset/, lfw/)."""
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from facerec.recognition.halfface_training import HalfSet, half_images
    from facerec.recognition.teacher import DlibTeacher
    from facerec.recognition.texture_set import annotated_pictures, lift_annotated, lift_located, located_pictures

    choose, lift = (located_pictures, lift_located) if located else (annotated_pictures, lift_annotated)
    pictures = [p for p in choose(data, held_out, per_person) if not sources or p.source in sources]
    master = DlibTeacher() if teacher else None
    grey, mask, vectors, people, origin, yaw = [], [], [], [], [], []
    for row in track(lift(pictures), total=len(pictures), description="lifting", console=Console(stderr=True)):
        tone, seen = half_images(row.texture)
        vector = np.full(128, np.nan, dtype=np.float32)
        angle = row.fitted.camera.yaw
        # Beyond 30 degrees the teacher knows less than the person's frontal pictures tell.
        if master is not None and abs(angle) < 30:
            vector = master.describe(row.image, row.fitted.points)
        grey.append(tone)
        mask.append(seen)
        vectors.append(vector)
        people.append(row.picture.person)
        origin.append(row.picture.source)
        yaw.append(angle)
    HalfSet(
        np.stack(grey), np.stack(mask), np.array(people), np.array(origin), np.array(yaw, np.float32), np.stack(vectors)
    ).save(output)
    click.echo(f"{output}: {len(people)} pictures of {len(set(people))} people")
