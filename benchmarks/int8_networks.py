"""What 8-bit weights and activations would gain and cost: time and drift of each network and of the whole path.

    python benchmarks/int8_networks.py DATA [--calibration 60] [--pictures 60] [--method minmax] [--networks all]

The float32 graphs of detector, verifier, GoDP and ResNet are calibrated on what they are shown by CFP pictures of
people 1-60, frontal and profile in turn, and quantised by onnxruntime (static, QDQ, one scale per channel of a weight).
Weights have 7 bits: without VNNI two products of 8 bits are added in 16, and 8 bits would saturate silently. Everything
is compared with float32 on pictures of people 101-160, none of whom is held out of training. Needs the package onnx.
Nothing is written: the weights that ship are float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from facerec.landmarks import landmarker
from facerec.landmarks.detection import detector, verifier
from facerec.landmarks.engine import Network
from facerec.landmarks.image import read_image
from facerec.landmarks.onnx_graph import OnnxGraph
from facerec.recognition import descriptors
from facerec.recognition.recognizer import DescribedFace, Recognizer

NETWORKS = {"detector": detector, "verifier": verifier, "godp": landmarker, "resnet": descriptors}
"""The modules that make each network's session."""

METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}

OUTPUTS = {"detector": 4, "godp": 2, "resnet": 2, "verifier": 2}
"""How many of the last convolutions and products stay in float32: they give the answers."""


def session_of(model: bytes) -> tuple[Any, str]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name


@dataclass
class Probe:
    """A network that can be watched and replaced: its model, what it was shown, and which of two sessions answers."""

    model: bytes
    shown: list[NDArray[Any]] = field(default_factory=list)
    watched: bool = False
    sessions: list[tuple[Any, str]] = field(default_factory=list)
    chosen: int = 0

    def __call__(self, inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        if self.watched:
            self.shown.append(inputs.copy())
        session, name = self.sessions[self.chosen]
        return list(session.run(None, {name: inputs}))


@contextmanager
def watched_networks() -> Iterator[dict[str, Probe]]:
    """While it is open, models are loaded with networks that can be watched and replaced."""
    probes: dict[str, Probe] = {}
    before = {name: module.graph_network for name, module in NETWORKS.items()}

    def making(name: str) -> Callable[[OnnxGraph], Network]:
        def make(graph: OnnxGraph) -> Network:
            model = graph.encoded()
            return probes.setdefault(name, Probe(model, sessions=[session_of(model)]))

        return make

    try:
        for name, module in NETWORKS.items():
            module.graph_network = making(name)
        yield probes
    finally:
        for name, module in NETWORKS.items():
            module.graph_network = before[name]


class Shown(CalibrationDataReader):  # type: ignore[misc]
    """The inputs for calibration, one after the other."""

    def __init__(self, name: str, inputs: list[NDArray[Any]]) -> None:
        # One by one: histograms need arrays of one shape, and a face has three or four views.
        self._left = iter([{name: value[k : k + 1]} for value in inputs for k in range(len(value))])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def quantised(name: str, probe: Probe, method: CalibrationMethod) -> bytes:
    """The network with 8-bit numbers."""
    model = onnx.load_model_from_string(probe.model)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}{number}"
    products = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(model, before)
        quantize_static(
            before,
            after,
            Shown(probe.sessions[0][1], probe.shown),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Concat", "Resize", "AveragePool", "Gemm"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=products[-OUTPUTS[name] :],
            calibrate_method=method,
        )
        return after.read_bytes()


def pictures(data: Path, first: int, count: int) -> list[Path]:
    """CFP pictures of `count` people, frontal and profile in turn."""
    images = data / "cfp-dataset" / "Data" / "Images"
    return [images / f"{first + k:03d}" / ("frontal", "profile")[k % 2] / "01.jpg" for k in range(count)]


def milliseconds(probe: Probe, shown: list[NDArray[Any]]) -> tuple[float, float]:
    """Processor ms of a pass: medians of float32 and int8, in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    for inputs in shown:
        for probe.chosen in (0, 1):
            probe(inputs)
            start = time.process_time()
            probe(inputs)
            taken[probe.chosen].append(1000 * (time.process_time() - start))
    probe.chosen = 0
    return median(taken[0]), median(taken[1])


def described(recognizer: Recognizer, paths: list[Path]) -> list[DescribedFace | None]:
    """The first face of each picture."""
    faces = [next(iter(recognizer.describe(read_image(path))), None) for path in paths]
    return [face if isinstance(face, DescribedFace) else None for face in faces]


def drift(ours: list[DescribedFace | None], theirs: list[DescribedFace | None]) -> str:
    """How far faces are from those of float32, in words."""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    moved, cosines, seen = [], [], 0
    for a, b in pairs:
        height = float(np.ptp(b.face.landmarks.points, axis=0).max())
        moved.append(float(np.linalg.norm(a.face.landmarks.points - b.face.landmarks.points, axis=1).mean()) / height)
        both = a.signature.visible & b.signature.visible
        cosines += (a.signature.cells * b.signature.cells).sum(axis=1)[both].tolist()
        seen += bool((a.signature.visible == b.signature.visible).all())
    lost = sum(b is not None for b in theirs) - len(pairs)
    return (
        f"{lost} of {len(theirs)} faces lost, points move by {100 * np.mean(moved):.2f} % of the face (most "
        f"{100 * max(moved):.2f}), cells' cosine {np.mean(cosines):.4f} (least {min(cosines):.4f}), the same cells "
        f"seen in {seen} of {len(pairs)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--calibration", type=int, default=60)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--method", choices=list(METHODS), default="minmax")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with watched_networks() as probes:
        recognizer = Recognizer.load()
    for probe in probes.values():
        probe.watched = True
    described(recognizer, pictures(options.data, 1, options.calibration))
    chosen = options.networks.split(",")
    for name in chosen:
        probes[name].sessions.append(session_of(quantised(name, probes[name], METHODS[options.method])))
    shown = {name: probe.shown[-20:] for name, probe in probes.items()}
    for probe in probes.values():
        probe.watched, probe.shown = False, []
    paths = pictures(options.data, 101, options.pictures)
    floats = described(recognizer, paths)
    for name in [*chosen, "all of them"]:
        own = [probes[name]] if name in probes else [probes[each] for each in chosen]
        times = [milliseconds(probes[each], shown[each]) for each in (chosen if len(own) > 1 else [name])]
        for probe in own:
            probe.chosen = 1
        words = drift(described(recognizer, paths), floats)
        for probe in own:
            probe.chosen = 0
        before, after = (sum(pair[k] for pair in times) for k in (0, 1))
        print(f"{name}: {before:.1f} -> {after:.1f} ms of processor time per pass; {words}", flush=True)


if __name__ == "__main__":
    main()
