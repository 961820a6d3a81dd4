"""`facerec train impostors`: measure impostor scores with the package's models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from facerec.cli.options import device_option, note
from facerec.landmarks.device import resolve_device


@click.command("impostors")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--descriptor", default=None, help="Descriptor.  [default: the recognizer's]")
@click.option("--per-person", default=6, show_default=True, help="Pictures of a person and set at most.")
@device_option
def command(data: Path, descriptor: str | None, per_person: int, device: str) -> None:
    """Describe the calibration people's pictures under DATA (ytf/, cfp-dataset/, lfw/) and keep their impostor scores.

    These people are in no descriptor's training set, nor among the held-back people that figures are reported on.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.landmarks.image import read_image
    from facerec.landmarks.training.people import is_calibration_person
    from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR
    from facerec.recognition.recognizer import DescribedFace, Recognizer
    from facerec.recognition.threshold import SHIPPED_IMPOSTORS, ShippedImpostors
    from facerec.recognition.training.texture_set import located_pictures

    descriptor = descriptor or DEFAULT_DESCRIPTOR
    recognizer = Recognizer.load(descriptor=descriptor, device=resolve_device(device))
    pictures = [p for p in located_pictures(data, False, per_person) if is_calibration_person(p.person)]
    cells, visible, people = [], [], []
    for picture in track(pictures, description="describing", console=Console(stderr=True)):
        try:
            faces = recognizer.describe(read_image(picture.path))
        except UnusablePhotoError:
            continue
        if faces and isinstance(faces[0], DescribedFace):
            cells.append(faces[0].signature.cells.ravel())
            visible.append(faces[0].signature.visible)
            people.append(picture.person)
    vectors, seen, names = np.stack(cells), np.stack(visible).astype(np.float32), np.array(people)
    overlap = seen @ seen.T
    first, second = np.triu_indices(len(names), 1)
    impostor = (names[first] != names[second]) & (overlap[first, second] > 0)
    first, second = first[impostor], second[impostor]
    scores = (vectors @ vectors.T)[first, second] / overlap[first, second]
    people_count = len(set(people))
    what = (
        f"{len(names)} pictures of {people_count} people of CFP, LFW and YouTube Faces in no descriptor's training set"
    )
    shipped = ShippedImpostors.measure(scores, recognizer.contract.digest, people_count, what)
    target = SHIPPED_IMPOSTORS / f"impostors-{descriptor}.json"
    target.write_text(json.dumps(shipped.as_json(), indent=1) + "\n", encoding="utf-8")
    note(f"{shipped.pairs} impostor pairs of {shipped.people} people")
    click.echo(str(target))
