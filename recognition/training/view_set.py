"""Sets of normalised views on disk: what the learnt descriptor is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, face_size, fit_batch
from facerec.frontalize.render import blended_texture, render_head
from facerec.frontalize.texture import TEXTURE_SIZE, resample_grid
from facerec.frontalize.training.pose_augment import background_crop, random_light
from facerec.frontalize.types import Camera, FaceTexture
from facerec.frontalize.visibility import node_visibility
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image
from facerec.recognition.training.texture_set import Lifted, Picture, lift_row
from facerec.recognition.views import DLIB_FRAME, frontal_camera, frontal_pixels, photo_view


@dataclass(frozen=True, eq=False)
class ViewSet:
    """Views to learn from.

    Attributes:
        photo: (N, 150, 150, 3) uint8 RGB, `photo_view` of each picture.
        frontal: (N, 150, 150, 3) uint8 RGB, `frontal_pixels` of its texture.
        seen: (N, 150, 150) bool, the frontal view's mask.
        person: (N,) unicode keys; source: (N,) unicode, "turned-..." for rendered poses; yaw: (N,) float32 degrees.
        origin: (N,) int64: rows made from the same picture have the same number.
    """

    photo: NDArray[np.uint8]
    frontal: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    person: NDArray[np.str_]
    source: NDArray[np.str_]
    yaw: NDArray[np.float32]
    origin: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write as npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{**asdict(self), "seen": np.packbits(self.seen, axis=2)})

    @staticmethod
    def load(*paths: Path) -> ViewSet:
        """Read one or several sets as one."""
        parts: dict[str, list[NDArray[Any]]] = {}
        origins = 0
        for path in paths:
            with np.load(path, allow_pickle=False) as file:
                for name in ViewSet.__dataclass_fields__:
                    value = file[name]
                    if name == "seen":
                        value = np.unpackbits(value, axis=2, count=DLIB_FRAME.size).astype(bool)
                    if name == "origin":
                        value = value + origins
                        origins = int(value.max()) + 1
                    parts.setdefault(name, []).append(value)
        return ViewSet(**{name: np.concatenate(values) for name, values in parts.items()})

    def rows(self, keep: NDArray[np.bool_]) -> ViewSet:
        """The rows where `keep` (N,) is true."""
        return ViewSet(*(getattr(self, name)[keep] for name in ViewSet.__dataclass_fields__))

    @staticmethod
    def gather(rows: Sequence[View]) -> ViewSet:
        """One set of many views."""
        return ViewSet(
            np.stack([r.photo for r in rows]),
            np.stack([r.frontal for r in rows]),
            np.stack([r.seen for r in rows]),
            np.array([r.person for r in rows]),
            np.array([r.source for r in rows]),
            np.array([r.yaw for r in rows], dtype=np.float32),
            np.array([r.origin for r in rows], dtype=np.int64),
        )


@dataclass(frozen=True, eq=False)
class View:
    """One row of a `ViewSet`."""

    photo: Image
    frontal: Image
    seen: NDArray[np.bool_]
    person: str
    source: str
    yaw: float
    origin: int


@dataclass(frozen=True)
class ViewSettings:
    """How a set is made.

    Attributes:
        noise: standard deviation of the landmarks in the second copy of an annotated picture, as a share of the face's
            size: about what the landmark network errs by.
        shared_noise: as `noise`, of a shift common to each part of the face (brows, eyes, nose, mouth, jaw side).
        turned_yaw: least and greatest |yaw| of a rendered pose, degrees; turned_pitch: greatest |pitch|.
        frontal: pictures within this |yaw| are turned, degrees.
        light: standard deviation of the directional light's share in rendered poses.
    """

    noise: float = 0.012
    shared_noise: float = 0.012
    turned_yaw: tuple[float, float] = (25.0, 90.0)
    turned_pitch: float = 20.0
    frontal: float = 30.0
    light: float = 0.25


_PARTS = (range(9), range(8, 17), range(17, 27), range(27, 36), range(36, 48), range(48, 68))


def noisy_points(points: NDArray[np.float64], rng: np.random.Generator, settings: ViewSettings) -> NDArray[np.float64]:
    """Landmarks (68, 2) as a network might have found them."""
    size = float(np.sqrt(np.prod(np.nanmax(points, axis=0) - np.nanmin(points, axis=0))))
    out = points + settings.noise * size * rng.standard_normal(points.shape)
    for part in _PARTS:
        out[list(part)] += settings.shared_noise * size * rng.standard_normal(2)
    return np.asarray(out)


def annotated_views(
    pictures: Sequence[Picture], rng: np.random.Generator, settings: ViewSettings | None = None, batch: int = 64
) -> Iterator[tuple[Lifted, int]]:
    """Annotated pictures lifted, half of them from points with noise; profiles twice, with and without.

    Yields:
        the lifted picture and the picture's number.
    """
    settings = settings or ViewSettings()
    model, limits = FaceModel.load(), FitSettings()
    for start in range(0, len(pictures), batch):
        chosen = pictures[start : start + batch]
        exact = np.stack([p.points for p in chosen if p.points is not None]).astype(np.float64)
        points = np.concatenate([exact, np.stack([noisy_points(p, rng, settings) for p in exact])])
        fit = fit_batch(points, np.asarray(np.isfinite(points).all(axis=2), dtype=np.float64), model, limits)
        for index, picture in enumerate(chosen):
            image = read_image(picture.path)
            copies = index, len(chosen) + index
            for k in copies if picture.source == "cfp-profile" else copies[index % 2 :][:1]:
                if fit.residual[k] <= limits.max_residual * face_size(fit.camera(k)):
                    yield lift_row(picture, image, fit, k, model), start + index


def view_of(lifted: Lifted, origin: int) -> View:
    """The views of a lifted picture."""
    pixels, seen = frontal_pixels(lifted.texture, DLIB_FRAME)
    return View(
        photo_view(lifted.image, lifted.fitted, DLIB_FRAME),
        pixels,
        seen,
        lifted.picture.person,
        lifted.picture.source,
        lifted.fitted.camera.yaw,
        origin,
    )


def turned_view(
    lifted: Lifted,
    origin: int,
    backgrounds: Sequence[Image],
    rng: np.random.Generator,
    settings: ViewSettings | None = None,
) -> View:
    """The face of a near-frontal picture rendered at a turned pose over a background, and what that pose would see."""
    settings = settings or ViewSettings()
    model, frame = FaceModel.load(), DLIB_FRAME
    yaw = float(rng.uniform(*settings.turned_yaw) * rng.choice((-1.0, 1.0)))
    pitch = float(rng.uniform(-settings.turned_pitch, settings.turned_pitch))
    plain = Camera.from_angles(yaw, pitch, float(rng.normal(0, 2.0)))
    shape, expression = lifted.fitted.shape, lifted.fitted.expression
    projected = plain.project(model.landmarks(shape, expression))[:, :2]
    middle = np.mean([projected[list(group)].mean(axis=0) for group in frame.groups], axis=0)
    scale = frontal_camera(frame, model).scale
    anchor = np.array([(frame.size - 1) / 2, float(np.mean([y for _, y in frame.targets]))])
    camera = Camera(plain.rotation, anchor - scale * middle, scale)
    texture = lifted.texture
    rendering = render_head(
        model,
        shape,
        expression,
        camera,
        blended_texture(texture),
        frame.size,
        frame.size,
        light=random_light(rng, settings.light),
    )
    behind = background_crop(rng, backgrounds[int(rng.integers(len(backgrounds)))], frame.size)
    alpha = rendering.alpha[..., None]
    photo = np.rint(rendering.pixels * alpha + behind * (1 - alpha)).astype(np.uint8)
    visible = node_visibility(model, model.geometry(shape, expression), camera)
    both = texture.visible * (resample_grid((visible > 0).astype(np.float32), TEXTURE_SIZE) > 0.999)
    pixels, seen = frontal_pixels(FaceTexture(texture.pixels, both.astype(np.float32)), frame)
    source = f"turned-{lifted.picture.source}"
    return View(np.asarray(photo, dtype=np.uint8), pixels, seen, lifted.picture.person, source, yaw, origin)
