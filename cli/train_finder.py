"""`facerec train finder`: train the rule that decides when a candidate is a face."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("finder")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--false-share",
    type=click.FloatRange(0, 1),
    default=None,
    help="Share of searches of pictures without a face that may report one.  [default: the trainer's]",
)
@click.option("--faces", type=click.IntRange(min=20), default=None, help="Pictures of people to run the detector on.")
@click.option("--backgrounds", type=click.IntRange(min=20), default=None, help="Backgrounds.  [default: all]")
@click.option("--steps", type=click.IntRange(min=1), default=None, help="Steps of each of the verifier's networks.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the verifier's initial weights and patches."
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the networks.")
@click.option(
    "--skip",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file with the names of backgrounds that do show a face, one per line.",
)
@click.option(
    "--pictures",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="More faces, written by `train turned-set`; may be repeated.",
)
@weights_root_option("landmarks")
def command(
    data: Path,
    false_share: float | None,
    faces: int | None,
    backgrounds: int | None,
    steps: int | None,
    seed: int,
    threads: int,
    skip: Path | None,
    pictures: tuple[Path, ...],
    weights_root: Path | None,
) -> None:
    """Train the rule that tells faces from false detections, with the installed detector and landmark network.

    DATA holds cfp-dataset/, ytf/ and backgrounds/; the held-out people and backgrounds are not used. Run it again
    whenever the detector or the landmark network was replaced. Takes a few minutes on one core.
    """
    from dataclasses import astuple, replace

    import numpy as np
    import torch

    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.detection.verifier_network import verifier_arrays
    from facerec.landmarks.training.finder import FinderTraining, collect, learn_finder
    from facerec.landmarks.training.picture_set import PictureSet

    plain = FinderTraining()
    settings = replace(
        plain,
        false_share=plain.false_share if false_share is None else false_share,
        faces=faces or plain.faces,
        backgrounds=backgrounds or plain.backgrounds,
        verifier=replace(plain.verifier, seed=seed, steps=steps or plain.verifier.steps),
    )
    skipped = set(skip.read_text(encoding="utf-8").split()) if skip else set()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seen = collect(data, settings, skipped, pictures, note)
        rule, networks, figures = learn_finder(seen, settings, note)
    finally:
        torch.set_num_threads(threads_before)
    numbers = np.array(astuple(rule))
    record = save_weights(
        "landmarks",
        "finder",
        {"rule": numbers} | {f"verifier.{name}": value for name, value in verifier_arrays(networks).items()},
        what="Decides when a candidate is a face: the verifier's networks, and the weights of detector and landmarks.",
        training_sets=[
            "Celebrities in Frontal-Profile",
            "YouTube Faces",
            "background photographs without faces",
            *sorted({str(source) for path in pictures for source in np.unique(PictureSet.load(path).source)}),
        ],
        split="people and backgrounds that are not held out; the line from backgrounds the detector never saw",
        metric=figures,
        licence="research use only: trained on collections gathered for non-commercial research",
        command=recorded_command(
            {name: getattr(settings, name) for name in ("false_share", "faces", "backgrounds")}
            | {"steps": settings.verifier.steps}
        ),
        root=weights_root,
    )
    click.echo(f"{record.file}: {rule}; {figures}")
