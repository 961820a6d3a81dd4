"""Faces found in pictures, kept in a file: several measurements look at the same pictures of held-out people."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facerec.landmarks.checkpoint import weight_record
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Landmarks


def found_landmarks(paths: Sequence[Path], cache: Path) -> list[Landmarks | None]:
    """Landmarks of the largest face of each picture, None where none was found.

    The file is named by the models and the pictures, so other weights never meet old landmarks.

    Args:
        paths: the pictures.
        cache: folder the landmarks are kept in.
    """
    used = [weight_record("landmarks", name).sha256 for name in ("detector", "godp", "finder")]
    key = hashlib.sha256("\n".join([*used, *map(str, paths)]).encode()).hexdigest()[:16]
    file = cache / f"landmarks-{key}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        finder = FaceFinder.load()
        faces = [next(iter(finder.find(read_image(path))), None) for path in paths]
        none = Landmarks(np.zeros((68, 2), np.float32), np.zeros(68, np.float32), np.zeros(68, bool))
        landmarks = [none if face is None else face.landmarks for face in faces]
        np.savez(
            file,
            found=[face is not None for face in faces],
            points=[mark.points for mark in landmarks],
            confidence=[mark.confidence for mark in landmarks],
            visible=[mark.visible for mark in landmarks],
        )
    with np.load(file, allow_pickle=False) as kept:
        rows = zip(kept["found"], kept["points"], kept["confidence"], kept["visible"], strict=True)
        return [Landmarks(points, sure, seen) if found else None for found, points, sure, seen in rows]
