"""The face detector: photograph -> boxes.

A small fully convolutional network, anchor-free: at strides 8, 16, 32 and 64 px every cell predicts a score for a face
around it, the distances to the face's four edges, and five points. A face is detected at the stride that suits its
size. The whole picture is searched once at its working size. If that finds no sufficiently large face with certainty, a
thumbnail is searched as well, which brings faces that fill or overflow the picture into the same range of sizes. On
request, faces too small for the working size are searched for in tiles of the picture at a finer scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.detection.detector_graph import STRIDES, THRESHOLD, detector_graph
from facerec.landmarks.device import check_device
from facerec.landmarks.engine import Network, engine_on
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.onnx_graph import graph_network
from facerec.landmarks.types import Box, Image, check_image

_CONTEXT = 32
"""What tiles overlap by beyond the largest face they answer for, px: a face is seen by its surroundings, too."""


@dataclass(frozen=True)
class DetectorSettings:
    """How a photograph is searched.

    Attributes:
        working_side: a larger picture is shrunk to this longer side, px. 640 keeps a face of 4 % of the side above the
            smallest size and costs one network pass of about 30 ms.
        thumbnail_side: the second look, px; a quarter of `working_side`, so that a face that overflows the
            picture is as large there as a 160-px face, the middle of what the network learnt.
        sure_score, sure_share: with a box in the first look that scores more and whose shorter side has more than this
            share of the picture's there is no second. The share matters: of 132 enlarged portraits 2 had a better
            score on an ornament than 0.7, and their face in the second look alone.
        thumbnail_margin: empty border around the thumbnail, px, room for boxes that reach outside the picture.
        score_threshold: lowest score that is a face; None takes the one calibrated with the weights.
        merge_iou: of two boxes that overlap more, the better is kept. Neighbours in a crowd overlap less than 0.4.
        merge_inside: a box of which more than this share lies inside a better box is a part of that face.
        most_faces: a bound on the answer; a picture with more faces is outside what 640 px can resolve.
        smallest_seen: shorter side of a box that is found reliably in a look, px. Of 24-px faces on backgrounds a look
            that shows them at 20 px finds 50 of 50, at 18 px 49 and at 16 px 43; portraits wider than high need the 20.
        window_side: side of the windows in which small detections of a much larger picture are looked at again, px.
        tile_side: side of the tiles that small faces are looked for in, px; bounds the memory at 100 MB.
    """

    working_side: int = 640
    thumbnail_side: int = 160
    sure_score: float = 0.7
    sure_share: float = 1 / 6
    thumbnail_margin: int = 32
    score_threshold: float | None = None
    merge_iou: float = 0.4
    merge_inside: float = 0.8
    most_faces: int = 500
    smallest_seen: float = 20.0
    window_side: int = 256
    tile_side: int = 1024

    def __post_init__(self) -> None:
        if self.working_side < STRIDES[-1] or self.thumbnail_side < STRIDES[-1] or self.thumbnail_margin < 0:
            raise InvalidInputError(
                f"expected sides of at least {STRIDES[-1]} px and a margin of at least 0 px; got {self.working_side}, "
                f"{self.thumbnail_side}, {self.thumbnail_margin}"
            )
        if self.smallest_seen <= 0 or self.tile_side < 4 * STRIDES[-1]:
            raise InvalidInputError(
                f"expected a smallest face of more than 0 px and tiles of at least {4 * STRIDES[-1]} px; got "
                f"{self.smallest_seen}, {self.tile_side}"
            )
        if self.score_threshold is not None and not 0.0 < self.score_threshold < 1.0:
            raise InvalidInputError(f"expected a score threshold between 0 and 1; got {self.score_threshold}")


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """A box and the five points the detector places with it.

    Attributes:
        box: the tight box of the 68 landmarks, px.
        points: (5, 2) float32, px: image-left eye, image-right eye, nose tip, image-left and image-right mouth corner.
            Of a face in profile the hidden ones are guesses.
    """

    box: Box
    points: NDArray[np.float32]


Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Scores (N,), boxes (N, 4) x0 y0 x1 y1 and five points (N, 5, 2), px."""


class FaceDetector:
    """Finds the faces of a photograph. Holds no state between calls; safe to share between threads.

    Args:
        network: pictures (1, 3, H, W) float32, RGB in [-1, 1], sides multiples of 64, to one map (1, 15, H / s, W / s)
            for each stride s: score logit, four log distances, five points.
        score_threshold: the calibrated score from which a box counts as a face, used unless `settings` names another.
        settings: how a photograph is searched.
    """

    def __init__(self, network: Network, score_threshold: float, settings: DetectorSettings | None = None) -> None:
        self.settings = settings or DetectorSettings()
        self.score_threshold = (
            score_threshold if self.settings.score_threshold is None else self.settings.score_threshold
        )
        self._network = network

    @classmethod
    def load(cls, device: str = "cpu", settings: DetectorSettings | None = None) -> FaceDetector:
        """The detector that comes with the package.

        Raises `InvalidInputError` when its weights are not installed, `ContractError` when the weight file is not the
        recorded one, and `DeviceError` when `device` is not there.
        """
        return cls.from_arrays(load_weights("landmarks", "detector"), device, settings)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], device: str = "cpu", settings: DetectorSettings | None = None
    ) -> FaceDetector:
        """A detector from the arrays `detector_network.detector_arrays` gives."""
        check_device(device)
        if THRESHOLD not in arrays:
            raise InvalidInputError(f"expected detector weights with {THRESHOLD!r}; got {sorted(arrays)[:5]} ...")
        own = {name: value for name, value in arrays.items() if name != THRESHOLD}
        if engine_on(device) == "onnx":
            return cls(graph_network(detector_graph(own)), float(arrays[THRESHOLD]), settings)
        from facerec.landmarks.detection.detector_network import network_of, runner

        return cls(runner(network_of(own), device), float(arrays[THRESHOLD]), settings)

    def detect(self, image: Image) -> list[Box]:
        """Boxes of the faces of `image` (H, W, 3) uint8 RGB, by falling score; none overlaps a better one.

        Boxes mean the tight box of the 68 landmarks, the hidden ones included; they may reach outside the picture.
        Raises `InvalidInputError` for another form of image.
        """
        return [face.box for face in self.detect_faces(image)]

    def detect_down_to(self, image: Image, smallest: float) -> list[Box]:
        """As `detect`, and faces down to `smallest` px of the picture (the shorter side of their box, > 0).

        What the working size shows of them is too small in a large picture, so the picture is looked at in tiles at
        the scale at which they have `DetectorSettings.smallest_seen` px, at most its own. The tiles answer for faces
        that are too small for the working size, so the boxes of larger ones stay as they are.
        """
        if not smallest > 0:
            raise InvalidInputError(f"expected a smallest face of more than 0 px; got {smallest}")
        return [face.box for face in self.detect_faces(image, smallest)]

    def detect_faces(self, image: Image, smallest: float | None = None) -> list[DetectedFace]:
        """As `detect` or, with `smallest`, as `detect_down_to`; with the five points of each face."""
        found = self._merged(self._whole(check_image(image)))
        # What the working size shows at less than this is better seen at a finer scale, where the picture has one.
        coarse = self.settings.smallest_seen * max(image.shape[:2]) / self.settings.working_side
        small = _sides(found[1]) < coarse
        tiles = [] if smallest is None else list(self._tiled(image, smallest))
        if not tiles:
            tiles = list(self._closer(image, tuple(part[small] for part in found)))
        if tiles:
            found = self._merged([tuple(part[~small] for part in found), *tiles])
        return [DetectedFace(_box(box, float(score)), points) for score, box, points in zip(*found, strict=True)]

    def _merged(self, found: Sequence[Candidates]) -> Candidates:
        """The best detections of all looks, by falling score."""
        scores, boxes, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = non_maximum_suppression(boxes, scores, self.settings.merge_iou, self.settings.merge_inside)
        kept = kept[: self.settings.most_faces]
        return scores[kept], boxes[kept], points[kept]

    def _whole(self, image: Image) -> list[Candidates]:
        """Detections in the whole picture."""
        settings = self.settings
        side = max(image.shape[:2])
        picture, ratio = shrunk(image, settings.working_side / side)
        looks = [self._look(picture, ratio, 0)]
        scores, boxes, _ = looks[0]
        sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
        sure = (scores > settings.sure_score) & (sides > settings.sure_share * min(image.shape[:2]))
        if side > 1.25 * settings.thumbnail_side and not sure.any():
            thumbnail, further = shrunk(picture, settings.thumbnail_side / max(picture.shape[:2]))
            looks.append(self._look(thumbnail, ratio * further, settings.thumbnail_margin))
        return looks

    def _tiled(self, image: Image, smallest: float) -> Iterator[Candidates]:
        """Detections of small faces, tile by tile."""
        settings = self.settings
        whole = min(1.0, settings.working_side / max(image.shape[:2]))
        scale = min(1.0, settings.smallest_seen / smallest)
        if scale <= whole:
            return
        # A quarter more than the whole picture shows reliably, so that no size falls between the two.
        largest = 1.25 * settings.smallest_seen / whole
        height, width = (max(1, round(v * scale)) for v in image.shape[:2])
        fine = image
        if (height, width) != image.shape[:2]:
            # Above a half bilinear samples skip no pixel, and cost a sixth of the areas' time.
            way = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
            fine = np.asarray(cv2.resize(image, (width, height), interpolation=way), dtype=np.uint8)
        ratio = np.array([image.shape[1] / width, image.shape[0] / height], dtype=np.float32)
        overlap = min(math.ceil(largest * scale) + _CONTEXT, settings.tile_side // 2)
        for top, bottom in tile_edges(height, settings.tile_side, overlap):
            for left, right in tile_edges(width, settings.tile_side, overlap):
                scores, places = self._see(fine[top:bottom, left:right], 0)
                places = (places + np.array([left, top], dtype=np.float32) + 0.5) * ratio - 0.5
                sides = places[:, 1] - places[:, 0]
                centers = ((places[:, 0] + places[:, 1]) / 2 + 0.5) / ratio - 0.5
                # A face near a tile's inner edge lies whole in the neighbour.
                low = np.array([left + overlap / 2 if left else -np.inf, top + overlap / 2 if top else -np.inf])
                high = np.array(
                    [
                        right - overlap / 2 if right < width else np.inf,
                        bottom - overlap / 2 if bottom < height else np.inf,
                    ]
                )
                own = (sides.min(axis=1) <= largest) & ((centers >= low) & (centers <= high)).all(axis=1)
                yield scores[own], places[own, :2].reshape(-1, 4), places[own, 2:]

    def _closer(self, image: Image, small: Candidates) -> Iterator[Candidates]:
        """Detections around `small` ones of the whole picture, at a scale at which they are twice as large as needed.

        A window answers for all small detections well inside it. Nothing comes of a picture that was hardly shrunk.
        """
        settings = self.settings
        scores, boxes, _ = small
        if settings.working_side > 0.5 * max(image.shape[:2]):
            return
        centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(_sides(boxes), 1.0)
        left = np.ones(len(scores), dtype=bool)
        for i in range(len(scores)):  # by falling score
            if not left[i]:
                continue
            scale = min(1.0, 2 * settings.smallest_seen / float(sides[i]))
            reach = settings.window_side / 2 / scale
            low = np.maximum(np.floor(centers[i] - reach), 0).astype(np.intp)
            high = np.minimum(np.ceil(centers[i] + reach), np.array(image.shape[1::-1])).astype(np.intp)
            if (high <= low).any():
                left[i] = False
                continue
            window, ratio = shrunk(image[low[1] : high[1], low[0] : high[0]], scale)
            inner = (np.abs(centers - centers[i]) + 1.5 * sides[:, None] <= reach).all(axis=1)
            mine = left & inner & (sides <= 2 * sides[i]) & (sides >= sides[i] / 2)
            mine[i] = True
            left &= ~mine
            found, places, points = self._look(window, ratio, 0)
            corner = low.astype(np.float32)
            middle = (places[:, :2] + places[:, 2:]) / 2 + corner
            # Only what the whole picture showed, too: other patches there were looked at and rejected.
            near = np.abs(middle[:, None] - centers[mine]).max(axis=2) <= sides[mine]
            own = near.any(axis=1)
            yield found[own], places[own] + np.tile(corner, 2), points[own] + corner

    def _look(self, image: Image, ratio: NDArray[np.float32], margin: int) -> Candidates:
        """Detections in `image`, in px of a picture that is `ratio` (x, y) times as large."""
        scores, places = self._see(image, margin)
        # Pixel centres are whole numbers, so the picture's edge lies at -0.5.
        places = (places + 0.5) * ratio - 0.5
        return scores, places[:, :2].reshape(-1, 4), places[:, 2:]

    def _see(self, image: Image, margin: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores (N,) above the threshold and (N, 7, 2) two corners and five points, px of `image` as it is.

        It stands in an empty border of at least `margin` px.
        """
        height, width = image.shape[:2]
        step = STRIDES[-1]
        full_h, full_w = (-(-(v + 2 * margin) // step) * step for v in (height, width))
        top, left = (full_h - height) // 2, (full_w - width) // 2
        # 127 is the network's zero, so the empty border is neutral.
        canvas = np.full((full_h, full_w, 3), 127, dtype=np.uint8)
        canvas[top : top + height, left : left + width] = image
        picture = cv2.dnn.blobFromImage(canvas, 1 / 127.5, mean=(127.5, 127.5, 127.5))
        # NaN scores (broken weights) fail this comparison: they find nothing.
        least = math.log(self.score_threshold / (1.0 - self.score_threshold))
        maps = self._network(np.asarray(picture, dtype=np.float32))
        levels = [cells_above(one[0], stride, least) for one, stride in zip(maps, STRIDES, strict=True)]
        scores, places = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        return scores, places - np.array([left, top], dtype=np.float32)


def cells_above(
    answer: NDArray[np.float32], stride: int, least: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read one of the network's maps.

    Args:
        answer: (15, H, W), of cells of `stride` px.
        least: logit that a cell's score must exceed.

    Returns:
        scores (N,) and (N, 7, 2) two corners and five points, px, of the cells that do, row by row.
    """
    rows, columns = np.nonzero(answer[0] > least)
    cells = answer[:, rows, columns].T
    centers = (np.stack([columns, rows], axis=1).astype(np.float32) + 0.5) * stride - 0.5
    # exp keeps the distances positive; 4 bounds them at 55 cells, far beyond any face of the level.
    distances = np.exp(np.clip(cells[:, 1:5], -4.0, 4.0)) * np.float32(stride)
    places = np.empty((len(cells), 7, 2), dtype=np.float32)
    places[:, 0], places[:, 1] = centers - distances[:, :2], centers + distances[:, 2:]
    places[:, 2:] = centers[:, None] + cells[:, 5:].reshape(-1, 5, 2) * np.float32(stride)
    return np.asarray(1 / (1 + np.exp(-cells[:, 0])), dtype=np.float32), places


def shrunk(image: Image, scale: float) -> tuple[Image, NDArray[np.float32]]:
    """A picture made smaller by area averages, first by a whole number and then by what is left.

    Averages of whole blocks take a quarter of the time of those with shares of pixels. What does not fill a block at
    the right and lower edge, less than 1 / scale px, is left out.

    Args:
        image: (H, W, 3) uint8 RGB.
        scale: from 1 on the picture stays as it is.

    Returns:
        the smaller picture and (2,) its pixels' width and height, px of `image`.
    """
    if scale >= 1.0:
        return image, np.ones(2, dtype=np.float32)
    height, width = (max(1, round(v * scale)) for v in image.shape[:2])
    blocks = max(1, min(image.shape[0] // height, image.shape[1] // width))
    rows, columns = image.shape[0] // blocks, image.shape[1] // blocks
    taken = image[: rows * blocks, : columns * blocks]
    for size in ((columns, rows), (width, height)):
        if size != (taken.shape[1], taken.shape[0]):
            taken = np.asarray(cv2.resize(taken, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    ratio = np.array([columns * blocks / width, rows * blocks / height], dtype=np.float32)
    return taken, ratio


def tile_edges(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """First and last-plus-one pixel of the tiles of a side of `length` px: as few and as even as can be.

    Args:
        length: > 0, px.
        side: of a tile at most, px.
        overlap: of neighbours at least, px; less than `side`.
    """
    count = max(1, math.ceil((length - overlap) / (side - overlap)))
    own = min(length, math.ceil((length + (count - 1) * overlap) / count))
    return [(start, start + own) for start in (round(k * (length - own) / max(1, count - 1)) for k in range(count))]


def non_maximum_suppression(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float, inside: float
) -> NDArray[np.intp]:
    """Rows to keep, by falling score: a row goes when it overlaps a better kept one.

    Args:
        boxes: (N, 4) x0 y0 x1 y1, px.
        scores: (N,).
        iou: largest intersection over union with a better box.
        inside: largest share of the row's area that may lie inside a better box.

    Returns:
        (M,) rows; equal scores in the order they came.
    """
    order = np.argsort(-scores, kind="stable")
    area = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        union = area[best] + area[rest] - common
        order = rest[(common <= iou * union) & (common <= inside * area[rest])]
    return np.array(kept, dtype=np.intp)


def _sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the shorter sides of boxes (N, 4), px."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).min(axis=1))


def _box(edges: NDArray[np.float32], score: float) -> Box:
    x0, y0, x1, y1 = edges.tolist()
    return Box(x0, y0, x1, y1, score)
