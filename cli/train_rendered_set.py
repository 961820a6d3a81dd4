"""`facerec train rendered-set`: rendered people in all poses, with exact landmarks."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("rendered-set")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The pack (npz).")
@click.option(
    "--faces", default=3000, show_default=True, type=click.IntRange(min=1), help="Number of faces, one per person."
)
@click.option(
    "--backgrounds",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs (jpg) without faces, as background of half of them; every fifth is kept for testing.",
)
@click.option(
    "--max-pitch",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, max=80),
    help="Largest pitch, degrees; it is exceeded by up to 4.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def command(output: Path, faces: int, backgrounds: Path | None, max_pitch: float, seed: int) -> None:
    """Render people of the face model and the texture model at yaw -94..+94 and pitch -64..+64.

    All points are exact, also the hidden ones. Needs no data except the package's own models.
    """
    from rich.console import Console
    from rich.progress import track

    from facerec.frontalize.training.pose_augment import PoseSettings, rendered_faces
    from facerec.landmarks.image import read_image
    from facerec.landmarks.training.packs import LandmarkPack

    files = [] if backgrounds is None else sorted(backgrounds.glob("*.jpg"))
    behind = [read_image(path) for k, path in enumerate(files) if k % 5]
    made = track(
        rendered_faces(faces, behind, seed, PoseSettings(max_pitch=max_pitch)),
        total=faces,
        description="rendering",
        console=Console(stderr=True),
    )
    pack = LandmarkPack.gather(iter(made))
    pack.save(output)
    click.echo(f"{output}: {len(pack)} faces")
