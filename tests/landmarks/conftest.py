"""Drawn faces for the landmark tests: eyes, nose and mouth as dark discs on a grey oval, and their 68 points."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import torch

from facerec.landmarks.markup import IBUG68_MIRROR
from facerec.landmarks.training.packs import VISIBLE, LandmarkPack

_LEFT = {
    **{i: (32 + 2 * i * (1 + i / 12), 70 + 11 * i) for i in range(8)},
    **{17 + i: (45 + 9 * i, 52 - 4 * np.sin(i / 4 * np.pi)) for i in range(5)},
    36: (52, 70),
    37: (58, 66),
    38: (65, 66),
    39: (71, 70),
    40: (65, 74),
    41: (58, 74),
    31: (85, 112),
    32: (90, 114),
    48: (72, 132),
    49: (80, 128),
    50: (89, 126),
    58: (89, 143),
    59: (80, 140),
    60: (76, 132),
    61: (88, 131),
    67: (88, 136),
}
_MIDDLE = {8: (95.5, 158), 27: (95.5, 70), 28: (95.5, 82), 29: (95.5, 94), 30: (95.5, 106), 33: (95.5, 115)}
_MIDDLE |= {51: (95.5, 127), 57: (95.5, 145), 62: (95.5, 132), 66: (95.5, 136)}


def drawn_points() -> np.ndarray:
    """(68, 2) float32 px of a 192 px crop; symmetric about x = 95.5."""
    points = np.zeros((68, 2), dtype=np.float32)
    for i, (x, y) in {**_LEFT, **_MIDDLE}.items():
        points[i] = x, y
        points[IBUG68_MIRROR[i]] = 191 - x, y
    return points


def drawn_face(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(192, 192) uint8 picture of the face with these points."""
    image = rng.integers(20, 60, (192, 192), dtype=np.uint8)
    hull = cv2.convexHull(np.round(points).astype(np.int32))
    cv2.fillConvexPoly(image, hull, int(rng.integers(150, 210)))
    for part, level in (((36, 42), 40), ((42, 48), 40), ((31, 36), 90), ((48, 60), 70), ((17, 22), 60), ((22, 27), 60)):
        cv2.fillConvexPoly(image, cv2.convexHull(np.round(points[slice(*part)]).astype(np.int32)), level)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def drawn_pack(n: int = 12, seed: int = 0, source: str = "drawn") -> LandmarkPack:
    """Faces with small random shifts of their points, all visible."""
    rng = np.random.default_rng(seed)
    drawn = [drawn_points() * rng.uniform(0.95, 1.05, 2) + rng.uniform(-4, 4, 2) for _ in range(n)]
    points = np.stack(drawn).astype(np.float32)
    return LandmarkPack(
        np.stack([drawn_face(p, rng) for p in points]),
        points,
        np.full((n, 68), VISIBLE, dtype=np.int8),
        np.zeros(n, dtype=np.float32),
        np.array([source] * n),
    )


@pytest.fixture
def make_pack() -> Callable[..., LandmarkPack]:
    """`drawn_pack`: tests cannot import this file."""
    return drawn_pack


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """Small networks are slower on many threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
