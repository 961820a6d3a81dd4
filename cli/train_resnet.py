"""`facerec train resnet`: train the face network on faces in all poses, starting from dlib's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import device_option, note, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.landmarks.device import resolve_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facerec.recognition.resnet import FaceResNet
    from facerec.recognition.training.batched_views import BatchedViews
    from facerec.recognition.training.faces import Faces
    from facerec.recognition.training.resnet import ResNetTraining

START = (
    "start: dlib's face network (dlib-models, CC0), trained on three million pictures, FaceScrub and VGG Face among "
    "them"
)
SPLIT = (
    "by person: CFP folds 7-8 and every seventh YouTube Faces person held out by name in all sets, and whoever looks "
    "like them or like people of other test sets; dlib's own training pictures are not listed by their authors"
)


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
@click.option("--batch", type=click.IntRange(min=2), help="Views per batch.  [default: the trainer's]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Learning rate.  [default: the trainer's]")
@click.option(
    "--reuse",
    type=click.IntRange(min=1),
    help="Number of batches in which each view is used.  [default: 3; 8 on a CPU]",
)
@click.option(
    "--trained",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Go on with the network of this weight file; the starting network stays the teacher.",
)
@click.option("--start-share", default=0.0, show_default=True, help="Share of the starting weights in the result.")
@click.option(
    "--hold-out",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with names of further people to leave out.",
)
@click.option("--people", type=click.IntRange(min=1), help="Train on this many people only (for a learning curve).")
@click.option(
    "--max-minutes",
    type=float,
    help="Finish within this many minutes; the learning rate then follows the time if it is ahead of the steps.",
)
@click.option("--threads", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
@weights_root_option("recognition")
@device_option
def command(
    sets: tuple[Path, ...],
    start: Path | None,
    run: Path,
    steps: int | None,
    batch: int | None,
    rate: float | None,
    reuse: int | None,
    trained: Path | None,
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

    Photographs and halves of the frontal view get linear layers of their own; `facerec train resnet-photo` trains the
    photographs' alone. The network that the training began with is written, too: the descriptor shows the photograph
    to both. `facerec train strangers` then has to learn the cohort and the thresholds again.

    A sixteenth of the people, chosen by a hash of their names, is left out. Thresholds and all settings are chosen on
    them, and the figures before and after training are measured on them.
    """
    import cv2
    import torch

    from facerec.landmarks.checkpoint import load_weights
    from facerec.landmarks.training.set_names import training_sets
    from facerec.recognition.resnet import network_arrays
    from facerec.recognition.training.faces import load_faces
    from facerec.recognition.training.network_cells import network_figures, views_on
    from facerec.recognition.training.resnet import (
        ResNetRun,
        ResNetTraining,
        starting_network,
        train_resnet,
        trained_networks,
    )

    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    where = resolve_device(device)
    plain = ResNetTraining(seed=seed)
    training = replace(
        plain,
        steps=steps or plain.steps,
        batch=batch or plain.batch,
        rate=rate or plain.rate,
        reuse=reuse or (plain.reuse if where == "cuda" else 8),
    )
    faces = load_faces(sets, where, threads=max(threads, 8))
    network, views = starting_network(start).to(where), views_on(where)
    faces, judged = _split(faces, network, views, training.frontal, hold_out)
    faces = _draw_people(faces, people, seed)
    note(f"{len(faces)} faces of {len(set(faces.person.tolist()))} people")

    before = network_figures(network, views, judged)
    note(f"before  {_read_names(before)}")
    result = train_resnet(
        faces,
        network,
        training,
        ResNetRun(run / "checkpoint.pt", max_minutes, None if trained is None else trained_networks(trained)),
        report=lambda step, losses, _: note(f"step {step}  {_read_names(losses)}"),
    )
    result = result.mixed(network.cpu(), start_share)
    measured = network_figures(result.frontal, views, judged, photo=[result.photo.to(where), network.to(where)])
    note(f"after  {_read_names(measured)}")
    mean = load_weights("recognition", "resnet")["dlib_mean"]
    _write("resnet", "face network for views of the photograph and of the frontal view, 128 numbers per view",
           result.arrays(mean), training_sets(faces.source), measured, training, weights_root)  # fmt: skip
    _write("resnet-start", "where the training of resnet began: for a second cell of the photograph",
           network_arrays(network.cpu(), mean), (), before, training, weights_root)  # fmt: skip


def _write(
    name: str,
    what: str,
    arrays: Mapping[str, NDArray[Any]],
    trained_on: Sequence[str],
    figures: Mapping[str, float],
    training: ResNetTraining,
    root: Path | None,
) -> None:
    """Write one network's weight file and its record."""
    from facerec.landmarks.checkpoint import save_weights

    record = save_weights(
        "recognition",
        name,
        arrays,
        what=what,
        training_sets=[*trained_on, START],
        split=SPLIT,
        metric={figure: round(value, 4) for figure, value in figures.items()},
        licence="research use only: trained on collections gathered for non-commercial research",
        command=recorded_command({option: getattr(training, option) for option in ("steps", "batch", "rate", "reuse")}),
        root=root,
    )
    click.echo(f"{record.file}: {record.bytes / 1e6:.1f} MB")


def _split(
    faces: Faces, network: FaceResNet, views: BatchedViews, frontal: float, hold_out: Path | None
) -> tuple[Faces, Faces]:
    """Training and calibration faces, with one name per person; centres `network` on near-frontal ones."""
    import numpy as np

    from facerec.landmarks.training.people import is_calibration_person
    from facerec.recognition.training.faces import Cleaning, clean_people
    from facerec.recognition.training.network_cells import photo_vectors
    from facerec.recognition.training.resnet import centre

    vectors = photo_vectors(network, views, faces)
    vectors -= centre(network, vectors, np.abs(faces.yaw) < frontal)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    keep, names = clean_people(faces, vectors, Cleaning())
    faces = faces.with_people(names)
    judged = np.array([is_calibration_person(str(name)) for name in faces.person])
    left_out = judged.copy()
    if hold_out is not None:
        left_out |= np.isin(faces.person, hold_out.read_text(encoding="utf-8").splitlines())
    return faces.rows(keep & ~left_out), faces.rows(judged)


def _draw_people(faces: Faces, count: int | None, seed: int) -> Faces:
    """The faces of `count` people drawn at random; of all when None."""
    import numpy as np

    if count is None:
        return faces
    drawn = np.random.default_rng(seed).permutation(np.unique(faces.person))[:count]
    return faces.rows(np.isin(faces.person, drawn))


def _read_names(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())
