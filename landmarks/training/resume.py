"""Checkpoints of unfinished trainings: written whole, and read back only by a training of the same settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from facerec.landmarks.errors import InvalidInputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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
            f"got {state.get('settings', 'one that does not state them')}; use another run folder to start anew"
        )
    return state
