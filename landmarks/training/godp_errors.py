"""Errors of a GoDP network, or of a baseline, on packed faces."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerec.landmarks.crop import PACK_SIZE, ROI_SIZE
from facerec.landmarks.godp import Decisions, normalize_roi
from facerec.landmarks.heatmaps import decode, landmark_log_odds
from facerec.landmarks.markup import IBUG68_MIRROR, IBUG68_OUTER_EYE_CORNERS
from facerec.landmarks.score_maps import DecodeSettings
from facerec.landmarks.training.godp_baselines import Coordinates, LandmarkNetwork, Outputs, places_of
from facerec.landmarks.training.packs import LandmarkPack


def plain_rois(pack: LandmarkPack, rows: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Faces of a pack cut to the network's input without any change.

    Returns:
        (M, 160, 160) uint8; points (M, 68, 2) px of it, NaN where not annotated.
    """
    margin = (PACK_SIZE - ROI_SIZE) // 2
    images = pack.images[rows, margin : margin + ROI_SIZE, margin : margin + ROI_SIZE]
    return images, pack.points[rows] - np.float32(margin)


def shrunk_rois(rois: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """ROIs (M, 160, 160) as (M, side, side), each pixel the mean of those it covers; themselves when they have it."""
    if rois.shape[1:] == (side, side):
        return rois
    return np.stack([cv2.resize(roi, (side, side), interpolation=cv2.INTER_AREA) for roi in rois]).astype(np.uint8)


def forward(
    network: LandmarkNetwork, rois: NDArray[np.uint8], device: torch.device, batch: int = 16
) -> Iterator[Outputs]:
    """What the network says of ROIs (M, 160, 160), batch by batch."""
    with torch.inference_mode():
        for first in range(0, len(rois), batch):
            shrunk = shrunk_rois(rois[first : first + batch], network.settings.side)
            roi = normalize_roi(torch.from_numpy(shrunk).to(device))
            yield network(roi.contiguous(memory_format=torch.channels_last))


def located(outputs: Outputs, landmarks: int, decoding: DecodeSettings | None = None) -> Tensor:
    """(N, L, 2) float32 px of the ROI: where a network's answer puts the landmarks.

    The default decoding looks as far about a peak on smaller maps as on those of 80 px, in px of the ROI.
    """
    if isinstance(outputs, Coordinates):
        return places_of(outputs)
    scores = outputs.refinement_2 if isinstance(outputs, Decisions) else outputs.scores
    size = scores.shape[-1]
    stride = ROI_SIZE // size
    decoding = decoding or DecodeSettings(radius=max(1, DecodeSettings().radius * size // 80))
    return decode(landmark_log_odds(scores, landmarks), decoding) * stride + (stride - 1) / 2


def pack_errors(
    network: LandmarkNetwork,
    pack: LandmarkPack,
    *,
    device: torch.device,
    decoding: DecodeSettings | None = None,
    most: int | None = None,
) -> dict[str, dict[str, float]]:
    """Mean landmark errors on a pack, unchanged faces cut from their annotated boxes.

    Args:
        most: look at this many faces of a source only, evenly spread.

    Returns:
        by source: n; nme_box: mean error over the square root of the area of the annotated points' box;
            nme_interocular: over the distance of the outer eye corners, where a pack of 68 points has both
            (else absent). Shares, not percent.
    """
    result: dict[str, dict[str, float]] = {}
    for source in np.unique(pack.source):
        rows = np.flatnonzero(pack.source == source)
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]
        rois, truth = plain_rois(pack, rows)
        count = network.settings.landmarks
        found = [located(outputs, count, decoding).cpu().numpy() for outputs in forward(network, rois, device)]
        error = np.linalg.norm(np.concatenate(found) - truth, axis=2)
        mean = np.nanmean(error, axis=1)
        extent = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
        report = {"n": float(len(rows)), "nme_box": float(np.mean(mean / np.sqrt(extent.prod(axis=1))))}
        if count == len(IBUG68_MIRROR):
            left, right = IBUG68_OUTER_EYE_CORNERS
            span = np.linalg.norm(truth[:, left] - truth[:, right], axis=1)
            if np.isfinite(span).any():
                report["nme_interocular"] = float(np.nanmean(mean / span))
        result[str(source)] = report
    return result
