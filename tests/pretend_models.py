"""Pretended models for tests of galleries: pictures whose pixels spell out who is on them, and how they are described.

Row 0 of a picture holds the number of faces, row 1 + i face i: (person, yaw code, picture of that person). Yaw codes
0..12 are -90..+90 degrees. Person 255 is found but cannot be fitted. The faces after the first are much smaller, in a
group of one size. Not a test module; loaded by `conftest.py`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.landmarks.image import write_image
from facerec.landmarks.types import Box, Face, Image, Landmarks
from facerec.recognition.recognizer import DescribedFace, FaceFit, LiftedFace, UndescribedFace
from facerec.recognition.signature import Signature

CELLS, DIMENSION = 16, 12
UNFITTED = 255
SIDE = 24  # px across a picture


@dataclass(frozen=True)
class PretendContract:
    tag: str = "a"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    def as_json(self) -> str:
        return json.dumps({"descriptor": "pretend", "weights recognition/pretend": self.tag})


def signature(person: int, yaw: float, picture: int, tag: str = "a", spread: float = 0.5) -> Signature:
    """A person's own direction in every cell, blurred by the picture; cells of the far side unseen."""
    base = np.random.default_rng([person, *tag.encode()]).normal(size=(CELLS, DIMENSION))
    blur = np.random.default_rng([person, picture, int(yaw) + 90, 7]).normal(size=(CELLS, DIMENSION))
    cells = base + spread * blur
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    side = np.linspace(-1, 1, CELLS)
    visible = side * np.sign(yaw) < 1.4 - abs(yaw) / 60 if yaw else np.ones(CELLS, dtype=bool)
    regions = np.repeat(visible[None], len(visible), axis=0)  # each cell is a column of the chart
    return Signature((cells * visible[:, None]).astype(np.float32), visible, PretendContract(tag).digest, regions)


def paint(path: Path, *faces: tuple[int, int, int], group: bool = False) -> Path:
    """Write a picture (PNG) of `faces`, each (person, yaw code, picture)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((max(SIDE, len(faces) + 1), SIDE, 3), dtype=np.uint8)
    pixels[0, :, :2] = len(faces), group
    for i, face in enumerate(faces):
        pixels[1 + i, :] = face
    write_image(path, pixels)
    return path


class PretendRecognizer:
    """Reads what `paint` wrote. Stands where `facerec.recognition.recognizer.Recognizer` does."""

    def __init__(self, tag: str = "a", delay: float = 0.0) -> None:
        self.contract = PretendContract(tag)
        self.delay = delay
        self.described = 0

    @classmethod
    def load(cls, *_: object, **settings: object) -> PretendRecognizer:
        return cls()

    def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
        if image.shape[1] != SIDE:  # a photograph that `paint` did not make
            return []
        self.described += 1
        time.sleep(self.delay)
        return [self._face(image, i) for i in range(int(image[0, 0, 0]))]

    @property
    def stages(self) -> str:
        return self.contract.digest

    def fit(self, image: Image) -> list[FaceFit | UndescribedFace]:
        faces = self.describe(image)
        return [FaceFit(f.face, f.fitted) if isinstance(f, DescribedFace) else f for f in faces]

    def lift(self, fit: FaceFit) -> LiftedFace:
        return LiftedFace(
            fit.face, fit.fitted, FaceTexture(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32))
        )

    def sign(self, lifted: LiftedFace) -> DescribedFace | UndescribedFace:
        faces = [self._face(lifted.face.image, i) for i in range(int(lifted.face.image[0, 0, 0]))]
        return next(
            one for one in faces if (one.face if isinstance(one, DescribedFace) else one).box.x0 == lifted.face.box.x0
        )

    def describe_texture(self, texture: FaceTexture) -> Signature:
        person, code, picture = (int(v) for v in texture.pixels[0, 0])
        return signature(person, 15.0 * (code - 6), picture, self.contract.tag)

    def _face(self, image: Image, i: int) -> DescribedFace | UndescribedFace:
        person, code, picture = (int(v) for v in image[1 + i, 0])
        side = 18 if i == 0 or image[0, 0, 1] else 8
        box = Box(1 + i, 2, 1 + i + side, 2 + side, 0.9)
        if person == UNFITTED:
            return UndescribedFace(box, "fit_unstable", "the fit did not settle")
        yaw = 15.0 * (code - 6)
        points = np.zeros((68, 2), dtype=np.float32)
        points[:, 0] = np.linspace(2, 18, 68)
        texture = np.zeros((8, 8), dtype=np.float32)
        pixels = np.zeros((8, 8, 3), dtype=np.uint8)
        pixels[0, 0] = person, code, picture
        sig = signature(person, yaw, picture, self.contract.tag)
        texture.ravel()[: 4 * int(sig.visible.sum())] = 1
        return DescribedFace(
            face=Face(image, box, Landmarks(points, np.ones(68, dtype=np.float32), np.ones(68, dtype=bool))),
            fitted=FittedFace(
                np.zeros(3),
                np.zeros(2),
                Camera.from_angles(yaw, 0, 0),
                1.0,
                points.astype(np.float64),
                np.ones(68, bool),
            ),
            texture=FaceTexture(pixels, texture),
            signature=sig,
            quality=0.8,
            timings_ms={"describe": 1.0},
        )
