"""`facerec train texture-model`: train mean and modes of textures."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command

TEST_PEOPLE = 240
"""Largest number of people for calibration on whose textures the error is measured."""


@click.command("texture-model")
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--people", type=click.IntRange(min=2), help="Largest number of people.  [default: 3800]")
@click.option("--modes", type=click.IntRange(min=1), help="Number of modes.  [default: the model's]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed for choosing people.")
@weights_root_option("frontalize")
@quiet_option
def command(
    sets: tuple[Path, ...],
    people: int | None,
    modes: int | None,
    seed: int,
    weights_root: Path | None,
    quiet: bool,
) -> None:
    """Train the texture model on one near-frontal texture per person.

    SETS are sets of crops with their fits beside them (see `train face-set`). Groups and sexes are balanced as far as
    there are people. Lighting is removed from each texture first. Unseen parts are filled from the mirrored side, then
    from the mean. A sixteenth of the people, chosen by a hash of their names, is left out; the recorded error is
    theirs.
    """
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import track

    from facerec.frontalize.training.texture_model import (
        TextureModelSettings,
        Textures,
        is_usable,
        learn_texture_model,
        texture_model_error,
    )
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.errors import InvalidInputError
    from facerec.landmarks.training.set_names import research_licence, training_sets
    from facerec.recognition.training.crop_textures import CropTextures, FrontalLimits

    settings, limits = TextureModelSettings(), FrontalLimits()
    settings = replace(settings, modes=modes or settings.modes)
    limits = replace(limits, people=people or limits.people)

    def lifted(chosen: CropTextures) -> Textures:
        console = Console(stderr=True, quiet=quiet)
        pairs = track(chosen.lifted(settings.size), total=len(chosen), description="lifting", console=console)
        return [pair for pair in pairs if is_usable(pair[0], settings)]

    chosen = CropTextures.frontal(sets, limits, seed)
    names = training_sets(chosen.source)
    training = lifted(chosen)
    note(f"{len(training)} textures, one per person", quiet)
    model = learn_texture_model(training, settings)
    try:
        others = CropTextures.frontal(sets, replace(limits, people=TEST_PEOPLE), seed, calibration=True)
    except InvalidInputError:
        measured, of = training, "the same textures"
    else:
        measured = lifted(others)
        of = f"{len(measured)} textures of as many people for calibration"
    error = texture_model_error(model, measured)
    record = save_weights(
        "frontalize",
        "texture_model",
        model.stored(),
        what="texture model: mean and modes of delit face textures in the UV chart",
        training_sets=names,
        split=f"{len(training)} textures of as many people, groups and sexes balanced; error on {of}",
        metric={name: round(value, 3) for name, value in error.items()} | {"modes": len(model.modes)},
        licence=research_licence(names),
        command=recorded_command({"people": limits.people, "modes": settings.modes}),
        form="npz",
        root=weights_root,
    )
    note(f"{error['error_levels']:.2f} grey levels, the mean alone {error['mean_only_levels']:.2f}", quiet)
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
