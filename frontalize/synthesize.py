"""Synthetic people: random shapes and textures of the models, rendered in the poses of UHDB31.

The pictures are always marked as rendered.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import render_head
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Image

Floats = NDArray[np.float64]

RENDERED_BY = (
    "rendered by facerec from its face model (learnt from ICT-FaceKit samples) and texture model; no real person"
)

UHDB31_POSES: tuple[tuple[int, int, int], ...] = tuple(
    (3 * yaw_index + pitch_index + 1, yaw, pitch)
    for yaw_index, yaw in enumerate((-90, -60, -30, 0, 30, 60, 90))
    for pitch_index, pitch in enumerate((30, 0, -30))
)
"""(pose number 1-21, yaw, pitch), degrees, numbered as UHDB31's files: column by column; pose 11 is frontal."""

FRONTAL_POSE = 11


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
    light: float = 0.18  # strength of the directional light, drawn anew for each picture
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
        pose: UHDB31 pose number, 1-21; yaw, pitch: degrees as rendered (with the jitter).
        points: (68, 2) float64 px, exact landmarks, the hidden ones where they would be.
    """

    image: Image
    person: str
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
    person: SyntheticPerson, pose: int, rng: np.random.Generator, settings: SynthesisSettings | None = None
) -> SyntheticPhoto:
    """Render one person in a UHDB31 pose (1-21) with a light, a small expression and a backdrop of its own."""
    settings = settings or SynthesisSettings()
    known = {number: (yaw, pitch) for number, yaw, pitch in UHDB31_POSES}
    if pose not in known:
        raise InvalidInputError(f"expected a pose from 1 to 21; got {pose}")
    model = FaceModel.load()
    yaw, pitch = (angle + settings.jitter_degrees * rng.uniform(-1, 1) for angle in known[pose])
    expression = settings.expression_spread * rng.standard_normal(len(model.expression))
    scale = settings.height * settings.face_height / 115.0
    camera = Camera.from_angles(yaw, pitch, 2 * rng.standard_normal(), scale)
    middle = camera.project(model.landmarks(person.shape, expression))[:, :2].mean(axis=0)
    target = np.array([settings.width / 2, settings.height * 0.52]) + 3 * rng.standard_normal(2)
    camera = Camera(camera.rotation, target - middle, scale)
    light = np.zeros((9, 3))
    light[0] = rng.uniform(0.85, 1.05)
    light[1:4] = settings.light * (rng.standard_normal((3, 1)) - np.array([[0.0], [0.4], [0.6]]))
    texture = TextureModel.load().paint(person.texture)
    rendering = render_head(
        model, person.shape, expression, camera, texture, settings.height, settings.width, light=light, supersample=2
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
        np.clip(np.rint(picture), 0, 255).astype(np.uint8), person.name, pose, float(yaw), float(pitch), points
    )


def uhdb31_photographs(
    people: list[SyntheticPerson], seed: int, settings: SynthesisSettings | None = None, workers: int | None = None
) -> Iterator[SyntheticPhoto]:
    """Every person in the 21 poses, person by person; the same whatever the number of workers.

    Args:
        people: whom to photograph.
        seed: of light, expression and backdrop; each photograph has a generator of its own.
        settings: see `SynthesisSettings`.
        workers: threads that render; the number of cores when None.
    """

    def render(job: tuple[int, int]) -> SyntheticPhoto:
        k, pose = job
        return photograph(people[k], pose, np.random.default_rng([seed, k, pose]), settings)

    jobs = [(k, pose) for k in range(len(people)) for pose, _, _ in UHDB31_POSES]
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        # A few at a time: a thousand finished photographs need not wait in memory for a slow disk.
        for start in range(0, len(jobs), 4 * workers):
            yield from pool.map(render, jobs[start : start + 4 * workers])


def write_uhdb31(folder: Path, photographs: Iterator[SyntheticPhoto]) -> Path:
    """Write photographs as `{90001 + k}d31{pose:02d}.png` with `protocol.csv` (path, person, role, pose, yaw, pitch).

    Pose 11 is the gallery, the others are probes, as in UHDB31's one-against-all protocol. A note in the folder says
    that they are rendered. Returns the path of the protocol file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number: dict[str, int] = {}
    protocol = folder / "protocol.csv"
    with protocol.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "person", "role", "pose", "yaw", "pitch"])
        for photo in photographs:
            subject = number.setdefault(photo.person, 90001 + len(number))
            name = f"{subject}d31{photo.pose:02d}.png"
            write_image(folder / name, photo.image)
            role = "gallery" if photo.pose == FRONTAL_POSE else "probe"
            known = {n: (yaw, pitch) for n, yaw, pitch in UHDB31_POSES}[photo.pose]
            rows.writerow([name, photo.person, role, photo.pose, *known])
    (folder / "RENDERED.txt").write_text(f"These photographs are {RENDERED_BY}.\n", encoding="utf-8")
    return protocol
