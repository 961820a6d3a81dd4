"""Training DFD: the alternating Fisher problem for W and V, dominant patterns, and the compaction, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.dfd import (
    CELL,
    DFD,
    GRID,
    DFDSettings,
    Floats,
    cell_filters,
    difference_maps,
    usable_pixels,
)

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class DFDTraining:
    """Settings of the training."""

    rounds: int = 4  # the Fisher ratio settles by the third round
    ridge: float = 1e-3  # of the mean variance, added to the within-class scatter
    pixel_step: int = 2  # every second pixel of a cell carries the scatter: neighbours say the same
    patterns: int = 40_000  # patterns that the dominant ones are sought among, a cell
    iterations: int = 8  # of k-means
    components: int = 160  # principal components of a cell's histograms kept before the discriminant directions
    compact: int = 48  # numbers per cell
    shrink: float = 0.1  # of the within-class scatter towards a sphere
    seed: int = 0


def fisher_ratio(between: Doubles, within: Doubles, filters: Doubles) -> float:
    """trace((F^T Sw F)^-1 F^T Sb F) of directions F (n, k)."""
    left = filters.T @ within @ filters
    return float(
        np.trace(np.linalg.solve(left + 1e-9 * np.trace(left) * np.eye(len(left)), filters.T @ between @ filters))
    )


def alternate(
    between: Doubles, within: Doubles, settings: DFDSettings, training: DFDTraining
) -> tuple[Doubles, Doubles, list[float]]:
    """Solve the alternating Fisher problem in the covariance domain.

    dI is linear in the neighbourhood x, so Sb and Sw of W^T dI V follow from the covariances of x alone: with A_v the
    map from x to dI v, S(V) = sum_v A_v C A_v^T; and the transposed problem likewise.

    Args:
        between, within: (support^2, support^2) scatters of the neighbourhoods.

    Returns:
        W (S^2, a), V (d, b) and the Fisher ratio of the a x b patterns after each round.
    """
    maps = difference_maps(settings)  # (d, S^2, n)
    d = len(maps)
    v = np.eye(d)  # the first round weighs all neighbours alike
    w = np.zeros((settings.patch**2, settings.filters))
    ratios = []
    for _ in range(training.rounds):
        along = np.einsum("dsn,db->bsn", maps, v)
        w = _directions(
            sum(a @ between @ a.T for a in along),
            sum(a @ within @ a.T for a in along),
            settings.filters,
            training.ridge,
        )
        across = np.einsum("dsn,sa->adn", maps, w)
        v = _directions(
            sum(a @ between @ a.T for a in across),
            sum(a @ within @ a.T for a in across),
            settings.samplings,
            training.ridge,
        )
        ratios.append(fisher_ratio(between, within, cell_filters(w, v, settings)))
    return w, v, ratios


def _directions(between: Doubles | int, within: Doubles | int, count: int, ridge: float) -> Doubles:
    b, w = np.asarray(between), np.asarray(within)
    n = len(w)
    _, vectors = scipy.linalg.eigh(b, w + ridge * np.trace(w) / n * np.eye(n))
    top = vectors[:, ::-1][:, :count]
    # A direction's sign is free; fixing it makes the training deterministic across LAPACK builds.
    return np.asarray(top * np.where(top[np.abs(top).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0))


CHUNK = 256
"""Textures whose neighbourhoods are held at a time: 50 MB."""


class _Scatter:
    """Between- and within-class scatter of neighbourhoods about per-pixel class means, gathered in chunks.

    Args:
        people: number of classes; pixels: P, of a cell; n: numbers of a neighbourhood.
    """

    def __init__(self, people: int, pixels: int, n: int) -> None:
        self._total = np.zeros((people, pixels, n), dtype=np.float32)
        self._count = np.zeros((people, pixels), dtype=np.float32)
        self._square = np.zeros((n, n))

    def add(self, x: Floats, usable: NDArray[np.bool_], person: NDArray[np.int64]) -> None:
        """Take up (N, P, n) neighbourhoods, where (N, P) usable, of the classes (N,)."""
        x = x * usable[..., None]
        for row, whose in enumerate(person.tolist()):
            self._total[whose] += x[row]
            self._count[whose] += usable[row]
        flat = x.reshape(-1, x.shape[2])
        self._square += flat.T @ flat

    def result(self) -> tuple[Doubles, Doubles]:
        """(n, n) between and (n, n) within."""
        mean = self._total.sum(axis=0) / np.maximum(self._count.sum(axis=0), 1)[:, None]
        within, between = self._square.copy(), np.zeros_like(self._square)
        for first in range(0, len(self._total), CHUNK):
            count = self._count[first : first + CHUNK]
            class_mean = self._total[first : first + CHUNK] / np.maximum(count, 1)[..., None]
            root = np.sqrt(count)[..., None]
            inner = (class_mean * root).reshape(-1, len(within))
            within -= inner.T @ inner
            outer = ((class_mean - mean) * root).reshape(-1, len(within))
            between += outer.T @ outer
        return between, within


def _compaction(histograms: Floats, person: NDArray[np.int64], training: DFDTraining) -> tuple[Floats, Floats]:
    """Mean (K,) and projection (K, D) of square-rooted histograms (N, K): whitening, then Fisher directions."""
    mean = histograms.mean(axis=0)
    centred = (histograms - mean).astype(np.float64)
    covariance = centred.T @ centred / len(centred)
    variance, axes = np.linalg.eigh(covariance)
    # Few textures span few directions. The others hold rounding only: whitened, they would look like what varies least
    # within a person, and be preferred to everything that was measured.
    count = min(training.components, int(np.count_nonzero(variance > 1e-6 * max(variance[-1], 1e-9))))
    keep = slice(len(variance) - count, None)
    whiten = axes[:, keep] / np.sqrt(variance[keep])
    z = centred @ whiten
    people = int(person.max()) + 1
    pictures = np.bincount(person, minlength=people).astype(np.float64)
    total = np.zeros((people, z.shape[1]))
    np.add.at(total, person, z)
    residual = z - (total / np.maximum(pictures, 1)[:, None])[person]
    several = pictures[person] > 1
    within = residual[several].T @ residual[several] / max(int(several.sum()), 1)
    within = (1 - training.shrink) * within + training.shrink * np.trace(within) / max(count, 1) * np.eye(count)
    # In the whitened space the total scatter is the identity: Fisher's directions are the least within-class ones.
    spread, vectors = np.linalg.eigh(within)
    chosen = vectors[:, : training.compact] / np.sqrt(np.maximum(spread[: training.compact], 1e-12))
    # A cell with fewer directions than asked for keeps zeros in the rest.
    projection = np.zeros((len(mean), training.compact))
    projection[:, : chosen.shape[1]] = whiten @ chosen
    signs = np.where(projection[np.abs(projection).argmax(axis=0), np.arange(projection.shape[1])] < 0, -1.0, 1.0)
    return mean.astype(np.float32), (projection * signs).astype(np.float32)


def _dominant(patterns: Floats, words: int, training: DFDTraining) -> Floats:
    """(K, a b) the dominant of `patterns` (M, a b)."""
    import faiss

    means_of = faiss.Kmeans(
        patterns.shape[1], words, niter=training.iterations, seed=training.seed + 1, max_points_per_centroid=10**6
    )
    means_of.cp.min_points_per_centroid = 1
    means_of.train(np.ascontiguousarray(patterns))
    return np.asarray(means_of.centroids, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Cell:
    """One cell of the textures that show it; neighbourhoods are made `CHUNK` textures at a time.

    Attributes:
        number: of the cell. prepared: (N, side, side) of all textures. rows: (M,) those that show the cell.
        usable: (M, 400) pixels that count. person: (M,) labels.
    """

    number: int
    prepared: NDArray[np.floating]
    rows: NDArray[np.intp]
    usable: NDArray[np.bool_]
    person: NDArray[np.int64]
    settings: DFDSettings

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """Rows of this cell, and a view (R, 20, 20, support, support) of their neighbourhoods."""
        row, column = divmod(self.number, GRID)
        n = self.settings.support
        down, across = (slice(at * CELL, at * CELL + CELL + n - 1) for at in (row, column))
        for first in range(0, len(self.rows), CHUNK):
            part = slice(first, first + CHUNK)
            block = self.prepared[self.rows[part], down, across].astype(np.float32)
            yield part, np.lib.stride_tricks.sliding_window_view(block, (n, n), axis=(1, 2))

    def scatters(self, step: int) -> tuple[Doubles, Doubles]:
        """Between- and within-class scatter of the neighbourhoods of every `step`-th pixel."""
        n, pixels = self.settings.support**2, np.arange(CELL * CELL).reshape(CELL, CELL)[::step, ::step].ravel()
        scatter = _Scatter(int(self.person.max()) + 1, len(pixels), n)
        for part, around in self.chunks():
            chosen = around[:, ::step, ::step].reshape(len(around), len(pixels), n)
            scatter.add(chosen, self.usable[part][:, pixels], self.person[part])
        return scatter.result()

    def patterns(self, filters: Floats, chosen: NDArray[np.bool_]) -> Floats:
        """Those of the patterns under `filters` (n, a b) that are `chosen`, a mask over all usable pixels."""
        taken, before = [], 0
        for part, around in self.chunks():
            picture, pixel = np.nonzero(self.usable[part])
            mine = chosen[before : before + len(pixel)]
            before += len(pixel)
            row, column = np.divmod(pixel[mine], CELL)
            taken.append(around[picture[mine], row, column].reshape(len(row), -1) @ filters)
        return np.concatenate(taken)

    def histograms(self, filters: Floats, words: Floats) -> Floats:
        """(M, K) how often each of `words` (K, a b) is the nearest pattern."""
        half = 0.5 * (words**2).sum(axis=1)
        out = np.zeros((len(self.rows), len(words)), dtype=np.float32)
        for part, around in self.chunks():
            for k, (own, seen) in enumerate(zip(around, self.usable[part], strict=True), part.start):
                found = own.reshape(CELL * CELL, -1) @ filters
                nearest = (found[seen] @ words.T - half).argmax(axis=1)
                out[k] = np.bincount(nearest, minlength=len(words))
        return out


def _train_cell(
    cell: int,
    prepared: NDArray[np.floating],
    usable: NDArray[np.bool_],
    person: NDArray[np.int64],
    settings: DFDSettings,
    training: DFDTraining,
) -> tuple[tuple[Floats, Floats, Floats, Floats], float]:
    """(filters, dominant patterns, mean, projection) and Fisher ratio of one cell, of which (N, 400) are `usable`."""
    rng = np.random.default_rng([training.seed, cell])
    rows = np.flatnonzero(usable.mean(axis=1) >= settings.min_visible)
    if len(rows) < 20:
        raise InvalidInputError(f"expected cell {cell} to be visible in at least 20 textures; got {len(rows)}")
    whose = np.unique(person[rows], return_inverse=True)[1]
    shown = _Cell(cell, prepared, rows, usable[rows], whose, settings)
    w, v, ratios = alternate(*shown.scatters(training.pixel_step), settings, training)
    filters = cell_filters(w, v, settings).astype(np.float32)
    count = int(shown.usable.sum())
    if min(count, training.patterns) < settings.words:
        raise InvalidInputError(f"expected at least {settings.words} patterns in cell {cell}; got {count}")
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[rng.permutation(count)[: training.patterns]] = True
    words = _dominant(shown.patterns(filters, chosen), settings.words, training)
    histograms = shown.histograms(filters, words)
    shares = np.sqrt(histograms / histograms.sum(axis=1, keepdims=True))
    mean, projection = _compaction(shares, whose, training)
    return (filters, words, mean, projection), ratios[-1]


def train_dfd(
    prepared: NDArray[np.floating],
    masks: NDArray[np.bool_],
    people: NDArray[np.str_],
    settings: DFDSettings | None = None,
    training: DFDTraining | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> DFD:
    """Train filters, dominant patterns and compaction.

    Args:
        prepared: (N, side, side) and masks: (N, side, side), as `prepare_texture` gives them.
        people: (N,) whose texture it is; Fisher's scatters need people with two and more.
        settings, training: see there.
        progress: called with the cell's index and its Fisher ratio.

    Raises:
        InvalidInputError: fewer than two people, or nobody with two textures.
    """
    settings, training = settings or DFDSettings(), training or DFDTraining()
    names, person = np.unique(people, return_inverse=True)
    if len(names) < 2 or np.bincount(person).max() < 2:
        raise InvalidInputError(f"expected textures of at least two people, two of somebody; got {len(names)} people")
    usable = np.stack([usable_pixels(mask, settings) for mask in masks])  # (N, 64, 400)
    cells: list[tuple[Floats, Floats, Floats, Floats]] = []
    for cell in range(GRID * GRID):
        learnt, ratio = _train_cell(cell, prepared, usable[:, cell], person, settings, training)
        cells.append(learnt)
        if progress is not None:
            progress(cell, ratio)
    filters, words, means, projections = (np.stack(parts) for parts in zip(*cells, strict=True))
    return DFD(filters, words, means, projections, settings)
