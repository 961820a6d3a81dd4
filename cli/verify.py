"""`facerec verify`: decide whether two photographs show the same person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import (
    json_option,
    note,
    printable,
    quiet_option,
    recognizer_options,
    threshold_option,
    write_json,
)
from facerec.cli.photos import STANDARD_INPUT, PhotoPath, given_photos

if TYPE_CHECKING:
    from facerec.recognition.recognizer import RecognizerSettings


@click.command("verify")
@click.argument("first", metavar="PHOTO", type=PhotoPath())
@click.argument("second", metavar="PHOTO", type=PhotoPath())
@threshold_option("one person")
@click.option(
    "--far",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Use the threshold for this false accept rate.  [default: 0.001]",
)
@recognizer_options()
@json_option
@quiet_option
def command(
    first: Path,
    second: Path,
    threshold: float | None,
    far: float | None,
    models: RecognizerSettings,
    as_json: bool,
    quiet: bool,
) -> int:
    """Decide whether the largest faces of two photographs (- is standard input) show the same person.

    The threshold comes with the models and was measured on impostors. For a photograph without a usable face, the
    answer is its reason code, with exit code 2.
    """
    if threshold is not None and far is not None:
        raise click.UsageError("expected --threshold or --far, not both")

    from importlib.metadata import version

    from facerec.cli.output import spinner
    from facerec.landmarks.device import resolve_device, share_cores
    from facerec.recognition.front_door import verify
    from facerec.recognition.recognizer import load_recognizer

    if first == second == STANDARD_INPUT:
        raise click.UsageError("expected one photograph from standard input at most")
    given = given_photos((first, second))
    share_cores(1, resolve_device(models.device), photos=2)
    with spinner("Loading the models", quiet):
        recognizer = load_recognizer(models)
    names = (str(first), str(second))
    pair = verify(given.source(first), given.source(second), recognizer, far=far, threshold=threshold, names=names)
    for photo in pair.photos:
        if photo.faces > 1:
            note(f"{printable(photo.name)} shows {photo.faces} faces; the largest is compared", quiet)
    if as_json:
        write_json(pair.as_json({"facerec": version("facerec"), "contract": recognizer.contract.digest}))
    elif pair.failures:
        for photo in pair.photos:
            if (error := photo.failure) is not None:
                click.echo(printable(f"none: {photo.name}: {error.reason}: {error.detail}"))
    else:
        click.echo(pair.reason)
    return 2 if pair.failures else 0
