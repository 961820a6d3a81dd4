"""The record that a trained landmark network gets beside its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import WeightRecord, save_weights
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.set_names import research_licence, training_sets

_OWN_SETS = ("cfp", "ytf", "rendered", "turned-")
"""How the sources of packs begin that facerec's own commands make, which leave out the held-out people."""


def save_landmark_weights(
    name: str,
    arrays: Mapping[str, NDArray[np.generic]],
    what: str,
    packs: Sequence[tuple[LandmarkPack, float]],
    *,
    errors: Mapping[str, Mapping[str, float]],
    command: str,
    root: Path | None = None,
) -> WeightRecord:
    """Write `landmarks/weights/NAME.safetensors` and its record.

    Args:
        name: of the landmark model.
        arrays: the network's.
        what: one sentence on the network.
        packs: the training packs, with weights: they determine the sets, who was held out and the licence.
        errors: `pack_errors` on held-out people, by set.
        command: that makes the weights again.
        root: folder of the stages; the installed package by default.
    """
    sources = sorted({str(source) for pack, _ in packs for source in np.unique(pack.source)})
    own = all(source.startswith(_OWN_SETS) for source in sources)
    sets = training_sets(np.array(sources))
    return save_weights(
        "landmarks",
        name,
        arrays,
        what=what,
        training_sets=sources,
        split="held out: CFP folds 07 and 08, every seventh YouTube Faces person, utkface/test, and their namesakes"
        if own
        else "as the training packs were made",
        metric={f"{source}_{key}": round(value, 5) for source, found in errors.items() for key, value in found.items()},
        licence=research_licence(sets) if own else f"that of the sets it was trained on: {', '.join(sources)}",
        command=command,
        root=root,
    )
