"""Plugged-in ONNX detectors: pixels in, boxes out, on small networks built here whose answers are known.

Each network says "a face" where a cell of stride 16 is wholly red, so colour order, scaling, cells and placing all
show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.landmarks.detection.onnx_detectors import OnnxDetectorSettings, ScrfdDetector, YunetDetector
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.types import Box

onnx = pytest.importorskip("onnx", reason="needs onnx to build a small network")

SIDE = 128
RED, BLUE = (255, 0, 0), (0, 0, 255)


def write(path: Path, nodes: list[Any], constants: dict[str, np.ndarray], outputs: list[str], side: int | str) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def redness(stride: int, channel: int, gain: float, constants: dict[str, np.ndarray]) -> list[Any]:
    """Nodes from the input to the mean of a channel in each cell, times `gain` (0 but for stride 16): `red_S`."""
    from onnx import helper

    kernel = np.zeros((1, 3, 1, 1), np.float32)
    kernel[0, channel] = gain if stride == 16 else 0
    constants[f"pick_{stride}"] = kernel
    pool = helper.make_node(
        "AveragePool", ["input"], [f"mean_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
    )
    return [pool, helper.make_node("Conv", [f"mean_{stride}", f"pick_{stride}"], [f"red_{stride}"])]


def constant_map(stride: int, name: str, values: list[float], constants: dict[str, np.ndarray]) -> list[Any]:
    """Nodes that give every cell the same numbers: (1, cells, len(values))."""
    from onnx import helper

    constants[f"zero_{name}_{stride}"] = np.zeros((len(values), 3, 1, 1), np.float32)
    constants[f"bias_{name}_{stride}"] = np.array(values, np.float32)
    constants[f"flat_{name}_{stride}"] = np.array([1, -1, len(values)], np.int64)
    return [
        helper.make_node(
            "Conv", [f"mean_{stride}", f"zero_{name}_{stride}", f"bias_{name}_{stride}"], [f"map_{name}_{stride}"]
        ),
        helper.make_node("Transpose", [f"map_{name}_{stride}"], [f"nhwc_{name}_{stride}"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"nhwc_{name}_{stride}", f"flat_{name}_{stride}"], [f"{name}_{stride}"]),
    ]


def small_yunet(path: Path, side: int | str = SIDE, drop: str = "") -> Path:
    from onnx import helper

    constants: dict[str, np.ndarray] = {"column": np.array([1, -1, 1], np.int64)}
    nodes: list[Any] = []
    outputs: list[str] = []
    for stride in (8, 16, 32):
        nodes += redness(stride, 2, 1 / 255, constants)  # red is the last channel
        nodes += [helper.make_node("Reshape", [f"red_{stride}", "column"], [f"cls_{stride}"])]
        nodes += constant_map(stride, "obj", [1.0], constants)
        # In the middle of its cell, four cells wide and three high.
        nodes += constant_map(stride, "bbox", [0.5, 0.5, float(np.log(4)), float(np.log(3))], constants)
        outputs += [f"cls_{stride}", f"obj_{stride}", f"bbox_{stride}"]
    return write(path, nodes, constants, [name for name in outputs if name != drop], side)


def small_scrfd(path: Path, side: int | str = SIDE, strides: tuple[int, ...] = (8, 16, 32)) -> Path:
    from onnx import helper

    constants: dict[str, np.ndarray] = {"row": np.array([-1, 1], np.int64), "edges": np.array([-1, 4], np.int64)}
    nodes: list[Any] = []
    outputs: list[str] = []
    for number, stride in enumerate(strides):
        nodes += redness(stride, 0, 1.0, constants)
        nodes += constant_map(stride, "edge", [1.0, 2.0, 3.0, 2.0] * 2, constants)  # two anchors per cell
        constants[f"twice_{stride}"] = np.array([1, 2, 1, 1], np.int64)
        nodes += [
            helper.make_node("Tile", [f"red_{stride}", f"twice_{stride}"], [f"both_{stride}"]),
            helper.make_node("Transpose", [f"both_{stride}"], [f"last_{stride}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"last_{stride}", "row"], [f"{440 + number}"]),
            helper.make_node("Reshape", [f"edge_{stride}", "edges"], [f"{450 + number}"]),
        ]
        outputs += [f"{440 + number}", f"{450 + number}"]
    return write(path, nodes, constants, outputs, side)


def picture(color: tuple[int, int, int], height: int = 128, width: int = 128, zoom: int = 1) -> np.ndarray:
    """Black, with the cell of column 3 and row 2 of stride 16 in `color`, everything `zoom` times as large."""
    image = np.zeros((height * zoom, width * zoom, 3), np.uint8)
    image[32 * zoom : 48 * zoom, 48 * zoom : 64 * zoom] = color
    return image


def near(box: Box, x0: float, y0: float, x1: float, y1: float) -> bool:
    return bool(np.allclose([box.x0, box.y0, box.x1, box.y1], [x0, y0, x1, y1], atol=1e-3))


def test_yunets_cells_become_boxes(tmp_path: Path) -> None:
    detector = YunetDetector.load(small_yunet(tmp_path / "y.onnx"))
    (box,) = detector.detect(picture(RED))
    # Cell (3, 2): middle (56, 40), counted from the corner of the first pixel.
    assert near(box, 56 - 32 - 0.5, 40 - 24 - 0.5, 56 + 32 - 0.5, 40 + 24 - 0.5)
    assert box.score == pytest.approx(1.0)
    assert detector.detect(picture(BLUE)) == []
    assert detector.detect(picture((80, 0, 0))) == []


def test_scrfds_cells_become_boxes(tmp_path: Path) -> None:
    detector = ScrfdDetector.load(small_scrfd(tmp_path / "s.onnx"))
    (box,) = detector.detect(picture(RED))  # two anchors say the same: one box
    # Cell (3, 2): corner (48, 32).
    assert near(box, 48 - 16 - 0.5, 32 - 32 - 0.5, 48 + 48 - 0.5, 32 + 32 - 0.5)
    assert detector.detect(picture(BLUE)) == []
    assert detector.detect(picture((180, 0, 0))) == []


@pytest.mark.parametrize(("kind", "build"), [(YunetDetector, small_yunet), (ScrfdDetector, small_scrfd)])
def test_boxes_come_back_in_the_pictures_own_pixels(tmp_path: Path, kind: Any, build: Any) -> None:
    path = build(tmp_path / "n.onnx")
    (plain,) = kind.load(path).detect(picture(RED))
    (large,) = kind.load(path).detect(picture(RED, 96, 128, zoom=3))
    for one, three in zip(vars_of(plain), vars_of(large), strict=True):
        assert (three + 0.5) == pytest.approx(3 * (one + 0.5), abs=0.01)


def vars_of(box: Box) -> tuple[float, ...]:
    return box.x0, box.y0, box.x1, box.y1


def test_an_open_input_takes_the_settings_canvas(tmp_path: Path) -> None:
    path = small_yunet(tmp_path / "y.onnx", side="side")
    settings = OnnxDetectorSettings(canvas=192)
    assert len(YunetDetector.load(path, settings=settings).detect(picture(RED))) == 1
    with pytest.raises(InvalidInputError, match="multiple of 32"):
        YunetDetector.load(path, settings=OnnxDetectorSettings(canvas=100))


def test_a_face_too_large_for_the_first_look_is_found_in_the_second(tmp_path: Path) -> None:
    path = small_yunet(tmp_path / "y.onnx")
    huge = picture(RED, zoom=4)[:512, :512]  # the cell only fits the network's stride when the picture is shrunk
    both = YunetDetector.load(path, settings=OnnxDetectorSettings(sides=(512, 64), canvas=SIDE))
    assert len(both.detect(huge)) == 1


def test_what_is_no_such_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="ONNX file"):
        YunetDetector.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(InvalidInputError, match=r"text\.onnx"):
        YunetDetector.load(tmp_path / "text.onnx")
    with pytest.raises(InvalidInputError, match=r"bad\.onnx: expected a YuNet.*obj_16"):
        YunetDetector.load(small_yunet(tmp_path / "bad.onnx", drop="obj_16"))
    with pytest.raises(InvalidInputError, match="expected an SCRFD"):
        ScrfdDetector.load(small_scrfd(tmp_path / "two.onnx", strides=(8, 16)))
    with pytest.raises(InvalidInputError, match="expected a YuNet"):
        YunetDetector.load(small_scrfd(tmp_path / "other.onnx"))


def test_cuda_is_never_silently_replaced(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DeviceError, match="cuda"):
        YunetDetector.load(small_yunet(tmp_path / "y.onnx"), device="cuda")
