"""The detectors by name.

`facerec` is the package's own. Others can be used: ONNX networks of the YuNet and SCRFD kinds, a table of boxes, and
the whole picture. Each has its own box convention; the box regressor moves the boxes to where the landmark network
expects them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from facerec.landmarks.checkpoint import weight_record
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.tables import read_table
from facerec.landmarks.types import Box, Image, check_image

if TYPE_CHECKING:
    from facerec.landmarks.detection.box_regressor import BoxRegressor

DETECTORS: dict[str, str] = {
    "facerec": "the package's own, from frontal to profile",
    "yunet:PATH.onnx": "a network of the YuNet kind",
    "scrfd:PATH.onnx": "a network of the SCRFD kind",
    "boxes:FILE.csv": "a table with the columns file,x0,y0,x1,y1 and optionally score",
    "whole": "every picture is one face",
}
"""Detectors by name; the first is the default."""

DEFAULT_DETECTOR = next(iter(DETECTORS))

_BOX_COLUMNS = ("file", "x0", "y0", "x1", "y1")


class Detector(Protocol):
    """Finds faces. Stateless: may be called from several threads at once."""

    def detect(self, image: Image) -> Sequence[Box]:
        """Boxes of the faces of (H, W, 3) uint8 RGB, px."""
        ...


@runtime_checkable
class DeepDetector(Detector, Protocol):
    """A detector that can also search for smaller faces than usual, at a higher cost."""

    def detect_down_to(self, image: Image, smallest: float) -> Sequence[Box]:
        """As `detect`, and faces down to `smallest` px (the shorter side of their box)."""
        ...


@dataclass(frozen=True, eq=False)
class ChosenDetector:
    """A detector as the path uses it.

    Attributes:
        detector: its boxes are the tight boxes of the 68 landmarks, as the landmark network expects them.
        name: as a contract records it; of a file its name, without the folders of this machine.
        weights: name and SHA-256 of each weight file behind it.
        candidates: whether it returns candidates that the finder's rule must verify, rather than faces.
    """

    detector: Detector
    name: str
    weights: tuple[tuple[str, str], ...]
    candidates: bool


class RegressedDetector:
    """A detector whose boxes are moved onto the faces."""

    def __init__(self, detector: Detector, regressor: BoxRegressor) -> None:
        self._detector = detector
        self._regressor = regressor

    def detect(self, image: Image) -> list[Box]:
        """Tight landmark boxes, with the detector's own scores, in its order."""
        return [one.tight for one in self._regressor.regress(image, self._detector.detect(image))]


class WholePicture:
    """Takes every picture as one face, for collections that are already cropped."""

    def detect(self, image: Image) -> list[Box]:
        """The picture's border."""
        height, width = check_image(image).shape[:2]
        return [Box(-0.5, -0.5, width - 0.5, height - 0.5)]


class TabledBoxes:
    """Boxes that somebody else found, from a table.

    The path hands over pixels, not files, so pictures are known by their decoded pixels: the table's pictures are read
    once, when it is loaded. A picture that the table does not name shows no face.
    """

    def __init__(self, path: Path) -> None:
        """Read a table and the pictures it names, which lie relative to it.

        Raises:
            InvalidInputError: no such table or picture, a missing column, or a row that holds no box.
        """
        self._boxes: dict[bytes, list[Box]] = {}
        for name, boxes in _rows(path).items():
            try:
                key = _pixels(read_image(path.parent / name))
            except UnusablePhotoError as error:
                if not (path.parent / name).is_file():
                    raise InvalidInputError(f"{path}: expected a picture at {path.parent / name}: {error}") from None
                continue  # whoever asks for this picture gets its reason
            known = self._boxes.setdefault(key, [])
            # One picture under two names has the faces of both, each once.
            same = {(b.x0, b.y0, b.x1, b.y1) for b in known}
            known += [b for b in boxes if (b.x0, b.y0, b.x1, b.y1) not in same]

    def detect(self, image: Image) -> list[Box]:
        """The table's boxes of this picture, in its order."""
        return list(self._boxes.get(_pixels(check_image(image)), []))


def _rows(path: Path) -> dict[str, list[Box]]:
    if not path.is_file():
        raise InvalidInputError(f"expected a table of boxes after boxes:; got {str(path)!r}")
    found: dict[str, list[Box]] = {}
    columns, rows = read_table(path)
    missing = [column for column in _BOX_COLUMNS if column not in columns]
    if missing:
        raise InvalidInputError(f"{path}: expected the columns {','.join(_BOX_COLUMNS)}; {','.join(missing)} missing")
    for line, row in rows:
        try:
            edges = [float(row[column]) for column in _BOX_COLUMNS[1:]]
            box = Box(edges[0], edges[1], edges[2], edges[3], float(row.get("score") or 1.0))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{path}, line {line}: expected a box x0,y0,x1,y1; {error}") from None
        found.setdefault(row["file"], []).append(box)
    return found


def _pixels(image: Image) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()


def load_detector(name: str = DEFAULT_DETECTOR, device: str = "cpu") -> ChosenDetector:
    """The detector called `name`.

    Args:
        name: see `DETECTORS`.
        device: "cpu" or "cuda", where networks run.

    Raises:
        InvalidInputError: no such detector (the message names the known ones), or a file that does not hold what
            it should.
        ContractError: a weight file of the package is not the recorded one.
        DeviceError: the device is not there.
    """
    # Late: the networks need torch, the names above do not.
    from facerec.landmarks.detection.box_regressor import BoxRegressor
    from facerec.landmarks.detection.detector import FaceDetector

    if name == "facerec":
        return ChosenDetector(FaceDetector.load(device=device), name, (_recorded("detector"),), candidates=True)
    kind, _, file = name.partition(":")
    path = Path(file)
    weights: tuple[tuple[str, str], ...] = ()
    detector: Detector
    if name == "whole":
        detector = WholePicture()
    elif kind == "boxes" and file:
        detector = TabledBoxes(path)
        # The table says where the faces of these pictures are, not how faces are found: other pictures have another
        # one.
        name = kind
    elif kind in ("yunet", "scrfd") and file:
        from facerec.landmarks.detection.onnx_detectors import ScrfdDetector, YunetDetector

        detector = (YunetDetector if kind == "yunet" else ScrfdDetector).load(path, device)
        name = f"{kind}:{path.name}"
        weights = ((path.name, hashlib.sha256(path.read_bytes()).hexdigest()),)
    else:
        raise InvalidInputError(f"expected a detector of {', '.join(DETECTORS)}; got {name!r}")
    regressed = RegressedDetector(detector, BoxRegressor.load(device))
    return ChosenDetector(regressed, name, (*weights, _recorded("box")), candidates=False)


def boxes_digest(name: str) -> str:
    """Digest of the table behind the detector `boxes:FILE`, which a contract does not record; empty for all others.

    For caches of what was computed with it.
    """
    kind, _, file = name.partition(":")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if kind == "boxes" and file else ""


def _recorded(name: str) -> tuple[str, str]:
    return f"landmarks/{name}", weight_record("landmarks", name).sha256
