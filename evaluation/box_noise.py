"""How landmark errors grow when the boxes are off: Fig. 6 of the GoDP paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facerec.evaluation.landmark_errors import nme
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.landmarker import Locator
from facerec.landmarks.types import Box

SIGMAS = (0.05, 0.10, 0.15, 0.20)
"""Deviations of the noise, shares of the box's size."""

LEAST_SCALE = 0.2
"""A box is never made smaller than this share of itself: a normal deviate can be below minus one."""


def noisy_boxes(box: Box, rng: np.random.Generator) -> tuple[list[Box], list[Box]]:
    """A box with Gaussian noise on its size, and on its place, each at every deviation of `SIGMAS`.

    The same draws at every deviation, so that a curve is about the deviation alone.
    """
    x, y = box.center
    size, dx, dy = rng.standard_normal(3)

    def at(shift_x: float, shift_y: float, scale: float) -> Box:
        w, h = box.width * scale / 2, box.height * scale / 2
        cx, cy = x + shift_x * box.width, y + shift_y * box.height
        return Box(cx - w, cy - h, cx + w, cy + h)

    sizes = [at(0.0, 0.0, max(1 + sigma * float(size), LEAST_SCALE)) for sigma in SIGMAS]
    return sizes, [at(sigma * float(dx), sigma * float(dy), 1.0) for sigma in SIGMAS]


def box_noise_figures(
    annotated: Sequence[AnnotatedPicture],
    landmarker: Locator,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Mean errors by box from annotated boxes with noise on their size or their place.

    Args:
        annotated: the faces; unusable pictures are left out and lower n.
        landmarker: locates 68 points in a box.
        seed: of the noise.
        advance: called with 1 after each picture.

    Returns:
        n; sigma, beginning with 0; size and translation, nme_box at each sigma.
    """
    rng = np.random.default_rng(seed)
    errors = []
    for one in annotated:
        sizes, places = noisy_boxes(one.box, rng)
        try:
            located = landmarker.locate(one.image(), [one.box, *sizes, *places])
        except UnusablePhotoError:
            continue
        finally:
            if advance is not None:
                advance(1)
        errors.append([nme(found.points.astype(np.float64), one.points, "box", one.sources) for found in located])
    means = np.mean(errors, axis=0) if errors else np.full(1 + 2 * len(SIGMAS), np.nan)
    plain, steps = float(means[0]), len(SIGMAS)
    return {
        "n": len(errors),
        "sigma": [0.0, *SIGMAS],
        "size": [plain, *(float(value) for value in means[1 : 1 + steps])],
        "translation": [plain, *(float(value) for value in means[1 + steps :])],
    }
