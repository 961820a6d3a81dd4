"""Made-up crops with fits, as `facerec train face-set` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facerec.frontalize.types import Camera
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet

MakeSet = Callable[..., Path]


@pytest.fixture
def face_set(tmp_path: Path) -> MakeSet:
    """Writes a set in which each person is a colour pattern, seen in frontals and profiles."""

    def make(people: int = 4, pictures: int = 6, size: int = 96, name: str = "set", prefix: str = "p") -> Path:
        rng = np.random.default_rng(0)
        codes, fits = [], []
        person = [f"{prefix}{k}" for k in range(people) for _ in range(pictures)]
        profile = np.arange(people * pictures) % 3 == 2
        patterns = rng.integers(30, 226, (people, 8, 8, 3)).astype(np.float32)
        for row, far in enumerate(profile):
            pattern = cv2.resize(patterns[row // pictures], (size, size), interpolation=cv2.INTER_LINEAR)
            crop = np.clip(pattern + rng.normal(0, 8, pattern.shape), 0, 255).astype(np.uint8)
            codes.append(cv2.imencode(".webp", crop, [cv2.IMWRITE_WEBP_QUALITY, 90])[1].ravel())
            camera = Camera.from_angles(70.0 if far else 5.0, 0, 0, size / 220, (size / 2, size / 2))
            fits.append((rng.normal(0, 0.5, 40), rng.normal(0, 0.3, 20), camera))
        count = len(person)
        path = tmp_path / f"{name}.npz"
        CropSet(
            np.concatenate(codes),
            np.cumsum([len(c) for c in codes]),
            np.tile(np.array([20, 20, 76, 76], np.float32), (count, 1)),
            np.array(person),
            np.where(profile, "cfp-profile", "cfp-frontal"),
            np.array([""] * count),
            np.array([f"{k}.jpg" for k in range(count)]),
        ).save(path)
        CropFits(
            np.stack([f[0] for f in fits]).astype(np.float16),
            np.stack([f[1] for f in fits]).astype(np.float16),
            np.stack([f[2].rotation for f in fits]).astype(np.float32),
            np.stack([f[2].translation for f in fits]).astype(np.float32),
            np.array([f[2].scale for f in fits], np.float32),
            np.full(count, 0.02, np.float32),
            np.full(count, 0.9, np.float32),
        ).save(fits_path(path))
        return path

    return make
