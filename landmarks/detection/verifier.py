"""The verifier: networks that check a candidate in a larger colour crop, trained on false detections.

The detector sees a face in two to six of its cells and must answer everywhere; the verifier sees one candidate in 64
px. Two small networks are each trained on one half of the training pictures, so that each half can be scored by the
network that was not trained on it, and the finder's rule learns how far to trust them. In use their log-odds are
averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.batches import in_batches
from facerec.landmarks.crop import Roi, cut
from facerec.landmarks.detection.patch_graphs import PATCH_SIZE, verifier_graph
from facerec.landmarks.engine import Network, engine_on
from facerec.landmarks.onnx_graph import graph_network
from facerec.landmarks.types import Box, Image

PATCH_SCALE = 1.6
"""Side of a patch over the longer side of its box: hair, ears and neck are evidence, too."""

NETWORKS = 2


class Verifier:
    """Scores candidates. Holds no state between calls; safe to share between threads.

    Args:
        network: patches (N, 3, 64, 64) in [-1, 1] to log-odds (N, 1).
        batch: patches looked at together; bounds the memory of a crowd.
    """

    def __init__(self, network: Network, batch: int = 64) -> None:
        self._network = network
        self._batch = batch

    def log_odds(self, image: Image, boxes: Sequence[Box]) -> NDArray[np.float64]:
        """(N,) log-odds that each of the boxes in `image` (H, W, 3) uint8 RGB holds a face."""
        if not boxes:
            return np.zeros(0)
        return self.log_odds_of(np.stack([patch(image, box) for box in boxes]))

    def log_odds_of(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The same of patches (N, 64, 64, 3) uint8 RGB."""
        return np.concatenate([np.zeros(0), *in_batches(self._mean_log_odds, patches, self._batch)])

    def _mean_log_odds(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        x = np.ascontiguousarray(patches.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(127.5) - np.float32(1)
        return self._network(x)[0][:, 0].astype(np.float64)


def patch(image: Image, box: Box, size: int = PATCH_SIZE) -> Image:
    """What the verifier sees of a box: (size, size, 3) uint8 RGB."""
    return cut(image, Roi.around(box, PATCH_SCALE), size)


def verifier_from_arrays(arrays: Mapping[str, NDArray[Any]], device: str = "cpu") -> Verifier:
    """The verifier of the arrays `verifier_network.verifier_arrays` gives.

    Raises:
        InvalidInputError: other arrays.
    """
    if engine_on(device) == "onnx":
        return Verifier(graph_network(verifier_graph(arrays, NETWORKS)))
    from facerec.landmarks.detection.verifier_network import networks_of, runner

    return Verifier(runner(networks_of(arrays, NETWORKS), device))
