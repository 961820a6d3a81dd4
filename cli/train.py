"""`facerec train`: train the models from data. One file per model: `train_<model>.py`."""

from __future__ import annotations

import click

from facerec.cli.command_list import CommandList

# Each model may need those before it. A model whose trainer is not installed is not listed.
TRAINERS: dict[str, str] = {
    "face-model": "Train the 3-D face model on samples of a head model.",
    "shape-2fcsl": "Train 2FCSL, the second method from landmarks to shape.",
    "landmark-packs": "Pack annotated photographs to train the landmark networks.",
    "public-packs": "Pack 300-W, COFW or HELEN for the landmark networks.",
    "pose-set": "Make a training set of annotated pictures turned to other poses.",
    "turned-set": "Make a training set of faces turned to any yaw and pitch, in colour.",
    "rendered-set": "Make a training set of rendered people in all poses.",
    "located-set": "Make a training set of faces that GoDP located, for DSSD.",
    "texture-set": "Make the texture set that DFD is trained on.",
    "texture-model": "Train mean and modes of textures, for rendering people.",
    "detector": "Train the face detector.",
    "godp": "Train the landmark network GoDP.",
    "box": "Train the box regressor for boxes of any detector.",
    "dssd": "Train the landmark network DSSD.",
    "rdssd": "Train the landmark cascade R-DSSD.",
    "finder": "Train the rule that verifies the detector's candidates.",
    "landmark-places": "Measure the offsets of annotated and located landmarks.",
    "fit-verdict": "Train the rule that rejects wrong fits of the face model.",
    "dfd": "Train the texture descriptor DFD.",
    "face-set": "Make the face set (crops and fits) that resnet is trained on.",
    "resnet": "Train the residual network that describes faces in all poses.",
    "resnet-photo": "Train resnet's layers that describe photographs.",
    "strangers": "Compute resnet's normalisation cohort and thresholds.",
    "impostors": "Measure impostor scores, for thresholds of other descriptors.",
}


@click.group(
    name="train",
    cls=CommandList,
    table=TRAINERS,
    modules="facerec.cli.train_{}",
    help="Train the models from data.\n\n"
    "Each trainer writes its weights into the package with a record of data, split, metric and licence.\n\n"
    "\b\nExamples:\n  facerec train face-model ict_facekit.npz\n  facerec train detector DATA --max-minutes 60",
)
def command() -> None:
    """Group of the trainers."""
