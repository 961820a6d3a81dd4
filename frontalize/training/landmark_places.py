"""Measurement of the offsets at which annotators and the landmark network place the face model's landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, landmark_modes, usable_points
from facerec.frontalize.gauss_newton import Estimate, solve
from facerec.frontalize.landmark_places import LandmarkPlaces
from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.render import render_head
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.training.pose_augment import random_light
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.landmarker import Landmarker
from facerec.landmarks.markup import IBUG68_MIRROR
from facerec.landmarks.types import Box, Image

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlacesTraining:
    """Settings of the training."""

    yaw: tuple[float, ...] = (0, 15, 30, 45, 60, 75, 90)
    pitch: tuple[float, ...] = (-40, -20, 0, 20, 40)
    rounds: int = 4  # of fits and places: the residual moves by less than 1 % in the fourth
    sliding: tuple[float, ...] = (-90, -60, -30, 0, 30, 60, 90)  # yaw, degrees, between which annotators' points slide
    smooth: float = (
        20.0  # faces: weight of neighbouring yaws agreeing, which carries points over where none is annotated
    )
    small: float = 1.0  # faces: weight of not moving at all
    huber_mm: float = 6.0  # farther points are mistakes
    # Rendered heads: beyond the table's rim on every side, or the pull at 90 degrees would be extrapolated.
    max_yaw: float = 96.0
    max_pitch: float = 40.0
    max_roll: float = 8.0
    distance: tuple[float, float] = (600.0, 1500.0)  # mm from camera to head: a telephone's to a studio's
    expression: float = 0.3  # standard deviations
    ridge: float = 1.0  # heads: weight of no pull


@dataclass(frozen=True, eq=False)
class TrainingHead:
    """A rendered head and its truth.

    Attributes:
        image: (256, 256, 3) uint8 RGB.
        points: (68, 2) px: the landmarks as a scaled-orthographic camera, the fit's, shows them best. What the
            perspective of the picture does to them on the average is learnt with the pull.
        rotation: (3, 3); scale: px per mm at the landmarks' middle.
    """

    image: Image
    points: Floats
    rotation: Floats
    scale: float


def rendered_head(
    rng: np.random.Generator, model: FaceModel, paint: TextureModel, training: PlacesTraining
) -> TrainingHead:
    """A made-up person at a random pose under a perspective camera, before a plain backdrop."""
    size, height_mm = 256, 115.0
    yaw, pitch, roll = (rng.uniform(-m, m) for m in (training.max_yaw, training.max_pitch, training.max_roll))
    shape = rng.standard_normal(len(model.identity))
    expression = training.expression * rng.standard_normal(len(model.expression))
    scale = size * rng.uniform(0.4, 0.55) / height_mm
    centred = PerspectiveCamera.at(Camera.from_angles(yaw, pitch, roll, scale), rng.uniform(*training.distance))
    marks = model.landmarks(shape, expression)
    middle = centred.project(marks)[:, :2].mean(axis=0)
    camera = PerspectiveCamera(centred.rotation, np.full(2, size / 2) - middle, scale, centred.distance)
    rendering = render_head(
        model, shape, expression, camera, paint.paint(rng.standard_normal(len(paint.modes))), size, size,
        light=random_light(rng, 0.18), supersample=2,
    )  # fmt: skip
    backdrop = rng.uniform(60, 200) * (1 + 0.06 * rng.standard_normal(3))
    alpha = rendering.alpha[..., None]
    picture = cv2.GaussianBlur(rendering.pixels * alpha + backdrop * (1 - alpha), (0, 0), rng.uniform(0.4, 1.2))
    picture = picture + rng.uniform(0.5, 4) * rng.standard_normal(picture.shape)
    # The truth is what the fit's camera would say.
    flat = camera.towards(marks)
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return TrainingHead(np.asarray(pixels, dtype=np.uint8), flat.project(marks)[:, :2], flat.rotation, flat.scale)


def upright(pixels: Floats, rotation: Floats, scale: Floats) -> Floats:
    """Differences (B, 68, 2) px in the picture as mm of faces held upright; rotation (B, 3, 3), scale (B,)."""
    roll = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])[:, None]
    mm = pixels / scale[:, None, None]
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos * mm[..., 0] + sin * mm[..., 1], cos * mm[..., 1] - sin * mm[..., 0]], axis=2)


@dataclass(frozen=True, eq=False)
class LocatedHeads:
    """Landmarks that a model located on rendered heads.

    Attributes:
        off: (N, 68, 2) located less exact points, mm, upright (see `upright`).
        yaw, pitch: (N,) true angles, degrees.
    """

    off: Floats
    yaw: Floats
    pitch: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> LocatedHeads:
        """The heads at `chosen` (N,)."""
        return LocatedHeads(self.off[chosen], self.yaw[chosen], self.pitch[chosen])


def locate_heads(
    count: int,
    locator: Landmarker,
    rng: np.random.Generator,
    training: PlacesTraining,
    on_head: Callable[[int], None] = lambda done: None,
) -> LocatedHeads:
    """Locate the landmarks of `count` made-up heads, in boxes as the finder's: off by some hundredths of the face.

    Args:
        count: of heads.
        locator: the landmark model.
        rng: draws heads and boxes.
        training: what heads look like.
        on_head: called after every head with how many are done.
    """
    model, paint = FaceModel.load(), TextureModel.load()
    off, truth = [], []
    for done in range(count):
        head = rendered_head(rng, model, paint, training)
        tight = Box.around(head.points)
        side, (x, y) = max(tight.width, tight.height), tight.center
        x, y = x + 0.04 * side * rng.standard_normal(), y + 0.04 * side * rng.standard_normal()
        half = side * np.exp(0.05 * rng.standard_normal()) / 2
        found = locator.locate(head.image, [Box(x - half, y - half, x + half, y + half)])[0]
        off.append(upright((found.points - head.points)[None], head.rotation[None], np.array([head.scale]))[0])
        truth.append(head.rotation)
        on_head(done + 1)
    turn = np.stack(truth)
    yaw = np.rad2deg(np.arctan2(turn[:, 2, 0], turn[:, 2, 2]))
    pitch = np.rad2deg(np.arcsin(np.clip(-turn[:, 2, 1], -1, 1)))
    return LocatedHeads(np.stack(off), yaw, pitch)


def _pose_terms(yaw: Floats, pitch: Floats) -> Floats:
    """(B, 9) polynomials of |yaw| and pitch, degrees."""
    y, p = np.abs(yaw) / 60, pitch / 30
    return np.stack([np.ones_like(y), y, y**2, y**3, p, p * y, p * y**2, p**2, p**2 * y], axis=1)


def _tabulated(coefficients: Floats, training: PlacesTraining) -> LandmarkPlaces:
    """Polynomials (9, 68, 2) on the table's poses, symmetric at yaw 0."""
    yaw, pitch = (np.array(a, dtype=np.float64) for a in (training.yaw, training.pitch))
    grid = [a.ravel() for a in np.meshgrid(yaw, pitch, indexing="ij")]
    table = np.tensordot(_pose_terms(*grid), coefficients, axes=1).reshape(len(yaw), len(pitch), 68, 2)
    table[0] = (table[0] + table[0][:, IBUG68_MIRROR] * [-1.0, 1.0]) / 2
    return LandmarkPlaces(yaw, pitch, table)


def learn_located(heads: LocatedHeads, training: PlacesTraining | None = None) -> LandmarkPlaces:
    """Where the landmark network puts the points of heads whose truth is known."""
    training = training or PlacesTraining()
    off, yaw, pitch = heads.off, heads.yaw, heads.pitch
    if off.shape != (len(yaw), 68, 2) or pitch.shape != yaw.shape or len(yaw) < 20:
        raise InvalidInputError(
            f"expected off (N, 68, 2), yaw and pitch (N,) of at least 20 heads; got {off.shape}, {yaw.shape}, "
            f"{pitch.shape}"
        )
    given = np.where((yaw < 0)[:, None, None], off[:, IBUG68_MIRROR] * [-1.0, 1.0], off).reshape(len(off), 136)
    terms = _pose_terms(yaw, pitch)
    normal = terms.T @ terms + training.ridge * np.eye(terms.shape[1])
    coefficients = np.asarray(np.linalg.solve(normal, terms.T @ given), dtype=np.float64)
    return _tabulated(coefficients.reshape(-1, 68, 2), training)


def learn_annotated(points: Floats, model: FaceModel, training: PlacesTraining | None = None) -> LandmarkPlaces:
    """Where annotators put the points, from faces whose truth is not known.

    Cameras and shapes are fitted, then the places that the leftovers ask for, in turn. A place is a shift of the
    model's landmark in space, mm, for each of a few yaws (points of the contour slide). What a nod, a shift or a scale
    of the eyes, nose and mouth would explain is taken out of it, so that pitch and scale keep their meaning.

    Args:
        points: (N, 68, 2) px, NaN where not annotated.
        model: the face model.
        training: see `PlacesTraining`.
    """
    training = training or PlacesTraining()
    points, weights = usable_points(points, np.ones(points.shape[:2]))
    settings = FitSettings()
    modes = landmark_modes(model, settings.identity_modes, settings.expression_modes)
    nodes = np.array(training.sliding, dtype=np.float64)
    places = np.zeros((len(nodes), 68, 3))

    def shares(yaw: Floats) -> Floats:
        return np.stack([np.interp(yaw, nodes, row) for row in np.eye(len(nodes))], axis=1)

    def shift(now: Estimate) -> Floats:
        moved = np.tensordot(shares(now.angles()[0]), places, axes=1)
        return np.asarray((moved @ now.rotation.transpose(0, 2, 1))[..., :2] * now.scale[:, None, None])

    for _ in range(training.rounds):
        found = solve(points, weights, model.landmark_mean[None], modes, settings.noise(), settings.iterations, shift)
        placed = found.place(found.turned(model.landmark_mean[None], modes))
        asked = (points - placed) / found.scale[:, None, None]
        left = np.linalg.norm(points - placed - shift(found), axis=2) / found.scale[:, None]
        trust = weights * np.minimum(1.0, training.huber_mm / np.maximum(left, 1e-9))
        places = _asked_places(asked, trust, found.rotation, shares(found.angles()[0]), training)
        places = (places + places[::-1][:, IBUG68_MIRROR] * [-1.0, 1.0, 1.0]) / 2
        places -= _rigid_part(places[len(nodes) // 2], model.landmark_mean)
    yaw, pitch = (np.array(a, dtype=np.float64) for a in (training.yaw, training.pitch))
    grid = [a.ravel() for a in np.meshgrid(yaw, pitch, indexing="ij")]
    turn = np.stack([Camera.from_angles(y, p, 0.0).rotation for y, p in zip(*grid, strict=True)])
    table = (np.tensordot(shares(grid[0]), places, axes=1) @ turn.transpose(0, 2, 1))[..., :2]
    return LandmarkPlaces(yaw, pitch, table.reshape(len(yaw), len(pitch), 68, 2))


def _asked_places(asked: Floats, trust: Floats, rotation: Floats, shares: Floats, training: PlacesTraining) -> Floats:
    """(Y, 68, 3) shifts in space whose projections come closest to those asked for.

    Args:
        asked: (N, 68, 2) mm in the picture; trust: (N, 68); rotation: (N, 3, 3); shares: (N, Y) of the yaws.
    """
    count = shares.shape[1]
    rows = (rotation[:, :2, None, :] * shares[:, None, :, None]).reshape(-1, 2, 3 * count)
    step = np.diff(np.eye(count), axis=0)
    prior = np.kron(training.smooth * step.T @ step, np.eye(3)) + training.small * np.eye(3 * count)
    places = np.empty((count, 68, 3))
    for landmark in range(68):
        weighted = rows * trust[:, landmark, None, None]
        normal = np.einsum("nij,nik->jk", weighted, rows, optimize=True) + prior
        places[:, landmark] = np.linalg.solve(normal, np.einsum("nij,ni->j", weighted, asked[:, landmark])).reshape(
            -1, 3
        )
    return places


def _rigid_part(places: Floats, mean: Floats) -> Floats:
    """(68, 3) the part of `places` (68, 3) that moving, nodding and scaling the inner face `mean` (68, 3) explains."""
    inner = slice(27, 68)
    x, y, z = (mean - mean[inner].mean(axis=0)).T
    none, one = np.zeros(68), np.ones(68)
    moves = np.stack(
        [
            np.stack(m, axis=1)
            for m in ((none, one, none), (none, none, one), (none, -z / 50, y / 50), (x / 50, y / 50, z / 50))
        ]
    )
    size = np.linalg.lstsq(moves[:, inner].reshape(4, -1).T, places[inner].ravel(), rcond=None)[0]
    return np.asarray(np.tensordot(size, moves, axes=1))
