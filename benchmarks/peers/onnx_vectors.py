"""Vectors of a face network in an ONNX file, aligned as its makers' tools align faces (deepface, InsightFace).

    python benchmarks/peers/onnx_vectors.py PICTURES.csv VECTORS.npz --network arcface.onnx
    python benchmarks/peers/onnx_vectors.py PICTURES.csv VECTORS.npz --network facenet.onnx --align eyes --scale facenet

The face is the largest that facerec's detector finds; its landmarks give the eyes, the nose and the mouth. The size and
the order of the axes are the network's own. PICTURES.csv has the columns name,path (`protocol.py pictures`). With
facerec's own fit in place of this alignment: `facerec evaluate recognition ... --systems onnx:PATH --scores DIR`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image

ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose tip and mouth corners in InsightFace's frame of 112 px."""

FIVE_OF_68 = (range(36, 42), range(42, 48), (30,), (48,), (54,))
EYE_HEIGHT, EYE_DISTANCE = 0.35, 0.38
"""Of a frame aligned by the eyes alone: how far down they are and how far apart, shares of its size. So much of a
face is what the boxes that deepface cuts hold."""

SCALES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "arcface": lambda x: (x - 127.5) / 127.5,
    "unit": lambda x: x / 255,
    "raw": lambda x: x,
    "facenet": lambda x: (x - x.mean()) / max(float(x.std()), 1 / np.sqrt(x.size)),
}
"""How pixels become numbers; "facenet" takes each picture's own mean and deviation."""


class OnnxNetwork:
    """A network of one picture in, one vector out; (B, 3, S, S) and (B, S, S, 3) are both taken."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        entry = self._session.get_inputs()[0]
        shape = list(entry.shape)[1:]
        if len(shape) != 3 or 3 not in (shape[0], shape[2]) or not isinstance(shape[1], int):
            raise InvalidInputError(f"expected an input (B, 3, S, S) or (B, S, S, 3) in {path.name}; got {entry.shape}")
        self._name, self.size, self._last = entry.name, shape[1], shape[2] == 3

    def __call__(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        """(D,) of a view (S, S, 3)."""
        batch = view[None] if self._last else view.transpose(2, 0, 1)[None]
        found = self._session.run(None, {self._name: np.ascontiguousarray(batch, dtype=np.float32)})[0]
        return np.asarray(found, dtype=np.float32).ravel()


def aligned(image: Image, points: NDArray[np.floating], size: int, align: str) -> Image:
    """The face in a frame of `size` px by its 68 points: by five of them, or by the eyes alone."""
    five = np.array([points[list(rows)].mean(axis=0) for rows in FIVE_OF_68], dtype=np.float64)
    if align == "arcface":
        target = ARCFACE_POINTS * (size / 112)
    else:
        five = five[:2]
        target = size * np.array([[0.5 - EYE_DISTANCE / 2, EYE_HEIGHT], [0.5 + EYE_DISTANCE / 2, EYE_HEIGHT]])
    return np.asarray(cv2.warpAffine(image, _similarity(five, target), (size, size)), dtype=np.uint8)


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3) turn, scale and shift, in the least squares, from (N, 2) to (N, 2)."""
    a, b = ((points - points.mean(axis=0)) @ np.array([1, 1j]) for points in (source, target))
    turn = (a.conj() @ b) / (a.conj() @ a)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, target.mean(axis=0) - linear @ source.mean(axis=0)])


@click.command(help=__doc__)
@click.argument("pictures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--network", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--align", type=click.Choice(["arcface", "eyes"]), default="arcface", show_default=True)
@click.option("--scale", type=click.Choice(list(SCALES)), default="arcface", show_default=True)
@click.option("--bgr", is_flag=True, help="The network takes blue, green, red.")
def main(pictures: Path, output: Path, network: Path, align: str, scale: str, bgr: bool) -> None:
    finder, net = FaceFinder.load(), OnnxNetwork(network)
    with pictures.open(newline="", encoding="utf-8") as stream:
        listed = list(csv.DictReader(stream))
    found: list[NDArray[np.float32] | None] = []
    for row in listed:
        try:
            image = read_image(Path(row["path"]))
            faces = finder.find(image)
        except UnusablePhotoError:
            faces = []
        if not faces:
            found.append(None)
            continue
        view = aligned(image, faces[0].landmarks.points, net.size, align)
        found.append(net(SCALES[scale]((view[:, :, ::-1] if bgr else view).astype(np.float32))))
    width = max((len(one) for one in found if one is not None), default=1)
    missing = np.full(width, np.nan, dtype=np.float32)
    vectors = np.stack([missing if one is None else one for one in found])
    np.savez(output, names=np.array([row["name"] for row in listed]), vectors=vectors)
    print(f"{sum(one is not None for one in found)} of {len(listed)} found")


if __name__ == "__main__":
    main()
