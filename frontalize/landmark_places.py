"""Systematic offsets of the 68 landmarks: annotators and the landmark network against the face model's own points.

The head model's 68 landmarks are vertices that were picked by hand. Annotators place jaw and brows differently, and
their jaw points follow the contour as the head turns. The landmark network partly follows them, and also pulls every
pose towards a level half profile. Both offsets are systematic, so a table over pose holds them and the fit subtracts
them before it computes residuals (`facerec.frontalize.gauss_newton.solve`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.gauss_newton import Estimate
from facerec.frontalize.types import Camera
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR

Floats = NDArray[np.float64]

LandmarkSource = Literal["model", "annotated", "located"]
"""Who placed the points: the face model itself, an annotator, or the package's landmark network."""


@dataclass(frozen=True, eq=False)
class LandmarkPlaces:
    """How far one source's points lie from the projections of the face model's landmarks, by pose.

    Attributes:
        yaw: (Y,) degrees, ascending from 0; pitch: (P,) degrees, ascending: the poses of the table. Negative yaw goes
            through the mirror image; beyond the table its rim holds.
        offset: (Y, P, 68, 2) mm, x right and y down of the face held upright (no roll). At yaw 0 it is symmetric, so
            that the offset is continuous there.
    """

    yaw: Floats
    pitch: Floats
    offset: Floats

    def __post_init__(self) -> None:
        if self.offset.shape != (len(self.yaw), len(self.pitch), 68, 2):
            raise InvalidInputError(
                f"expected offset (Y, P, 68, 2) with Y = {len(self.yaw)}, P = {len(self.pitch)}; "
                f"got {self.offset.shape}"
            )
        if self.yaw[0] != 0 or (np.diff(self.yaw) <= 0).any() or (np.diff(self.pitch) <= 0).any():
            raise InvalidInputError(f"expected yaw from 0 and pitch, ascending; got {self.yaw} and {self.pitch}")

    @staticmethod
    @cache
    def load(source: Literal["annotated", "located"]) -> LandmarkPlaces:
        """The places that come with the package."""
        arrays = {name: a.astype(np.float64) for name, a in load_weights("frontalize", "landmark_places").items()}
        return LandmarkPlaces(arrays["yaw"], arrays["pitch"], arrays[source])

    def upright(self, yaw: Floats, pitch: Floats) -> Floats:
        """(B, 68, 2) mm at yaw (B,) and pitch (B,), degrees: bilinear between the table's poses."""
        across, down = linear_shares(np.abs(yaw), self.yaw), linear_shares(pitch, self.pitch)
        share = (across[:, :, None] * down[:, None, :]).reshape(len(yaw), -1)
        at = (share @ self.offset.reshape(share.shape[1], 136)).reshape(-1, 68, 2)
        return np.where((yaw < 0)[:, None, None], at[:, IBUG68_MIRROR] * [-1.0, 1.0], at)

    def shift(self, now: Estimate) -> Floats:
        """(B, 68, 2) px: where this source's points lie from the model's own under the cameras of `now`."""
        yaw, pitch, roll = now.angles()
        at = self.upright(yaw, pitch) * now.scale[:, None, None]
        cos, sin = np.cos(np.deg2rad(roll))[:, None], np.sin(np.deg2rad(roll))[:, None]
        return np.stack([cos * at[..., 0] - sin * at[..., 1], sin * at[..., 0] + cos * at[..., 1]], axis=2)

    def under(self, camera: Camera) -> Floats:
        """(68, 2) px: `shift` under one camera."""
        alone = Estimate(
            camera.rotation[None], camera.translation[None], np.array([camera.scale]), np.zeros((1, 0), np.float64)
        )
        return np.asarray(self.shift(alone)[0])


def linear_shares(values: Floats, knots: Floats) -> Floats:
    """(B, K) what each of K ascending knots contributes to linear interpolation at `values` (B,); rows add up to 1."""
    if len(knots) == 1:
        return np.ones((len(values), 1))
    low = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    share = np.clip((values - knots[low]) / (knots[low + 1] - knots[low]), 0.0, 1.0)
    out, row = np.zeros((len(values), len(knots))), np.arange(len(values))
    out[row, low], out[row, low + 1] = 1.0 - share, share
    return out
