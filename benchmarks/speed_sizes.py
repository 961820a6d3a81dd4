"""Milliseconds per photograph by its size, facerec beside face_recognition in the same run.

    python benchmarks/speed_sizes.py DATA --peer PYTHON [--kinds small,640x480,12MP,crowd] [--rounds 3]

Photographs are made of held-out CFP pictures (people 301-400, frontal and profile in turn) and of backgrounds, and
written as JPEG: `small` are the pictures as they are, `640x480` and `12MP` show one face on a background, a quarter of
the height, `crowd` shows sixteen frontal ones of 300 px in 1600 x 1200 and is stated per further face, beside the same
pictures with one. face_recognition runs as its documentation shows (`face_locations`, then `face_encodings`).

facerec runs three ways: one photograph at a time; two threads with one recognizer, as `facerec identify` does with a
folder on two cores; and two processes with a recognizer each. face_recognition runs as one process and as two. All take
turns. Wall-clock ms per photograph, models loaded before; the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import cv2
import numpy as np
from speed import PEER

from facerec.landmarks.types import Image

if TYPE_CHECKING:
    from facerec.recognition.recognizer import Recognizer

PICTURES = {"small": 40, "640x480": 16, "12MP": 4, "crowd": 3, "crowd of one": 3}

ALONE, THREADS, PROCESSES = "facerec, one at a time", "facerec, two threads", "facerec, two processes"
PEER_ONE, PEER_TWO = "face_recognition, one process", "face_recognition, two processes"

_recognizer: Recognizer | None = None


def load() -> None:
    """Load this process's recognizer."""
    global _recognizer
    from facerec.recognition.recognizer import Recognizer

    cv2.setNumThreads(1)
    _recognizer = Recognizer.load()


def describe(path: Path) -> int:
    """Faces of a photograph that were described."""
    from facerec.landmarks.image import read_image
    from facerec.recognition.recognizer import DescribedFace

    assert _recognizer is not None
    return sum(isinstance(face, DescribedFace) for face in _recognizer.describe(read_image(path)))


def portrait(data: Path, number: int, view: str | None = None) -> Image:
    """The `number`-th picture of held-out people."""
    view, person = view or ("frontal", "profile")[number % 2], 301 + number // (1 if view else 2) % 100
    image = cv2.imread(str(data / "cfp-dataset" / "Data" / "Images" / str(person) / view / "02.jpg"))
    assert image is not None
    return np.asarray(image, dtype=np.uint8)


def pasted(ground: Image, image: Image, side: int, left: int, top: int) -> None:
    """Put `image` on `ground`, its longer side `side` px."""
    zoom = side / max(image.shape[:2])
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=way)
    ground[top : top + small.shape[0], left : left + small.shape[1]] = small


def photograph(data: Path, kind: str, number: int) -> Image:
    """The `number`-th made photograph of a kind, BGR."""
    if kind == "small":
        return portrait(data, number)
    width, height = {"640x480": (640, 480), "12MP": (4000, 3000)}.get(kind, (1600, 1200))
    files = sorted((data / "backgrounds").rglob("*.jpg"))
    ground = cv2.resize(cv2.imread(str(files[7 * number % len(files)])), (width, height), interpolation=cv2.INTER_CUBIC)
    rng, picture = np.random.default_rng(number), np.asarray(ground, dtype=np.uint8)
    if kind.startswith("crowd"):
        for place in range(16 if kind == "crowd" else 1):
            shown = portrait(data, 16 * number + place, "frontal")
            pasted(picture, shown, 298, 1 + 400 * (place % 4), 1 + 300 * (place // 4))
        return picture
    # CFP's pictures are twice as high as their faces.
    side = height // 2
    left, top = (int(rng.integers(0, length - side)) for length in (width, height))
    pasted(picture, portrait(data, number), side, left, top)
    return picture


def seconds(paths: list[Path], pool: Executor | None) -> tuple[float, int]:
    """Wall-clock seconds for all photographs, and the faces described."""
    start = time.perf_counter()
    faces = sum(pool.map(describe, paths) if pool else map(describe, paths))
    return time.perf_counter() - start, faces


def peer(python: Path, program: Path, paths: list[Path]) -> dict[str, float]:
    """What the peer's program printed."""
    call, names = [str(python), str(program)], json.dumps([str(path) for path in paths])
    done = subprocess.run(call, input=names, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(paths: list[Path], rounds: int, pools: dict[str, Executor | None], python: Path | None) -> dict[str, float]:
    """Medians of ms per photograph by system, and how many faces there were."""
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, pool in pools.items():
            spent, faces = seconds(paths, pool)
            taken.setdefault(name, []).append(1000 * spent / len(paths))
            taken["faces"] = [faces]
        if python is not None:
            program = paths[0].parent / "peer_speed.py"
            program.write_text(PEER)
            said = peer(python, program, paths)
            taken.setdefault(PEER_ONE, []).append(said["one"])
            taken.setdefault(PEER_TWO, []).append(said["two"])
            taken["photographs with a face of face_recognition"] = [said["found"]]
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", type=Path, help="interpreter with face_recognition")
    parser.add_argument("--kinds", default="small,640x480,12MP,crowd")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    kinds = [k for kind in options.kinds.split(",") for k in ((kind, "crowd of one") if kind == "crowd" else (kind,))]
    own = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(2, own, load) as processes,
    ):
        load()
        pools: dict[str, Executor | None] = {ALONE: None, THREADS: threads, PROCESSES: processes}
        results: dict[str, dict[str, float]] = {}
        for kind in kinds:
            paths = []
            for number in range(PICTURES[kind]):
                paths.append(Path(folder) / f"{kind}-{number}.jpg")
                cv2.imwrite(str(paths[-1]), photograph(options.data, kind, number), [cv2.IMWRITE_JPEG_QUALITY, 92])
            for pool in pools.values():
                seconds(paths[:4], pool)
            # Ten seconds of face_recognition for a large photograph: one round of it says enough.
            rounds = 1 if kind == "12MP" else options.rounds
            results[kind] = found = measure(paths, rounds, pools, options.peer)
            print(f"{kind}, {len(paths)} photographs:")
            for name, value in found.items():
                ratio = f"  {value / found[PEER_ONE]:.2f}" if PEER_ONE in found and name in pools else ""
                print(f"  {name:46s} {value:9.1f}{ratio}", flush=True)
        if "crowd" in results:
            crowd, alone = results["crowd"], results["crowd of one"]
            further = (crowd["faces"] - alone["faces"]) / PICTURES["crowd"]
            for name in pools:
                print(f"a further face, {name}: {(crowd[name] - alone[name]) / further:.1f} ms")


if __name__ == "__main__":
    main()
