"""`facerec train face-model`: train the face model on ICT-FaceKit samples."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("face-model")
@click.argument("head_model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of the expression samples.")
@click.option("--grid", default=97, show_default=True, help="Nodes along each side of the chart.")
@weights_root_option("frontalize")
def command(head_model: Path, seed: int, grid: int, weights_root: Path | None) -> None:
    """Train the face model on the packed ICT-FaceKit light model HEAD_MODEL (npz).

    Unwraps the face onto the UV chart, resamples mean and modes there, measures the error on fresh samples and writes
    the weights with their record.
    """
    from facerec.frontalize.training.face_model import FaceModelSettings, HeadModel, learn_face_model, model_error
    from facerec.landmarks.checkpoint import save_weights

    settings = FaceModelSettings(seed=seed, grid=grid)
    head = HeadModel.read(head_model)
    learnt = learn_face_model(head, settings)
    error = model_error(head, learnt)
    stored = {name: value for name, value in learnt.items() if not name.startswith(("operator", "identity_kept"))}
    record = save_weights(
        "frontalize",
        "face_model",
        stored,
        what="face model: geometry image, identity and expression modes, landmark positions, head for rendering",
        training_sets=["samples of the ICT-FaceKit light face model"],
        split="no photographs; error on 100 fresh samples of the head model",
        metric={name: round(value, 4) for name, value in error.items()},
        licence="Apache-2.0; derived from ICT-FaceKit, MIT, (c) 2020 USC Institute for Creative Technologies",
        command=recorded_command(),
        form="npz",
        root=weights_root,
    )
    click.echo(f"{record.file}: {record.bytes / 1e6:.1f} MB, error on fresh samples {error['mean_mm']:.2f} mm")
