"""`facerec train`: learn the models from data. One file per model: `train_<model>.py`."""

from __future__ import annotations

import click

from facerec.cli.command_list import CommandList

# In the order in which a model needs those before it. A model whose trainer is not installed is not listed.
TRAINERS: dict[str, str] = {
    "face-model": "Learn the 3-D face model from samples of a head model.",
    "shape-2fcsl": "Learn 2FCSL, the other way from landmarks to shape, from samples of the face model.",
    "landmark-packs": "Pack annotated pictures of faces: the real training set of the landmark network.",
    "public-packs": "Pack 300-W, COFW or HELEN: faces for the landmark networks and their tables.",
    "pose-set": "Turn annotated pictures to other poses: a training set on disk.",
    "turned-set": "Turn fitted faces to any yaw and pitch, in colour: a training set on disk.",
    "rendered-set": "Render made-up people at all poses: a training set on disk.",
    "texture-set": "Lift the textures of annotated pictures: the training set of the descriptor.",
    "texture-model": "Learn mean and modes of lifted textures, for rendering people.",
    "detector": "Learn the face detector.",
    "godp": "Learn the landmark network GoDP.",
    "box": "Learn to move any detector's box onto the face.",
    "dssd": "Learn the landmark network DSSD.",
    "rdssd": "Learn the landmark cascade R-DSSD.",
    "finder": "Learn when a detector's candidate is a face.",
    "landmark-places": "Learn where annotators and the landmark network put the 68 points on the face model.",
    "fit-verdict": "Learn when a fit of the face model cannot be trusted.",
    "dfd": "Learn the descriptor of the lifted texture.",
    "face-set": "Cut and fit the faces of annotated and extra sets: the training set of the learnt descriptor.",
    "resnet": "Learn the residual network that describes faces from every side.",
    "strangers": "Measure strangers with the residual network: what normalises its scores, and its thresholds.",
    "impostors": "Measure impostor scores of another descriptor: what its thresholds are calibrated on.",
}


@click.group(
    name="train",
    cls=CommandList,
    table=TRAINERS,
    modules="facerec.cli.train_{}",
    help="Train the models from data.\n\n"
    "Each writes its weights into the package together with a record: data, split, metric, licence.\n\n"
    "\b\nExamples:\n  facerec train face-model ict_facekit.npz\n  facerec train detector DATA --max-minutes 60",
)
def command() -> None:
    """Group of the trainers."""
