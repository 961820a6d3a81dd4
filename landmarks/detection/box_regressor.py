"""The box regressor: from any detector's box to facerec's own box convention.

Detectors disagree about what a face's box is: to the hair line or to the brows, with ears or without. A small network
sees the picture around a box and predicts where the AFLW-style box (`facerec.landmarks.detection.boxes`) and the tight
box of the 68 landmarks lie, the one that the landmark network was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.crop import Roi, cut, grey, normalized
from facerec.landmarks.detection.boxes import landmark_box
from facerec.landmarks.detection.patch_graphs import CROP_SIZE, MEAN_FACE, box_graph
from facerec.landmarks.device import check_device
from facerec.landmarks.engine import Network, engine_on
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import graph_network
from facerec.landmarks.types import Box, Image, Landmarks, check_image

CROP_SCALE = 1.7
"""Side of the crop over the longer side of the box that comes in: room for a face that the box cuts or misses by a
third."""


@dataclass(frozen=True)
class BoxRegressorSettings:
    """How boxes are regressed.

    Attributes:
        rounds: how often the answer is looked at again. Two: a box that is half as large again as the face's leaves
            the face small in the first crop, and a third look changes little.
        batch: boxes looked at together; bounds the memory of a crowd.
    """

    rounds: int = 2
    batch: int = 64

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.batch < 1:
            raise InvalidInputError(f"expected rounds >= 1 and batch >= 1; got {self.rounds}, {self.batch}")


@dataclass(frozen=True, eq=False)
class RegressedBox:
    """The two boxes regressed from one box; both carry its score.

    Attributes:
        aflw: the AFLW-style square, px.
        tight: the tight box of the 68 landmarks, px.
    """

    aflw: Box
    tight: Box


def encoded(roi: Roi, aflw: Box, tight: Box) -> NDArray[np.float32]:
    """(7,) what the network says of a crop: AFLW centre x, y and log side, tight centre x, y, log width and height.

    Centres and lengths are shares of the crop's side, centres counted from its middle.
    """
    own = np.array([roi.center_x, roi.center_y])
    return np.array(
        [
            *((np.array(aflw.center) - own) / roi.side),
            np.log(aflw.width / roi.side),
            *((np.array(tight.center) - own) / roi.side),
            np.log(tight.width / roi.side),
            np.log(tight.height / roi.side),
        ],
        dtype=np.float32,
    )


def decoded(roi: Roi, answer: NDArray[np.floating], score: float) -> RegressedBox:
    """The inverse of `encoded`. Lengths are held between a tenth of the crop and three times its side."""
    ax, ay, aside, tx, ty, twidth, theight = (float(v) for v in answer)
    side, width, height = (
        roi.side * float(np.exp(np.clip(v, np.log(0.1), np.log(3.0)))) for v in (aside, twidth, theight)
    )

    def placed(x: float, y: float, w: float, h: float) -> Box:
        cx, cy = roi.center_x + x * roi.side, roi.center_y + y * roi.side
        return Box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score)

    return RegressedBox(placed(ax, ay, side, side), placed(tx, ty, width, height))


class BoxRegressor:
    """Moves boxes onto faces. Holds no state between calls; safe to share between threads.

    Args:
        network: grey crops (N, 1, 64, 64) of zero mean and unit deviation to (N, 7), see `encoded`.
        mean_face: (68, 3) mm, what AFLW-style boxes of landmarks are computed with.
        settings: how boxes are regressed.
    """

    def __init__(
        self, network: Network, mean_face: NDArray[np.float64], settings: BoxRegressorSettings | None = None
    ) -> None:
        self.settings = settings or BoxRegressorSettings()
        if mean_face.shape != (68, 3):
            raise InvalidInputError(f"expected a mean face (68, 3); got {mean_face.shape}")
        self.mean_face = mean_face
        self._network = network

    @classmethod
    def load(cls, device: str = "cpu", settings: BoxRegressorSettings | None = None) -> BoxRegressor:
        """The regressor that comes with the package.

        Raises:
            InvalidInputError: the weights are not installed.
            ContractError: the weight file is not the recorded one.
            DeviceError: `device` is not there.
        """
        return cls.from_arrays(load_weights("landmarks", "box"), device, settings)

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        device: str = "cpu",
        settings: BoxRegressorSettings | None = None,
    ) -> BoxRegressor:
        """A regressor from the arrays `box_network.regressor_arrays` gives."""
        check_device(device)
        if MEAN_FACE not in arrays:
            raise InvalidInputError(f"expected the weights of a box regressor; got {sorted(arrays)[:5]} ...")
        own = {name: value for name, value in arrays.items() if name != MEAN_FACE}
        mean_face = arrays[MEAN_FACE].astype(np.float64)
        if engine_on(device) == "onnx":
            return cls(graph_network(box_graph(own)), mean_face, settings)
        from facerec.landmarks.detection.box_network import network_of, runner

        return cls(runner(network_of(own), device), mean_face, settings)

    def regress(self, image: Image, boxes: Sequence[Box]) -> list[RegressedBox]:
        """The AFLW-style and the tight box of the face at each of `boxes`, in their order.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: of any detector, px.

        Raises:
            InvalidInputError: another form of image.
        """
        plane = grey(check_image(image))
        tight = list(boxes)
        found: list[RegressedBox] = []
        for _ in range(self.settings.rounds):
            rois = [Roi.around(box, CROP_SCALE) for box in tight]
            answers = self._look([cut(plane, roi, CROP_SIZE) for roi in rois])
            found = [decoded(roi, own, box.score) for roi, own, box in zip(rois, answers, boxes, strict=True)]
            tight = [one.tight for one in found]
        return found

    def aflw_box(self, landmarks: Landmarks, picture: tuple[int, int]) -> Box:
        """The AFLW-style box of located landmarks in a picture of (height, width) px; see `landmark_box`."""
        return landmark_box(landmarks, self.mean_face, picture)

    def _look(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        parts = []
        for first in range(0, len(crops), self.settings.batch):
            parts.append(self._network(normalized(np.stack(crops[first : first + self.settings.batch])))[0])
        return np.concatenate(parts) if parts else np.zeros((0, 7), dtype=np.float32)
