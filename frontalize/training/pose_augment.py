"""Training faces with exact landmarks and visibility up to the full profile: turned photographs and rendered people.

A picture is fitted, its texture lifted and filled from the mirror twin, and the head rendered again at another yaw and
pitch over another background. Made-up people have shapes and textures drawn from the models. The data sets on disk
have the format the landmark stage reads (`LandmarkPack`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import BatchFit, face_size, fit_batch
from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.render import blended_texture, render_head
from facerec.frontalize.texture import lift_geometry
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import Camera
from facerec.frontalize.visibility import landmark_visibility, node_visibility
from facerec.landmarks.crop import PACK_SCALE, PACK_SIZE
from facerec.landmarks.training.packs import HIDDEN, NOT_ANNOTATED, VISIBLE, PackedFace
from facerec.landmarks.types import Image

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PoseSettings:
    """Settings of the pose augmentation."""

    max_yaw: float = 90.0
    max_pitch: float = 30.0
    steep_share: float = 0.7  # share of poses beyond 40 degrees of yaw: real pictures cover what lies below
    max_roll: float = 10.0  # more roll comes from the training's own augmentation
    light: float = 0.25  # standard deviation of the directional light's share
    max_residual: float = 0.06  # of the face's size: annotations that no face explains are left out
    contour_yaw: float = 45.0  # annotators put hidden jaw points on the outline below this yaw: those do not count
    texture: int = 192  # texels per side: a face of 128 px needs no more
    # Made-up people only:
    expression: float = 0.5  # standard deviations
    distance: tuple[float, float] = (500.0, 2000.0)  # mm from camera to head: a telephone's to a studio's
    plain: float = 0.5  # share before a plain backdrop, as in a laboratory


@dataclass(frozen=True, eq=False)
class SourceFace:
    """An annotated face to be turned: picture (H, W, 3), points (68, 2) px with NaN where not annotated, its set."""

    image: Image
    points: NDArray[np.float32]
    source: str


def fit_sources(faces: Sequence[SourceFace], model: FaceModel) -> BatchFit:
    """Fit the model to the annotated points of all faces."""
    points: Floats = np.stack([f.points for f in faces]).astype(np.float64)
    return fit_batch(points, np.asarray(np.isfinite(points).all(axis=2), dtype=np.float64), model)


def draw_pose(rng: np.random.Generator, settings: PoseSettings) -> tuple[float, float, float]:
    """Yaw, pitch, roll, degrees."""
    steep = rng.random() < settings.steep_share
    yaw = rng.uniform(40.0, settings.max_yaw) if steep else rng.uniform(0.0, 40.0)
    yaw *= rng.choice((-1.0, 1.0))
    pitch = rng.uniform(-settings.max_pitch, settings.max_pitch)
    return float(yaw), float(pitch), float(rng.uniform(-settings.max_roll, settings.max_roll))


def random_light(rng: np.random.Generator, strength: float) -> Floats:
    """(9, 3) a white ambient light with a tinted directional part, in the camera's frame."""
    light = np.zeros((9, 3))
    tint = 1 + 0.08 * rng.standard_normal(3)
    light[0] = rng.uniform(0.65, 1.05) * tint
    direction = rng.standard_normal(3) * [1.0, 0.7, 0.6] - [0, 0.2, 0.3]
    light[1:4] = (strength * direction)[:, None] * tint
    light[4:9] = 0.08 * rng.standard_normal((5, 1)) * tint
    return light


def framed_camera(model: FaceModel, shape: Floats, expression: Floats, yaw: float, pitch: float, roll: float) -> Camera:
    """Camera for which the face's tight landmark box is centred in a training crop at the crop's scale."""
    plain = Camera.from_angles(yaw, pitch, roll)
    points = plain.project(model.landmarks(shape, expression))[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = PACK_SIZE / PACK_SCALE / float((high - low).max())
    middle = (PACK_SIZE - 1) / 2 - scale * (low + high) / 2
    return Camera(plain.rotation, middle, scale)


def background_crop(rng: np.random.Generator, background: Image, size: int) -> Image:
    """A random square of a background photograph, resampled to `size`."""
    height, width = background.shape[:2]
    side = int(rng.uniform(0.4, 1.0) * min(height, width))
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    return np.asarray(cv2.resize(background[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA))


def turned_face(
    texture: NDArray[np.float32],
    shape: Floats,
    expression: Floats,
    model: FaceModel,
    background: Image,
    rng: np.random.Generator,
    source: str,
    settings: PoseSettings,
) -> PackedFace:
    """Render one face at a random pose over `background` ((192, 192, 3)) and give it its exact landmarks."""
    yaw, pitch, roll = draw_pose(rng, settings)
    camera = framed_camera(model, shape, expression, yaw, pitch, roll)
    light = random_light(rng, settings.light)
    rendering = render_head(model, shape, expression, camera, texture, PACK_SIZE, PACK_SIZE, light=light)
    alpha = cv2.GaussianBlur(rendering.alpha, (0, 0), 0.8)[..., None]
    picture = np.rint(rendering.pixels * alpha + background * (1 - alpha)).astype(np.uint8)
    points = camera.project(model.landmarks(shape, expression))[:, :2].astype(np.float32)
    visible = landmark_visibility(model, shape, expression, camera)
    state = np.where(visible, VISIBLE, HIDDEN).astype(np.int8)
    # The head model's jaw and brows lie 4 to 7 mm from where annotators put them, and a turned photograph looks like a
    # photograph: where they are seen they are left to those.
    state[:27][visible[:27]] = NOT_ANNOTATED
    if abs(yaw) < settings.contour_yaw:
        state[:17] = NOT_ANNOTATED
    points[state == NOT_ANNOTATED] = np.nan
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return PackedFace(np.asarray(grey, dtype=np.uint8), points, state, yaw, source)


def pose_augmented(
    faces: Sequence[SourceFace],
    backgrounds: Sequence[Image],
    model: FaceModel,
    rng: np.random.Generator,
    per_face: int = 2,
    settings: PoseSettings | None = None,
) -> Iterator[PackedFace]:
    """Turn each face to `per_face` random poses; faces whose annotation does not fit are left out."""
    settings = settings or PoseSettings()
    for start in range(0, len(faces), 64):
        batch = faces[start : start + 64]
        fit = fit_sources(batch, model)
        for index, face in enumerate(batch):
            camera = fit.camera(index)
            if fit.residual[index] > settings.max_residual * face_size(camera):
                continue
            shape, expression = fit.shape[index], fit.expression[index]
            geometry = model.geometry(shape, expression)
            seen = node_visibility(model, geometry, camera)
            lifted = lift_geometry(face.image, geometry, camera, seen, settings.texture)
            if lifted.visible_share < 0.15:
                continue
            texture = blended_texture(lifted)
            for _ in range(per_face):
                chosen = backgrounds[int(rng.integers(len(backgrounds)))]
                behind = background_crop(rng, chosen, PACK_SIZE)
                yield turned_face(texture, shape, expression, model, behind, rng, f"turned-{face.source}", settings)


def rendered_face(
    model: FaceModel,
    paint: TextureModel,
    background: Image | None,
    rng: np.random.Generator,
    settings: PoseSettings | None = None,
) -> PackedFace:
    """A made-up person at a random pose under a perspective camera, with the exact places of all landmarks.

    Hidden jaw points count at every yaw: here they are known, and nobody has drawn them onto the outline.

    Args:
        model, paint: shape and texture are drawn from.
        background: (192, 192, 3); a plain backdrop without one.
        rng: draws the rest.
        settings: poses, light, expression and distance.
    """
    settings = settings or PoseSettings()
    yaw = rng.uniform(-settings.max_yaw - 4, settings.max_yaw + 4)
    pitch = rng.uniform(-settings.max_pitch - 4, settings.max_pitch + 4)
    roll = rng.uniform(-settings.max_roll, settings.max_roll)
    shape = rng.standard_normal(len(model.identity))
    expression = settings.expression * rng.standard_normal(len(model.expression))
    marks = model.landmarks(shape, expression)
    unit = PerspectiveCamera.at(Camera.from_angles(yaw, pitch, roll), rng.uniform(*settings.distance))
    flat = unit.project(marks)[:, :2]
    low, high = flat.min(axis=0), flat.max(axis=0)
    scale = PACK_SIZE / PACK_SCALE / float((high - low).max())
    camera = PerspectiveCamera(unit.rotation, (PACK_SIZE - 1) / 2 - scale * (low + high) / 2, scale, unit.distance)
    rendering = render_head(
        model, shape, expression, camera, paint.paint(rng.standard_normal(len(paint.modes))), PACK_SIZE, PACK_SIZE,
        light=random_light(rng, settings.light), supersample=2,
    )  # fmt: skip
    alpha = rendering.alpha[..., None]
    behind = rng.uniform(30, 220) if background is None else background
    picture = np.rint(rendering.pixels * alpha + behind * (1 - alpha)).astype(np.uint8)
    seen = landmark_visibility(model, shape, expression, camera.towards(marks))
    return PackedFace(
        np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8),
        camera.project(marks)[:, :2].astype(np.float32),
        np.where(seen, VISIBLE, HIDDEN).astype(np.int8),
        yaw,
        "rendered",
    )


def rendered_faces(
    count: int, backgrounds: Sequence[Image], seed: int, settings: PoseSettings | None = None
) -> Iterator[PackedFace]:
    """`count` of `rendered_face`; face k depends on the seed and k alone."""
    settings = settings or PoseSettings()
    model, paint = FaceModel.load(), TextureModel.load()
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        behind = None
        if backgrounds and rng.random() >= settings.plain:
            behind = background_crop(rng, backgrounds[int(rng.integers(len(backgrounds)))], PACK_SIZE)
        yield rendered_face(model, paint, behind, rng, settings)
