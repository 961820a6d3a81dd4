"""`facerec train box`: train the box regressor."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import device_option, note, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.landmarks.device import resolve_device


@click.command("box")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--faces",
    type=click.IntRange(min=10),
    default=3000,
    show_default=True,
    help="Approximate number of annotated faces.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=None, help="Total number of steps.  [default: the trainer's]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the initial weights and of every crop.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the network.")
@weights_root_option("landmarks")
@device_option
def command(
    data: Path, faces: int, steps: int | None, seed: int, threads: int, weights_root: Path | None, device: str
) -> None:
    """Train the network that moves the box of any detector onto the face.

    DATA is a folder with cfp-dataset/ and ytf/. The held-out people are not used. Takes a few minutes on one core.
    """
    from dataclasses import replace

    import numpy as np
    import torch

    from facerec.frontalize.face_model import FaceModel
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.detection.box_network import regressor_arrays
    from facerec.landmarks.training.box_regressor import BoxTraining, annotated_faces, train_box_regressor

    where = resolve_device(device)
    settings = BoxTraining(seed=seed)
    settings = replace(settings, steps=steps or settings.steps)
    mean_face = FaceModel.load().landmarks()
    known = list(annotated_faces(data, mean_face, faces))
    note(f"{len(known)} annotated faces")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network = train_box_regressor(known, settings, where, note)
    finally:
        torch.set_num_threads(threads_before)
    record = save_weights(
        "landmarks",
        "box",
        regressor_arrays(network, np.asarray(mean_face)),
        what="Moves any detector's box onto the face: the AFLW-style box and the tight box of the 68 landmarks.",
        training_sets=["Celebrities in Frontal-Profile", "YouTube Faces", "ICT-FaceKit (mean face)"],
        split="CFP people 1-300 and YouTube Faces except every seventh name, none who is held out in the other set",
        metric={"faces": len(known), "steps": settings.steps},
        licence="research use: trained on CFP and YouTube Faces",
        command=recorded_command({"steps": settings.steps}),
        root=weights_root,
    )
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
