"""`facerec train halfface`: learn the half-face network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import device_option, note, resolve_device

if TYPE_CHECKING:
    from facerec.recognition.halfface import HalfFaceNet


@click.command("halfface")
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--test", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Held-back people's set.")
@click.option(
    "--run",
    default=Path("work/halfface"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Checkpoint's folder; an unfinished training there is continued.",
)
@click.option("--steps", default=6000, show_default=True, help="Steps of 128 halves.")
@click.option("--max-minutes", type=float, help="Follow the clock where it runs out before the steps do.")
@click.option("--threads", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--weights-root", type=click.Path(file_okay=False, path_type=Path), help="Write below ROOT instead.")
@device_option
def command(
    sets: tuple[Path, ...],
    test: Path | None,
    run: Path,
    steps: int,
    max_minutes: float | None,
    threads: int,
    seed: int,
    weights_root: Path | None,
    device: str,
) -> None:
    """Learn the half-face network from SETS (made by `facerec train half-set`) and write its weights.

    A sixteenth of the people, chosen by a hash of their names, is left out for calibrating thresholds.
    """
    import torch

    from facerec.landmarks.checkpoint import save_weights
    from facerec.recognition.halfface import export_arrays
    from facerec.recognition.halfface_training import (
        HalfFaceTraining,
        HalfSet,
        halfface_figures,
        train_halfface,
        without_calibration_people,
    )

    torch.set_num_threads(threads)
    data = without_calibration_people(HalfSet.load(*sets))
    held_out = HalfSet.load(test) if test else None
    note(f"{len(data.person)} pictures of {len(set(data.person))} people")

    def report(step: int, losses: dict[str, float], network: HalfFaceNet) -> None:
        figures = ""
        if held_out is not None and step % 500 == 0:
            figures = "  " + "  ".join(f"{k} {v:.3f}" for k, v in halfface_figures(network, held_out).items())
        note(f"step {step}  " + "  ".join(f"{k} {v:.3f}" for k, v in losses.items()) + figures)

    training = HalfFaceTraining(steps=steps, seed=seed)
    network = train_halfface(
        data,
        training=training,
        checkpoint=run / "checkpoint.pt",
        max_minutes=max_minutes,
        device=resolve_device(device),
        report=report,
    )
    metric = halfface_figures(network, held_out) if held_out is not None else {}
    record = save_weights(
        "recognition",
        "halfface",
        export_arrays(network),
        what="half-face network: a signature of 256 numbers for each half of the UV texture, aware of its mask",
        training_sets=["CFP", "YouTube Faces", "LFW", "vectors of dlib's face ResNet (dlib-models, CC0) as targets"],
        split="by person: CFP folds 7-8 and every seventh YouTube Faces person held back, by name in all sets",
        metric={name: round(value, 4) for name, value in metric.items()},
        licence="research use only: learnt from CFP, YouTube Faces and LFW",
        command="facerec train halfface " + " ".join(p.name for p in sets) + f" --steps {steps} --seed {seed}",
        root=weights_root,
    )
    click.echo(f"{record.file}: {record.bytes / 1e6:.1f} MB")
