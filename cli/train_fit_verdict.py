"""`facerec train fit-verdict`: train the rule that decides when a fit cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("fit-verdict")
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--profiles", default=170, show_default=True, help="Number of training profiles.")
@click.option("--frontals", default=60, show_default=True, help="Number of training frontals.")
@click.option(
    "--backgrounds", default=100, show_default=True, help="Number of training backgrounds, with one box in each."
)
@click.option("--good-lost", default=0.01, show_default=True, help="Share of the good fits that may be rejected.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--landmarks", default="godp", show_default=True, help="Landmark model.")
@weights_root_option("frontalize")
def command(
    data: Path,
    profiles: int,
    frontals: int,
    backgrounds: int,
    good_lost: float,
    seed: int,
    landmarks: str,
    weights_root: Path | None,
) -> None:
    """Train the rule that rejects wrong fits, on fits known to be right or wrong.

    The rule weights residual, shape, landmark confidence and visible share. DATA holds cfp-dataset/, ytf/ and
    backgrounds/. Landmarks are located in boxes that are about right, shifted or far off, on training people only. A
    fit is good when it lies within 12 % of the annotated points, and bad beyond 20 %. Run this again whenever the
    landmark model changes, because its confidence is part of the rule.
    """
    import numpy as np

    from facerec.frontalize.fit_verdict import learn_rule
    from facerec.frontalize.training.fit_verdict import VerdictPictures, locate_faces, rate_fits
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.landmarker import Landmarker

    wanted = VerdictPictures(profiles, frontals, backgrounds)
    good, bad = rate_fits(*locate_faces(data, Landmarker.load(landmarks), wanted, np.random.default_rng(seed)))
    rule = learn_rule(good, bad, good_lost)
    caught = float(np.mean([rule.odds(e) > 0 for e in bad]))
    record = save_weights(
        "frontalize",
        "fit_verdict",
        {"rule": np.array([*rule.weights, rule.bias])},
        what="when a fit cannot be trusted: weights of residual, shape, landmark confidence and visible share",
        training_sets=["CFP", "background photographs without faces"],
        split="CFP folds 1-6 without namesakes of held-out people; backgrounds except every fifth",
        metric={"good": len(good), "bad": len(bad), "good_lost": good_lost, "bad_caught": round(caught, 4)},
        licence="research use only: trained on CFP",
        command=recorded_command(),
        form="npz",
        root=weights_root,
    )
    click.echo(
        f"{record.file}: {rule}, catches {caught:.1%} of {len(bad)} bad fits, loses {good_lost:.1%} of {len(good)}"
    )
