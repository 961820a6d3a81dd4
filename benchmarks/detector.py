"""Figures of the face detector on held-out people and photographs without faces.

    python benchmarks/detector.py DATA [--finder] [--json FILE] [--sheet FILE.png]

DATA holds cfp-dataset/, ytf/ and backgrounds/. Held out: CFP people 301-400, every seventh name of YouTube Faces, every
fifth background. A face is found when some box overlaps the box of its annotated points by IoU >= 0.4. With --finder,
the same for the finder, which verifies the detector's candidates by landmarks, verifier and rule.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch

from facerec.landmarks.detection.detector import FaceDetector
from facerec.landmarks.detection.detectors import Detector
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.sets.ytf import ytf_people
from facerec.landmarks.training.detector_pictures import (
    AnnotatedPicture,
    background_files,
    cfp_pictures,
    frame_pictures,
    read_rgb,
)
from facerec.landmarks.training.people import HELD_OUT_CFP, HELD_OUT_EVERY_YTF
from facerec.landmarks.types import Box, Image

FOUND_IOU = 0.4
HALF = 30  # CFP's own points; the rest of a frontal's outline are their reflections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--finder", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--sheet", type=Path, default=None, help="render misses and false faces to this picture")
    parser.add_argument("--weights", type=Path, default=None, help="a safetensors file instead of the package's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector: Detector = Found(FaceFinder.load()) if arguments.finder else FaceDetector.load()
    if arguments.weights is not None:
        from safetensors.numpy import load_file

        detector = FaceDetector.from_arrays(load_file(arguments.weights))
    data: Path = arguments.data
    failures: list[Image] = []
    figures: dict[str, float | int] = {}
    if isinstance(detector, FaceDetector):
        figures["score_threshold"] = round(detector.score_threshold, 4)
    cfp = data / "cfp-dataset"
    figures |= found_share(detector, cfp_pictures(cfp, HELD_OUT_CFP, ["frontal"]), "cfp_frontal", failures)
    figures |= found_share(detector, cfp_pictures(cfp, HELD_OUT_CFP, ["profile"]), "cfp_profile", failures)
    frames = frame_pictures(data / "ytf", set(ytf_people(data / "ytf")[::HELD_OUT_EVERY_YTF]))
    figures |= found_share(detector, frames, "ytf", failures)
    figures |= empty_share(detector, background_files(data / "backgrounds", held_out=True), failures)
    figures |= milliseconds(detector)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    figures |= portraits(detector)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if arguments.sheet is not None:
        write_sheet(arguments.sheet, failures)


class Found:
    """The finder's faces as a detector's boxes."""

    def __init__(self, finder: FaceFinder) -> None:
        self.finder = finder

    def detect(self, image: Image) -> list[Box]:
        return [face.box for face in self.finder.find(image)]


def found_share(
    detector: Detector, pictures: Iterable[AnnotatedPicture], name: str, failures: list[Image]
) -> dict[str, float | int]:
    overlaps, half_overlaps, several = [], [], 0
    for picture in pictures:
        boxes = detector.detect(picture.levels[0])
        truth = Box.around(picture.outline)
        overlaps.append(max((box.iou(truth) for box in boxes), default=0.0))
        half = Box.around(picture.outline[:HALF])
        half_overlaps.append(max((box.iou(half) for box in boxes), default=0.0))
        several += len(boxes) > 1
        if overlaps[-1] < FOUND_IOU:
            failures.append(drawn(picture.levels[0], boxes, truth))
    share = np.array(overlaps)
    figures: dict[str, float | int] = {
        f"{name}_n": len(overlaps),
        f"{name}_found": round(float((share >= FOUND_IOU).mean()), 4),
        f"{name}_median_iou": round(float(np.median(share)), 4),
        f"{name}_more_than_one": several,
    }
    if name == "cfp_frontal":
        figures["cfp_frontal_found_half_box"] = round(float((np.array(half_overlaps) >= FOUND_IOU).mean()), 4)
    return figures


def empty_share(detector: Detector, files: list[Path], failures: list[Image]) -> dict[str, float | int]:
    empty = 0
    for path in files:
        image = read_rgb(path)
        boxes = detector.detect(image)
        empty += not boxes
        if boxes:
            failures.append(drawn(image, boxes, None))
    return {"background_n": len(files), "background_empty": round(empty / len(files), 4)}


def milliseconds(detector: Detector) -> dict[str, float]:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 4).astype(np.uint8, copy=False)
    figures = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times = []
        for _ in range(25):
            start = time.perf_counter()
            detector.detect(image)
            times.append(1e3 * (time.perf_counter() - start))
        figures[f"ms_640x480_{threads}_threads"] = round(float(np.median(times[5:])), 1)
    torch.set_num_threads(1)
    return figures


def portraits(detector: Detector) -> dict[str, int]:
    """The portraits that installed packages carry, in eleven forms each: how often just the face is found."""
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as stream:
        encoded = np.frombuffer(stream.read(), np.uint8)
    hopper = np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
    # Boxes read off the pictures by eye: brows to chin, ear to ear.
    named = {"hopper": (hopper, Box(165, 163, 362, 335))}
    try:
        from skimage import data
    except ImportError:
        print("scikit-image is not installed: no astronaut", file=sys.stderr)
    else:
        named["astronaut"] = (data.astronaut(), Box(179, 86, 272, 187))
    figures = {}
    for name, (image, truth) in named.items():
        right, wrong = 0, []
        for form, (altered, matrix) in altered_forms(image).items():
            corners = np.array([[truth.x0, truth.y0], [truth.x1, truth.y0], [truth.x1, truth.y1], [truth.x0, truth.y1]])
            middle = (corners @ matrix[:, :2].T + matrix[:, 2]).mean(axis=0)
            size = np.sqrt(truth.width * truth.height * abs(np.linalg.det(matrix[:, :2])))
            boxes = detector.detect(altered)
            near = [
                box
                for box in boxes
                if np.hypot(*(np.array(box.center) - middle)) < 0.25 * size
                and 0.6 < np.sqrt(box.width * box.height) / size < 1.6
            ]
            good = len(near) == 1 and len(boxes) == 1
            right += good
            if not good:
                wrong.append(f"{form}: {[(round(b.x0), round(b.y0), round(b.x1), round(b.y1)) for b in boxes]}")
        print(f"{name}: {right} of {len(altered_forms(image))} forms, exactly the face found; else {wrong}")
        figures[f"{name}_forms_right"] = right
    return figures


def altered_forms(image: Image) -> dict[str, tuple[Image, np.ndarray]]:
    height, width = image.shape[:2]
    forms: dict[str, tuple[Image, np.ndarray]] = {"as it is": (image, np.eye(2, 3))}
    for scale in (3.0, 0.5, 0.25):
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)
        forms[f"scaled {scale}"] = (small, np.eye(2, 3) * scale)
    for tilt in (-40.0, -20.0, 20.0, 40.0):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, 1.0)
        forms[f"turned {tilt}"] = (cv2.warpAffine(image, matrix, (width, height)), matrix)
    padded = np.full((2 * height, 2 * width, 3), 255, np.uint8)
    padded[height // 2 : height // 2 + height, width // 2 : width // 2 + width] = image
    forms["padded"] = (padded, np.array([[1.0, 0.0, width // 2], [0.0, 1.0, height // 2]]))
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    forms["grey"] = (grey, np.eye(2, 3))
    forms["mirrored"] = (np.ascontiguousarray(image[:, ::-1]), np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]]))
    return forms


def drawn(image: Image, boxes: list[Box], truth: Box | None) -> Image:
    """A 200-px tile: the picture, its true box green, found ones red with their score."""
    scale = 200 / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.zeros((200, 200, 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small[:200, :200]
    rows = [(box, (255, 0, 0)) for box in boxes] + ([(truth, (0, 255, 0))] if truth else [])
    for box, color in rows:
        x0, y0, x1, y1 = (round(v * scale) for v in (box.x0, box.y0, box.x1, box.y1))
        cv2.rectangle(tile, (x0, y0), (x1, y1), color, 1)
        if color[0]:
            cv2.putText(tile, f"{box.score:.2f}", (x0, max(10, y0 - 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.35, color, 1)
    return tile


def write_sheet(path: Path, tiles: list[Image]) -> None:
    tiles = tiles[:80]
    blank = np.zeros((200, 200, 3), np.uint8)
    tiles += [blank] * (-len(tiles) % 8)
    if tiles:
        sheet = np.vstack([np.hstack(tiles[i : i + 8]) for i in range(0, len(tiles), 8)])
        cv2.imwrite(str(path), sheet[..., ::-1])


if __name__ == "__main__":
    main()
