"""How well the fit gives the camera back from projected landmarks of random faces, by yaw.

    python benchmarks/fit.py [--noise 1.5]

24 people a yaw, yaw within 4 and pitch within 30 degrees, roll within 10; noise in mm on every
landmark, all of them given.
"""

from __future__ import annotations

import argparse

import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import fit_batch
from facerec.frontalize.types import Camera


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, default=1.5)
    noise = parser.parse_args().noise
    model, rng, scale, people = FaceModel.load(), np.random.default_rng(0), 1.3, 24
    for yaw in (0, 30, 60, 90):
        points, truth = [], []
        for _ in range(people):
            shape, expression = rng.standard_normal(60), 0.3 * rng.standard_normal(30)
            angles = yaw + rng.uniform(-4, 4), rng.uniform(-30, 30), rng.uniform(-10, 10)
            camera = Camera.from_angles(*angles, scale, (100.0, 100.0))
            placed = camera.project(model.landmarks(shape, expression))[:, :2]
            points.append(placed + noise * scale * rng.standard_normal((68, 2)))
            truth.append(camera.angles)
        fit = fit_batch(np.array(points), np.ones((people, 68)), model)
        error = np.array([fit.camera(k).angles for k in range(people)]) - np.array(truth)
        mean = np.abs((error + 180) % 360 - 180).mean(axis=0)
        print(f"yaw {yaw:2d}: mean error of yaw {mean[0]:.1f}, pitch {mean[1]:.1f}, roll {mean[2]:.1f} degrees")


if __name__ == "__main__":
    main()
