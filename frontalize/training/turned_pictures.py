"""Colour pictures of fitted faces turned to any yaw and pitch, with hair and with things that people wear.

A fitted photograph's texture is lifted and filled from the mirror twin, and the head is rendered again by a perspective
camera over another background (`turned_picture`). The head model has no hair; without some, a detector would learn that
a face seen from above has a bald skull over it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.raster import rasterize
from facerec.frontalize.render import blended_texture, render_head
from facerec.frontalize.texture import lift_geometry
from facerec.frontalize.training.occluders import DRAW, OccluderKind, put_on
from facerec.frontalize.training.pose_augment import background_crop, random_light
from facerec.frontalize.types import Camera
from facerec.frontalize.visibility import landmark_visibility, node_visibility
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.packs import HIDDEN, NOT_ANNOTATED, VISIBLE
from facerec.landmarks.training.picture_set import FacePicture
from facerec.landmarks.types import Image

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TurnSettings:
    """How faces are turned.

    Attributes:
        side: of the picture, px; its face is `face` px, the longer side of the landmarks' box.
        max_yaw, max_pitch, max_roll: degrees, drawn evenly; `steep` of the pictures have at least `steep_pitch`.
        min_yaw: degrees; faces turned less are not made.
        distance: mm from the camera to the head, a telephone's to a studio's.
        light: standard deviation of the directional light's share.
        hair: share with hair; the others are bald.
        worn: share with sunglasses or a mask.
        masks: share of masks among what is worn.
        texture: texels per side.
        min_visible: least share of the chart that the photograph must show.
        min_landmarks: least number of landmarks that the new pose shows: far up over the shoulder there is only skull
            left, and a detector must not take the back of a head for a face.
    """

    side: int = 256
    face: tuple[float, float] = (90.0, 150.0)
    max_yaw: float = 92.0
    max_pitch: float = 65.0
    max_roll: float = 15.0
    min_yaw: float = 0.0
    steep: float = 0.6
    steep_pitch: float = 25.0
    distance: tuple[float, float] = (450.0, 2000.0)
    light: float = 0.3
    hair: float = 0.85
    worn: float = 0.25
    masks: float = 0.3
    texture: int = 192
    min_visible: float = 0.15
    min_landmarks: int = 20


@dataclass(frozen=True, eq=False)
class FittedPicture:
    """A photograph of a fitted face.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        shape, expression: coefficients, standard deviations.
        camera: of the fit, px of `image`.
        person, source: as in `FacePicture`.
    """

    image: Image
    shape: Floats
    expression: Floats
    camera: Camera
    person: str
    source: str


def turned_picture(
    face: FittedPicture,
    model: FaceModel,
    backgrounds: list[Image],
    rng: np.random.Generator,
    settings: TurnSettings | None = None,
) -> FacePicture:
    """The face at a random pose before a random background.

    Points of the jaw and the brows that are seen count as not annotated: the head model's lie 4 to 7 mm from where
    annotators put them.

    Raises:
        InvalidInputError: the photograph shows too little of the face.
    """
    settings = settings or TurnSettings()
    geometry = model.geometry(face.shape, face.expression)
    seen = node_visibility(model, geometry, face.camera)
    lifted = lift_geometry(face.image, geometry, face.camera, seen, settings.texture)
    if lifted.visible_share < settings.min_visible:
        raise InvalidInputError(
            f"expected a face of which {settings.min_visible:.0%} is seen; got {lifted.visible_share:.0%}"
        )
    texture = blended_texture(lifted)
    hidden = np.zeros(68, dtype=bool)
    if rng.random() < settings.worn:
        occluder = DRAW[_draw_worn(rng, settings)](model, rng)
        texture, hidden = occluder.painted_on(texture), occluder.hides(model)
    marks = model.landmarks(face.shape, face.expression)
    while True:
        angles = _draw_angles(rng, settings)
        camera = _place_camera(marks, angles, rng, settings)
        visible = landmark_visibility(model, face.shape, face.expression, camera.towards(marks))
        if visible.sum() >= settings.min_landmarks:
            break
    side = settings.side
    light = random_light(rng, settings.light)
    head = render_head(model, face.shape, face.expression, camera, texture, side, side, light=light)
    pixels = head.pixels.astype(np.float32)
    if rng.random() < settings.hair:
        hair = _hair_cover(model, face, camera, side, rng)[..., None]
        pixels = pixels * (1 - hair) + _hair_colour(rng, side) * hair
    alpha = cv2.GaussianBlur(head.alpha, (0, 0), 0.8)[..., None]
    behind = background_crop(rng, backgrounds[int(rng.integers(len(backgrounds)))], side)
    picture = np.rint(pixels * alpha + behind * (1 - alpha)).astype(np.uint8)
    visible &= ~hidden
    state = np.where(visible, VISIBLE, HIDDEN).astype(np.int8)
    state[:27][visible[:27]] = NOT_ANNOTATED
    points = camera.project(marks)[:, :2].astype(np.float32)
    pose = np.array(angles, dtype=np.float32)
    return FacePicture(picture, points, state, pose, face.person, f"turned-{face.source}")


def worn_picture(
    face: FittedPicture, model: FaceModel, rng: np.random.Generator, settings: TurnSettings | None = None
) -> FacePicture:
    """The photograph itself, its face wearing sunglasses or a mask; no point is annotated."""
    occluder = DRAW[_draw_worn(rng, settings or TurnSettings())](model, rng)
    image = put_on(face.image, occluder, model, face.shape, face.expression, face.camera)
    points = face.camera.project(model.landmarks(face.shape, face.expression))[:, :2].astype(np.float32)
    state = np.full(68, NOT_ANNOTATED, dtype=np.int8)
    return FacePicture(
        image, points, state, np.array(face.camera.angles, np.float32), face.person, f"worn-{face.source}"
    )


def _draw_worn(rng: np.random.Generator, settings: TurnSettings) -> OccluderKind:
    return "sunglasses" if rng.random() < 1 - settings.masks else "mask"


def _draw_angles(rng: np.random.Generator, settings: TurnSettings) -> tuple[float, float, float]:
    least = settings.steep_pitch if rng.random() < settings.steep else 0.0
    pitch = rng.uniform(least, settings.max_pitch) * rng.choice((-1.0, 1.0))
    yaw = rng.uniform(-settings.max_yaw, settings.max_yaw)
    yaw = math.copysign(settings.min_yaw + abs(yaw) * (1 - settings.min_yaw / settings.max_yaw), yaw)
    return float(yaw), float(pitch), float(rng.uniform(-settings.max_roll, settings.max_roll))


def _place_camera(
    marks: Floats, angles: tuple[float, float, float], rng: np.random.Generator, settings: TurnSettings
) -> PerspectiveCamera:
    """The camera that shows the landmarks near the picture's middle, of a random size."""
    unit = PerspectiveCamera.at(Camera.from_angles(*angles), float(rng.uniform(*settings.distance)))
    flat = unit.project(marks)[:, :2]
    low, high = flat.min(axis=0), flat.max(axis=0)
    scale = float(rng.uniform(*settings.face) / (high - low).max())
    middle = (settings.side - 1) / 2 + rng.uniform(-0.08, 0.08, 2) * settings.side
    return PerspectiveCamera(unit.rotation, middle - scale * (low + high) / 2, scale, unit.distance)


def _hair_cover(
    model: FaceModel, face: FittedPicture, camera: PerspectiveCamera, side: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(side, side) in [0, 1]: where the head is covered by hair.

    The hairline is a height that falls from the forehead over the temples to the neck, in model space, mm (y down, the
    face at negative z); short hair ends at the ears, long hair at the shoulders.
    """
    geometry = model.geometry(face.shape, face.expression).reshape(-1, 3)
    skull = model.skull_geometry(face.shape)
    points = np.concatenate([geometry, skull])
    triangles = np.concatenate([model.triangles, model.skull_triangles + len(geometry)])
    raster = rasterize(camera.project(points), triangles, side, side)
    place = raster.interpolate(points, triangles)
    front = rng.uniform(-112.0, -82.0)
    ends = rng.uniform(20.0, 60.0) if rng.random() < 0.5 else 200.0
    depth = np.clip((place[..., 2] - rng.uniform(-75.0, -55.0)) / rng.uniform(40.0, 70.0), 0.0, 1.0)
    line = front + (ends - front) * depth**1.5
    wave = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 3.0) * 40
    cover = (raster.triangle >= 0) & (place[..., 1] < line + wave)
    return np.asarray(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 0.8), dtype=np.float32)


def _hair_colour(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """(side, side, 3) strands of one colour, 0-255."""
    base = np.array([(25, 20, 18), (60, 42, 30), (105, 75, 50), (165, 130, 85), (150, 148, 145)][rng.integers(5)])
    base = base * rng.uniform(0.7, 1.3)
    strands = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 0.6, sigmaY=6.0)
    lamps = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 25.0)
    shade = np.clip(1 + 1.2 * strands + 12 * lamps, 0.3, 2.2)[..., None]
    return np.asarray(np.clip(base * shade, 0, 255), dtype=np.float32)
