"""Both engines: the same numbers from onnxruntime and from torch, and no torch where the first one does the work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facerec.landmarks import engine, godp_weights
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.detection import box_network, detector_network, verifier_network
from facerec.landmarks.detection.detector import FaceDetector, cells_above
from facerec.landmarks.detection.detector_graph import STRIDES, THRESHOLD, detector_graph
from facerec.landmarks.detection.patch_graphs import MEAN_FACE, box_graph, verifier_graph
from facerec.landmarks.engine import Network, engine_on
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.godp import Godp
from facerec.landmarks.godp_graph import Calibration, GodpSettings, godp_graph, stated_settings
from facerec.landmarks.onnx_graph import OnnxGraph, Weights, graph_network
from facerec.landmarks.precision import VARIABLE as PRECISION


@pytest.fixture(autouse=True)
def float32_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(PRECISION, "float32")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arrays_of(name: str, *without: str) -> dict[str, NDArray[Any]]:
    return {k: v for k, v in load_weights("landmarks", name).items() if k not in without}


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_equal_outputs(theirs: Network, ours: Network, inputs: NDArray[np.float32]) -> None:
    for one, other in zip(theirs(inputs), ours(inputs), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 2e-4 * np.abs(other).max()


@pytest.mark.parametrize("shape", [(1, 3, 128, 192), (1, 3, 64, 64), (2, 3, 192, 128)])
def test_the_detectors_maps_are_those_of_torch(shape: tuple[int, int, int, int]) -> None:
    arrays = arrays_of("detector", THRESHOLD)
    theirs = detector_network.runner(detector_network.network_of(arrays))
    assert_equal_outputs(theirs, graph_network(detector_graph(arrays)), noise(*shape))


def test_cells_are_read_as_in_training() -> None:
    maps = [noise(1, 15, 128 // s, 192 // s) for s in STRIDES]
    read = detector_network.decode([torch.from_numpy(m) for m in maps], 128, 192)
    logits, boxes, points = (values[0].numpy() for values in read)
    scores, places = (
        np.concatenate(parts)
        for parts in zip(*(cells_above(m[0], s, 0.5) for m, s in zip(maps, STRIDES, strict=True)), strict=True)
    )
    kept = logits > 0.5
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits[kept])), rtol=1e-5)
    np.testing.assert_allclose(places[:, :2].reshape(-1, 4), boxes[kept], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(places[:, 2:], points[kept], rtol=1e-5, atol=1e-3)


def test_godps_maps_are_those_of_torch() -> None:
    arrays = load_weights("landmarks", "godp")
    ours = graph_network(godp_graph(arrays_of("godp", "settings"), stated_settings(arrays)[0]))
    assert_equal_outputs(godp_weights.runner(godp_weights.godp_from_arrays(arrays)[0]), ours, noise(2, 1, 160, 160))


@pytest.mark.parametrize(("landmarks", "bins"), [(7, 1), (6, 1), (5, 3)])
def test_godps_maps_are_those_of_torch_whether_or_not_they_fill_whole_blocks(landmarks: int, bins: int) -> None:
    edges = tuple(float(30 * k) for k in range(1, bins))
    torch.manual_seed(0)
    network = Godp(GodpSettings(landmarks, bins, edges, width=0.125)).eval()
    arrays = godp_weights.godp_arrays(network, Calibration())
    own = {name: value for name, value in arrays.items() if name != "settings"}
    ours = graph_network(godp_graph(own, network.settings))
    assert ours(noise(1, 1, 160, 160))[0].shape == (1, landmarks * bins + 1, 80, 80)
    assert_equal_outputs(godp_weights.runner(godp_weights.godp_from_arrays(arrays)[0]), ours, noise(1, 1, 160, 160))


def test_the_verifiers_odds_are_those_of_torch() -> None:
    arrays = {k.removeprefix("verifier."): v for k, v in arrays_of("finder", "rule").items()}
    theirs = verifier_network.runner(verifier_network.networks_of(arrays, 2))
    assert_equal_outputs(theirs, graph_network(verifier_graph(arrays, 2)), noise(3, 3, 64, 64))


def test_the_box_regressors_numbers_are_those_of_torch() -> None:
    arrays = arrays_of("box", MEAN_FACE)
    theirs = box_network.runner(box_network.network_of(arrays))
    assert_equal_outputs(theirs, graph_network(box_graph(arrays)), noise(3, 1, 64, 64))


def test_faces_are_found_alike_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.cbook

    from facerec.landmarks.image import read_image

    with open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), "rb") as stream:
        portrait = read_image(stream.read())
    found = []
    for name in ("onnx", "torch"):
        monkeypatch.setenv(engine.VARIABLE, name)
        (face,) = FaceFinder.load().find(portrait)
        found.append(face)
    ours, theirs = found
    # px, of a face of 180: where two pixels of a score map are nearly equal, rounding moves the place between them.
    assert np.abs(ours.landmarks.points - theirs.landmarks.points).max() < 0.15
    assert np.abs(ours.landmarks.confidence - theirs.landmarks.confidence).max() < 5e-3
    assert (ours.landmarks.visible == theirs.landmarks.visible).all()
    assert ours.box.score == pytest.approx(theirs.box.score, abs=1e-3)


@pytest.mark.parametrize(
    ("wanted", "device", "chosen"),
    [("", "cpu", "onnx"), ("auto", "cuda", "torch"), ("torch", "cpu", "torch"), ("onnx", "cpu", "onnx")],
)
def test_the_engine_is_onnxruntime_on_a_cpu_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, wanted: str, device: str, chosen: str
) -> None:
    monkeypatch.delenv(engine.VARIABLE, raising=False)
    if wanted:
        monkeypatch.setenv(engine.VARIABLE, wanted)
    assert engine_on(device) == chosen


@pytest.mark.parametrize(("wanted", "device"), [("tensorflow", "cpu"), ("onnx", "cuda")])
def test_an_engine_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str, device: str) -> None:
    monkeypatch.setenv(engine.VARIABLE, wanted)
    with pytest.raises(InvalidInputError, match=engine.VARIABLE):
        engine_on(device)


def test_weights_that_do_not_fit_are_refused() -> None:
    arrays = arrays_of("detector", THRESHOLD)
    with pytest.raises(InvalidInputError, match=r"stem\.0\.bias"):
        FaceDetector.from_arrays(arrays_of("detector", "stem.0.bias"))
    with pytest.raises(InvalidInputError, match="unknown"):
        detector_graph({**arrays, "more": np.zeros(1)})
    with pytest.raises(InvalidInputError, match="shape"):
        Weights({"a": np.zeros(3)}, "it").take("a", 4)


def test_a_graph_is_a_model_that_the_onnx_library_accepts() -> None:
    onnx = pytest.importorskip("onnx")
    graph = OnnxGraph()
    x = graph.input("x", ("n", 2, 8, 8))
    y = graph.convolution(x, noise(3, 2, 3, 3), noise(3), stride=2, padding=1)
    graph.output(graph.add("LeakyRelu", graph.doubled(y), alpha=0.25), ("n", 3, 8, 8))
    model = onnx.load_model_from_string(graph.encoded())
    onnx.checker.check_model(model)
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["n", 2, 8, 8]
    assert graph_network(graph)(noise(5, 2, 8, 8))[0].shape == (5, 3, 8, 8)


def test_the_path_on_a_cpu_imports_neither_torch_nor_scipy() -> None:
    """From pixels to a signature, its search and the commands that use it."""
    code = """
import sys
import numpy as np
from facerec.cli import enroll, identify, landmarks, serve, verify
from facerec.cli.service import application, verbs
from facerec.landmarks.device import share_cores
from facerec.recognition import identification, stage_pictures
from facerec.recognition.recognizer import load_recognizer
share_cores(1, "cpu", 1)
recognizer = load_recognizer()
recognizer.describe(np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8))
print(sorted({"torch", "scipy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
