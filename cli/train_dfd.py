"""`facerec train dfd`: train the descriptor DFD on textures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.landmarks.errors import InvalidInputError

if TYPE_CHECKING:
    from facerec.recognition.training.crop_textures import CropTextures
    from facerec.recognition.training.texture_set import TextureSet


def _figures(path: Path) -> dict[str, float | int | str]:
    """The figures of a JSON file, as a record keeps them."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(f"expected a JSON object of figures in {path.name}; {error}") from None
    if not isinstance(found, dict) or not found or not all(isinstance(v, (int, float, str)) for v in found.values()):
        raise InvalidInputError(f"expected a JSON object of numbers and texts in {path.name}")
    return found


def _textures(
    sets: tuple[Path, ...], people: int | None, per_person: int | None
) -> tuple[TextureSet | CropTextures, dict[str, int]]:
    """The textures of a texture set or of sets of crops, and the values of the options that chose them."""
    from facerec.recognition.training.crop_textures import CropTextures, PeopleLimits
    from facerec.recognition.training.texture_set import TextureSet, is_texture_set, without_calibration_people

    if len(sets) == 1 and is_texture_set(sets[0]):
        return without_calibration_people(TextureSet.load(sets[0])), {}
    limits = PeopleLimits()
    limits = PeopleLimits(people or limits.people, per_person or limits.per_person)
    return CropTextures.load(sets, limits), {"people": limits.people, "per_person": limits.per_person}


@click.command("dfd")
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--people", type=click.IntRange(min=2), help="Largest number of people, of crops.  [default: 3000]")
@click.option("--per-person", type=click.IntRange(min=2), help="Largest number of their pictures.  [default: 3]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the dominant patterns.")
@click.option("--words", type=click.IntRange(min=2), help="Dominant patterns per cell.  [default: the descriptor's]")
@click.option(
    "--metric-json",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON object of figures for the record.  [default: Fisher's ratio of the training patterns]",
)
@weights_root_option("recognition")
@quiet_option
def command(
    sets: tuple[Path, ...],
    people: int | None,
    per_person: int | None,
    seed: int,
    words: int | None,
    metric_json: Path | None,
    weights_root: Path | None,
    quiet: bool,
) -> None:
    """Train filters, dominant patterns and projections of DFD.

    SETS is one texture set (npz, see `train texture-set`), or sets of crops with their fits beside them (see `train
    face-set`), whose textures are lifted one at a time: of people with several pictures, those first whose pictures
    differ most in yaw. A sixteenth of the people, chosen by a hash of their names, is left out for calibrating
    thresholds. Memory: 0.1 MB per texture.
    """
    from dataclasses import replace

    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.training.set_names import research_licence, training_sets
    from facerec.recognition.dfd import CROP, GRID, DFDSettings, prepare_texture
    from facerec.recognition.training.dfd import DFDTraining, train_dfd

    metric = None if metric_json is None else _figures(metric_json)
    settings = DFDSettings()
    settings = replace(settings, words=words or settings.words)
    loaded, resolved = _textures(sets, people, per_person)
    person, names = loaded.person, training_sets(loaded.source)
    count = len(np.unique(person))
    # Half precision: the set of a training fills the memory of a small machine otherwise.
    side = CROP + settings.support - 1
    prepared = np.zeros((len(person), side, side), dtype=np.float16)
    masks = np.zeros((len(person), side, side), dtype=bool)
    ratios: list[float] = []
    with Progress(console=Console(stderr=True, quiet=quiet)) as bar:
        task = bar.add_task("preparing", total=len(person))
        for row, texture in enumerate(loaded):
            prepared[row], masks[row] = prepare_texture(texture, settings)
            bar.advance(task)
        del loaded
        task = bar.add_task("cells", total=GRID * GRID)

        def report(cell: int, ratio: float) -> None:
            ratios.append(ratio)
            bar.update(task, completed=cell + 1, description=f"cells, Fisher ratio {np.mean(ratios):.3f}")

        learnt = train_dfd(prepared, masks, person, settings, DFDTraining(seed=seed), progress=report)
    measured: dict[str, float | int | str] = {
        "fisher_ratio_mean": round(float(np.mean(ratios)), 4),
        "fisher_ratio_least": round(float(np.min(ratios)), 4),
    }
    record = save_weights(
        "recognition",
        "dfd",
        {
            "filters": learnt.filters.astype(np.float16),
            "words": learnt.words.astype(np.float16),
            "mean": learnt.mean.astype(np.float16),
            "projection": learnt.projection.astype(np.float16),
            "settings": settings.as_array(),
        },
        what=f"DFD: filters, {settings.words} dominant patterns and {learnt.projection.shape[2]} numbers for each cell",
        training_sets=names,
        split=f"{len(person)} textures of {count} people; people for calibration and held-out people left out by name",
        metric=measured if metric is None else metric,
        licence=research_licence(names),
        command=recorded_command(resolved | {"words": settings.words}),
        root=weights_root,
    )
    note(f"{len(person)} textures of {count} people, Fisher ratio {measured['fisher_ratio_mean']}", quiet)
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
