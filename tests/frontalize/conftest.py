"""The shipped face model, and a texture whose left is red and whose right is blue, so that a mirror image shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera, FittedFace


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small arrays are slower on many threads than on one."""
    torch_threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(cv_threads)


@pytest.fixture(scope="session")
def red_blue() -> np.ndarray:
    """(256, 256, 3) uint8: left half red, right half blue; green grows smoothly from top to bottom."""
    texture = np.zeros((256, 256, 3), dtype=np.uint8)
    texture[:, :128, 0] = 200
    texture[:, 128:, 2] = 200
    texture[..., 1] = np.linspace(20, 220, 256)[:, None]
    return texture


@pytest.fixture(scope="session")
def stand(model: FaceModel) -> Callable[..., FittedFace]:
    """stand(yaw, pitch, scale, middle): the mean face as a fit, standing in a picture."""

    def make(yaw: float = 0.0, pitch: float = 0.0, scale: float = 1.2, middle: float = 200.0) -> FittedFace:
        turned = Camera.from_angles(yaw, pitch, 0.0, scale).project(model.mean.reshape(-1, 3))[:, :2]
        shift = middle - (turned.min(axis=0) + turned.max(axis=0)) / 2
        camera = Camera.from_angles(yaw, pitch, 0.0, scale, (float(shift[0]), float(shift[1])))
        points = camera.project(model.landmarks())[:, :2]
        return FittedFace(np.zeros(0), np.zeros(0), camera, 0.0, points, np.ones(68, dtype=bool))

    return make
