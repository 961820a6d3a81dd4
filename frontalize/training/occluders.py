"""What people wear, drawn onto the face's chart: sunglasses and masks for training pictures and for measurements.

Drawn on the UV chart they follow the face into every pose: a lens is seen from the side as a lens is. They lie on the
skin, so a lens hides what it would hide and nothing beside the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import render_head
from facerec.frontalize.types import Camera
from facerec.landmarks.types import Image

Floats = NDArray[np.float64]
OccluderKind = Literal["sunglasses", "mask"]

_CHART = 192  # texels per side: a face of 128 px needs no more


@dataclass(frozen=True, eq=False)
class Occluder:
    """Something worn on a face.

    Attributes:
        colour: (T, T, 3) float32, 0-255, on the UV chart.
        cover: (T, T) float32 in [0, 1], how opaque it is.
    """

    colour: NDArray[np.float32]
    cover: NDArray[np.float32]

    def painted_on(self, texture: NDArray[np.float32]) -> NDArray[np.float32]:
        """`texture` (S, S, 3), 0-255, with it."""
        size = (texture.shape[1], texture.shape[0])
        cover = cv2.resize(self.cover, size, interpolation=cv2.INTER_LINEAR)[..., None]
        colour = cv2.resize(self.colour, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(texture * (1 - cover) + colour * cover, dtype=np.float32)

    def hides(self, model: FaceModel) -> NDArray[np.bool_]:
        """(68,) which landmarks lie under it."""
        at = np.rint(model.landmark_uv * (len(self.cover) - 1)).astype(int)
        return np.asarray(self.cover[at[:, 1], at[:, 0]] > 0.5)


def draw_sunglasses(model: FaceModel, rng: np.random.Generator) -> Occluder:
    """Dark glasses of a random shape, with bridge and temples."""
    uv = model.landmark_uv * (_CHART - 1)
    left, right = uv[36:42].mean(axis=0), uv[42:48].mean(axis=0)
    apart = float(np.linalg.norm(right - left))
    half = apart * np.array([rng.uniform(0.36, 0.5), rng.uniform(0.26, 0.42)])
    drop = apart * rng.uniform(0.0, 0.1)
    power = rng.uniform(2.0, 5.0)
    columns, rows = np.meshgrid(np.arange(_CHART), np.arange(_CHART))
    cover = np.zeros((_CHART, _CHART))
    for centre in (left, right):
        u, v = (columns - centre[0]) / half[0], (rows - centre[1] - drop) / half[1]
        cover = np.maximum(cover, np.clip((1 - np.abs(u) ** power - np.abs(v) ** power) * 6, 0, 1))
    frame = np.zeros((_CHART, _CHART), np.uint8)
    width = max(1, round(apart * rng.uniform(0.03, 0.1)))
    height = round(left[1] + drop - half[1] * rng.uniform(0.2, 0.6))
    cv2.line(frame, (0, height), (_CHART - 1, height), 1, width)
    lens = rng.uniform(0, 60) * (1 + 0.3 * rng.standard_normal(3))
    slope = 1 + rng.uniform(0, 0.8) * (rows - left[1]) / (4 * half[1])
    colour = np.clip(lens * np.ones((_CHART, _CHART, 3)) * slope[..., None], 0, 255)
    rim = rng.uniform(0, 120) * (1 + 0.2 * rng.standard_normal(3))
    bare = cover < 0.5
    colour[bare] = np.clip(rim, 0, 255)
    opaque = rng.uniform(0.75, 1.0)
    return Occluder(colour.astype(np.float32), np.maximum(cover * opaque, frame).astype(np.float32))


def draw_mask(model: FaceModel, rng: np.random.Generator) -> Occluder:
    """A surgical or cloth mask from the nose's bridge down to below the chin."""
    uv = model.landmark_uv * (_CHART - 1)
    bridge = uv[28] + (uv[30] - uv[28]) * rng.uniform(0.0, 0.8)
    edge = int(rng.integers(1, 4))
    outline = np.concatenate([uv[edge : 17 - edge], bridge[None]])
    middle = outline.mean(axis=0)
    wider = middle + (outline - middle) * [rng.uniform(0.95, 1.15), rng.uniform(1.0, 1.2)]
    wider[-1] = bridge
    filled = np.zeros((_CHART, _CHART), np.uint8)
    cv2.fillPoly(filled, [np.rint(wider).astype(np.int32)], 1)
    base = np.array(
        [(235, 240, 245), (120, 170, 210), (30, 30, 35), (150, 190, 160)][rng.integers(4)], dtype=np.float64
    )
    rows = np.arange(_CHART)[:, None, None]
    folds = 1 + 0.08 * np.sin(rows * rng.uniform(0.2, 0.6) + rng.uniform(0, 6))
    grain = 1 + 0.03 * rng.standard_normal((_CHART, _CHART, 1))
    colour = np.clip(base * rng.uniform(0.7, 1.0) * folds * grain, 0, 255)
    cover = cv2.GaussianBlur(filled.astype(np.float32), (0, 0), 0.7)
    return Occluder(colour.astype(np.float32), np.asarray(cover, dtype=np.float32))


DRAW: dict[OccluderKind, Callable[[FaceModel, np.random.Generator], Occluder]] = {
    "sunglasses": draw_sunglasses,
    "mask": draw_mask,
}


def put_on(
    image: Image, occluder: Occluder, model: FaceModel, shape: Floats, expression: Floats, camera: Camera
) -> Image:
    """The photograph (H, W, 3) with the occluder on the fitted face."""
    height, width = image.shape[:2]
    chart = np.repeat(occluder.cover[..., None], 3, axis=2) * 255
    covered = render_head(model, shape, expression, camera, chart, height, width, supersample=2, skull=True)
    coloured = render_head(model, shape, expression, camera, occluder.colour, height, width, skull=True)
    alpha = (covered.pixels[..., :1].astype(np.float32) / 255) * covered.face[..., None]
    return np.rint(image * (1 - alpha) + coloured.pixels * alpha).astype(np.uint8)


def put_hand_on(image: Image, points: Floats, rng: np.random.Generator) -> Image:
    """The photograph with a hand before a part of the face.

    Args:
        image: (H, W, 3).
        points: (L, 2) px, landmarks; NaN where unknown.
        rng: draws place, skin and fingers.
    """
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    side = float((high - low).max())
    # From an edge of the face inwards: chin, cheek or forehead.
    angle = rng.uniform(0, 2 * np.pi)
    palm = (low + high) / 2 + 0.55 * side * np.array([np.cos(angle), np.sin(angle)])
    drawn = np.zeros(image.shape[:2], np.uint8)
    scale = 8  # OpenCV's fixed point: 3 bits

    def at(point: Floats) -> tuple[int, int]:
        return round(float(point[0]) * scale), round(float(point[1]) * scale)

    cv2.circle(drawn, at(palm), round(0.2 * side * scale), 255, -1, cv2.LINE_AA, 3)
    inwards = angle + np.pi + rng.normal(0, 0.4)
    for finger in range(4):
        spread = inwards + (finger - 1.5) * rng.uniform(0.1, 0.22)
        tip = palm + rng.uniform(0.35, 0.5) * side * np.array([np.cos(spread), np.sin(spread)])
        cv2.line(drawn, at(palm), at(tip), 255, max(1, round(0.085 * side)), cv2.LINE_AA, 3)
    skin = np.array([(236, 198, 170), (205, 160, 125), (150, 105, 75), (90, 60, 45)][rng.integers(4)], dtype=np.float64)
    shade = cv2.GaussianBlur(drawn, (0, 0), 0.03 * side).astype(np.float64)[..., None] / 255
    colour = np.clip(skin * rng.uniform(0.7, 1.05) * (0.6 + 0.4 * shade), 0, 255)
    alpha = drawn[..., None].astype(np.float64) / 255
    return np.rint(image * (1 - alpha) + colour * alpha).astype(np.uint8)


def put_cap_on(image: Image, points: Floats, rng: np.random.Generator) -> Image:
    """The photograph with a cap whose edge lies on the brows.

    Args:
        image: (H, W, 3).
        points: (68, 2) px, landmarks, hidden ones where they would be.
        rng: draws colour and how deep it sits.
    """
    brows, chin = points[17:27].mean(axis=0), points[8]
    up = (brows - chin) / max(1e-6, float(np.linalg.norm(brows - chin)))
    across = np.array([-up[1], up[0]])
    tall = float(np.linalg.norm(brows - chin))
    wide = 0.72 * tall
    edge = brows + up * tall * rng.uniform(-0.02, 0.12)
    outline = [edge - across * wide, edge + across * wide]
    for turn in np.linspace(0, np.pi, 13):
        outline.append(edge + across * wide * np.cos(turn) + up * tall * 0.75 * np.sin(turn))
    drawn = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(drawn, [np.rint(np.array(outline) * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    brim = np.array([edge - across * wide * 0.8, edge + across * wide * 0.8])
    ends = np.rint(brim * 8).astype(np.int32)
    cv2.polylines(drawn, [ends], False, 255, max(1, round(0.1 * tall)), cv2.LINE_AA, 3)
    rows = np.linspace(1.1, 0.7, image.shape[0])[:, None, None]
    colour = np.clip(rng.uniform(0, 230, 3) * rows * np.ones((*image.shape[:2], 1)), 0, 255)
    alpha = drawn[..., None].astype(np.float64) / 255
    return np.rint(image * (1 - alpha) + colour * alpha).astype(np.uint8)
