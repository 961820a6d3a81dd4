"""Photographs that lie on their side: who is found, which way round, and whether the landmarks are the same.

    python benchmarks/turned.py DATA/cfp-dataset [--every 4]

Each k-th picture of CFP's people 301-400 as it is and turned by 90, 180 and 270 degrees without an EXIF entry. A face
is found when a box overlaps that of the upright picture by IoU >= 0.5 in the upright picture's coordinates; "turned
back" is the share of those that are said to be turned the way that sets them upright. The landmarks' distance is that
from the upright picture's, both in its coordinates, in % of the side of the upright box: the median and the largest of
the faces turned back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.image import read_image
from facerec.landmarks.sets.cfp import read_cfp
from facerec.landmarks.training.people import HELD_OUT_CFP
from facerec.landmarks.turns import face_before_turn, turned_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfp", type=Path)
    parser.add_argument("--every", type=int, default=4, help="take every so-manieth picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    finder = FaceFinder.load()
    print("| pictures | upright found | turned by | found of these | turned back | landmarks off, median / most |")
    print("| --- | --- | --- | --- | --- | --- |")
    pictures = list(read_cfp(arguments.cfp, HELD_OUT_CFP))
    for view in ("frontal", "profile"):
        images = [read_image(path) for path, kind, _ in pictures if kind == view][:: arguments.every]
        upright = [next(iter(finder.find(image)), None) for image in images]
        found = [(image, face) for image, face in zip(images, upright, strict=True) if face is not None]
        for degrees in (90, 180, 270):
            hits, back, off = 0, 0, []
            for image, face in found:
                turned = turned_image(image, degrees)
                for other in finder.find(turned):
                    again = face_before_turn(other, image, degrees)
                    if again.box.iou(face.box) >= 0.5:
                        hits += 1
                        if other.turned == 360 - degrees:
                            back += 1
                            apart = np.linalg.norm(again.landmarks.points - face.landmarks.points, axis=1).mean()
                            off.append(100 * float(apart) / float(np.sqrt(face.box.width * face.box.height)))
                        break
            print(
                f"| CFP {view} | {len(found)} of {len(images)} | {degrees} | {hits} | {back} | "
                f"{np.median(off):.2f} / {max(off):.2f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
