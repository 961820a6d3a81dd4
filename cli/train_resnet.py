"""`facerec train resnet`: teach dlib's face network to know faces from every side."""

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
    help="Weights to begin with (.safetensors).  [default: half dlib's network, half the package's]",
)
@click.option(
    "--run",
    default=Path("work/resnet"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Checkpoint's folder; an unfinished training there is continued.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Batches.  [default: the trainer's]")
@click.option("--batch", type=click.IntRange(min=2), help="Looks a batch.  [default: the trainer's]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Learning rate.  [default: the trainer's]")
@click.option("--reuse", type=click.IntRange(min=1), help="Batches a look is shown in.  [default: 3; 8 on a CPU]")
@click.option("--start-share", default=0.0, show_default=True, help="Share of the starting weights in the result.")
@click.option(
    "--hold-out", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Names to leave out, too."
)
@click.option("--people", type=click.IntRange(min=1), help="Learn from this many people only (a learning curve).")
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
    reuse: int | None,
    start_share: float,
    hold_out: Path | None,
    people: int | None,
    max_minutes: float | None,
    threads: int,
    seed: int,
    weights_root: Path | None,
    device: str,
) -> None:
    """Train on the faces in SETS (made by `facerec train face-set`) and write the weights.

    A sixteenth of the people, chosen by a hash of their names, is left out: the metric, the thresholds and all choices
    are made on them, and the figures shown before and after training are theirs.
    """
    from dataclasses import replace

    import cv2
    import numpy as np
    import torch

    from facerec.landmarks.checkpoint import load_weights, save_weights
    from facerec.landmarks.training.people import is_calibration_person
    from facerec.recognition.resnet import network_arrays
    from facerec.recognition.training.faces import Cleaning, clean_people, load_faces, set_names
    from facerec.recognition.training.resnet import (
        ResNetTraining,
        centre,
        mixed,
        network_figures,
        photo_vectors,
        starting_network,
        train_resnet,
        views_on,
    )

    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    where = resolve_device(device)
    training = ResNetTraining(seed=seed)
    training = replace(
        training,
        steps=steps or training.steps,
        batch=batch or training.batch,
        rate=rate or training.rate,
        reuse=reuse or (training.reuse if where == "cuda" else 8),
    )
    faces = load_faces(sets, where, threads=max(threads, 8))
    network = starting_network(start).to(where)
    views = views_on(where)
    vectors = photo_vectors(network, views, faces)
    clear = np.abs(faces.yaw) < training.frontal
    vectors -= centre(network, vectors, clear)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    keep, names = clean_people(faces, vectors, Cleaning())
    faces = faces.with_people(names)
    left_out = np.array([is_calibration_person(str(name)) for name in faces.person])
    judged = faces.rows(left_out)
    if hold_out is not None:
        left_out |= np.isin(faces.person, hold_out.read_text(encoding="utf-8").splitlines())
    chosen = keep & ~left_out
    if people is not None:
        everybody = np.unique(faces.person[chosen])
        chosen &= np.isin(faces.person, np.random.default_rng(seed).permutation(everybody)[:people])
    faces = faces.rows(chosen)
    note(f"{len(faces)} faces of {len(set(faces.person.tolist()))} people")

    def figures(trained: FaceResNet) -> dict[str, float]:
        return network_figures(trained, views, judged)

    def report(step: int, losses: dict[str, float], trained: FaceResNet) -> None:
        note(f"step {step}  " + "  ".join(f"{k} {v:.3f}" for k, v in losses.items()))

    note("before  " + "  ".join(f"{k} {v:.3f}" for k, v in figures(network).items()))
    trained = train_resnet(faces, network, training, run / "checkpoint.pt", max_minutes, report)
    trained = mixed(trained, network.cpu(), start_share)
    measured = figures(trained)
    note("after  " + "  ".join(f"{k} {v:.3f}" for k, v in measured.items()))
    record = save_weights(
        "recognition",
        "resnet",
        network_arrays(trained, load_weights("recognition", "resnet")["dlib_mean"]),
        what="face network for the photograph's and the frontal view's looks, 128 numbers a look",
        training_sets=[
            *set_names(faces),
            "start: dlib's face network (dlib-models, CC0), learnt from three million pictures, FaceScrub and VGG Face "
            "among them",
        ],
        split="by person: CFP folds 7-8 and every seventh YouTube Faces person held back by name in all sets, and "
        "whoever looks like them or like people of other test sets; dlib's own training pictures are not listed by "
        "their authors",
        metric={name: round(value, 4) for name, value in measured.items()},
        licence="research use only: learnt from collections gathered for non-commercial research",
        command=f"facerec train resnet {' '.join(p.name for p in sets)} --steps {training.steps}"
        f" --batch {training.batch} --rate {training.rate:g} --reuse {training.reuse}"
        f" --start-share {start_share:g} --seed {seed}"
        + (f" --start {start.name}" if start else "")
        + (f" --hold-out {hold_out.name}" if hold_out else "")
        + (f" --people {people}" if people else "")
        + (f" --max-minutes {max_minutes:g}" if max_minutes else ""),
        root=weights_root,
    )
    click.echo(f"{record.file}: {record.bytes / 1e6:.1f} MB")
