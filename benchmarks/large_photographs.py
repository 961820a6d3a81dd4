"""One small face in a large photograph: who is found, in how many seconds, with how much memory.

    python benchmarks/large_photographs.py DATA [--pictures 40] [--megapixels 24 12] [--faces 24 48 96]

Faces of CFP's people 301-400, half of them profiles, are cut out as ovals (`crowds.py`) and put at random places of
held-out backgrounds, which are enlarged to 3 : 2 photographs of so many megapixels. The size of a face is the shorter
side of its tight landmark box, px. A face is found when a box of the finder overlaps its own by IoU >= 0.4. Times are
of processor, one thread, without decoding; memory is the process's largest, with the photograph.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from crowds import FOUND_IOU, HEIGHT, WIDTH, paste, sampled

from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.training.detector_pictures import AnnotatedPicture, background_files, read_rgb
from facerec.landmarks.types import Box, Image


def photograph(
    background: Image, picture: AnnotatedPicture, megapixels: float, side: float, rng: np.random.Generator
) -> tuple[Image, Box]:
    """A 3 : 2 photograph of so many megapixels with one face whose box's shorter side is `side` px, and its box."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(height * 1.5)
    canvas = np.ascontiguousarray(cv2.resize(background, (width, height), interpolation=cv2.INTER_CUBIC))
    own = picture.box
    scale = side / float(min(own[2] - own[0], own[3] - own[1]))
    x, y = int(rng.integers(0, width - WIDTH)), int(rng.integers(0, height - HEIGHT))
    center = np.array([WIDTH / 2, HEIGHT / 2])
    reach = 0.85 * scale * max(own[2] - own[0], own[3] - own[1])
    matrix = np.concatenate(
        [scale * np.eye(2), (center - scale * (own[:2] + own[2:]) / 2)[:, None]], axis=1
    )  # fmt: skip
    window = np.ascontiguousarray(canvas[y : y + HEIGHT, x : x + WIDTH])
    paste(window, picture, matrix, reach, center)
    canvas[y : y + HEIGHT, x : x + WIDTH] = window
    outline = picture.outline @ matrix[:, :2].T + matrix[:, 2] + (x, y)
    return canvas, Box.around(outline)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[24.0, 12.0])
    parser.add_argument("--faces", type=float, nargs="+", default=[24.0, 48.0, 96.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    faces = [one for kind in ("frontal", "profile") for one in sampled(arguments.data, kind, arguments.pictures // 2)]
    files = background_files(arguments.data / "backgrounds", held_out=True)
    finder = FaceFinder.load()
    print("| megapixels | face, px | found | other boxes | processor s, median | memory, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for megapixels in arguments.megapixels:
        for side in arguments.faces:
            rng = np.random.default_rng(0)
            hits, others, times = 0, 0, []
            for i, face in enumerate(faces):
                image, box = photograph(read_rgb(files[3 * i % len(files)]), face, megapixels, side, rng)
                started = time.process_time()
                found = finder.find(image)
                times.append(time.process_time() - started)
                right = [one.box.iou(box) >= FOUND_IOU for one in found]
                hits += any(right)
                others += len(right) - sum(right)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"| {megapixels:.0f} | {side:.0f} | {100 * hits / len(faces):.0f} % of {len(faces)} | {others} | "
                f"{np.median(times):.2f} | {memory:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
