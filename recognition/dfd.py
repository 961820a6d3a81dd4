"""DFD, the discriminant face descriptor (Lei, Pietikaeinen & Li, PAMI 2014), on UV textures with visibility masks.

A pixel's pattern is Y = W^T dI V: the differences dI (S^2 x d) between the S x S patches of its d neighbours within
radius R and its own patch, seen through a discriminant image filters W (S^2 x a) and b soft samplings V (d x b). The
pattern's nearest of 1,024 dominant patterns is counted; a cell of the 8 x 8 grid is described by its histogram. W, V
and the patterns are learnt for each cell.

Both steps are linear in the (S + 2R)^2 pixels around p, so a cell's whole filter bank is one matrix (see
`cell_filters`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float32]

GRID = 8
"""Cells along each side."""
CELL = 20
"""Texels along a cell's side: the middle 160 x 160 texels of a 256 chart, as the UH system cuts it."""
CROP = GRID * CELL


@dataclass(frozen=True)
class DFDSettings:
    """Settings of the descriptor."""

    patch: int = 5  # S
    radius: int = 3  # R
    filters: int = 5  # a
    samplings: int = 5  # b
    words: int = 1024  # dominant patterns per cell: 64 x 1,024 = the published 65,536 numbers
    min_visible: float = 0.5  # share of visible texels from which a cell counts as seen
    local_sigma: float = 6.0  # texels; light varies more slowly than this, features do not

    @property
    def support(self) -> int:
        """S + 2R, side of the pixel neighbourhood a pattern depends on."""
        return self.patch + 2 * self.radius

    def as_array(self) -> NDArray[np.float64]:
        """(6,) the settings as they are stored beside the weights: all but `local_sigma`.

        That one belongs to the preprocessing; weights learnt under another one cannot be stored (`InvalidInputError`).
        """
        if self.local_sigma != DFDSettings.local_sigma:
            raise InvalidInputError(f"expected the local_sigma {DFDSettings.local_sigma}; got {self.local_sigma}")
        return np.array(
            [self.patch, self.radius, self.filters, self.samplings, self.words, self.min_visible], dtype=np.float64
        )

    @staticmethod
    def from_array(values: NDArray[np.floating]) -> DFDSettings:
        """The settings that `as_array` wrote; `InvalidInputError` when there are not six numbers."""
        if values.shape != (6,):
            raise InvalidInputError(f"expected the six stored settings of DFD; got {values.shape}")
        patch, radius, filters, samplings, words, min_visible = (float(v) for v in values)
        return DFDSettings(
            patch=int(patch),
            radius=int(radius),
            filters=int(filters),
            samplings=int(samplings),
            words=int(words),
            min_visible=min_visible,
        )


def neighbour_offsets(settings: DFDSettings) -> NDArray[np.int64]:
    """(d, 2) offsets (row, column) of the neighbours within radius R; d = (2R + 1)^2 - 1."""
    r = settings.radius
    return np.array([(y, x) for y in range(-r, r + 1) for x in range(-r, r + 1) if (y, x) != (0, 0)], dtype=np.int64)


@cache
def difference_maps(settings: DFDSettings) -> NDArray[np.float64]:
    """(d, S^2, support^2) linear maps from a pixel's neighbourhood to the columns of dI (patch minus own patch)."""
    s, n = settings.patch, settings.support
    start = settings.radius
    maps = np.zeros(((2 * settings.radius + 1) ** 2 - 1, s * s, n * n))
    for k, (dy, dx) in enumerate(neighbour_offsets(settings)):
        for y in range(s):
            for x in range(s):
                maps[k, y * s + x, (start + y + dy) * n + start + x + dx] += 1.0
                maps[k, y * s + x, (start + y) * n + start + x] -= 1.0
    return maps


def cell_filters(w: NDArray[np.floating], v: NDArray[np.floating], settings: DFDSettings) -> NDArray[np.float64]:
    """(support^2, a * b) matrix that takes a neighbourhood to vec(W^T dI V).

    Args:
        w: (S^2, a) image filters; v: (d, b) soft samplings.
    """
    return np.asarray(np.einsum("dsn,sa,db->nab", difference_maps(settings), w, v).reshape(settings.support**2, -1))


def prepare_texture(texture: FaceTexture, settings: DFDSettings | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Grey crop of the chart's middle with the light taken out, and its mask.

    Subtracts the local mean and divides by the local deviation, both over visible texels only.

    Args:
        texture: a 256-texel chart.

    Returns:
        (CROP + support - 1,)*2 float32 (with the border the patches reach into), 0 where not visible; same-size bool.
    """
    settings = settings or DFDSettings()
    t = texture.visible.shape[0]
    if t != 256:
        raise InvalidInputError(f"expected a texture of 256 texels per side; got {t}")
    margin = (t - CROP) // 2 - settings.support // 2
    cut = slice(margin, t - margin)
    grey = cv2.cvtColor(texture.pixels, cv2.COLOR_RGB2GRAY)[cut, cut].astype(np.float32) / 255.0
    mask = (texture.visible[cut, cut] > 0).astype(np.float32)
    size = (0, 0)
    near = np.maximum(cv2.GaussianBlur(mask, size, settings.local_sigma), 1e-3)
    mean = cv2.GaussianBlur(grey * mask, size, settings.local_sigma) / near
    centred = (grey - mean) * mask
    deviation = np.sqrt(
        cv2.GaussianBlur(centred**2, size, 2 * settings.local_sigma)
        / np.maximum(cv2.GaussianBlur(mask, size, 2 * settings.local_sigma), 1e-3)
    )
    # 0.01: below that contrast there is only noise to blow up.
    return (np.clip(centred / (deviation + 0.01), -4.0, 4.0) * mask).astype(np.float32), mask > 0


def neighbourhoods(prepared: Floats, cell: int, settings: DFDSettings) -> Floats:
    """(400, support^2) the pixel neighbourhoods of one cell, row by row."""
    row, column = divmod(cell, GRID)
    n = settings.support
    block = prepared[row * CELL : row * CELL + CELL + n - 1, column * CELL : column * CELL + CELL + n - 1]
    return np.lib.stride_tricks.sliding_window_view(block, (n, n)).reshape(CELL * CELL, n * n)


def usable_pixels(mask: NDArray[np.bool_], settings: DFDSettings) -> NDArray[np.bool_]:
    """(64, 400) for each cell, which of its pixels have a visible neighbourhood (corners may be missing)."""
    n = settings.support
    # The filters' weight sits in the middle: the (S + 2)-square around a pixel decides.
    kernel = settings.patch + 2
    whole = cv2.erode(mask.astype(np.uint8), np.ones((kernel, kernel), np.uint8), borderValue=0)
    middle = whole[n // 2 : n // 2 + CROP, n // 2 : n // 2 + CROP]
    blocks = middle.reshape(GRID, CELL, GRID, CELL).transpose(0, 2, 1, 3)
    return np.asarray(blocks.reshape(GRID * GRID, CELL * CELL) > 0)


@dataclass(frozen=True, eq=False)
class DFD:
    """A trained descriptor.

    Attributes:
        filters: (64, support^2, a b) float32, see `cell_filters`.
        words: (64, K, a b) float32, the dominant patterns of each cell.
        mean: (64, K) float32 mean of the square-rooted histograms.
        projection: (64, K, D) float32, the compaction learnt for each cell (whitened principal components, then
            discriminant directions across pose).
        settings: what it was trained with.
    """

    filters: Floats
    words: Floats
    mean: Floats
    projection: Floats
    settings: DFDSettings

    def __post_init__(self) -> None:
        cells = GRID * GRID
        n, k = self.settings.support**2, self.settings.words
        patterns = self.settings.filters * self.settings.samplings
        if self.filters.shape != (cells, n, patterns) or self.words.shape != (cells, k, patterns):
            raise InvalidInputError(
                f"expected filters {(cells, n, patterns)} and words {(cells, k, patterns)}; got "
                f"{self.filters.shape}, {self.words.shape}"
            )
        if self.mean.shape != (cells, k) or self.projection.shape[:2] != (cells, k):
            raise InvalidInputError(
                f"expected mean {(cells, k)}, projection {(cells, k)} + (D,); got {self.mean.shape}, "
                f"{self.projection.shape}"
            )

    @staticmethod
    @cache
    def load() -> DFD:
        """The descriptor that comes with the package."""
        w = load_weights("recognition", "dfd")
        return DFD(
            filters=w["filters"].astype(np.float32),
            words=w["words"].astype(np.float32),
            mean=w["mean"].astype(np.float32),
            projection=w["projection"].astype(np.float32),
            settings=DFDSettings.from_array(w["settings"]),
        )

    def histograms(self, texture: FaceTexture) -> tuple[Floats, NDArray[np.bool_]]:
        """The published signature: (64, K) counts of dominant patterns (65,536 numbers), and (64,) cells seen.

        Counts of cells that were not seen are 0.
        """
        prepared, mask = prepare_texture(texture, self.settings)
        usable = usable_pixels(mask, self.settings)
        seen = usable.mean(axis=1) >= self.settings.min_visible
        out = np.zeros((GRID * GRID, self.settings.words), dtype=np.float32)
        for cell in np.flatnonzero(seen):
            patterns = neighbourhoods(prepared, int(cell), self.settings)[usable[cell]] @ self.filters[cell]
            words = self.words[cell]
            # argmin |y - w|^2 = argmax (y.w - |w|^2 / 2)
            nearest = (patterns @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
            out[cell] = np.bincount(nearest, minlength=self.settings.words)
        return out, seen

    def describe(self, texture: FaceTexture) -> tuple[Floats, NDArray[np.bool_]]:
        """The compact signature: (64, D) float32 cells of unit length (0 where not seen), and (64,) seen."""
        counts, seen = self.histograms(texture)
        return self.compact(counts, seen), seen

    def compact(self, counts: Floats, seen: NDArray[np.bool_]) -> Floats:
        """(64, D) the compaction of `histograms`' output."""
        share = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))
        cells = np.einsum("ck,ckd->cd", share - self.mean, self.projection)
        cells /= np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-9)
        cells[~seen] = 0.0
        return np.asarray(cells, dtype=np.float32)


def plain_cells(counts: Floats, seen: NDArray[np.bool_]) -> Floats:
    """(64, K) the published histograms as signature cells: unit length where seen, 0 elsewhere."""
    cells = counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
    cells[~seen] = 0.0
    return np.asarray(cells, dtype=np.float32)
