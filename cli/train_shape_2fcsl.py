"""`facerec train shape-2fcsl`: train 2FCSL's couplings on samples of the face model."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("shape-2fcsl")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--samples", type=click.IntRange(min=100), help="Faces per pose.  [default: the method's]")
@weights_root_option("frontalize")
@quiet_option
def command(seed: int, samples: int | None, weights_root: Path | None, quiet: bool) -> None:
    """Train pose-matched regressions and coupled dictionaries; needs the face model and no data. Takes minutes."""
    from dataclasses import replace

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.training.shape_2fcsl import Training2FCSL, coupling_errors, learn_2fcsl
    from facerec.landmarks.checkpoint import save_weights, weight_record

    training = Training2FCSL(seed=seed)
    training = replace(training, samples=samples or training.samples)
    model = FaceModel.load()
    learnt = learn_2fcsl(model, training)
    metric = coupling_errors(learnt, model, seed + 1)
    record = save_weights(
        "frontalize",
        "shape_2fcsl",
        learnt.stored(),
        what="2FCSL: pose-matched regressions from landmarks to a sparse shape, coupled dictionaries to the dense one",
        training_sets=["samples of the face model"],
        split="no photographs; errors on fresh samples of the face model with landmark noise",
        metric={name: round(value, 3) for name, value in metric.items()},
        licence=weight_record("frontalize", "face_model").licence,
        command=recorded_command({"samples": training.samples}),
        form="npz",
        root=weights_root,
    )
    note(", ".join(f"{name} {value:.2f}" for name, value in metric.items()), quiet)
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
