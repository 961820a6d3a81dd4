"""Synthetic people: random shapes and textures of the models, rendered in the poses of UHDB31.

The pictures are always marked as rendered.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.render import render_head
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import Camera
from facerec.landmarks.cores import usable_cores
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Image

Floats = NDArray[np.float64]

RENDERED_BY = (
    "rendered by facerec from its face model (trained on ICT-FaceKit samples) and texture model; no real person"
)

UHDB31_POSES: tuple[tuple[int, int, int], ...] = tuple(
    (3 * yaw_index + pitch_index + 1, yaw, pitch)
    for yaw_index, yaw in enumerate((-90, -60, -30, 0, 30, 60, 90))
    for pitch_index, pitch in enumerate((30, 0, -30))
)
"""(pose number 1-21, yaw, pitch), degrees, numbered as UHDB31's files: column by column; pose 11 is frontal."""

FRONTAL_POSE = 11

LIGHTS: dict[str, tuple[float, float, float]] = {
    "I01": (0.30, 0.05, 0.12),
    "I02": (-0.30, 0.05, 0.12),
    "I03": (0.0, 0.08, 0.22),
}
"""Named lights, numbered as UHDB31's sets are: from the image's left, from its right, even from the front and above.

First-order harmonics in the camera's frame, subtracted from the light: a surface that turns to +x (the image's right)
gets less light by the first number, one that faces down less by the second, one that faces away less by the third.
"""

DEFAULT_LIGHT = "I03"


@dataclass(frozen=True)
class SynthesisSettings:
    """Settings of the rendered photographs."""

    width: int = 256  # px: UHDB31's 1024 x 1224 at a quarter (R256)
    height: int = 306
    face_height: float = 0.42  # brows to chin as a share of the picture's height, about UHDB31's
    identity_spread: float = 1.0  # standard deviations of the shape coefficients
    texture_spread: float = 1.0
    expression_spread: float = 0.25  # laboratory faces are nearly neutral
    jitter_degrees: float = 3.0  # people do not hold a pose exactly
    distance: float = 1200.0  # mm from camera to head: a studio's, near enough for the nose to be larger than the ears
    light: float = 0.08  # strength of what differs in light from picture to picture
    noise: float = 1.5  # grey levels


@dataclass(frozen=True, eq=False)
class SyntheticPerson:
    """One synthetic person: `name`, shape (K,) and texture (M,) coefficients in standard deviations."""

    name: str
    shape: Floats
    texture: Floats


@dataclass(frozen=True, eq=False)
class SyntheticPhoto:
    """A rendered photograph and the truth behind it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        person: the person's name.
        light: name of the light, see `LIGHTS`.
        pose: UHDB31 pose number, 1-21; yaw, pitch: degrees as rendered (with the jitter).
        points: (68, 2) float64 px, exact landmarks, the hidden ones where they would be.
    """

    image: Image
    person: str
    light: str
    pose: int
    yaw: float
    pitch: float
    points: Floats


def synthetic_people(n: int, seed: int, settings: SynthesisSettings | None = None) -> list[SyntheticPerson]:
    """`n` random people; the same seed gives the same people, however many are asked for."""
    settings = settings or SynthesisSettings()
    if n < 1:
        raise InvalidInputError(f"expected at least one person; got {n}")
    model, paint = FaceModel.load(), TextureModel.load()
    people = []
    for k in range(n):
        rng = np.random.default_rng([seed, k])
        shape = settings.identity_spread * rng.standard_normal(len(model.identity))
        texture = settings.texture_spread * rng.standard_normal(len(paint.modes))
        people.append(SyntheticPerson(f"synthetic-{seed}-{k:03d}", shape, texture))
    return people


def photograph(
    person: SyntheticPerson,
    pose: int,
    rng: np.random.Generator,
    settings: SynthesisSettings | None = None,
    light: str = DEFAULT_LIGHT,
) -> SyntheticPhoto:
    """Render one person in a UHDB31 pose (1-21) and a named light, with a small random expression and backdrop.

    The camera is a perspective one, so no fit with a scaled-orthographic camera is exact.
    """
    settings = settings or SynthesisSettings()
    if light not in LIGHTS:
        raise InvalidInputError(f"expected a light of {', '.join(LIGHTS)}; got {light!r}")
    known = {number: (yaw, pitch) for number, yaw, pitch in UHDB31_POSES}
    if pose not in known:
        raise InvalidInputError(f"expected a pose from 1 to 21; got {pose}")
    model = FaceModel.load()
    yaw, pitch = (angle + settings.jitter_degrees * rng.uniform(-1, 1) for angle in known[pose])
    expression = settings.expression_spread * rng.standard_normal(len(model.expression))
    scale = settings.height * settings.face_height / 115.0
    camera = PerspectiveCamera.at(Camera.from_angles(yaw, pitch, 2 * rng.standard_normal(), scale), settings.distance)
    middle = camera.project(model.landmarks(person.shape, expression))[:, :2].mean(axis=0)
    target = np.array([settings.width / 2, settings.height * 0.52]) + 3 * rng.standard_normal(2)
    camera = PerspectiveCamera(camera.rotation, target - middle, scale, settings.distance)
    harmonics = np.zeros((9, 3))
    harmonics[0] = rng.uniform(0.85, 1.05)
    harmonics[1:4] = settings.light * rng.standard_normal((3, 1)) - np.array(LIGHTS[light])[:, None]
    texture = TextureModel.load().paint(person.texture)
    rendering = render_head(
        model,
        person.shape,
        expression,
        camera,
        texture,
        settings.height,
        settings.width,
        light=harmonics,
        supersample=2,
    )
    shade = np.linspace(1.0, 0.8, settings.height)[:, None, None]
    backdrop = np.broadcast_to(
        shade * rng.uniform(90, 200) * (1 + 0.06 * rng.standard_normal(3)), (settings.height, settings.width, 3)
    )
    alpha = rendering.alpha[..., None]
    picture = rendering.pixels * alpha + backdrop * (1 - alpha)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.6) + settings.noise * rng.standard_normal(picture.shape)
    points = camera.project(model.landmarks(person.shape, expression))[:, :2]
    return SyntheticPhoto(
        np.clip(np.rint(picture), 0, 255).astype(np.uint8), person.name, light, pose, float(yaw), float(pitch), points
    )


def uhdb31_photographs(
    people: list[SyntheticPerson],
    seed: int,
    settings: SynthesisSettings | None = None,
    workers: int | None = None,
    lights: Sequence[str] = (DEFAULT_LIGHT,),
) -> Iterator[SyntheticPhoto]:
    """Every person in the 21 poses and each light, person by person; the same whatever the number of workers.

    Args:
        people: whom to photograph.
        seed: of light, expression and backdrop; each photograph has a generator of its own.
        settings: see `SynthesisSettings`.
        workers: threads that render; the number of cores when None.
        lights: names of `LIGHTS`.
    """

    def render(job: tuple[int, str, int]) -> SyntheticPhoto:
        k, light, pose = job
        # The light's own number, so that a set is the same whichever others are made with it.
        rng = np.random.default_rng([seed, k, pose, list(LIGHTS).index(light)])
        return photograph(people[k], pose, rng, settings, light)

    unknown = [light for light in lights if light not in LIGHTS]
    if unknown or not lights:
        raise InvalidInputError(f"expected lights of {', '.join(LIGHTS)}; got {', '.join(unknown) or 'none'}")
    jobs = [(k, light, pose) for k in range(len(people)) for light in lights for pose, _, _ in UHDB31_POSES]
    workers = workers or usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        # A few at a time: a thousand finished photographs need not wait in memory for a slow disk.
        for start in range(0, len(jobs), 4 * workers):
            yield from pool.map(render, jobs[start : start + 4 * workers])


def write_uhdb31(folder: Path, photographs: Iterable[SyntheticPhoto], lights: Sequence[str] = (DEFAULT_LIGHT,)) -> Path:
    """Write photographs as `{90001 + k}d31{pose:02d}.png`, in a folder for each light when there are several.

    Beside them `protocol.csv` (path, person, role, pose, yaw, pitch and, for several lights, set), `landmarks.csv`
    (file, 68 exact points, the hidden ones where they would be, pose, yaw, pitch) and a note that they are rendered.
    Pose 11 is the gallery, the others are probes, as in UHDB31's one-against-all protocol.

    Args:
        folder: made when it is not there.
        photographs: written as they come.
        lights: the lights that are among them.

    Returns:
        The path of the protocol file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    several = len(lights) > 1
    angles = {number: (yaw, pitch) for number, yaw, pitch in UHDB31_POSES}
    axes = [f"{axis}{i}" for i in range(68) for axis in "xy"]
    number: dict[str, int] = {}
    trials: list[Sequence[object]] = [["path", "person", "role", "pose", "yaw", "pitch", *(["set"] if several else [])]]
    points: list[Sequence[object]] = [["file", *axes, "pose", "yaw", "pitch"]]
    for photo in photographs:
        subject = number.setdefault(photo.person, 90001 + len(number))
        place = folder / photo.light if several else folder
        place.mkdir(exist_ok=True)
        path = place / f"{subject}d31{photo.pose:02d}.png"
        write_image(path, photo.image)
        name = path.relative_to(folder).as_posix()
        role = "gallery" if photo.pose == FRONTAL_POSE else "probe"
        view = (photo.pose, *angles[photo.pose])
        trials.append([name, photo.person, role, *view, *([photo.light] if several else [])])
        points.append([name, *(f"{value:.2f}" for value in photo.points.ravel()), *view])
    _write_rows(folder / "landmarks.csv", points)
    (folder / "RENDERED.txt").write_text(f"These photographs are {RENDERED_BY}.\n", encoding="utf-8")
    return _write_rows(folder / "protocol.csv", trials)


def _write_rows(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path
