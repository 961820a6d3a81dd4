"""Initial shapes of a cascade: robust shape initialisation from clustered training shapes.

Shapes are normalised to [0, 1] of the crop: (u + 1/2) / side for pixel u, so they are the same at every scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.patches import image_gradient

Shapes = NDArray[np.float32]
"""(N, L, 2) or (L, 2), normalised."""


def normalised(points: NDArray[np.floating], side: float) -> Shapes:
    """Crop px to [0, 1]."""
    return np.asarray((points + 0.5) / side, dtype=np.float32)


def in_pixels(shapes: NDArray[np.floating], side: float) -> Shapes:
    """[0, 1] to px of a crop of that side: the inverse of `normalised`."""
    return np.asarray(shapes * side - 0.5, dtype=np.float32)


def complete_shapes(points: Shapes, known: NDArray[np.bool_], rounds: int = 15) -> Shapes:
    """Fill the points a data set does not annotate with what the others make most likely.

    One Gaussian over whole shapes is trained on all faces by expectation-maximisation; a missing point becomes its
    conditional mean given the face's annotated ones.

    Args:
        points: (N, L, 2); values where `known` is False are ignored.
        known: (N, L).
        rounds: of expectation and maximisation; the fill-ins settle within ten.

    Raises:
        InvalidInputError: a point that no face annotates.
    """
    n, count = known.shape
    if not known.any(axis=0).all():
        missing = np.flatnonzero(~known.any(axis=0)).tolist()
        raise InvalidInputError(f"expected every point annotated on some face; none has the points {missing}")
    x = np.where(known[:, :, None], points, np.nan).reshape(n, 2 * count).astype(np.float64)
    there = np.repeat(known, 2, axis=1)
    mean = np.nanmean(x, axis=0)
    filled = np.where(there, x, mean)
    patterns, which = np.unique(there, axis=0, return_inverse=True)
    which = which.reshape(-1)
    if not there.all():
        covariance = np.cov(filled.T, bias=True)
        for _ in range(rounds):
            uncertain = np.zeros_like(covariance)
            for number, pattern in enumerate(patterns):
                if pattern.all():
                    continue
                rows = np.flatnonzero(which == number)
                own = covariance[np.ix_(pattern, pattern)]
                # A ridge of half a pixel in 200: annotations are no better.
                own = own + np.eye(len(own)) * 0.0025**2
                across = covariance[np.ix_(~pattern, pattern)]
                gain = np.linalg.solve(own, across.T).T
                filled[np.ix_(rows, ~pattern)] = (
                    mean[~pattern] + (filled[np.ix_(rows, pattern)] - mean[pattern]) @ gain.T
                )
                left = covariance[np.ix_(~pattern, ~pattern)] - gain @ across.T
                uncertain[np.ix_(~pattern, ~pattern)] += len(rows) * left
            mean = filled.mean(axis=0)
            covariance = np.cov(filled.T, bias=True) + uncertain / n
    return filled.reshape(n, count, 2).astype(np.float32)


@dataclass(frozen=True, slots=True)
class InitialShapeSettings:
    """How shapes are begun.

    Attributes:
        centres: k-means centres (the paper's 500).
        starts: centres a face is begun from, those nearest to the rough shape; the mean of their middle half goes on.
            Faces of training people in YouTube Faces that the ferns had not seen are left with 3.32 % from 5 starts,
            3.17 from 9, 3.09 from 15, 3.04 from 25.
        spread: while training, the starts are drawn from so many nearest centres, so that the stages meet the rough
            shape's errors on faces it has not seen.
        side: px of the picture the rough shape is guessed from.
        cells: histograms of gradients per side of it; directions: bins each.
        ridge: of the regression from histograms to shapes, as a share of their mean power.
    """

    centres: int = 500
    starts: int = 25
    spread: int = 30
    side: int = 50
    cells: int = 8
    directions: int = 8
    ridge: float = 0.05

    def __post_init__(self) -> None:
        if not 1 <= self.starts <= self.spread <= self.centres or self.starts % 2 == 0:
            raise InvalidInputError(
                f"expected an odd number of starts of at most {self.spread}, and a spread of at most {self.centres}; "
                f"got {self.starts}, {self.spread}"
            )


def gradient_histograms(crops: NDArray[np.float32], cells: int, directions: int) -> NDArray[np.float32]:
    """Histograms of gradient directions of normalised crops (N, S, S) -> (N, directions * cells^2).

    Each cell's histogram is divided by its length, so light matters little; a tenth of the picture's mean strength is
    added to it, so empty cells stay near zero.
    """
    gradient = image_gradient(torch.from_numpy(crops))
    strength = gradient.norm(dim=1)
    angle = torch.remainder(torch.atan2(gradient[:, 1], gradient[:, 0]) / (2 * np.pi) * directions, directions)
    low = angle.floor()
    far = angle - low
    bins = low.long() % directions
    maps = torch.zeros(len(crops), directions, *crops.shape[1:])
    maps.scatter_add_(1, bins[:, None], (strength * (1 - far))[:, None])
    maps.scatter_add_(1, (bins[:, None] + 1) % directions, (strength * far)[:, None])
    pooled = functional.adaptive_avg_pool2d(maps, cells)
    length = pooled.norm(dim=1, keepdim=True)
    mean = pooled.flatten(1).norm(dim=1)[:, None, None, None] / cells
    found = (pooled / (length + 0.1 * mean + 1e-6)).flatten(1).numpy()
    return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class InitialShapes:
    """Where faces begin: a rough shape by linear regression from the whole crop, then the nearest cluster centres.

    The paper begins at one of 500 centres and does not say which at test time; a face turned to the side must not begin
    at a frontal one.

    Attributes:
        settings: see there.
        centres: (C, L, 2) in [0, 1].
        mean: (L, 2) mean training shape.
        regression: (H + 1, R) from histograms and a constant to shape coordinates.
        modes: (R, 2L) what these stand for: principal components of the training shapes.
    """

    settings: InitialShapeSettings
    centres: Shapes
    mean: Shapes
    regression: NDArray[np.float32]
    modes: NDArray[np.float32]

    @staticmethod
    def learn(crops: NDArray[np.float32], shapes: Shapes, settings: InitialShapeSettings, seed: int) -> InitialShapes:
        """Cluster shapes (N, L, 2) and regress them on their crops (N, side, side), normalised.

        Raises:
            InvalidInputError: fewer shapes than a face's possible starts.
        """
        from sklearn.cluster import KMeans

        if len(shapes) < settings.spread or len(crops) != len(shapes):
            raise InvalidInputError(
                f"expected at least {settings.spread} shapes, each with a crop; got {len(shapes)}, {len(crops)}"
            )
        flat = shapes.reshape(len(shapes), -1).astype(np.float64)
        clusters = KMeans(min(settings.centres, len(flat)), n_init=1, max_iter=30, random_state=seed).fit(flat)
        mean = flat.mean(axis=0)
        vectors = np.linalg.eigh(np.cov((flat - mean).T, bias=True))[1]
        # 32 components hold all but about one per cent of what shapes differ in.
        modes = vectors[:, ::-1][:, :32].T
        x = _with_constant(gradient_histograms(crops, settings.cells, settings.directions)).astype(np.float64)
        power = x.T @ x / len(x)
        penalty = settings.ridge * np.diag(power)[:-1].mean()
        ridge = np.diag([*np.full(len(power) - 1, penalty), 0.0])
        regression = np.linalg.solve(power + ridge, x.T @ ((flat - mean) @ modes.T) / len(x))
        centres = np.asarray(clusters.cluster_centers_).reshape(-1, *shapes.shape[1:])
        return InitialShapes(
            settings,
            centres.astype(np.float32),
            mean.reshape(shapes.shape[1:]).astype(np.float32),
            regression.astype(np.float32),
            modes.astype(np.float32),
        )

    def rough(self, crops: NDArray[np.float32]) -> Shapes:
        """Rough shapes (N, L, 2) of normalised crops (N, side, side)."""
        x = _with_constant(gradient_histograms(crops, self.settings.cells, self.settings.directions))
        return np.asarray(self.mean + (x @ self.regression @ self.modes).reshape(-1, *self.mean.shape), np.float32)

    def nearest(self, crops: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows (N, count) of the centres nearest to the rough shapes of crops (N, side, side), in that order."""
        flat = self.centres.reshape(len(self.centres), -1)
        rough = self.rough(crops).reshape(len(crops), -1)
        # |a - b|^2 without |a|^2, which is the same for all centres.
        distance = (flat**2).sum(axis=1) - 2 * rough @ flat.T
        return np.asarray(np.argsort(distance, axis=1, kind="stable")[:, :count], dtype=np.int64)

    def starts(self, crops: NDArray[np.float32], rng: np.random.Generator | None = None) -> Shapes:
        """Centres (N, starts, L, 2) that faces begin from: the nearest to the rough shape, in that order.

        Args:
            crops: (N, side, side), normalised.
            rng: draw them from the `spread` nearest instead, for training.
        """
        if rng is None:
            chosen = self.nearest(crops, self.settings.starts)
        else:
            chosen = rng.permuted(self.nearest(crops, self.settings.spread), axis=1)[:, : self.settings.starts]
        return np.asarray(self.centres[chosen])


def _with_constant(x: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.concatenate([x, np.ones((len(x), 1), dtype=x.dtype)], axis=1).astype(np.float32)
