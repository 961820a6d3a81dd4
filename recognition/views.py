"""Normalised views of a face: the photograph turned upright, and the texture seen from the front.

Networks that describe faces expect them at a fixed place and size. The photograph's view is cut by the fitted camera
(its scale, its roll and the middle of the inner landmarks), so it does not jump when points of the far side are hidden.
The frontal view shows the texture on the mean face from the front: a fixed resampling of the chart, mirror-symmetric,
with a mask of what was seen. Its unseen half can be filled from the mirrored side, which adds no information but lets a
network that was trained on whole faces process half a face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.raster import rasterize
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.landmarks.types import Image

ViewKind = Literal["photo", "whole", "left", "right"]
"""What a network is shown: the photograph, the frontal view filled from both sides, or one side and its mirror."""


@dataclass(frozen=True)
class ViewFrame:
    """Where a network expects the face.

    Attributes:
        size: side of the square view, px.
        groups: indices into the 68 landmarks; each group's mean is one point.
        targets: (x, y) of these points in the view, px.
        neutral: RGB of what is not known.
    """

    size: int
    groups: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[float, float], ...]
    neutral: tuple[int, int, int]

    def zoomed(self, factor: float) -> ViewFrame:
        """The frame in which the face is larger by `factor`, its middle where it was."""
        middle_x, middle_y = (sum(along) / len(self.targets) for along in zip(*self.targets, strict=True))
        targets = tuple(
            (middle_x + factor * (x - middle_x), middle_y + factor * (y - middle_y)) for x, y in self.targets
        )
        return replace(self, targets=targets)


DLIB_FRAME = ViewFrame(
    150,
    tuple((k,) for k in (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45, 48, 51, 54)),
    # dlib's mean face in its view of 150 px: a quarter of the inner face's size is left free around it.
    (
        (74.0, 45.3), (74.0, 55.7), (74.0, 66.0), (74.0, 76.6), (61.7, 83.7), (74.0, 87.8), (86.3, 83.7),
        (37.2, 46.6), (58.5, 48.2), (89.6, 48.2), (110.9, 46.6), (50.4, 103.0), (74.0, 99.3), (97.6, 103.0),
    ),
    (123, 117, 104),
)  # fmt: skip
"""dlib's face network: 150 px."""

FACE_FRAME = DLIB_FRAME.zoomed(1.15)
"""The package's own network: as dlib's, the face larger by 1.15: hair and background say little about who it is."""

ARCFACE_FRAME = ViewFrame(
    112,
    (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
    ((38.3, 51.6), (73.6, 51.6), (56.0, 71.7), (41.4, 92.3), (70.6, 92.3)),
    (127, 127, 127),
)
"""Networks of the ArcFace kind: 112 px."""


@cache
def frontal_camera(frame: ViewFrame, model: FaceModel) -> Camera:
    """The camera that shows the mean face from the front as the frame wants it, its middle on the view's middle."""
    landmarks = model.landmarks()
    points = np.stack([landmarks[list(group)].mean(axis=0)[:2] for group in frame.groups])
    targets = np.array(frame.targets)
    centred, wanted = points - points.mean(axis=0), targets - targets.mean(axis=0)
    scale = float((centred * wanted).sum() / (centred**2).sum())
    move = targets.mean(axis=0) - scale * points.mean(axis=0)
    return Camera(np.eye(3), np.array([(frame.size - 1) / 2, move[1]]), scale)


@cache
def chart_map(frame: ViewFrame, texels: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Chart coordinates (column, row) of each pixel of the frontal view, texels, and where the face is."""
    model = FaceModel.load()
    camera = frontal_camera(frame, model)
    geometry = model.geometry()
    column, row = np.meshgrid(np.arange(model.size), np.arange(model.size))
    place = np.stack([column, row], axis=-1).reshape(-1, 2) / (model.size - 1) * texels - 0.5
    raster = rasterize(camera.project(geometry.reshape(-1, 3)), model.triangles, frame.size, frame.size, cull=True)
    at = raster.interpolate(place.astype(np.float64), model.triangles)
    covered = raster.triangle >= 0
    covered &= covered[:, ::-1]
    # The mean face is symmetric but for rounding; an exactly symmetric map makes mirroring a flip of the view.
    x = (at[..., 0] + (texels - 1 - at[:, ::-1, 0])) / 2
    y = (at[..., 1] + at[:, ::-1, 1]) / 2
    return x.astype(np.float32), y.astype(np.float32), covered


def frontal_pixels(texture: FaceTexture, frame: ViewFrame) -> tuple[Image, NDArray[np.bool_]]:
    """The texture on the mean face, from the front.

    Returns:
        (S, S, 3) uint8 RGB, 0 where nothing was seen; (S, S) bool, what was seen.
    """
    column, row, covered = chart_map(frame, texture.visible.shape[0])
    seen = (texture.visible > 0).astype(np.float32)
    weight = cv2.remap(seen, column, row, cv2.INTER_LINEAR)
    # Texels that were not seen are 0 and are weighed out, or the rim of the mask would be dark.
    colour = cv2.remap(texture.pixels.astype(np.float32), column, row, cv2.INTER_LINEAR)
    colour = colour / np.maximum(weight, 1e-6)[..., None]
    shown = np.asarray((weight > 0.5) & covered, dtype=np.bool_)
    pixels = np.where(shown[..., None], np.clip(np.rint(colour), 0, 255), 0).astype(np.uint8)
    return np.asarray(pixels, dtype=np.uint8), shown


def seen_shares(seen: NDArray[np.bool_], frame: ViewFrame, texels: int = 256) -> NDArray[np.float32]:
    """(..., 2) share of the face's left and right half that was seen, for masks (..., S, S) of frontal views."""
    covered = chart_map(frame, texels)[2]
    middle = frame.size // 2
    left = seen[..., :middle].sum(axis=(-2, -1)) / max(int(covered[:, :middle].sum()), 1)
    right = seen[..., -middle:].sum(axis=(-2, -1)) / max(int(covered[:, -middle:].sum()), 1)
    return np.stack([left, right], axis=-1).astype(np.float32)


def filled_view(pixels: Image, seen: NDArray[np.bool_], kind: ViewKind, frame: ViewFrame) -> Image:
    """A frontal view without holes.

    Args:
        pixels, seen: of `frontal_pixels`.
        kind: "whole": what was seen, else its mirror twin; "left" or "right": that side of the view and its mirror.
        frame: whose neutral colour stands where neither was seen.
    """
    if kind != "whole":
        side = np.zeros(frame.size, dtype=bool)
        # An odd size has a middle column that belongs to both sides.
        side[: (frame.size + 1) // 2] = True
        seen = seen & (side if kind == "left" else side[::-1])
    out = np.empty_like(pixels)
    out[:] = frame.neutral
    for shown, mask in ((pixels[:, ::-1], seen[:, ::-1]), (pixels, seen)):
        cv2.copyTo(np.ascontiguousarray(shown), np.ascontiguousarray(mask).view(np.uint8), out)
    return out


def photo_view(image: Image, fitted: FittedFace, frame: ViewFrame) -> Image:
    """The photograph around the face: upright, at the frame's scale, the inner face in the middle.

    Args:
        image: (H, W, 3) uint8 RGB.
        fitted: the fitted face.
        frame: where the face goes.

    Returns:
        (S, S, 3) uint8 RGB; beyond the picture's border its rim is repeated.
    """
    frontal = frontal_camera(frame, FaceModel.load())
    ratio = fitted.camera.scale / frontal.scale  # picture px per view px
    roll = np.deg2rad(fitted.camera.roll)
    turn = ratio * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    centre = np.mean([fitted.points[list(group)].mean(axis=0) for group in frame.groups], axis=0)
    anchor = np.array([(frame.size - 1) / 2, float(np.mean([y for _, y in frame.targets]))])
    corners = np.array([[0, 0], [frame.size - 1, 0], [0, frame.size - 1], [frame.size - 1, frame.size - 1]])
    reach = centre + (corners - anchor) @ turn.T
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(reach.min(axis=0)).astype(int) - 2, 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 3, [x0 + 1, y0 + 1], [width, height])
    crop = image[y0:y1, x0:x1]
    zoom = np.ones(2)
    if ratio > 1:
        # Area averages first: a large photograph must not alias.
        size = max(1, round((x1 - x0) / ratio)), max(1, round((y1 - y0) / ratio))
        zoom = np.array(size) / [x1 - x0, y1 - y0]
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # Pixel centres: x' + 0.5 = zoom (x + 0.5).
    matrix = np.zeros((2, 3))
    matrix[:, :2] = zoom[:, None] * turn
    matrix[:, 2] = zoom * (centre - turn @ anchor - [x0, y0] + 0.5) - 0.5
    return np.asarray(
        cv2.warpAffine(
            crop,
            matrix,
            (frame.size, frame.size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.uint8,
    )
