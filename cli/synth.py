"""`facerec synth`: rendered people in the poses of UHDB31."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option


@click.command(
    "synth",
    epilog="\b\nExamples:\n  facerec synth -o rendered --subjects 77\n"
    "  facerec evaluate recognition synthetic rendered --report report",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write."
)
@click.option("--subjects", default=77, show_default=True, type=click.IntRange(min=1), help="People (UHDB31 has 77).")
@click.option("--poses", default="uhdb31", show_default=True, type=click.Choice(["uhdb31"]), help="The set of poses.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Other seeds give other people.")
@click.option(
    "--width", default=256, show_default=True, type=click.IntRange(min=32, max=1024), help="Width, px (R256)."
)
@quiet_option
def command(output: Path, subjects: int, poses: str, seed: int, width: int, quiet: bool) -> None:
    """Render people who do not exist, each in the 21 poses of UHDB31 (7 yaws x 3 pitches).

    Writes `{subject}d31{pose}.png`, `protocol.csv` (path, person, role, pose, yaw, pitch) and a note that the pictures
    are rendered, and by which model.
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
    photographs = track(
        uhdb31_photographs(people, seed, settings),
        total=21 * subjects,
        description="rendering",
        console=Console(stderr=True, quiet=quiet),
    )
    protocol = write_uhdb31(output, iter(photographs))
    note(f"{21 * subjects} photographs of {subjects} people, {RENDERED_BY}", quiet)
    note(f"Next: facerec evaluate recognition synthetic {output} --report report", quiet)
    click.echo(str(protocol))
