"""`facerec train detector`: train the face detector."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from facerec.cli.options import weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("detector")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("work/detector"),
    show_default=True,
    help="Folder of the checkpoint; an unfinished training there is continued.",
)
@click.option(
    "--skip",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Text file with the names of backgrounds that do show a face, one per line.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=None, help="Total number of steps.  [default: the trainer's]"
)
@click.option(
    "--pictures",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="More faces, written by `train turned-set`; may be repeated.",
)
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Start from the weights of this detector (safetensors) instead of random ones.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Highest learning rate.  [default: the trainer's]",
)
@click.option("--batch", type=click.IntRange(min=1), default=None, help="Scenes per step.  [default: the trainer's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the initial weights and of every scene.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Stop with a checkpoint after this many minutes; the same command continues.",
)
@click.option(
    "--finish-in",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Finish within this many minutes: the learning rate follows the clock where it is ahead of the steps.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the network.")
@click.option(
    "--loaders", type=click.IntRange(min=0), default=1, show_default=True, help="Processes that make training pictures."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "--export/--no-export",
    default=True,
    show_default=True,
    help="Replace the package's detector weights when the training is finished.",
)
@weights_root_option("landmarks")
def command(
    data: Path,
    work: Path,
    skip: Path | None,
    pictures: tuple[Path, ...],
    start: Path | None,
    rate: float | None,
    steps: int | None,
    batch: int | None,
    seed: int,
    max_minutes: float | None,
    finish_in: float | None,
    threads: int,
    loaders: int,
    device: str,
    export: bool,
    weights_root: Path | None,
) -> None:
    """Train the face detector on DATA, a folder with cfp-dataset/, ytf/ and backgrounds/."""
    import math
    from dataclasses import replace

    import torch
    from safetensors.numpy import load_file

    from facerec.landmarks.errors import DeviceError
    from facerec.landmarks.training.detector import (
        DetectorTraining,
        TimeLimit,
        read_training_data,
        train_detector,
    )
    from facerec.landmarks.training.detector_export import CANDIDATE_SCORE, export_detector

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"the device {device} was requested, but torch finds no CUDA device")
    settings = DetectorTraining(seed=seed)
    settings = replace(
        settings,
        steps=steps or settings.steps,
        batch=batch or settings.batch,
        rate=rate or settings.rate,
        loaders=loaders,
    )
    torch.set_num_threads(threads)

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    skipped = set() if skip is None else set(skip.read_text(encoding="utf-8").split())
    known = read_training_data(
        data / "cfp-dataset", data / "ytf", data / "backgrounds", settings, skip=skipped, sets=pictures
    )
    report(
        f"{len(known.pictures)} annotated pictures, {len(known.backgrounds)} backgrounds, "
        f"{len(known.calibration)} for the threshold"
    )
    result = train_detector(
        known,
        work,
        settings,
        device=device,
        limit=TimeLimit(max_minutes or math.inf, finish_in or math.inf),
        start=None if start is None else load_file(start),
        report=report,
    )
    if result.network is None or result.threshold is None:
        report(f"stopped at step {result.step}; run the same command to continue")
    elif export:
        given = recorded_command({"steps": settings.steps, "batch": settings.batch, "rate": settings.rate})
        record = export_detector(
            result.network,
            min(CANDIDATE_SCORE, result.threshold),
            settings,
            given,
            metric={"threshold": round(result.threshold, 3), "candidates_from": CANDIDATE_SCORE},
            sources=known.set_sources,
            root=weights_root,
        )
        print(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
