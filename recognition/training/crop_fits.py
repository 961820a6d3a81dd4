"""Fits of the faces in sets of crops: landmarks, camera, shape and expression, many pictures at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, FitSettings, face_size, fit_batch, landmark_weights
from facerec.landmarks.crop import grey
from facerec.landmarks.landmarker import Landmarker, LandmarkerSettings
from facerec.landmarks.training.array_file import load_arrays, save_arrays
from facerec.landmarks.types import Box
from facerec.recognition.training.crop_set import CropSet


@dataclass(frozen=True, eq=False)
class CropFits:
    """Fits of the N faces of a `CropSet`, in its order.

    Attributes:
        shape: (N, K) float16; expression: (N, E) float16, standard deviations.
        rotation: (N, 3, 3) float32; translation: (N, 2) float32, px of the crop; scale: (N,) float32, px per mm.
        residual: (N,) float32, of the fit, share of the face's size.
        confidence: (N,) float32, mean of the landmarks.
    """

    shape: NDArray[np.float16]
    expression: NDArray[np.float16]
    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]
    scale: NDArray[np.float32]
    residual: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def yaw(self) -> NDArray[np.float32]:
        """(N,) degrees, see `facerec.frontalize.types.Camera.angles`."""
        return np.rad2deg(np.arctan2(self.rotation[:, 2, 0], self.rotation[:, 2, 2])).astype(np.float32)

    @property
    def pitch(self) -> NDArray[np.float32]:
        """(N,) degrees."""
        return np.rad2deg(np.arcsin(np.clip(-self.rotation[:, 2, 1], -1, 1))).astype(np.float32)

    def usable(self, max_residual: float = 0.06, min_confidence: float = 0.25) -> NDArray[np.bool_]:
        """(N,) which fits can be used for training."""
        return (self.residual <= max_residual) & (self.confidence >= min_confidence) & (self.scale > 0.15)

    def save(self, path: Path) -> None:
        """Write as npz."""
        save_arrays(path, self)

    @staticmethod
    def load(path: Path) -> CropFits:
        """Read what `save` wrote.

        Raises:
            InvalidInputError: another file.
        """
        return load_arrays(path, CropFits, "fits of crops")

    @staticmethod
    def join(parts: Sequence[CropFits]) -> CropFits:
        """One after the other."""
        return CropFits(*(np.concatenate([getattr(p, name) for p in parts]) for name in CropFits.__dataclass_fields__))


def fits_path(crops: Path) -> Path:
    """Where the fits of a set of crops are kept: beside it."""
    return crops.with_name(f"{crops.stem}-fits.npz")


def fit_crops(
    crops: CropSet,
    rows: range,
    landmarker: Landmarker,
    settings: FitSettings,
    batch: int = 64,
) -> CropFits:
    """Locate and fit the faces of `rows`.

    The landmarks are located twice: first from the set's box, then from the box of what was found.
    """
    model = FaceModel.load()
    parts = []
    for start in range(rows.start, rows.stop, batch):
        chosen = range(start, min(rows.stop, start + batch))
        images = [crops.crop(row) for row in chosen]
        planes = [grey(image) for image in images]
        boxes = [Box(*(float(v) for v in crops.box[row])) for row in chosen]
        first = landmarker.locate_each(planes, boxes)
        found = landmarker.locate_each(planes, [Box.around(mark.points) for mark in first])
        points = np.stack([mark.points for mark in found]).astype(np.float64)
        weights = np.stack([landmark_weights(mark, settings) for mark in found])
        fit = fit_batch(points, weights, model, settings)
        sizes = np.array([face_size(fit.camera(k)) for k in range(len(chosen))])
        parts.append(
            CropFits(
                fit.shape.astype(np.float16),
                fit.expression.astype(np.float16),
                fit.rotation.astype(np.float32),
                fit.translation.astype(np.float32),
                fit.scale.astype(np.float32),
                (fit.residual / sizes).astype(np.float32),
                np.array([mark.confidence.mean() for mark in found], dtype=np.float32),
            )
        )
    return CropFits.join(parts)


def fit_in_processes(crops: Path, processes: int, device: str = "cpu") -> CropFits:
    """The fits of a file of crops, the work shared by `processes`."""
    count = len(CropSet.load(crops))
    edges = np.linspace(0, count, processes + 1).astype(int).tolist()
    jobs = [(crops, first, last, device) for first, last in pairwise(edges) if last > first]
    if len(jobs) == 1:
        return _fit_part(jobs[0])
    with ProcessPoolExecutor(len(jobs), mp_context=get_context("spawn")) as pool:
        return CropFits.join(list(pool.map(_fit_part, jobs)))


def _fit_part(job: tuple[Path, int, int, str]) -> CropFits:
    crops, first, last, device = job
    landmarker = Landmarker.load("godp", device, LandmarkerSettings(batch=64))
    return fit_crops(CropSet.load(crops), range(first, last), landmarker, LOCATED)
