"""Held-out CFP profiles: where the fitted points fall against the 30 annotated ones, and how many fits are unstable.

    python benchmarks/profiles.py DATA [--bad unstable.png]

DATA holds cfp-dataset/. Fitted points are compared where annotators would put them. Distances are shares of
sqrt(width * height) of the annotated points' box, over the faces that were found and called stable. With --bad, the
pictures of unstable fits are written side by side, for looking at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from found import found_landmarks

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, FitSettings, annotated_points, fit_faces
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image, write_image
from facerec.landmarks.markup import cfp_to_ibug68
from facerec.landmarks.sets.cfp import read_cfp
from facerec.landmarks.types import Box

METHODS = {
    "model fit": FitSettings(),
    "model fit, located places": LOCATED,
    "2FCSL": FitSettings(method="2fcsl"),
}
SIDE = 200  # px of each picture of an unstable fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bad", type=Path, help="picture of the unstable fits")
    parser.add_argument("--cache", type=Path, default=Path("work/found"), help="where found landmarks are kept")
    arguments = parser.parse_args()
    rows = [row for row in read_cfp(arguments.data / "cfp-dataset", range(301, 401)) if row[1] == "profile"]
    paths = [path for path, _, _ in rows]
    truth = [cfp_to_ibug68(fiducials, "profile")[0] for _, _, fiducials in rows]
    marks = found_landmarks(paths, arguments.cache)
    kept = [k for k, mark in enumerate(marks) if mark is not None]
    found = [mark for mark in marks if mark is not None]
    print(f"{len(kept)} of {len(paths)} found")

    def share(points: np.ndarray, k: int) -> float:
        box = Box.around(truth[k])
        known = np.isfinite(truth[k]).all(axis=1)
        apart = np.linalg.norm(points[known] - truth[k][known], axis=1)
        return float(apart.mean() / np.sqrt(box.width * box.height))

    located = [share(mark.points, k) for mark, k in zip(found, kept, strict=True)]
    print(f"landmarks themselves: mean {np.mean(located):.2%}, median {np.median(located):.2%}")
    model, unstable = FaceModel.load(), []
    for name, settings in METHODS.items():
        fits = fit_faces(found, model, settings)
        fitted = [(f, k) for f, k in zip(fits, kept, strict=True) if not isinstance(f, UnusablePhotoError)]
        own = [share(f.points, k) for f, k in fitted]
        off = [share(annotated_points(f), k) for f, k in fitted]
        refused = [(k, f) for f, k in zip(fits, kept, strict=True) if isinstance(f, UnusablePhotoError)]
        if settings == FitSettings():
            unstable = refused
        print(
            f"{name:24}: fitted points mean {np.mean(off):.2%}, median {np.median(off):.2%}, below 4 % "
            f"{np.mean(np.array(off) < 0.04):.1%}; the model's own landmarks {np.mean(own):.2%}; "
            f"unstable {len(refused)} ({len(refused) / len(kept):.1%})"
        )
    worst = sorted(((share(marks[k].points, k), k, error) for k, error in unstable), reverse=True)  # type: ignore[union-attr]
    for off, k, error in worst:
        print(f"  {paths[k].parts[-3]}/{paths[k].stem}: landmarks off by {off:.1%}; {error.detail}")
    if arguments.bad and worst:
        tiles = []
        for _, k, _ in worst:
            image, box, mark = read_image(paths[k]).copy(), Box.around(truth[k]), marks[k]
            assert mark is not None
            for x, y in np.rint(mark.points).astype(int).tolist():
                cv2.circle(image, (x, y), 2, (60, 230, 60), -1)
            zoom = SIDE / (1.6 * max(box.width, box.height))
            shift = SIDE / 2 - zoom * np.array(box.center)
            warp = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
            tiles.append(np.asarray(cv2.warpAffine(image, warp, (SIDE, SIDE)), dtype=np.uint8))
        write_image(arguments.bad, np.concatenate(tiles, axis=1))


if __name__ == "__main__":
    main()
