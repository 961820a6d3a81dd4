"""The coarse stages of a cascade, trained once and kept in the run's folder: initial shapes and boosted ferns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from facerec.landmarks.dssd_weights import build_networks, cascade_from_arrays, coarse_arrays, coarse_from_arrays
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.ferns import FernLevel, train_fern_stage
from facerec.landmarks.initial_shapes import InitialShapes, complete_shapes
from facerec.landmarks.rdssd import Cascade, pyramid
from facerec.landmarks.training.rdssd_faces import COARSE_STEP, CropSource, DssdTrainSettings


def train_coarse(
    source: CropSource, settings: DssdTrainSettings, say: Callable[[str], None] = lambda _: None
) -> tuple[InitialShapes, list[list[FernLevel]]]:
    """Initial shapes and fern stages."""
    cascade = settings.cascade
    scales: dict[int, list[NDArray[np.float32]]] = {side: [] for side in {*cascade.coarse, cascade.initial.side}}
    truth, known = [], []
    # In portions: only the small scales are kept.
    for number, first in enumerate(range(0, settings.coarse_faces, 256)):
        faces = source.faces(COARSE_STEP + number, min(256, settings.coarse_faces - first))
        made = pyramid(faces.crops, cascade)
        for side, kept in scales.items():
            kept.append(made[side].numpy())
        truth.append(faces.truth)
        known.append(faces.known)
    shapes = complete_shapes(np.concatenate(truth), np.concatenate(known))
    crops = {side: np.concatenate(kept) for side, kept in scales.items()}
    initial = InitialShapes.learn(crops[cascade.initial.side], shapes, cascade.initial, settings.seed)
    say(f"{len(initial.centres)} initial shapes")
    rng = np.random.default_rng([settings.seed, COARSE_STEP])
    near = initial.nearest(crops[cascade.initial.side], cascade.initial.spread)
    standing = initial.centres[rng.permuted(near, axis=1)[:, : settings.coarse_starts]]
    stages: list[list[FernLevel]] = []
    for number, side in enumerate(cascade.coarse, start=1):

        def on_level(level: int, left: float, stage: int = number) -> None:
            say(f"coarse stage {stage}, level {level + 1}: {100 * left:.2f} % of the crop")

        levels, standing = train_fern_stage(crops[side], standing, shapes, initial.mean, cascade.ferns, rng, on_level)
        stages.append(levels)
    return initial, stages


def with_coarse_stages(
    source: CropSource,
    settings: DssdTrainSettings,
    run_folder: Path,
    start: Path | None,
    say: Callable[[str], None],
) -> Cascade:
    """The cascade with coarse stages from the run, from an earlier one, or learnt now; its networks are untrained."""
    cascade = settings.cascade
    # Only what shapes the coarse stages: cascades that differ in their refinements may share them.
    stated = json.dumps(
        {
            "initial": asdict(cascade.initial),
            "ferns": asdict(cascade.ferns),
            "coarse": cascade.coarse,
            "landmarks": cascade.network.landmarks,
            "faces": settings.coarse_faces,
            "starts": settings.coarse_starts,
            "augment": asdict(settings.augment),
            "seed": settings.seed,
        },
        sort_keys=True,
    )
    file = run_folder / "coarse.npz"
    if not file.exists() and start is not None and start.is_dir():
        file.write_bytes((start / "coarse.npz").read_bytes())
    if start is not None and start.is_file():
        begun = cascade_from_arrays(load_file(start))
        if begun.settings.coarse != cascade.coarse or begun.settings.ferns.levels != cascade.ferns.levels:
            raise InvalidInputError(
                f"{start}: expected the weights of a cascade with coarse stages {cascade.coarse} of "
                f"{cascade.ferns.levels} levels; got {begun.settings.coarse} of {begun.settings.ferns.levels}"
            )
        initial, coarse = replace(begun.initial, settings=cascade.initial), begun.coarse
    elif file.exists():
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        theirs = arrays.pop("settings").tobytes().decode()
        if start is None and theirs != stated:
            raise InvalidInputError(
                f"{file}: expected coarse stages of the same settings {stated}; got {theirs}; use another run folder "
                "to start again"
            )
        initial, coarse = coarse_from_arrays(arrays, cascade)
    else:
        initial, coarse = train_coarse(source, settings, say)
        arrays = coarse_arrays(initial, coarse) | {"settings": np.frombuffer(stated.encode(), dtype=np.uint8)}
        temporary = run_folder / "coarse.tmp.npz"
        np.savez(temporary, allow_pickle=False, **arrays)
        os.replace(temporary, file)
    return Cascade(cascade, initial, coarse, build_networks(cascade, initial.mean, settings.seed))
