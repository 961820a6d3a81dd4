"""`facerec synth`: rendered people in the poses of UHDB31."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option


@click.command(
    "synth",
    epilog="\b\nExamples:\n  facerec synth -o rendered --subjects 77 --lights I01,I02,I03\n"
    "  facerec evaluate recognition synthetic rendered --report report",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write."
)
@click.option("--subjects", default=77, show_default=True, type=click.IntRange(min=1), help="People (UHDB31 has 77).")
@click.option("--poses", default="uhdb31", show_default=True, type=click.Choice(["uhdb31"]), help="The set of poses.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed; other seeds give other people."
)
@click.option(
    "--width", default=256, show_default=True, type=click.IntRange(min=32, max=1024), help="Width, px (R256)."
)
@click.option(
    "--lights",
    default="I03",
    show_default=True,
    help="Lights, e.g. I01,I02,I03 (left, right, even); each gives a set of its own.",
)
@quiet_option
def command(output: Path, subjects: int, poses: str, seed: int, width: int, lights: str, quiet: bool) -> None:
    """Render people who do not exist, each in the 21 poses of UHDB31 (7 yaws x 3 pitches), with a perspective camera.

    Writes `{subject}d31{pose}.png`, `protocol.csv` (path, person, role, pose, yaw, pitch), `landmarks.csv` (the exact
    68 points) and a note that states that the pictures are rendered, and by which model.
    """
    from rich.console import Console
    from rich.progress import track

    from facerec.frontalize.synthesize import (
        RENDERED_BY,
        SynthesisSettings,
        synthetic_people,
        uhdb31_photographs,
        write_uhdb31,
    )

    # UHDB31 is 1024 x 1224: the same shape at any width.
    settings = SynthesisSettings(width=width, height=round(width * 1224 / 1024))
    people = synthetic_people(subjects, seed, settings)
    named = list(dict.fromkeys(light.strip() for light in lights.split(",")))
    photographs = track(
        uhdb31_photographs(people, seed, settings, lights=named),
        total=21 * subjects * len(named),
        description="rendering",
        console=Console(stderr=True, quiet=quiet),
    )
    protocol = write_uhdb31(output, photographs, named)
    note(f"{21 * subjects * len(named)} photographs of {subjects} people, {RENDERED_BY}", quiet)
    note(f"Next: facerec evaluate recognition synthetic {output} --report report", quiet)
    click.echo(str(protocol))
