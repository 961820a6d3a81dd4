"""Errors of a cascade on packed faces, stage by stage."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.crop import PACK_SCALE, PACK_SIZE, apply_matrix, warp_matrix
from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE, Cascade
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.shape_errors import box_size, mean_distance, nrmse, pupil_distance


def plain_crops(pack: LandmarkPack, rows: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crops (N, 200, 200) of packed faces as they are, and their points (N, L, 2), px of the crop."""
    zoom = (CROP_SIZE / CROP_SCALE) / (PACK_SIZE / PACK_SCALE)
    matrix = warp_matrix(PACK_SIZE, CROP_SIZE, scale=zoom)
    crops = [
        cv2.warpAffine(
            pack.images[row], matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for row in rows
    ]
    return np.asarray(np.stack(crops), dtype=np.uint8), apply_matrix(matrix, pack.points[rows])


def locate_pack(
    cascade: Cascade, pack: LandmarkPack, rows: NDArray[np.intp], device: torch.device | str = "cpu"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shapes of all stages (T + 1, N, L, 2) and annotations (N, L, 2) of packed faces, px of the 200 px crop."""
    crops, truth = plain_crops(pack, rows)
    training = cascade.networks.training
    cascade.networks.eval()
    found = [cascade.locate(crops[first : first + 16], device).stages for first in range(0, len(crops), 16)]
    cascade.networks.train(training)
    return np.concatenate(found, axis=1), truth


def pack_errors(
    cascade: Cascade, pack: LandmarkPack, *, device: torch.device | str = "cpu", most: int | None = None
) -> dict[str, dict[str, float]]:
    """Errors on a pack's faces as they are, by the set they came from.

    Args:
        cascade: that locates.
        pack: faces with annotations.
        device: of the networks.
        most: look at no more faces of each set, evenly spread.

    Returns:
        by set: `n`, `nme_box` after the last stage, `stage_0`, `stage_1`, ... box-normalised after each; where pupils
        are annotated `nrmse` (Eq. 24).
    """
    result: dict[str, dict[str, float]] = {}
    for source in np.unique(pack.source):
        rows = np.flatnonzero(pack.source == source)
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]
        stages, truth = locate_pack(cascade, pack, rows, device)
        size = box_size(truth)
        report = {"n": float(len(rows)), "nme_box": float(np.mean(mean_distance(stages[-1], truth) / size))}
        for number, shapes in enumerate(stages):
            report[f"stage_{number}"] = float(np.mean(mean_distance(shapes, truth) / size))
        if np.isfinite(pupil_distance(truth)).any():
            report["nrmse"] = float(np.nanmean(nrmse(stages[-1], truth)))
        result[str(source)] = report
    return result
