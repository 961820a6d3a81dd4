"""Targets of the detector for a scene, and its losses.

Scores learn the overlap of their own box with the face (the quality focal loss of Li et al. 2020, "Generalized Focal
Loss", equation 2), so the best box of a face has the best score; boxes learn the generalised IoU (Rezatofighi et al.
2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facerec.landmarks.detection.detector_graph import STRIDES
from facerec.landmarks.detection.detector_network import cell_centers, decode
from facerec.landmarks.training.detector_scenes import Scene

LEVEL_SIZES = ((0.0, 48.0), (40.0, 96.0), (80.0, 192.0), (160.0, math.inf))
"""Face sizes (square root of the box's area, px) each stride answers to: 2 to 6 cells, neighbours overlapping."""

NEAR_SIZE = 1.4
"""A level is not punished for a face up to this factor outside its sizes."""

CORE = 0.2
"""Cells within this share of the face's width and height from its centre must answer (at least the nearest cells)."""

RIM = 0.38
"""Cells up to this share are not punished for answering."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What every cell of a scene should answer, the levels' cells one after the other.

    Attributes:
        state: (N,) int8: 1 a face, 0 none, -1 either.
        boxes: (N, 4) float32 px, where state is 1.
        points: (N, 5, 2) float32 px, NaN where unknown.
    """

    state: NDArray[np.int8]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]


def targets(scene: Scene) -> Targets:
    """Targets of a scene; of two faces that claim a cell the smaller has it."""
    side = scene.image.shape[0]
    centers = [cell_centers(side, side, stride).numpy() for stride in STRIDES]
    total = sum(len(c) for c in centers)
    state = np.zeros(total, dtype=np.int8)
    boxes = np.zeros((total, 4), dtype=np.float32)
    points = np.full((total, 5, 2), np.nan, dtype=np.float32)
    sizes = np.sqrt(np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1))
    start = 0
    for center, stride, (low, high) in zip(centers, STRIDES, LEVEL_SIZES, strict=True):
        here = slice(start, start + len(center))
        start += len(center)
        for box in scene.ignored:
            inside = ((center >= box[:2] - stride / 2) & (center <= box[2:] + stride / 2)).all(axis=1)
            state[here][inside] = -1
        # Rims first: a face's core is never lost to another face's rim. Large faces first: the smaller keeps a cell.
        order = np.argsort(-sizes, kind="stable")
        for i in order:
            if low / NEAR_SIZE <= sizes[i] <= high * NEAR_SIZE:
                box = scene.boxes[i]
                off = np.abs(center - (box[:2] + box[2:]) / 2)
                rim = (off <= np.maximum(RIM * (box[2:] - box[:2]), stride)).all(axis=1)
                state[here][rim] = -1
        for i in order:
            if low <= sizes[i] < high:
                box = scene.boxes[i]
                off = np.abs(center - (box[:2] + box[2:]) / 2)
                # 0.71 strides: the cells around the centre, one to four of them, however small the face.
                core = (off <= np.maximum(CORE * (box[2:] - box[:2]), 0.71 * stride)).all(axis=1)
                state[here][core] = 1
                boxes[here][core] = box
                points[here][core] = scene.points[i]
    return Targets(state, boxes, points)


def box_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of the rows of `a` and `b`, (N, 4) x0 y0 x1 y1."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b))
    union = area_a + area_b - common
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    iou = common / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def detection_loss(
    answers: list[Tensor], state: Tensor, boxes: Tensor, points: Tensor, side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Score, box and point loss of a batch, each over the number of face cells.

    Args:
        answers: the network's maps.
        state, boxes, points: `Targets` of each scene, stacked: (B, N), (B, N, 4), (B, N, 5, 2).
        side: of the scenes, px.
    """
    logits, found, found_points = decode(answers, side, side)
    face = state == 1
    count = face.sum().clamp(min=1)
    iou, giou = box_overlap(found[face], boxes[face])
    quality = torch.zeros_like(logits)
    quality[face] = iou.detach().clamp(0, 1)
    error = (torch.sigmoid(logits) - quality).abs().square()
    score = error * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    score_loss = score[state >= 0].sum() / count
    box_loss = (1 - giou).sum() / count
    size = (boxes[face][:, 2:] - boxes[face][:, :2]).prod(dim=1).sqrt()[:, None, None]
    wanted = points[face]
    known = torch.isfinite(wanted)
    off = torch.where(known, (found_points[face] - torch.where(known, wanted, 0.0)) / size, 0.0)
    point_loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1, reduction="sum") / (10 * count)
    return score_loss, box_loss, point_loss
