"""Milliseconds for a 640 x 480 picture, beside dlib's HOG in the same run; and memory over pictures of random sizes.

    python benchmarks/finder_speed.py DATA [--rounds 15] [--soak 2000]

Each round times every system once on the same picture, so other jobs on the machine hit all alike; the least and the
median of the rounds are printed. Pictures are held-out CFP frontals, one face each, on a 640 x 480 canvas. dlib:
`pip install dlib-bin`.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from facerec.landmarks.detection.detector import FaceDetector
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.training.detector_pictures import cfp_pictures
from facerec.landmarks.types import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--soak", type=int, default=0, help="pictures of random sizes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    detector, finder = FaceDetector.load(), FaceFinder.load()
    systems: dict[str, Callable[[Image], object]] = {"detector": detector.detect, "finder": finder.find}
    try:
        import dlib
    except ImportError:
        print("dlib is not installed: no figure beside")
    else:
        hog = dlib.get_frontal_face_detector()
        systems["dlib HOG"] = lambda image: hog(image, 0)
        systems["dlib HOG, enlarged twice (its default in face_recognition)"] = lambda image: hog(image, 1)
    people = cfp_pictures(arguments.data / "cfp-dataset", range(301, 301 + arguments.rounds), ["frontal"])
    pictures = [on_canvas(picture.levels[0]) for picture in list(people)[::10]]
    times: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(arguments.rounds + 2):
        image = pictures[number % len(pictures)]
        for name, system in systems.items():
            start = time.perf_counter()
            system(image)
            if number >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    for name, taken in times.items():
        print(f"{name}: least {min(taken):.1f} ms, median {np.median(taken):.1f} ms ({arguments.threads} threads)")
    if arguments.soak:
        soak(finder, pictures, arguments.soak)


def on_canvas(image: Image) -> Image:
    canvas = np.full((480, 640, 3), 127, np.uint8)
    scale = min(640 / image.shape[1], 480 / image.shape[0], 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas


def soak(finder: FaceFinder, pictures: list[Image], count: int) -> None:
    """Resident memory after every tenth of `count` pictures of 40 to 400 px per side."""
    rng = np.random.default_rng(0)
    for number in range(1, count + 1):
        height, width = rng.integers(40, 400, 2)
        finder.find(
            cv2.resize(pictures[number % len(pictures)], (int(width), int(height)), interpolation=cv2.INTER_AREA)
        )
        if number % max(1, count // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            now = pages * resource.getpagesize() / 2**20
            print(f"{number} pictures: {now:.0f} MB resident", flush=True)


if __name__ == "__main__":
    main()
