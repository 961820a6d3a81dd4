"""Face detectors in ONNX files: networks of the YuNet and of the SCRFD kind.

Neither comes with the package. What they expect and answer is read from their public inference code: YuNet as OpenCV
runs it (`FaceDetectorYN`, models from 2023 on), SCRFD as InsightFace does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.detection.detector import non_maximum_suppression
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.types import Box, Image, check_image

Floats = NDArray[np.float32]
Network = Callable[[Floats], dict[str, Floats]]
"""(1, 3, S, S) float32 to the outputs by name, without their batch axis."""

STRIDES = (8, 16, 32)
"""Cells of both networks, px."""


@dataclass(frozen=True)
class OnnxDetectorSettings:
    """How a picture is searched.

    Attributes:
        sides: the picture is looked at with its longer side so long, px, never enlarged. Both networks know faces up to
            about 300 px; the second, smaller look finds those that fill the picture.
        canvas: side of the square the network is given, px, when its file leaves it open; the rest stays empty.
        score: least score of a face; None takes the kind's usual one.
        merge_iou: of two boxes that overlap more, the better is kept.
    """

    sides: tuple[int, ...] = (640, 256)
    canvas: int = 640
    score: float | None = None
    merge_iou: float = 0.4


class _OnnxDetector:
    """The common part of both kinds: running the network on the picture's scales, and merging the detections."""

    usual_score: float
    """Least score of a face in the public code."""

    def __init__(self, network: Network, canvas: int, settings: OnnxDetectorSettings | None = None) -> None:
        """Take a network.

        Args:
            network: see `Network`.
            canvas: side S of its input, px, a multiple of 32.
            settings: see `OnnxDetectorSettings`.
        """
        if canvas % STRIDES[-1]:
            raise InvalidInputError(f"expected a network whose input's side is a multiple of 32; got {canvas}")
        self.settings = settings or OnnxDetectorSettings()
        self._network = network
        self._canvas = canvas

    @classmethod
    def load(cls, path: Path, device: str = "cpu", settings: OnnxDetectorSettings | None = None) -> _OnnxDetector:
        """The network of an ONNX file.

        Raises:
            InvalidInputError: the file holds no such network.
            DeviceError: `device` is "cuda" and onnxruntime cannot use it.
        """
        settings = settings or OnnxDetectorSettings()
        network, canvas = _session(path, device, settings.canvas)
        detector = cls(network, canvas, settings)
        try:
            detector.detect(np.zeros((canvas, canvas, 3), dtype=np.uint8))
        except InvalidInputError as error:
            raise InvalidInputError(f"{path.name}: {error}") from None
        return detector

    def detect(self, image: Image) -> list[Box]:
        """Boxes of the faces of `image` (H, W, 3) uint8 RGB, by falling score, as the network means them."""
        check_image(image)
        longer = max(image.shape[:2])
        sides = dict.fromkeys(min(side, longer, self._canvas) for side in self.settings.sides)
        looks = [self._look(image, side / longer) for side in sides]
        boxes, scores = (np.concatenate(parts) for parts in zip(*looks, strict=True))
        kept = non_maximum_suppression(boxes, scores, self.settings.merge_iou, 1.0)
        found = []
        for row in kept:
            x0, y0, x1, y1 = (float(v) for v in boxes[row])
            found.append(Box(x0, y0, x1, y1, min(1.0, float(scores[row]))))
        return found

    def _look(self, image: Image, scale: float) -> tuple[Floats, Floats]:
        height, width = (max(1, round(v * scale)) for v in image.shape[:2])
        canvas = np.zeros((self._canvas, self._canvas, 3), dtype=np.uint8)
        canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        boxes, scores = self._read(self._network(self._input_of(canvas)))
        least = self.usual_score if self.settings.score is None else self.settings.score
        sound = (scores >= least) & np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        ratio = np.array([image.shape[1] / width, image.shape[0] / height] * 2, dtype=np.float32)
        # Both networks count from the corner of the first pixel; here its centre is 0.
        return (boxes[sound] * ratio - 0.5).astype(np.float32), scores[sound].astype(np.float32)

    def _input_of(self, canvas: Image) -> Floats:
        raise NotImplementedError

    def _read(self, answers: dict[str, Floats]) -> tuple[Floats, Floats]:
        """Boxes (N, 4), px of the canvas, and scores (N,) of all cells."""
        raise NotImplementedError


class YunetDetector(_OnnxDetector):
    """A network of the YuNet kind: outputs cls_S, obj_S and bbox_S for the strides S = 8, 16, 32."""

    usual_score = 0.6

    def _input_of(self, canvas: Image) -> Floats:
        # Blue first, grey levels as they are.
        return np.ascontiguousarray(canvas[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32)

    def _read(self, answers: dict[str, Floats]) -> tuple[Floats, Floats]:
        boxes, scores = [], []
        for stride in STRIDES:
            cells = self._canvas // stride
            parts = {name: answers.get(f"{name}_{stride}") for name in ("cls", "obj", "bbox")}
            for (name, part), numbers in zip(parts.items(), (1, 1, 4), strict=True):
                if part is None or part.size != numbers * cells * cells:
                    raise InvalidInputError(
                        f"expected a YuNet with {numbers} numbers per cell in {name}_{stride}; got "
                        f"{None if part is None else part.shape} among {sorted(answers)}"
                    )
            cls, obj, bbox = (part.reshape(cells * cells, -1) for part in parts.values() if part is not None)
            scores.append(np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1)))
            middle = (_cells(cells) + bbox[:, :2]) * stride
            half = np.exp(np.clip(bbox[:, 2:], -10, 10)) * stride / 2
            boxes.append(np.concatenate([middle - half, middle + half], axis=1))
        return np.concatenate(boxes), np.concatenate(scores)


class ScrfdDetector(_OnnxDetector):
    """A network of the SCRFD kind: for each stride one output of scores and one of distances to the four edges.

    Exported files name their outputs by numbers, so they are distinguished by their shapes.
    """

    usual_score = 0.5

    def _input_of(self, canvas: Image) -> Floats:
        return np.ascontiguousarray((canvas[None].transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128.0)

    def _read(self, answers: dict[str, Floats]) -> tuple[Floats, Floats]:
        flat = [part.reshape(-1, part.shape[-1]) for part in answers.values()]
        by_width = {width: sorted((p for p in flat if p.shape[1] == width), key=len)[::-1] for width in (1, 4)}
        counts = [[len(part) for part in by_width[width]] for width in (1, 4)]
        cells = [self._canvas // stride for stride in STRIDES]
        anchors = counts[0][0] // cells[0] ** 2 if counts[0] else 0
        if not anchors or any(count != [anchors * n * n for n in cells] for count in counts):
            raise InvalidInputError(
                "expected an SCRFD with scores (N, 1) and edges (N, 4) for the strides 8, 16 and 32; got "
                f"{[part.shape for part in answers.values()]}"
            )
        boxes = []
        for edges, n, stride in zip(by_width[4], cells, STRIDES, strict=True):
            corner = np.repeat(_cells(n), anchors, axis=0) * stride
            boxes.append(np.concatenate([corner - edges[:, :2] * stride, corner + edges[:, 2:] * stride], axis=1))
        return np.concatenate(boxes), np.concatenate([part[:, 0] for part in by_width[1]])


def _cells(n: int) -> Floats:
    """(n * n, 2) column and row of each cell, row by row."""
    rows, columns = np.mgrid[:n, :n]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def _session(path: Path, device: str, canvas: int) -> tuple[Network, int]:
    """The file's network, and the side of its input, px (`canvas` when the file leaves it open)."""
    import onnxruntime

    if not path.is_file():
        raise InvalidInputError(f"expected an ONNX file; got {str(path)!r}")
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(f"the device {device} was requested, but onnxruntime has no {provider}")
    options = onnxruntime.SessionOptions()
    # The caller decides how many photographs are worked on at once.
    options.intra_op_num_threads = 1
    try:
        session: Any = onnxruntime.InferenceSession(str(path), sess_options=options, providers=[provider])
    except Exception as error:
        # onnxruntime has one exception class per kind of error and no common one.
        raise InvalidInputError(f"expected an ONNX network in {path.name}; {error}") from error
    if provider not in session.get_providers():
        raise DeviceError(f"the device {device} was requested, but onnxruntime runs on {session.get_providers()}")
    entry = session.get_inputs()[0]
    if len(entry.shape) != 4 or (entry.shape[1] not in (3, None) and not isinstance(entry.shape[1], str)):
        raise InvalidInputError(f"expected a network of input (1, 3, H, W) in {path.name}; got {entry.shape}")
    fixed = {v for v in entry.shape[2:] if isinstance(v, int) and v > 0}
    if len(fixed) > 1:
        raise InvalidInputError(f"expected a network of square input in {path.name}; got {entry.shape}")
    names = [out.name for out in session.get_outputs()]

    def network(picture: Floats) -> dict[str, Floats]:
        return dict(zip(names, session.run(None, {entry.name: picture}), strict=True))

    return network, fixed.pop() if fixed else canvas
