"""`facerec train texture-model`: train mean and modes of textures."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("texture-model")
@click.argument("textures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--test",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Texture set of held-out people whose error is recorded.  [default: the training textures']",
)
@click.option("--modes", type=click.IntRange(min=1), help="Number of modes.  [default: the model's]")
@click.option(
    "--limit", default=1200, show_default=True, type=click.IntRange(min=2), help="Largest number of textures."
)
@click.option(
    "--max-yaw", default=25.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Degrees."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed for choosing people.")
@weights_root_option("frontalize")
@quiet_option
def command(
    textures: Path,
    test: Path | None,
    modes: int | None,
    limit: int,
    max_yaw: float,
    seed: int,
    weights_root: Path | None,
    quiet: bool,
) -> None:
    """Train the texture model on the near-frontal textures in TEXTURES (npz, see `train texture-set`).

    Lighting is removed from each texture first. Unseen parts are filled from the mirrored side, then from the mean.
    """
    from dataclasses import replace

    import numpy as np

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.texture import resample_grid
    from facerec.frontalize.training.texture_model import (
        TextureModelSettings,
        learn_texture_model,
        shrink,
        texture_model_error,
    )
    from facerec.frontalize.types import Camera, FaceTexture
    from facerec.frontalize.visibility import surface_normals
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.training.set_names import research_licence, training_sets
    from facerec.recognition.training.texture_set import TextureSet, near_frontal

    settings = TextureModelSettings()
    settings = replace(settings, modes=modes or settings.modes)
    # A texture set keeps the yaw only, and a person's normals differ little from the mean's where light is smooth.
    upright = resample_grid(surface_normals(FaceModel.load().mean), settings.size).astype(np.float64)
    upright /= np.maximum(np.linalg.norm(upright, axis=2, keepdims=True), 1e-9)

    def chosen(path: Path) -> tuple[list[tuple[FaceTexture, np.ndarray]], int, list[str]]:
        found = TextureSet.load(path)
        rows = near_frontal(found, limit, settings.min_visible, max_yaw, seed)
        pairs = []
        for row in rows:
            turned = upright @ Camera.from_angles(float(found.yaw[row]), 0, 0).rotation.T
            pairs.append((shrink(found.texture(int(row)), settings.size), turned))
        return pairs, len(np.unique(found.person[rows])), training_sets(found.source)

    training, people, sets = chosen(textures)
    note(f"{len(training)} textures of {people} people", quiet)
    model = learn_texture_model(training, settings)
    measured, others = (training, people) if test is None else chosen(test)[:2]
    error = texture_model_error(model, measured)
    record = save_weights(
        "frontalize",
        "texture_model",
        model.stored(),
        what="texture model: mean and modes of delit face textures in the UV chart",
        training_sets=sets,
        split=f"{len(training)} textures of {people} people; error on "
        + ("the same textures" if test is None else f"{len(measured)} textures of {others} held-out people"),
        metric={name: round(value, 3) for name, value in error.items()} | {"modes": len(model.modes)},
        licence=research_licence(sets),
        command=recorded_command({"modes": settings.modes}),
        form="npz",
        root=weights_root,
    )
    note(f"{error['error_levels']:.2f} grey levels, the mean alone {error['mean_only_levels']:.2f}", quiet)
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
