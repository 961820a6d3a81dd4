"""Where a training runs and for how long, and checkpoints of unfinished ones.

Checkpoints are written whole, and read back only by a training of the same settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from facerec.landmarks.errors import InvalidInputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class TrainingRun:
    """Where a training runs and for how long. What is learnt is a matter of the training's own settings.

    Attributes:
        folder: for the checkpoint and the curves; a training that was interrupted there continues.
        device: of the networks.
        start: what an earlier training left, whose networks are begun with, through a cycle of the learning rate of
            their own; None: random weights.
        max_minutes: finish within this time: the learning rate and the stages follow the clock where it is ahead of
            the samples. Such a run depends on the machine's speed; without a limit the same seed gives the same
            weights.
        checkpoint_minutes: time between two checkpoints: what an interruption loses at most.
        evaluate_minutes: time between two evaluations on the test pack.
        evaluations: number of evaluations, evenly over the steps, instead of by the clock; None: by the clock.
        evaluate_faces: of each source, that an evaluation looks at.
        loaders: processes that draw the batches; 0: a thread beside the training, enough for a CPU.
    """

    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: Path | None = None
    max_minutes: float | None = None
    checkpoint_minutes: float = 3.0
    evaluate_minutes: float = 5.0
    evaluations: int | None = None
    evaluate_faces: int = 100
    loaders: int = 0

    def evaluation_due(self, step: int, steps: int, minutes: float) -> bool:
        """Whether to evaluate after `step` of `steps`, `minutes` after the last evaluation."""
        if self.evaluations is None:
            return minutes > self.evaluate_minutes
        return step * self.evaluations // steps > (step - 1) * self.evaluations // steps


def settings_json(settings: DataclassInstance) -> str:
    """Settings of a training as text that is equal exactly when they are."""
    return json.dumps(asdict(settings), sort_keys=True)


def save_checkpoint(path: Path, settings: DataclassInstance, state: Mapping[str, Any]) -> None:
    """Write tensors and numbers to `path`, over an earlier checkpoint."""
    temporary = path.with_suffix(".tmp")
    torch.save({**state, "settings": settings_json(settings)}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, settings: DataclassInstance) -> dict[str, Any]:
    """What `save_checkpoint` wrote.

    Raises:
        InvalidInputError: the checkpoint is of a training with other settings.
    """
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    if state.get("settings") != settings_json(settings):
        raise InvalidInputError(
            f"{path}: expected a checkpoint of the same settings {settings_json(settings)}; "
            f"got {state.get('settings', 'one that does not state them')}; use another run folder to start again"
        )
    return state
