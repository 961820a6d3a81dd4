"""The texture model: mean and modes of lifted, delit textures. It paints synthetic people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TextureModel:
    """A linear model of albedo in the UV chart: colours = mean + sum_k c_k modes_k, c in standard deviations.

    Attributes:
        mean: (T, T, 3) float32, 0-255.
        modes: (M, T, T, 3) float32, levels a standard deviation.
    """

    mean: NDArray[np.float32]
    modes: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.mean.ndim != 3 or self.modes.shape[1:] != self.mean.shape:
            raise InvalidInputError(
                f"expected mean (T, T, 3) and modes (M, T, T, 3); got {self.mean.shape}, {self.modes.shape}"
            )

    @staticmethod
    @cache
    def load() -> TextureModel:
        """The texture model that comes with the package."""
        return TextureModel.from_stored(load_weights("frontalize", "texture_model"))

    def stored(self) -> dict[str, NDArray[np.generic]]:
        """The arrays as `load` reads them: modes as whole numbers of -127 to 127 times a scale of their own.

        Half a level per standard deviation is the least step: finer ones would store noise, and twice the bytes.
        """
        peak = np.abs(self.modes).reshape(len(self.modes), -1).max(axis=1)
        scale = np.maximum(peak / 127, 0.5).astype(np.float32)
        return {
            "mean": self.mean.astype(np.float16),
            "modes": np.rint(self.modes / scale[:, None, None, None]).astype(np.int8),
            "mode_scale": scale,
        }

    @staticmethod
    def from_stored(arrays: Mapping[str, NDArray[np.generic]]) -> TextureModel:
        """The model that `stored` wrote."""
        scale = arrays["mode_scale"].astype(np.float32)
        modes = arrays["modes"].astype(np.float32) * scale[:, None, None, None]
        return TextureModel(arrays["mean"].astype(np.float32), modes)

    def paint(self, coefficients: Floats) -> NDArray[np.float32]:
        """(T, T, 3) colours, 0-255, of coefficients (m,), m <= M, in standard deviations."""
        out = self.mean + np.tensordot(coefficients.astype(np.float32), self.modes[: len(coefficients)], axes=1)
        return np.asarray(np.clip(out, 0.0, 255.0), dtype=np.float32)
