"""A made-up world for the evaluation tests: pictures whose pixels say who they show and what befalls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.types import Box, Face, Image, Landmarks
from facerec.recognition.recognizer import DescribedFace, FaceFit, LiftedFace, UndescribedFace
from facerec.recognition.signature import Signature

FINE, NO_FACE, UNSTABLE, HALF, PLAIN = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class FakeContract:
    digest: str = "contract-a"

    def as_json(self) -> str:
        return json.dumps({"made up": self.digest})


class FakeRecognizer:
    """Reads (person, picture number, fate) from the first pixel; the signature is the person's, with noise."""

    def __init__(self, contract: str = "contract-a", noise: float = 0.3, stages: str = "stages-a") -> None:
        self.contract = FakeContract(contract)
        self.stages = stages
        self.noise = noise
        self.calls = 0
        self.fits = 0

    def describe(self, image: Image) -> list[DescribedFace | UndescribedFace]:
        faces = [self.lift(one) if isinstance(one, FaceFit) else one for one in self.fit(image)]
        return [self.sign(one) if isinstance(one, LiftedFace) else one for one in faces]

    def fit(self, image: Image) -> list[FaceFit | UndescribedFace]:
        self.fits += 1
        _, number, fate = (int(value) for value in image[0, 0])
        box = Box(2.0, 2.0, 20.0, 24.0, 0.9)
        if fate == NO_FACE:
            return []
        if fate == UNSTABLE:
            return [UndescribedFace(box, "fit_unstable", "made up")]
        points = np.stack(np.meshgrid(np.arange(3, 20), np.arange(3, 7)), -1).reshape(68, 2).astype(np.float32)
        ones = np.ones(68)
        face = Face(image, box, Landmarks(points, ones.astype(np.float32), ones.astype(bool)))
        fitted = FittedFace(
            shape=np.zeros(2),
            expression=np.zeros(2),
            camera=Camera.from_angles(10.0 * number, 0.0, 0.0),
            residual=1.0,
            points=points.astype(np.float64),
            visible=ones.astype(bool),
        )
        return [FaceFit(face, fitted, timings_ms={"find": 4.0, "fit": 2.0})]

    def lift(self, fit: FaceFit) -> LiftedFace | UndescribedFace:
        texture = FaceTexture(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float32))
        return LiftedFace(fit.face, fit.fitted, texture, timings_ms=fit.timings_ms | {"lift": 1.0})

    def sign(self, lifted: LiftedFace) -> DescribedFace | UndescribedFace:
        self.calls += 1
        person, number, fate = (int(value) for value in lifted.face.image[0, 0])
        if fate == PLAIN:
            return UndescribedFace(lifted.face.box, "fit_unstable", "made up", stage="describe")
        rng = np.random.default_rng([person, number])
        own = np.random.default_rng(person).normal(size=(16, 8)) + self.noise * rng.normal(size=(16, 8))
        visible = np.ones(16, dtype=bool)
        if fate == HALF:
            visible[8:] = False
        cells = (own / np.linalg.norm(own, axis=1, keepdims=True) * visible[:, None]).astype(np.float32)
        signature = Signature(cells, visible, self.contract.digest)
        timings = lifted.timings_ms | {"describe": 3.0}
        return DescribedFace(lifted.face, lifted.fitted, lifted.texture, signature, 0.8, timings_ms=timings)

    def describe_texture(self, texture: FaceTexture) -> Signature:
        raise NotImplementedError("made-up textures say nothing of who is on them")


Writer = Callable[..., Path]


@pytest.fixture
def write_picture() -> Writer:
    """Writes a picture that shows `person`, its `number` and its `fate`."""

    def write(path: Path, person: int, number: int = 0, fate: int = FINE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((28, 24, 3), dtype=np.uint8)
        pixels[:] = (person, number, fate)
        # PNG bytes whatever the name says: the pixels must come back as they are.
        PilImage.fromarray(pixels).save(path, "PNG")
        return path

    return write


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture
def make_recognizer() -> type[FakeRecognizer]:
    return FakeRecognizer


class FakeDetector:
    """Finds the boxes it was given, by the first pixel's person."""

    def __init__(self, boxes: dict[int, list[Box]]) -> None:
        self.boxes = boxes

    def detect(self, image: Image) -> list[Box]:
        return self.boxes.get(int(image[0, 0, 0]), [])


class FakeLandmarker:
    """Locates known points, moved by some px; fails like a photograph that cannot be used on request."""

    def __init__(self, points: dict[int, np.ndarray], shift: float = 0.0) -> None:
        self.points = points
        self.shift = shift

    def locate(self, image: Image, boxes: list[Box]) -> list[Landmarks]:
        person = int(image[0, 0, 0])
        if person not in self.points:
            raise UnusablePhotoError("fit_unstable", "made up")
        points = (self.points[person] + [self.shift, 0.0]).astype(np.float32)
        return [Landmarks(points, np.ones(68, np.float32), np.ones(68, bool)) for _ in boxes]


@pytest.fixture
def make_detector() -> type[FakeDetector]:
    return FakeDetector


@pytest.fixture
def make_landmarker() -> type[FakeLandmarker]:
    return FakeLandmarker


@pytest.fixture
def cfp_tree(tmp_path: Path, write_picture: Writer) -> Path:
    """CFP's official tree with people 301-306, folds 07 (301-303) and 08 (304-306); the lists name people 001-306."""
    root = tmp_path / "cfp"
    frontals = [(person, number) for person in range(1, 307) for number in range(1, 4)]
    profiles = [(person, number) for person in range(1, 307) for number in range(1, 3)]
    for letter, view, listed in (("F", "frontal", frontals), ("P", "profile", profiles)):
        lines = [f"{i + 1} ../Data/Images/{p:03d}/{view}/{n:02d}.jpg" for i, (p, n) in enumerate(listed)]
        path = root / "Protocol" / f"Pair_list_{letter}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        for p, n in listed:
            if p > 300:
                write_picture(
                    root / f"Data/Images/{p:03d}/{view}/{n:02d}.jpg", p - 300, n if view == "frontal" else 10 + n
                )
    place = {"F": {pn: i + 1 for i, pn in enumerate(frontals)}, "P": {pn: i + 1 for i, pn in enumerate(profiles)}}
    for fold, people in (("07", (301, 302, 303)), ("08", (304, 305, 306))):
        for kind in ("FF", "FP"):
            other = place[kind[1]]
            same = [f"{place['F'][p, 1]},{other[p, 2]}" for p in people]
            diff = [f"{place['F'][p, 1]},{other[q, 2]}" for p, q in zip(people, people[1:] + people[:1], strict=True)]
            folder = root / "Protocol" / "Split" / kind / fold
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text("\n".join(same) + "\n")
            (folder / "diff.txt").write_text("\n".join(diff) + "\n")
    return root
