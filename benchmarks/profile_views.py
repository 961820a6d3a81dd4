"""The frontal views of 32 held-out CFP profiles in one picture, for looking at one by one.

    python benchmarks/profile_views.py DATA views.png

Photograph's face and frontal view side by side, four pairs per row, in the order of the people: every third person of
301-394, profile/01 (the next profile where that face is not found or not fitted).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from found import found_landmarks

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import fit_face
from facerec.frontalize.render import frontal_view
from facerec.frontalize.texture import lift_texture
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image, write_image
from facerec.landmarks.types import Box, Image, Landmarks

SIZE = 160  # px of each view


def pair(path: Path, mark: Landmarks, model: FaceModel) -> Image:
    """(160, 320, 3): the face in the photograph, and turned to the front."""
    image = read_image(path)
    fitted = fit_face(mark, model)
    view = frontal_view(lift_texture(image, fitted, model), fitted, model, SIZE, neutral=True)
    box = Box.around(mark.points)
    side = 1.4 * max(box.width, box.height)
    zoom = SIZE / side
    shift = zoom * (side / 2 - np.array(box.center))
    warp = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    face = np.asarray(cv2.warpAffine(image, warp, (SIZE, SIZE), flags=cv2.INTER_AREA), dtype=np.uint8)
    return np.concatenate([face, view], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("work/found"), help="where found landmarks are kept")
    arguments = parser.parse_args()
    pictures = arguments.data / "cfp-dataset" / "Data" / "Images"
    paths = [pictures / f"{k:03d}" / "profile" / f"{j:02d}.jpg" for k in range(301, 401) for j in range(1, 5)]
    marks = dict(zip(paths, found_landmarks(paths, arguments.cache), strict=True))
    model, pairs = FaceModel.load(), []
    for person in range(301, 395, 3):
        for path in (pictures / f"{person:03d}" / "profile" / f"{j:02d}.jpg" for j in range(1, 5)):
            mark = marks[path]
            if mark is None:
                continue
            try:
                shown = pair(path, mark, model)
            except UnusablePhotoError:
                continue
            label = f"{person} {path.stem}"
            cv2.putText(shown, label, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1, cv2.LINE_AA)
            pairs.append(shown)
            break
    rows = [np.concatenate(pairs[k : k + 4], axis=1) for k in range(0, len(pairs) - len(pairs) % 4, 4)]
    write_image(arguments.output, np.concatenate(rows))


if __name__ == "__main__":
    main()
