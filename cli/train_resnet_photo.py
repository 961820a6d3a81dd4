"""`facerec train resnet-photo`: train the layers that describe photographs, on fixed convolutions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from facerec.cli.options import device_option, note, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.landmarks.device import resolve_device


@click.command("resnet-photo")
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("work/resnet-photo"),
    show_default=True,
    help="Folder for what the network's convolutions give; an unfinished run there is continued.",
)
@click.option("--looks", type=click.IntRange(min=0), help="Random views, each degraded three times.  [default: 28672]")
@click.option("--steps", type=click.IntRange(min=1), help="Batches.  [default: 500]")
@click.option("--threads", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
@weights_root_option("recognition")
@device_option
def command(
    sets: tuple[Path, ...],
    run: Path,
    looks: int | None,
    steps: int | None,
    threads: int,
    seed: int,
    weights_root: Path | None,
    device: str,
) -> None:
    """Train the layers that describe photographs in `resnet`.

    They are linear layers behind the same convolutions as those for the frontal views, and are trained on the faces in
    SETS (made by `facerec train face-set`) without the people for calibration. The cohort and the thresholds then have
    to be learnt again, by `facerec train strangers`.
    """
    import cv2
    import numpy as np
    import torch

    from facerec.landmarks.checkpoint import load_weights, save_weights, weight_record
    from facerec.landmarks.training.people import is_calibration_person
    from facerec.recognition.resnet import network_arrays, network_of
    from facerec.recognition.resnet_graph import with_photo_head
    from facerec.recognition.training.faces import Cleaning, clean_people, load_faces
    from facerec.recognition.training.heads import HeadTraining, cached_features, head_vectors, train_head
    from facerec.recognition.training.network_cells import network_figures, views_on

    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    where = resolve_device(device)
    plain = HeadTraining(seed=seed)
    training = replace(plain, looks=plain.looks if looks is None else looks, steps=steps or plain.steps)
    faces = load_faces(sets, where, threads=max(threads, 2))
    calibration = np.array([is_calibration_person(str(name)) for name in faces.person])
    judged, faces = faces.rows(calibration), faces.rows(~calibration)
    arrays = load_weights("recognition", "resnet")
    network, views = network_of(arrays).to(where), views_on(where)
    note(f"{len(faces)} faces of {len(set(faces.person.tolist()))} people")
    photographs, degraded = cached_features(
        network, views, faces, run, training, lambda done, of: note(f"views, file {done} of {of}")
    )
    vectors = head_vectors(network, photographs)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    keep, person = clean_people(faces, vectors, Cleaning())
    faces = faces.with_people(person).rows(keep)
    trained = train_head(
        network,
        faces,
        photographs.of_faces(keep),
        degraded.of_faces(keep),
        training,
        lambda step, losses: note(f"step {step}  " + "  ".join(f"{k} {v:.3f}" for k, v in losses.items())),
    )
    start = network_of(load_weights("recognition", "resnet-start")).to(where)
    measured = network_figures(network, views, judged, photo=[trained, start])
    old = weight_record("recognition", "resnet")
    record = save_weights(
        "recognition",
        "resnet",
        with_photo_head(arrays, network_arrays(trained.cpu(), arrays["dlib_mean"])),
        what=old.what,
        training_sets=old.training_sets,
        split=old.split,
        metric={figure: round(value, 4) for figure, value in measured.items()},
        licence=old.licence,
        command=f"{old.command}; then {recorded_command({'looks': training.looks, 'steps': training.steps})}",
        root=weights_root,
    )
    click.echo(f"{record.file}: {record.bytes / 1e6:.1f} MB")
