"""Built crowds: held-out faces at known places on held-out backgrounds; who is found, at which price in false faces.

    python benchmarks/crowds.py DATA [--pictures 60] [--sheet FILE.png]

Each picture (640 x 480) holds 6 to 14 faces on one of the held-out backgrounds, half of them CFP profiles and half CFP
frontals of people 301-400, cut out as ovals, 24 to 110 px (the shorter side of the tight landmark box), tilted by at
most 15 degrees, none covering another. A face is found when a box overlaps its own by IoU >= 0.4. Recall is stated
at the threshold
at which one false face comes in ten of the pictures without people: the held-out backgrounds, which crowd pictures are
made from, as they are. A box in a crowd that overlaps no face counts as false, too, but other people in a face's
cut-out picture may be in view, so that number is printed apart.

Stated for the detector alone and for the finder (detector, landmarks, verifier and rule).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from facerec.landmarks.detection.detector import DetectorSettings, FaceDetector
from facerec.landmarks.finder import FaceFinder, evidence, load_rule
from facerec.landmarks.landmarker import Landmarker
from facerec.landmarks.training.detector_pictures import AnnotatedPicture, background_files, cfp_pictures, read_rgb
from facerec.landmarks.training.people import HELD_OUT_CFP
from facerec.landmarks.types import Box, Image

WIDTH, HEIGHT = 640, 480
SMALLEST, LARGEST = 24.0, 110.0
FALSE_SHARE = 0.1
FOUND_IOU = 0.4


@dataclass(frozen=True, eq=False)
class CrowdFace:
    box: Box
    kind: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--faces", type=int, default=240, help="different pictures of people to draw from")
    parser.add_argument("--sheet", type=Path, default=None, help="write the first four crowds with what was found")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    faces = {kind: sampled(arguments.data, kind, arguments.faces // 2) for kind in ("frontal", "profile")}
    files = background_files(arguments.data / "backgrounds", held_out=True)
    crowds = [crowd(read_rgb(files[i % len(files)]), faces, rng) for i in range(arguments.pictures)]
    low = FaceDetector.load(settings=DetectorSettings(score_threshold=0.1))
    systems: dict[str, Callable[[Image], list[Box]]] = {"detector": low.detect, "finder": judged(low)}
    for name, boxes_of in systems.items():
        worst = sorted((max((b.score for b in boxes_of(read_rgb(f))), default=0.0) for f in files), reverse=True)
        threshold = worst[int(FALSE_SHARE * len(worst))]
        print(
            f"{name}: threshold {threshold:.3f} leaves a false face in {int(FALSE_SHARE * len(worst))} of {len(worst)}"
        )
        found: dict[tuple[str, str], list[bool]] = {}
        stray = 0
        tiles = []
        for image, placed in crowds:
            boxes = [b for b in boxes_of(image) if b.score > threshold]
            for face in placed:
                hit = any(b.iou(face.box) >= FOUND_IOU for b in boxes)
                found.setdefault((face.kind, size_of(face.box)), []).append(hit)
            stray += sum(all(b.iou(face.box) < 0.2 for face in placed) for b in boxes)
            if len(tiles) < 4:
                tiles.append(drawn(image, boxes, placed))
        for kind in ("frontal", "profile"):
            own = [hit for (k, _), hits in found.items() if k == kind for hit in hits]
            sizes = ", ".join(
                f"{size} px {np.mean(found[kind, size]):.1%} of {len(found[kind, size])}"
                for size in ("24-32", "32-48", "48-110")
                if (kind, size) in found
            )
            print(f"  {kind}: {np.mean(own):.1%} of {len(own)} ({sizes})")
        every = [hit for hits in found.values() for hit in hits]
        print(f"  all: {np.mean(every):.1%} of {len(every)}; {stray} boxes on no face in {len(crowds)} crowds")
        if arguments.sheet is not None and name == "finder":
            cv2.imwrite(str(arguments.sheet), np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])[..., ::-1])


def judged(detector: FaceDetector) -> Callable[[Image], list[Box]]:
    """The finder with a score for every candidate, also for those that it would drop."""
    rule, verifier = load_rule()
    finder = FaceFinder(detector, Landmarker.load(), rule, verifier)

    def boxes_of(image: Image) -> list[Box]:
        candidates = [box for box in detector.detect(image) if box.score >= 0.3]
        verified = finder.verified(image, candidates)
        located = Landmarker.locate(finder._landmarker, image, candidates)
        out = []
        for box, marks, v in zip(candidates, located, verified, strict=True):
            odds = np.clip(rule.odds(evidence(box, marks, float(v))), -30, 30)
            out.append(Box(box.x0, box.y0, box.x1, box.y1, float(1 / (1 + np.exp(-odds)))))
        return out

    return boxes_of


def sampled(data: Path, kind: str, count: int) -> list[AnnotatedPicture]:
    people = list(HELD_OUT_CFP)
    chosen = people[:: max(1, len(people) // count)] if count < len(people) else people
    per_person = max(1, count // len(chosen))
    out: list[AnnotatedPicture] = []
    for person in chosen:
        out += list(cfp_pictures(data / "cfp-dataset", [person], [kind]))[:per_person]  # type: ignore[list-item]
    return out


def crowd(
    background: Image, faces: dict[str, list[AnnotatedPicture]], rng: np.random.Generator
) -> tuple[Image, list[CrowdFace]]:
    canvas = np.ascontiguousarray(cv2.resize(background, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))
    placed: list[CrowdFace] = []
    taken: list[Box] = []
    for _ in range(int(rng.integers(6, 15))):
        kind = "profile" if rng.random() < 0.5 else "frontal"
        picture = faces[kind][int(rng.integers(len(faces[kind])))]
        own = picture.box
        size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
        scale = size / float(min(own[2] - own[0], own[3] - own[1]))
        tilt, mirror = np.deg2rad(rng.uniform(-15, 15)), -1.0 if rng.random() < 0.5 else 1.0
        linear = scale * np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) @ np.diag([mirror, 1])
        for _ in range(30):
            center = rng.uniform((0, 0), (WIDTH, HEIGHT))
            reach = 0.85 * scale * max(own[2] - own[0], own[3] - own[1])
            room = Box(center[0] - reach, center[1] - reach, center[0] + reach, center[1] + reach)
            inside = room.x0 >= 0 and room.y0 >= 0 and room.x1 <= WIDTH and room.y1 <= HEIGHT
            if inside and all(room.iou(other) == 0 for other in taken):
                break
        else:
            continue
        taken.append(room)
        middle = (own[:2] + own[2:]) / 2
        matrix = np.concatenate([linear, (center - linear @ middle)[:, None]], axis=1)
        paste(canvas, picture, matrix, reach, center)
        outline = picture.outline @ matrix[:, :2].T + matrix[:, 2]
        placed.append(CrowdFace(Box.around(outline), kind))
    return canvas, placed


def paste(canvas: Image, picture: AnnotatedPicture, matrix: np.ndarray, reach: float, center: np.ndarray) -> None:
    """Draw a picture's oval of `reach` px about `center`, with a soft edge."""
    level = picture.levels[0]
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    ratio = 1.0
    for smaller in picture.levels[1:]:
        if scale / ratio > 0.5:
            break
        ratio, level = ratio / 2, smaller
    shrink = np.array([picture.levels[0].shape[1] / level.shape[1], picture.levels[0].shape[0] / level.shape[0]])
    moved = np.concatenate(
        [matrix[:, :2] * shrink, (matrix[:, 2] + matrix[:, :2] @ (0.5 * shrink - 0.5))[:, None]], axis=1
    )
    drawn_picture = cv2.warpAffine(level, moved, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    whole = cv2.warpAffine(np.ones(level.shape[:2], np.float32), moved, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    distance = np.hypot((x - center[0]) / (0.85 * reach), (y - center[1]) / reach)
    alpha = (np.clip((1 - distance) * reach / 3, 0, 1) * whole)[..., None]
    canvas[:] = (canvas + alpha * (drawn_picture.astype(np.float32) - canvas) + 0.5).astype(np.uint8)


def size_of(box: Box) -> str:
    side = min(box.width, box.height)
    return "24-32" if side < 32 else "32-48" if side < 48 else "48-110"


def drawn(image: Image, boxes: list[Box], placed: list[CrowdFace]) -> Image:
    tile = image.copy()
    for box, color in [*((face.box, (0, 255, 0)) for face in placed), *((box, (255, 0, 0)) for box in boxes)]:
        cv2.rectangle(tile, (round(box.x0), round(box.y0)), (round(box.x1), round(box.y1)), color, 1)
    return tile


if __name__ == "__main__":
    main()
