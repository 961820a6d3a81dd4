"""The coarse stages of R-DSSD: boosted ferns over random pixel differences (Cao et al., Explicit Shape Regression).

A stage is a few levels. Each level draws pixels that ride on landmarks, then boosts ferns on the differences of pixel
pairs that correlate best with random projections of what is left of the shape error. Errors are regressed in the frame
of the mean shape, so a turned face is turned upright first.

Trained stage by stage and not by back-propagation: a fern is constant between its thresholds, so its derivative is zero
almost everywhere. What reaches the pixel differences themselves is in `facerec.landmarks.patches` (Eqs. 18-20).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.patches import sample

Floats = NDArray[np.float32]

_PORTION = 256
"""Crops looked at together while training; bounds the memory."""

_CHOOSING = 20_000
"""Rows, evenly spread, on which pixel pairs are chosen: their correlations need no more."""


@dataclass(frozen=True, slots=True)
class FernSettings:
    """Size of one coarse stage.

    Attributes:
        levels: levels per stage; pixels are drawn again in each. Two stages of twelve, trained on 24,000 faces, leave
            6.8 % by pupils on YouTube Faces, of eight from 12,000 7.2 %, of four 8.1 %.
        ferns: a level. ESR has 500; 100, with errors regressed in `rank` directions, keep the weight file below 3 MB.
        features: pixel differences a fern, so 2^features leaves (ESR's 5).
        pixels: candidates per level (ESR's 400).
        radius: largest distance of a pixel from its landmark, share of the crop's side.
        shrinkage: faces added to a leaf's count before dividing. ESR's 1000 belong to five times as many ferns; here
            each must go further.
        rank: directions of shape change a level can make: the first principal components of its errors.
    """

    levels: int = 12
    ferns: int = 100
    features: int = 5
    pixels: int = 400
    radius: float = 0.15
    shrinkage: float = 300.0
    rank: int = 20

    def __post_init__(self) -> None:
        if min(self.levels, self.ferns, self.features, self.rank) < 1 or self.pixels < 2 or self.features > 8:
            raise InvalidInputError(f"expected positive sizes, at least 2 pixels and at most 8 features; got {self}")
        if self.radius <= 0 or self.shrinkage < 0:
            raise InvalidInputError(f"expected radius > 0 and shrinkage >= 0; got {self}")


@dataclass(frozen=True, eq=False)
class FernLevel:
    """One level: A pixels, F ferns of S features, 2^S leaves, R directions.

    Attributes:
        landmark: (A,) which landmark a pixel rides on.
        offset: (A, 2) its place from there in the frame of the mean shape, share of the crop's side.
        first, second: (F, S) the pixels of each difference.
        threshold: (F, S) in units of the normalised crop's grey levels.
        leaves: (F, 2^S, R) shape change of each leaf.
        directions: (R, 2L) what a change is made of.
    """

    landmark: NDArray[np.int64]
    offset: Floats
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    threshold: Floats
    leaves: Floats
    directions: Floats

    def step(self, images: Floats, shapes: Floats, mean: Floats) -> Floats:
        """Shapes (N, K, L, 2) of N crops after this level.

        Args:
            images: (N, S, S) normalised crops; each serves K shapes.
            shapes: (N, K, L, 2) in [0, 1] of the crop.
            mean: (L, 2) mean shape.
        """
        frame = frames(mean, shapes)
        pixels = read_pixels(images, shapes, frame, self.landmark, self.offset)
        differences = np.take(pixels, self.first, axis=1) - np.take(pixels, self.second, axis=1)
        leaf = np.packbits(differences > self.threshold, axis=2, bitorder="little")[:, :, 0]
        ferns, leaves, rank = self.leaves.shape
        # One sum over a fern's chosen leaves in compiled code; a loop over ferns takes three times as long.
        rows = torch.from_numpy(leaf.astype(np.int64) + leaves * np.arange(ferns))
        change = functional.embedding_bag(rows, torch.from_numpy(self.leaves).view(-1, rank), mode="sum").numpy()
        moved = (change @ self.directions).reshape(shapes.shape)
        return np.asarray(shapes + moved @ frame, dtype=np.float32)


def frames(mean: Floats, shapes: Floats) -> Floats:
    """Turn and scale that put the mean shape on each shape, least squares.

    Returns:
        (..., 2, 2), to be applied from the right: mean @ frame is near the shape, both about their centres.
    """
    a = mean - mean.mean(axis=0)
    b = shapes - shapes.mean(axis=-2, keepdims=True)
    power = float((a**2).sum())
    cosine = (b * a).sum(axis=(-2, -1)) / power
    sine = (b[..., 1] * a[:, 0] - b[..., 0] * a[:, 1]).sum(axis=-1) / power
    rows = np.stack([np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)], axis=-2)
    return np.asarray(rows, dtype=np.float32)


def read_pixels(images: Floats, shapes: Floats, frame: Floats, landmark: NDArray[np.int64], offset: Floats) -> Floats:
    """Grey levels of shape-indexed pixels, (N * K, A), for N crops with K shapes each."""
    n, starts = shapes.shape[:2]
    at = (shapes[:, :, landmark] + offset @ frame) * images.shape[-1] - 0.5
    read = sample(torch.from_numpy(images), torch.from_numpy(at.reshape(n, -1, 2).astype(np.float32)))
    return read.numpy().reshape(n * starts, len(landmark))


def train_fern_stage(
    images: Floats,
    shapes: Floats,
    truth: Floats,
    mean: Floats,
    settings: FernSettings,
    rng: np.random.Generator,
    on_level: Callable[[int, float], None] = lambda _number, _error: None,
) -> tuple[list[FernLevel], Floats]:
    """Learn the levels of one stage.

    Args:
        images: (N, S, S) normalised crops.
        shapes: (N, K, L, 2) where each crop's K shapes stand before the stage, in [0, 1].
        truth: (N, L, 2), complete.
        mean: (L, 2) mean shape.
        settings: of the stage.
        rng: draws pixels, projections and thresholds.
        on_level: called with the number of each finished level and the mean distance left, in [0, 1] of the crop.

    Returns:
        The levels, and the shapes (N, K, L, 2) after them.
    """
    if shapes.ndim != 4 or truth.shape != (len(images), *shapes.shape[2:]) or len(shapes) != len(images):
        raise InvalidInputError(
            f"expected images (N, S, S), shapes (N, K, L, 2), truth (N, L, 2); got {images.shape}, {shapes.shape}, "
            f"{truth.shape}"
        )
    levels = []
    for number in range(settings.levels):
        level = _train_level(images, shapes, truth, mean, settings, rng)
        portions = range(0, len(images), _PORTION)
        shapes = np.concatenate(
            [level.step(images[i : i + _PORTION], shapes[i : i + _PORTION], mean) for i in portions]
        )
        levels.append(level)
        on_level(number, float(np.linalg.norm(shapes - truth[:, None], axis=-1).mean()))
    return levels, shapes


def _train_level(
    images: Floats,
    shapes: Floats,
    truth: Floats,
    mean: Floats,
    settings: FernSettings,
    rng: np.random.Generator,
) -> FernLevel:
    count = mean.shape[0]
    frame = frames(mean, shapes)
    back = np.linalg.inv(frame)
    errors = ((truth[:, None] - shapes) @ back).reshape(-1, 2 * count).astype(np.float32)
    # Directions without taking the mean off: a common error is a direction as well.
    power = errors.T @ errors
    directions = np.linalg.eigh(power)[1][:, ::-1][:, : settings.rank].T.astype(np.float32)
    rest = errors @ directions.T

    landmark = rng.integers(0, count, settings.pixels)
    angle, length = rng.uniform(0, 2 * np.pi, settings.pixels), settings.radius * np.sqrt(rng.random(settings.pixels))
    offset = (length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)
    pixels = np.concatenate(
        [
            read_pixels(images[i : i + _PORTION], shapes[i : i + _PORTION], frame[i : i + _PORTION], landmark, offset)
            for i in range(0, len(images), _PORTION)
        ]
    )
    # One row per pixel: each fern reads whole pixels.
    pixels = np.ascontiguousarray(pixels.T)
    choosing = slice(None, None, -(-len(rest) // _CHOOSING))
    centred = pixels[:, choosing] - pixels[:, choosing].mean(axis=1, keepdims=True)
    spread = centred @ centred.T / centred.shape[1]
    variance = np.diag(spread)
    # Deviation of each pair's difference; the diagonal, a pixel with itself, must not be chosen.
    deviation = np.sqrt(np.maximum(variance[:, None] + variance[None] - 2 * spread, 1e-8))
    np.fill_diagonal(deviation, np.inf)

    shape = (settings.ferns, settings.features)
    first, second = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    threshold = np.zeros(shape, dtype=np.float32)
    leaves = np.zeros((settings.ferns, 2**settings.features, settings.rank), dtype=np.float32)
    few = slice(None, None, max(1, len(rest) // 2000))
    for fern in range(settings.ferns):
        wanted = rest[choosing] @ rng.standard_normal((rest.shape[1], settings.features)).astype(np.float32)
        # cov(wanted, pixel); the difference of two pixels' is that of their difference.
        shared = (centred @ (wanted - wanted.mean(axis=0))).T
        index = np.zeros(len(rest), dtype=np.uint8)
        for feature in range(settings.features):
            best = int(((shared[feature][:, None] - shared[feature][None]) / deviation).argmax())
            a, b = divmod(best, settings.pixels)
            difference = pixels[a] - pixels[b]
            # Between the quintiles: a threshold further out would leave one side with too few faces.
            cut = float(np.quantile(difference[few], rng.uniform(0.2, 0.8)))
            index |= (difference > cut).astype(np.uint8) << np.uint8(feature)
            first[fern, feature], second[fern, feature], threshold[fern, feature] = a, b, cut
        leaves[fern] = _leaf_means(index, rest, leaves.shape[1], settings.shrinkage)
        rest -= leaves[fern][index]
    return FernLevel(landmark, offset, first, second, threshold, leaves, directions)


def _leaf_means(index: NDArray[np.uint8], rest: Floats, leaves: int, shrinkage: float) -> Floats:
    """Mean of `rest` over each leaf's faces, drawn to zero where they are few: sum / (n + shrinkage) (ESR, Eq. 8)."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=leaves)
    filled = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[filled]
    sums = np.zeros((leaves, rest.shape[1]), dtype=np.float32)
    sums[filled] = np.add.reduceat(rest[order], starts, axis=0)
    return np.asarray(sums / (counts[:, None] + shrinkage), dtype=np.float32)
