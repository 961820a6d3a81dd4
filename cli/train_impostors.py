"""`facerec train impostors`: measure impostor scores with the package's models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from facerec.cli.options import device_option, note
from facerec.landmarks.device import resolve_device


@click.command("impostors")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--extra",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with all-age-faces/ and utkface/train/, for pairs of strangers of one group and sex.",
)
@click.option("--descriptor", default=None, help="Descriptor.  [default: the recognizer's]")
@click.option("--per-person", default=6, show_default=True, help="Largest number of pictures per person and set.")
@device_option
def command(data: Path, extra: Path | None, descriptor: str | None, per_person: int, device: str) -> None:
    """Describe pictures of the calibration people and store their impostor scores.

    These people are in no descriptor's training set, nor among the held-out people that figures are reported on. With
    EXTRA, the pairs are adults of one group and one sex, who are hardest to tell apart, and all groups have equal
    weight. Without it, they are all pairs of CFP's, LFW's and YouTube Faces' people under DATA.
    """
    from facerec.landmarks.image import read_image
    from facerec.landmarks.training.people import is_calibration_person
    from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR
    from facerec.recognition.impostor_curve import ImpostorCurve
    from facerec.recognition.recognizer import Recognizer
    from facerec.recognition.shipped_impostors import SHIPPED_IMPOSTORS, ShippedImpostors
    from facerec.recognition.threshold import ThresholdSettings
    from facerec.recognition.training.groups import (
        adult_pictures,
        all_pairs,
        balanced,
        describe_pictures,
        group_scores,
        read_padded,
    )
    from facerec.recognition.training.texture_set import located_pictures

    descriptor = descriptor or DEFAULT_DESCRIPTOR
    recognizer = Recognizer.load(descriptor=descriptor, device=resolve_device(device))
    if extra is not None:
        pictures = adult_pictures(extra)
        found = [describe_pictures(recognizer, [p.path], read_padded if p.tight else read_image)[0] for p in pictures]
        rows = [(s, p.group) for s, p in zip(found, pictures, strict=True) if s is not None]
        by_group = group_scores([s for s, _ in rows], [group for _, group in rows])
        scores, people = balanced(by_group), len(rows)
        pairs = sum(len(own) for own in by_group.values())
        what = (
            f"pairs of adults of one group and sex, {', '.join(sorted(by_group))}, each group counted alike: "
            f"{people} people of UTKFace and All-Age-Faces in no descriptor's training set, one picture each"
        )
    else:
        known = [p for p in located_pictures(data, False, per_person) if is_calibration_person(p.person)]
        found = describe_pictures(recognizer, [p.path for p in known], read_image)
        named = [(s, p.person) for s, p in zip(found, known, strict=True) if s is not None]
        scores = all_pairs([s for s, _ in named], [person for _, person in named])
        pairs = len(scores)
        people = len({person for _, person in named})
        what = f"{len(named)} pictures of {people} people of CFP, LFW and YouTube Faces in no descriptor's training set"
    curve = ImpostorCurve.measure(scores, ThresholdSettings().least_accepts, pairs)
    shipped = ShippedImpostors(recognizer.contract.digest, people, what, curve)
    target = SHIPPED_IMPOSTORS / f"impostors-{descriptor}.json"
    target.write_text(json.dumps(shipped.as_json(), indent=1) + "\n", encoding="utf-8")
    note(f"{curve.pairs} impostor pairs of {people} people")
    click.echo(str(target))
