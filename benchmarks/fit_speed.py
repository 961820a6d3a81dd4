"""Milliseconds per face for fit and lift together, in a batch of 32.

    python benchmarks/fit_speed.py

32 random faces in a picture of noise 300 px wide, texture 256. Wall time is the best of five runs; the processor's
time, all threads together, says what it costs where other jobs run beside. Set OMP_NUM_THREADS=1: the linear algebra
is many small systems, which threads of their own only slow down.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FittedSurface, fit_surfaces
from facerec.frontalize.texture import lift_surface
from facerec.frontalize.types import Camera
from facerec.landmarks.types import Box, Face, Landmarks

BATCH = 32


def fit_and_lift(faces: list[Face], model: FaceModel, workers: int) -> None:
    def some(chosen: list[Face]) -> None:
        surfaces = fit_surfaces([face.landmarks for face in chosen], model)
        for face, surface in zip(chosen, surfaces, strict=True):
            if isinstance(surface, FittedSurface):
                lift_surface(face.image, surface)

    # Sixteen at a time: enough for the batched solver.
    parts = [faces[k : k + 16] for k in range(0, len(faces), 16)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(some, parts))


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model, rng = FaceModel.load(), np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    faces = []
    for _ in range(BATCH):
        camera = Camera.from_angles(rng.uniform(-90, 90), rng.uniform(-20, 20), rng.uniform(-10, 10), 1.2, (150, 130))
        marks = camera.project(model.landmarks(rng.standard_normal(60), 0.3 * rng.standard_normal(30)))[:, :2]
        points = (marks + 1.5 * rng.standard_normal(marks.shape)).astype(np.float32)
        landmarks = Landmarks(points, np.ones(68, np.float32), np.ones(68, bool))
        faces.append(Face(image, Box.around(points), landmarks))
    for workers in (1, 2):
        wall, cost = [], []
        for _ in range(5):
            begun, used = time.perf_counter(), time.process_time()
            fit_and_lift(faces, model, workers)
            wall.append(time.perf_counter() - begun)
            cost.append(time.process_time() - used)
        each = 1000 / BATCH
        print(f"{workers} threads: {each * min(wall):.1f} ms per face, {each * min(cost):.1f} ms of processor time")


if __name__ == "__main__":
    main()
