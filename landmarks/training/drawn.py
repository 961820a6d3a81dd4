"""Augmented faces drawn beforehand, for trainings that see the same ones in the same order: a folder of arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.godp import Batch, FaceSource, TrainSettings, as_batch
from facerec.landmarks.training.packs import LandmarkPack, PackedFace

_SETTINGS = "settings.json"


def _drawing(settings: TrainSettings) -> dict[str, Any]:
    """What the drawn faces depend on, beside the packs."""
    return {
        "seed": settings.seed,
        "batch": settings.batch,
        "landmarks": settings.network.landmarks,
        "augment": asdict(settings.augment),
    }


def draw_faces(
    packs: Sequence[tuple[LandmarkPack, float]], settings: TrainSettings, folder: Path, workers: int
) -> None:
    """Write the faces that a training with `settings` sees: images.npy (M, 160, 160) uint8, points.npy, state.npy and
    yaw.npy as in `LandmarkPack`, and settings.json once all are there.

    Args:
        packs: packs with their sampling weights.
        settings: of the training; M is the number of its steps times its batch.
        folder: is made.
        workers: processes that draw.

    Raises:
        RuntimeError: one of them failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = math.ceil(settings.samples / settings.batch)
    count, landmarks = steps * settings.batch, settings.network.landmarks
    shapes = {
        "images": (np.uint8, (count, ROI_SIZE, ROI_SIZE)),
        "points": (np.float32, (count, landmarks, 2)),
        "state": (np.int8, (count, landmarks)),
        "yaw": (np.float32, (count,)),
    }
    for name, (kind, shape) in shapes.items():
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape).flush()
    source = FaceSource(packs, settings)
    # Forked, so that the packs are in memory once.
    context = get_context("fork")
    parts = np.array_split(np.arange(steps), workers)
    started = [context.Process(target=_draw, args=(source, settings.batch, folder, part)) for part in parts]
    # A fork has no threads: one that inherits OpenCV's pool would wait for it forever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    for one in started:
        one.start()
    cv2.setNumThreads(threads)
    for one in started:
        one.join()
    if any(one.exitcode for one in started):
        raise RuntimeError(f"{folder}: a process that draws faces ended with {[one.exitcode for one in started]}")
    (folder / _SETTINGS).write_text(json.dumps({"steps": steps, **_drawing(settings)}))


def _draw(source: FaceSource, batch: int, folder: Path, steps: Sequence[int]) -> None:
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("images", "points", "state", "yaw")}
    for step in steps:
        for row, face in enumerate(source.faces(int(step)), start=int(step) * batch):
            arrays["images"][row] = face.image
            arrays["points"][row] = face.points
            arrays["state"][row] = face.state
            arrays["yaw"][row] = face.yaw
    for array in arrays.values():
        array.flush()


class DrawnFaces:
    """The batches that `draw_faces` wrote, equal to those of a `FaceSource` of the same packs and settings.

    Args:
        folder: which it wrote.
        settings: of the training; network and number of faces may be others, with at most as many faces.

    Raises:
        InvalidInputError: a folder without drawn faces, or with those of other settings; more than one yaw range, and
            faces of unknown yaw.
    """

    def __init__(self, folder: Path, settings: TrainSettings) -> None:
        file = folder / _SETTINGS
        if not file.exists():
            raise InvalidInputError(f"{folder}: expected faces drawn beforehand; got a folder without {_SETTINGS}")
        drawn = json.loads(file.read_text())
        steps = drawn.pop("steps")
        wanted = json.loads(json.dumps(_drawing(settings)))
        if drawn != wanted or steps * settings.batch < settings.samples:
            raise InvalidInputError(
                f"{folder}: expected {settings.samples} faces of {wanted}; got {steps * drawn['batch']} of {drawn}"
            )
        self._network, self._batch = settings.network, settings.batch
        self._images, self._points, self._state, self._yaw = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "points", "state", "yaw")
        )
        if settings.network.yaw_bins > 1 and np.isnan(self._yaw).any():
            raise InvalidInputError("expected a known yaw for every face when there is more than one yaw bin")

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, on the CPU."""
        rows = range(step * self._batch, (step + 1) * self._batch)
        faces = [
            PackedFace(self._images[row], self._points[row], self._state[row], float(self._yaw[row]), "")
            for row in rows
        ]
        return as_batch(faces, self._network)
