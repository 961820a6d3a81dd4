"""`facerec train`: learn the models from data. One file a model: `train_<model>.py`."""

from __future__ import annotations

import click

from facerec.cli.command_list import CommandList

# In the order in which a model needs those before it. A model whose trainer is not installed is not listed.
TRAINERS: dict[str, str] = {
    "face-model": "Learn the 3-D face model from samples of a head model.",
    "landmark-packs": "Pack annotated pictures of faces: the real training set of the landmark network.",
    "public-packs": "Pack 300-W, COFW or HELEN: faces for the landmark networks and their tables.",
    "pose-set": "Turn annotated pictures to other poses: a training set on disk.",
    "texture-set": "Lift the textures of annotated pictures: the training set of the descriptor.",
    "texture-model": "Learn mean and modes of lifted textures, for rendering people.",
    "detector": "Learn the face detector.",
    "godp": "Learn the landmark network GoDP.",
    "dssd": "Learn the landmark network DSSD.",
    "rdssd": "Learn the landmark cascade R-DSSD.",
    "finder": "Learn when a detector's candidate is a face.",
    "dfd": "Learn the descriptor of the lifted texture.",
    "half-set": "Lift texture halves with a teacher's vectors: the training set of the half-face network.",
    "halfface": "Learn the half-face network, a learnt descriptor of the texture's halves.",
    "impostors": "Measure impostor scores of the package's models: what thresholds are calibrated on.",
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
