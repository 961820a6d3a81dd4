"""The face detector: photograph -> boxes.

A small fully convolutional network, anchor-free: at strides 8, 16, 32 and 64 px every cell states how well it sees a
face around it, the distances to the face's four edges, and five points. A face is found at the stride that suits its
size. The whole picture is looked at once at its working size. Where that shows no sure face of some size, it is looked
at once more as a thumbnail, which brings faces that fill or overflow the picture into the same range of sizes. Faces
too small for the working size are looked for in tiles of the picture at a finer scale, where that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.packed import prepared
from facerec.landmarks.types import Box, Image, check_image

STRIDES = (8, 16, 32, 64)
"""Size of a cell of each level, px."""

CHANNELS_OUT = 15
"""Per cell: one score, four distances, five points of two coordinates."""

_THRESHOLD = "score_threshold"

_USUAL = ((1, 3, 256, 256), (1, 3, 512, 640))
"""Inputs it mostly gets, (N, C, H, W): thumbnails and small photographs, and photographs of 4 to 3."""


_CONTEXT = 32
"""What tiles overlap by beyond the largest face they answer for, px: a face is seen by its surroundings, too."""


@dataclass(frozen=True)
class DetectorShape:
    """Size of the network.

    Attributes:
        widths: channels after strides 2, 4, 8, 16, 32, 64. Dense 3x3 convolutions of few channels are faster here than
            depthwise ones, which are bound by memory; these widths take 1.5 G multiplications for 640x480.
        blocks: residual blocks at strides 4, 8, 16, 32, 64.
        neck: channels of the merged levels and of the head they share.
    """

    widths: tuple[int, int, int, int, int, int] = (16, 24, 48, 80, 96, 96)
    blocks: tuple[int, int, int, int, int] = (1, 2, 2, 2, 0)
    neck: int = 48


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


def _convolution(i: int, o: int, size: int = 3, stride: int = 1, norm: bool = True, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, size, stride, size // 2, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(o))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, norm=norm)
        self.second = _convolution(channels, channels, norm=norm, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class DetectorNetwork(nn.Module):
    """Picture -> one map per stride.

    Args:
        shape: size of the network.
        norm: with batch normalisation, for training; `fused` turns it into the form without, for use.
    """

    def __init__(self, shape: DetectorShape | None = None, norm: bool = True) -> None:
        super().__init__()
        self.shape = shape or DetectorShape()
        widths, neck = self.shape.widths, self.shape.neck
        self.stem = _convolution(3, widths[0], stride=2, norm=norm)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(widths[i], widths[i + 1], stride=2, norm=norm),
                *(_Residual(widths[i + 1], norm) for _ in range(self.shape.blocks[i])),
            )
            for i in range(5)
        )
        self.lateral = nn.ModuleList(_convolution(w, neck, size=1, norm=norm, relu=False) for w in widths[2:])
        self.merge = nn.ModuleList(_convolution(neck, neck, norm=norm) for _ in STRIDES)
        self.head = _convolution(neck, neck, norm=norm)
        self.answer = nn.Conv2d(neck, CHANNELS_OUT, 1)
        # A cell holds a face once in a hundred, its edges two cells away: starting there keeps the first steps calm.
        first_answer = torch.tensor([-math.log(99.0), *[0.7] * 4, *[0.0] * 10])
        with torch.no_grad():
            nn.init.normal_(self.answer.weight, std=0.01)
            self.answer.bias = nn.Parameter(first_answer)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps of `pictures`.

        Args:
            pictures: (B, 3, H, W) float, RGB in [-1, 1], H and W multiples of 64.

        Returns:
            One (B, 15, H / s, W / s) tensor per stride s: score logit, four log distances, five points; see `decode`.
        """
        x = self.stem(pictures)
        levels = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i >= 1:
                levels.append(x)
        answers: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(STRIDES))):
            here = self.lateral[i](levels[i])
            if above is not None:
                here = here + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = here
            answers.append(self.answer(self.head(self.merge[i](F.relu(here)))))
        return answers[::-1]

    def fused(self) -> DetectorNetwork:
        """The same function without batch normalisation (its running means folded into the convolutions), for use."""
        twin = DetectorNetwork(self.shape, norm=False)
        state: dict[str, Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
                convolution, norm = module[0], module[1]
                assert isinstance(convolution, nn.Conv2d)
                assert norm.running_mean is not None
                assert norm.running_var is not None
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                state[f"{name}.0.weight"] = (convolution.weight * scale[:, None, None, None]).detach()
                state[f"{name}.0.bias"] = (norm.bias - norm.running_mean * scale).detach()
        state["answer.weight"] = self.answer.weight.detach()
        assert self.answer.bias is not None
        state["answer.bias"] = self.answer.bias.detach()
        twin.load_state_dict(state)
        return twin.eval()


def cell_centers(height: int, width: int, stride: int, device: torch.device | str = "cpu") -> Tensor:
    """(H/s * W/s, 2) centres x, y of the cells of a picture, px, row by row."""
    y = (torch.arange(height // stride, device=device, dtype=torch.float32) + 0.5) * stride - 0.5
    x = (torch.arange(width // stride, device=device, dtype=torch.float32) + 0.5) * stride - 0.5
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2)


def decode(answers: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Read the network's maps.

    Args:
        answers: as `DetectorNetwork` returns them, for pictures of `height` x `width` px.

    Returns:
        logits (B, N), boxes (B, N, 4) x0 y0 x1 y1 px, points (B, N, 5, 2) px, for the N cells of all levels, float32.
    """
    logits, boxes, points = [], [], []
    for answer, stride in zip(answers, STRIDES, strict=True):
        flat = answer.float().flatten(2).transpose(1, 2)
        centers = cell_centers(height, width, stride, answer.device)
        # exp keeps the distances positive; 4 bounds them at 55 cells, far beyond any face of the level.
        distances = flat[..., 1:5].clamp(-4.0, 4.0).exp() * stride
        logits.append(flat[..., 0])
        boxes.append(torch.cat([centers - distances[..., :2], centers + distances[..., 2:]], dim=-1))
        points.append(centers[:, None, :] + flat[..., 5:].reshape(*flat.shape[:2], 5, 2) * stride)
    return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(points, 1)


def normalize(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 in [-1, 1], channels last in memory, the form the network reads."""
    return ((pictures.float() - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)


Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Scores (N,), boxes (N, 4) x0 y0 x1 y1 and five points (N, 5, 2), px."""


class FaceDetector:
    """Finds the faces of a photograph. Holds no state between calls; safe to share between threads.

    Args:
        network: a network without normalisation (`DetectorNetwork.fused`), in evaluation mode.
        score_threshold: the calibrated score from which a box counts as a face, used unless `settings` names another.
        settings: how a photograph is searched.
        device: "cpu" or a CUDA device.

    Raises:
        DeviceError: `device` is not there.
    """

    def __init__(
        self,
        network: DetectorNetwork,
        score_threshold: float,
        settings: DetectorSettings | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.settings = settings or DetectorSettings()
        self.device = _checked_device(device)
        self.score_threshold = (
            score_threshold if self.settings.score_threshold is None else self.settings.score_threshold
        )
        self._network, self._dtype = prepared(network, self.device, *_USUAL)

    @classmethod
    def load(cls, device: str | torch.device = "cpu", settings: DetectorSettings | None = None) -> FaceDetector:
        """The detector that comes with the package.

        Raises:
            InvalidInputError: the weights are not installed.
            ContractError: the weight file is not the recorded one.
            DeviceError: `device` is not there.
        """
        return cls.from_arrays(load_weights("landmarks", "detector"), device, settings)

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        device: str | torch.device = "cpu",
        settings: DetectorSettings | None = None,
    ) -> FaceDetector:
        """A detector from the arrays `detector_arrays` gives."""
        if _THRESHOLD not in arrays:
            raise InvalidInputError(f"expected detector weights with {_THRESHOLD!r}; got {sorted(arrays)[:5]} ...")
        network = DetectorNetwork(norm=False)
        state = {key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays.items() if key != _THRESHOLD}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InvalidInputError(f"expected the weights of this detector; got others: {error}") from None
        return cls(network, float(arrays[_THRESHOLD]), settings, device)

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
        found = [*self._whole(check_image(image))]
        if smallest is not None:
            found += self._tiled(image, smallest)
        scores, boxes, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = non_maximum_suppression(boxes, scores, self.settings.merge_iou, self.settings.merge_inside)
        return [DetectedFace(_box(boxes[i], float(scores[i])), points[i]) for i in kept[: self.settings.most_faces]]

    def _whole(self, image: Image) -> list[Candidates]:
        """What is seen of the whole picture."""
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
        """What is seen of small faces, tile by tile."""
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

    def _look(self, image: Image, ratio: NDArray[np.float32], margin: int) -> Candidates:
        """What is seen of `image`, in px of a picture that is `ratio` (x, y) times as large."""
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
        # 127 is the network's zero: an empty border says nothing.
        canvas = np.full((full_h, full_w, 3), 127, dtype=np.uint8)
        canvas[top : top + height, left : left + width] = image
        with torch.inference_mode():
            picture = normalize(torch.from_numpy(canvas).to(self.device).permute(2, 0, 1)[None])
            logits, boxes, points = decode(self._network(picture.to(self._dtype)), full_h, full_w)
            # NaN scores (broken weights) fail this comparison: they find nothing.
            keep = logits[0] > math.log(self.score_threshold / (1.0 - self.score_threshold))
            found = torch.cat(
                [torch.sigmoid(logits[0, keep])[:, None], boxes[0, keep], points[0, keep].flatten(1)], dim=1
            )
        table = found.cpu().numpy()
        return table[:, 0], table[:, 1:].reshape(-1, 7, 2) - np.array([left, top], dtype=np.float32)


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


def detector_arrays(network: DetectorNetwork, score_threshold: float) -> dict[str, NDArray[Any]]:
    """Arrays to save: the fused network in float16 and its threshold; `FaceDetector.from_arrays` reads them."""
    arrays: dict[str, NDArray[Any]] = {
        key: value.detach().cpu().numpy().astype(np.float16) for key, value in network.fused().state_dict().items()
    }
    arrays[_THRESHOLD] = np.array(score_threshold, dtype=np.float32)
    return arrays


def _box(edges: NDArray[np.float32], score: float) -> Box:
    x0, y0, x1, y1 = edges.tolist()
    return Box(x0, y0, x1, y1, score)


def _checked_device(device: str | torch.device) -> torch.device:
    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"the device {wanted} was asked for, but torch sees no CUDA device")
    return wanted
