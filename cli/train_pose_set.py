"""`facerec train pose-set`: turn annotated training faces to all poses."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pose-set")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The pack (npz).")
@click.option("--per-face", default=2, show_default=True, help="Poses per picture.")
@click.option("--seed", default=0, show_default=True)
@click.option("--part", default="1/1", show_default=True, help="K/N: every N-th picture, from the K-th on.")
@click.option("--held-out", is_flag=True, help="Use the held-out people instead, to make a test set.")
def command(data: Path, output: Path, per_face: int, seed: int, part: str, held_out: bool) -> None:
    """Turn the training people's annotated pictures under DATA to yaw -90..+90 and pitch -30..+30.

    DATA holds ytf/, cfp-dataset/ and backgrounds/. The held-out people are not used.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.training.pose_augment import SourceFace, pose_augmented
    from facerec.landmarks.image import read_image
    from facerec.landmarks.markup import cfp_to_ibug68
    from facerec.landmarks.sets.cfp import cfp_full_box, cfp_names, read_cfp
    from facerec.landmarks.sets.ytf import person_of_frame, read_points_csv
    from facerec.landmarks.training.packs import (
        CFP_FRONTAL_OFFSET,
        YTF_OFFSET,
        LandmarkPack,
        PackedFace,
        without_offset,
    )
    from facerec.landmarks.training.people import held_out_people, person_key
    from facerec.landmarks.types import Box

    first, every = (int(n) for n in part.split("/"))
    held = held_out_people(data / "ytf", data / "cfp-dataset")
    faces: list[SourceFace] = []
    for path, points in read_points_csv(data / "ytf" / "landmarks68.csv"):
        if (person_key(person_of_frame(path)) in held) == held_out:
            faces.append(SourceFace(read_image(path), without_offset(points, Box.around(points), YTF_OFFSET), "ytf"))
    numbers = [
        k for k, name in enumerate(cfp_names(data / "cfp-dataset"), start=1) if (person_key(name) in held) == held_out
    ]
    for picture, view, fiducials in read_cfp(data / "cfp-dataset", numbers):
        points = cfp_to_ibug68(fiducials, view)[0]
        offset = CFP_FRONTAL_OFFSET if view == "frontal" else 0.0
        moved = without_offset(points, cfp_full_box(points, view), offset)
        faces.append(SourceFace(read_image(picture), moved, f"cfp-{view}"))
    # Backgrounds whose index is a multiple of five are kept for measuring the detector.
    files = [p for k, p in enumerate(sorted((data / "backgrounds").glob("*.jpg"))) if (k % 5 == 0) == held_out]
    backgrounds = [read_image(p) for p in files]
    chosen = faces[first - 1 :: every]
    rng = np.random.default_rng([seed, first, every])
    rng.shuffle(chosen)
    rows: list[PackedFace] = []
    made = pose_augmented(chosen, backgrounds, FaceModel.load(), rng, per_face)
    for row in track(made, total=len(chosen) * per_face, description="turning", console=Console(stderr=True)):
        rows.append(row)
    LandmarkPack.gather(iter(rows)).save(output)
    click.echo(f"{output}: {len(rows)} faces")
