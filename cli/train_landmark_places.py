"""`facerec train landmark-places`: measure where annotators and the landmark network place the 68 points."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command


@click.command("landmark-places")
@click.argument("pack", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--faces", default=2400, show_default=True, type=click.IntRange(min=100), help="Number of annotated faces."
)
@click.option("--heads", default=400, show_default=True, type=click.IntRange(min=30), help="Number of rendered heads.")
@click.option("--landmarks", default="godp", show_default=True, help="Landmark model.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@weights_root_option("frontalize")
@quiet_option
def command(
    pack: Path, faces: int, heads: int, landmarks: str, seed: int, weights_root: Path | None, quiet: bool
) -> None:
    """Measure how annotated and located points differ from the face model's landmarks.

    PACK is real_train.npz of `facerec train landmark-packs`; the located points are those of rendered heads. Run this
    again whenever the landmark model changes, and then the fit verdict.
    """
    import numpy as np

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.training.landmark_places import (
        PlacesTraining,
        learn_annotated,
        learn_located,
        locate_heads,
    )
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.landmarker import Landmarker
    from facerec.landmarks.training.packs import LandmarkPack

    rng, training = np.random.default_rng(seed), PlacesTraining()
    real = LandmarkPack.load(pack)
    enough = np.flatnonzero((real.state != 0).sum(axis=1) >= 20)
    # All sets have equal weight: profiles are only a fifth of the pictures but most informative about the contour.
    sets = [enough[real.source[enough] == name] for name in np.unique(real.source)]
    chosen = np.concatenate([rng.permutation(rows)[: -(-faces // len(sets))] for rows in sets])
    annotated = learn_annotated(real.points[chosen].astype(np.float64), FaceModel.load(), training)
    note(f"annotated: {len(chosen)} faces of {', '.join(np.unique(real.source))}", quiet)

    def on_head(done: int) -> None:
        if done % 100 == 0:
            note(f"located: {done} of {heads} heads", quiet)

    rendered = locate_heads(heads, Landmarker.load(landmarks), rng, training, on_head)
    # Every fourth head is held out to measure how much of the error is systematic; then all are used for training.
    held = np.arange(heads) % 4 == 0
    judged = rendered.rows(held)
    left = judged.off - learn_located(rendered.rows(~held), training).upright(judged.yaw, judged.pitch)
    located = learn_located(rendered, training)
    record = save_weights(
        "frontalize",
        "landmark_places",
        {
            "yaw": located.yaw.astype(np.float32),
            "pitch": located.pitch.astype(np.float32),
            "annotated": annotated.offset.astype(np.float32),
            "located": located.offset.astype(np.float32),
        },
        what="where annotators and the landmark network put the 68 points, against the face model's landmarks, by pose",
        training_sets=["CFP", "YouTube Faces", "rendered heads of the face model"],
        split="faces of PACK: training people only; every fourth rendered head held out for the figures",
        metric={
            "faces": len(chosen),
            "heads": heads,
            "located_mm": round(float(np.sqrt((judged.off**2).sum(axis=2).mean())), 3),
            "left_mm": round(float(np.sqrt((left**2).sum(axis=2).mean())), 3),
        },
        licence="research use only: trained on CFP and YouTube Faces",
        command=recorded_command(),
        form="npz",
        root=weights_root,
    )
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
