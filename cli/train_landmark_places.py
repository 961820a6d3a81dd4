"""`facerec train landmark-places`: learn where annotators and the landmark network put the 68 points."""

from __future__ import annotations

from pathlib import Path

import click

from facerec.cli.options import note, quiet_option


@click.command("landmark-places")
@click.argument("pack", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--faces", default=2400, show_default=True, type=click.IntRange(min=100), help="Annotated faces.")
@click.option("--heads", default=400, show_default=True, type=click.IntRange(min=30), help="Rendered heads.")
@click.option("--landmarks", default="godp", show_default=True, help="Landmark model.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--weights-root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the weights to ROOT/frontalize/weights instead of the package's.",
)
@quiet_option
def command(
    pack: Path, faces: int, heads: int, landmarks: str, seed: int, weights_root: Path | None, quiet: bool
) -> None:
    """Compare annotated points (PACK: real_train.npz of `facerec train landmark-packs`) and points located in rendered
    heads with the face model's own landmarks.

    Run it again whenever the landmark model changes, and the fit verdict after it.
    """
    import numpy as np

    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.texture_model import TextureModel
    from facerec.frontalize.training.landmark_places import (
        PlacesTraining,
        learn_annotated,
        learn_located,
        rendered_head,
        upright,
    )
    from facerec.landmarks.checkpoint import save_weights
    from facerec.landmarks.landmarker import Landmarker
    from facerec.landmarks.training.packs import LandmarkPack
    from facerec.landmarks.types import Box

    rng, training, model = np.random.default_rng(seed), PlacesTraining(), FaceModel.load()
    real = LandmarkPack.load(pack)
    enough = np.flatnonzero((real.state != 0).sum(axis=1) >= 20)
    # Every set alike: profiles are a fifth of the pictures and say the most about the contour.
    sets = [enough[real.source[enough] == name] for name in np.unique(real.source)]
    chosen = np.concatenate([rng.permutation(rows)[: -(-faces // len(sets))] for rows in sets])
    annotated = learn_annotated(real.points[chosen].astype(np.float64), model, training)
    note(f"annotated: {len(chosen)} faces of {', '.join(np.unique(real.source))}", quiet)

    locator, paint = Landmarker.load(landmarks), TextureModel.load()
    off, truth = [], []
    for done in range(heads):
        head = rendered_head(rng, model, paint, training)
        tight = Box.around(head.points)
        # Boxes as the finder's: off by some hundredths of the face.
        side, (x, y) = max(tight.width, tight.height), tight.center
        x, y = x + 0.04 * side * rng.standard_normal(), y + 0.04 * side * rng.standard_normal()
        half = side * np.exp(0.05 * rng.standard_normal()) / 2
        found = locator.locate(head.image, [Box(x - half, y - half, x + half, y + half)])[0]
        off.append(upright((found.points - head.points)[None], head.rotation[None], np.array([head.scale]))[0])
        truth.append(head.rotation)
        if done % 100 == 99:
            note(f"located: {done + 1} of {heads} heads", quiet)
    turn = np.stack(truth)
    yaw = np.rad2deg(np.arctan2(turn[:, 2, 0], turn[:, 2, 2]))
    pitch = np.rad2deg(np.arcsin(np.clip(-turn[:, 2, 1], -1, 1)))
    errors = np.stack(off)
    # Every fourth head is held back, to tell how much of the error is systematic; then all are learnt from.
    held = np.arange(heads) % 4 == 0
    trial = learn_located(errors[~held], yaw[~held], pitch[~held], training)
    left = errors[held] - trial.upright(yaw[held], pitch[held])
    located = learn_located(errors, yaw, pitch, training)
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
        split="faces of PACK: training people only; every fourth rendered head held back for the figures",
        metric={
            "faces": len(chosen),
            "heads": heads,
            "located_mm": round(float(np.sqrt((errors[held] ** 2).sum(axis=2).mean())), 3),
            "left_mm": round(float(np.sqrt((left**2).sum(axis=2).mean())), 3),
        },
        licence="research use only: learnt from CFP and YouTube Faces",
        command=f"facerec train landmark-places {pack.name} --faces {faces} --heads {heads} --landmarks {landmarks}"
        f" --seed {seed}",
        form="npz",
        root=weights_root,
    )
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")
