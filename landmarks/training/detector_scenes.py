"""Training pictures for the detector, made on the fly: annotated faces placed in photographs without faces.

Two kinds of scene. "Pasted": faces cut out of their picture, at any size and angle, on a photograph. "Tiled": whole
real pictures, enlarged, shrunk, turned and cut, side by side, so that the edge of a pasted face gives nothing away.
A scene is a function of the seed and its number alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.detector_pictures import AnnotatedPicture, Floats, Kind
from facerec.landmarks.types import Image


@dataclass(frozen=True, eq=False)
class Decoy:
    """A place that a detector took for a face and that is none.

    Attributes:
        levels: the picture and its halvings.
        box: (4,) px, the false box.
    """

    levels: tuple[Image, ...]
    box: Floats


@dataclass(frozen=True)
class SceneSettings:
    """What training pictures look like.

    Attributes:
        side: px. 256 holds every size the network answers to at full resolution, and 32 fit a step of half a second.
        sizes: smallest and largest face, square root of the box's area, px.
        tilt: largest in-plane rotation, degrees.
        kinds: how often a face is of each kind; profiles, turned and covered faces are rare in the data and hard.
            A kind without a picture is left out.
        tiled: share of tiled scenes.
        empty: share of scenes without a face.
        decoy: chance of each decoy, when there are any.
        grey, blurred, noisy, coarse, compressed: share of scenes so degraded.
        hidden: share of faces partly hidden by a patch of something else.
        smallest: smaller faces are ignored, px: below, there is nothing to see.
        seen, unseen: a face is asked for when more than `seen` of its box is in view, and nothing when less than
            `unseen`; in between it is ignored.
    """

    side: int = 256
    sizes: tuple[float, float] = (17.0, 250.0)
    tilt: float = 45.0
    kinds: tuple[tuple[Kind, float], ...] = (
        ("profile", 0.28), ("frontal", 0.09), ("frame", 0.15), ("turned", 0.12), ("steep", 0.18), ("worn", 0.07),
        ("worn profile", 0.11),
    )  # fmt: skip
    tiled: float = 0.5
    empty: float = 0.1
    decoy: float = 0.5
    grey: float = 0.3
    blurred: float = 0.2
    noisy: float = 0.2
    coarse: float = 0.15
    compressed: float = 0.35
    hidden: float = 0.25
    smallest: float = 14.0
    seen: float = 0.55
    unseen: float = 0.2


@dataclass(frozen=True, eq=False)
class Scene:
    """One training picture.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        boxes: (N, 4) px, faces that must be found.
        points: (N, 5, 2) px, NaN where unknown.
        ignored: (M, 4) px, faces that may be found.
    """

    image: Image
    boxes: Floats
    points: Floats
    ignored: Floats


def _placement(
    box: Floats, center: Floats, size: float, tilt: float, stretch: tuple[float, float], mirrored: bool
) -> Floats:
    """(2, 3) matrix that takes `box` to `center`, of `size` px (square root of the area); mirrors, stretches, turns."""
    scale = size / math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag(
        [scale * stretch[0] * (-1.0 if mirrored else 1.0), scale * stretch[1]]
    )
    return np.concatenate([linear, (center - linear @ ((box[:2] + box[2:]) / 2))[:, None]], axis=1)


def _transform(points: Floats, matrix: Floats) -> Floats:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _corners(box: Floats) -> Floats:
    return box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)


def _bounds(points: Floats) -> Floats:
    return np.concatenate([np.nanmin(points, axis=0), np.nanmax(points, axis=0)])


def _area(box: Floats) -> float:
    return max(0.0, float(box[2] - box[0])) * max(0.0, float(box[3] - box[1]))


def _intersection(a: Floats, b: Floats) -> Floats:
    return np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])


def _draw_size(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform: every octave of size as often."""
    return math.exp(rng.uniform(math.log(low), math.log(max(high, low * 1.001))))


def _draw(
    canvas: Image,
    clip: tuple[int, int, int, int],
    levels: tuple[Image, ...],
    matrix: Floats,
    region: Floats,
    oval: bool,
    feather: float,
) -> None:
    """Draw `region` (box, px of the picture) of a picture through `matrix` into `clip` (x0 y0 x1 y1) of `canvas`.

    `oval` draws the ellipse inscribed in the region; `feather` is the soft edge's width, px of the canvas.
    """
    x0, y0, x1, y1 = clip
    spread = _bounds(_transform(_corners(region), matrix))
    x0, y0 = max(x0, math.floor(spread[0])), max(y0, math.floor(spread[1]))
    x1, y1 = min(x1, math.ceil(spread[2]) + 1), min(y1, math.ceil(spread[3]) + 1)
    if x1 <= x0 or y1 <= y0:
        return
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    level = min(len(levels) - 1, max(0, math.floor(-math.log2(scale)))) if scale < 1 else 0
    picture = levels[level]
    # From a halved picture's px to the whole picture's: p = (p_half + 1/2) * ratio - 1/2, the ratio not quite 2**level.
    ratio = np.array([levels[0].shape[1] / picture.shape[1], levels[0].shape[0] / picture.shape[0]])
    to_canvas = np.empty((2, 3))
    to_canvas[:, :2] = matrix[:, :2] * ratio
    to_canvas[:, 2] = matrix[:, 2] + matrix[:, :2] @ (0.5 * ratio - 0.5) - (x0, y0)
    patch = cv2.warpAffine(
        picture, to_canvas, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inverse = np.linalg.inv(matrix[:, :2])
    grid_x, grid_y = np.meshgrid(
        np.arange(x0, x1, dtype=np.float32) - np.float32(matrix[0, 2]),
        np.arange(y0, y1, dtype=np.float32) - np.float32(matrix[1, 2]),
    )
    half = (region[2:] - region[:2]) / 2
    middle = (region[2:] + region[:2]) / 2
    u = (np.float32(inverse[0, 0]) * grid_x + np.float32(inverse[0, 1]) * grid_y - np.float32(middle[0])) / half[0]
    v = (np.float32(inverse[1, 0]) * grid_x + np.float32(inverse[1, 1]) * grid_y - np.float32(middle[1])) / half[1]
    reach = np.sqrt(u * u + v * v) if oval else np.maximum(np.abs(u), np.abs(v))
    soft = max(feather, 1.0) / (scale * float(half.min()))
    alpha = np.clip((1.0 - reach) / soft, 0.0, 1.0).astype(np.float32)[..., None]
    place = canvas[y0:y1, x0:x1]
    place[:] = (place + alpha * (patch.astype(np.float32) - place) + 0.5).astype(np.uint8)


class SceneMaker:
    """Makes training scenes.

    Args:
        pictures: annotated faces.
        backgrounds: photographs without faces, each with its halvings.
        decoys: false faces to unlearn.
        settings: what scenes look like.
        seed: with a scene's number, all that it depends on.
    """

    def __init__(
        self,
        pictures: Sequence[AnnotatedPicture],
        backgrounds: Sequence[tuple[Image, ...]],
        decoys: Sequence[Decoy] = (),
        settings: SceneSettings | None = None,
        seed: int = 0,
    ) -> None:
        if not pictures or not backgrounds:
            raise InvalidInputError(
                f"expected annotated pictures and backgrounds; got {len(pictures)} and {len(backgrounds)}"
            )
        self.settings = settings or SceneSettings()
        self.backgrounds = backgrounds
        self.decoys = decoys
        self.seed = seed
        by_kind = {kind: [p for p in pictures if p.kind == kind] for kind, _ in self.settings.kinds}
        self._kinds = [(by_kind[kind], share) for kind, share in self.settings.kinds if by_kind[kind]]

    def scene(self, number: int) -> Scene:
        """Scene `number`."""
        rng = np.random.default_rng([self.seed, number])
        return _SceneInTheMaking(self, rng).finished()

    def picture(self, rng: np.random.Generator) -> AnnotatedPicture:
        """A random annotated picture, kinds as often as the settings say."""
        shares = np.array([share for _, share in self._kinds])
        pictures = self._kinds[int(rng.choice(len(shares), p=shares / shares.sum()))][0]
        return pictures[int(rng.integers(len(pictures)))]


class _SceneInTheMaking:
    def __init__(self, maker: SceneMaker, rng: np.random.Generator) -> None:
        self.maker, self.settings, self.rng = maker, maker.settings, rng
        side = self.settings.side
        self.canvas: Image = np.zeros((side, side, 3), dtype=np.uint8)
        # Box, five points, share of the box in view.
        self.faces: list[tuple[Floats, Floats, float]] = []
        self.ignored: list[Floats] = []

    def finished(self) -> Scene:
        rng, settings = self.rng, self.settings
        everything = (0, 0, settings.side, settings.side)
        empty = rng.random() < settings.empty
        if not empty and rng.random() < settings.tiled:
            self._tiles()
        else:
            self._background(everything)
            if not empty:
                for _ in range(rng.integers(1, 5)):
                    self._paste()
        if self.maker.decoys and rng.random() < settings.decoy / 2:
            self._decoy(everything, whole=False)
        self._degrade()
        boxes, points, ignored = [], [], list(self.ignored)
        for box, five, seen in self.faces:
            large = math.sqrt(_area(box)) >= settings.smallest
            if seen > settings.seen and large:
                boxes.append(box)
                points.append(five)
            elif seen > settings.unseen:
                ignored.append(box)
        return Scene(
            self.canvas,
            np.array(boxes).reshape(-1, 4),
            np.array(points).reshape(-1, 5, 2),
            np.array(ignored).reshape(-1, 4),
        )

    def _cover(self, by: Floats) -> None:
        """Something was drawn over the box `by`: less of the faces beneath is in view."""
        covered = []
        for box, five, seen in self.faces:
            covered.append((box, five, seen - _area(_intersection(box, by)) / _area(box)))
        self.faces = covered

    def _background(self, clip: tuple[int, int, int, int]) -> None:
        rng = self.rng
        x0, y0, x1, y1 = clip
        if self.maker.decoys and rng.random() < self.settings.decoy:
            self._decoy(clip, whole=True)
            return
        levels = self.maker.backgrounds[int(rng.integers(len(self.maker.backgrounds)))]
        height, width = levels[0].shape[:2]
        # From the whole photograph down to a third of it fills the place.
        scale = max((x1 - x0) / width, (y1 - y0) / height) * _draw_size(rng, 1.0, 3.0)
        tilt = math.radians(rng.normal(0.0, 10.0)) if rng.random() < 0.3 else 0.0
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        linear = scale * np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
        linear[:, 0] *= mirror
        room = np.maximum(np.array([width, height]) - np.array([x1 - x0, y1 - y0]) / scale, 0) / 2
        focus = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * room
        shift = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) - linear @ focus
        self._fill(clip, levels, np.concatenate([linear, shift[:, None]], axis=1))

    def _fill(
        self, clip: tuple[int, int, int, int], levels: tuple[Image, ...], matrix: Floats, mirror: bool = True
    ) -> None:
        """Draw a picture over all of `clip`, its edge repeated outside; `mirror` allows its mirror image there too."""
        x0, y0, x1, y1 = clip
        scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
        level = min(len(levels) - 1, max(0, math.floor(-math.log2(scale)))) if scale < 1 else 0
        ratio = np.array([levels[0].shape[1] / levels[level].shape[1], levels[0].shape[0] / levels[level].shape[0]])
        to_canvas = np.empty((2, 3))
        to_canvas[:, :2] = matrix[:, :2] * ratio
        to_canvas[:, 2] = matrix[:, 2] + matrix[:, :2] @ (0.5 * ratio - 0.5) - (x0, y0)
        border = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT)[self.rng.integers(3 if mirror else 2)]
        color = [int(v) for v in self.rng.integers(0, 256, 3)]
        self.canvas[y0:y1, x0:x1] = cv2.warpAffine(
            levels[level], to_canvas, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=color
        )

    def _decoy(self, clip: tuple[int, int, int, int], whole: bool) -> None:
        """A false face at a face's size: its whole picture as the background, or it alone with its surroundings."""
        rng = self.rng
        decoy = self.maker.decoys[int(rng.integers(len(self.maker.decoys)))]
        x0, y0, x1, y1 = clip
        size = _draw_size(rng, self.settings.sizes[0], 0.8 * min(x1 - x0, y1 - y0))
        center = rng.uniform((x0, y0), (x1, y1))
        tilt = rng.uniform(-20.0, 20.0) if rng.random() < 0.5 else 0.0
        matrix = _placement(decoy.box, center, size, tilt, (1.0, 1.0), bool(rng.random() < 0.5))
        if whole:
            self._fill(clip, decoy.levels, matrix)
            return
        half = (decoy.box[2:] - decoy.box[:2]) / 2 * rng.uniform(1.1, 2.0)
        middle = (decoy.box[2:] + decoy.box[:2]) / 2
        region = np.concatenate([middle - half, middle + half])
        self._cover(_bounds(_transform(_corners(region), matrix)))
        _draw(self.canvas, clip, decoy.levels, matrix, region, bool(rng.random() < 0.5), rng.uniform(1, 12))

    def _matrix(self, picture: AnnotatedPicture, center: Floats, size: float) -> tuple[Floats, bool]:
        rng = self.rng
        tilt = rng.uniform(-self.settings.tilt, self.settings.tilt) if rng.random() < 0.5 else rng.normal(0.0, 8.0)
        squeeze = 0.12 if picture.kind == "profile" else 0.07
        stretch = (math.exp(rng.normal(0, squeeze)), math.exp(rng.normal(0, 0.05)))
        mirrored = bool(rng.random() < 0.5)
        return _placement(picture.box, center, size, tilt, stretch, mirrored), mirrored

    def _label(self, picture: AnnotatedPicture, matrix: Floats, mirrored: bool, view: Floats) -> None:
        """Note the face of `picture` drawn through `matrix` and seen within the box `view`."""
        box = _bounds(_transform(picture.outline, matrix))
        five = _transform(picture.five, matrix)
        if mirrored:
            five = five[[1, 0, 2, 4, 3]]
        self.faces.append((box, five, _area(_intersection(box, view)) / _area(box)))
        for other in picture.ignored:
            self.ignored.append(_bounds(_transform(_corners(other), matrix)))

    def _tint(self, levels: tuple[Image, ...]) -> tuple[Image, ...]:
        """Another exposure and colour: faces come from other cameras than their background."""
        if self.rng.random() < 0.5:
            return levels
        gain = math.exp(self.rng.normal(0, 0.2)) * np.exp(self.rng.normal(0, 0.06, 3))
        table = np.clip(np.arange(256)[:, None] * gain + self.rng.normal(0, 12), 0, 255).astype(np.uint8)
        return tuple(cv2.LUT(level, table[None]).astype(np.uint8, copy=False) for level in levels)

    def _paste(self) -> None:
        rng, side = self.rng, self.settings.side
        picture = self.maker.picture(rng)
        # Later faces are smaller, so that a scene holds several.
        largest = self.settings.sizes[1] * (0.75 if not self.faces else 0.35)
        size = _draw_size(rng, self.settings.sizes[0], largest)
        center = rng.uniform(-0.1 * size, side + 0.1 * size, 2)
        matrix, mirrored = self._matrix(picture, center, size)
        box, shape = picture.box, picture.levels[0].shape
        half, middle = (box[2:] - box[:2]) / 2, (box[2:] + box[:2]) / 2
        oval = bool(rng.random() < 0.4)
        if oval:
            reach = half * rng.uniform(1.15, 1.9)
            region = np.concatenate([middle - reach, middle + reach])
        else:
            margin = rng.uniform(1.05, 2.6, 4)
            region = np.concatenate([middle - half * margin[:2], middle + half * margin[2:]])
        region = _intersection(region, np.array([0.0, 0.0, shape[1] - 1.0, shape[0] - 1.0]))
        if region[2] - region[0] < 4 or region[3] - region[1] < 4:
            return
        feather = rng.uniform(0.02, 0.25) * size if rng.random() < 0.6 else 1.0
        drawn = _bounds(_transform(_corners(region), matrix))
        new = _bounds(_transform(picture.outline, matrix))
        for old, _, seen in self.faces:
            # A face that would hide most of another is not drawn: there is little to learn from half-hidden faces.
            if seen > self.settings.seen and _area(_intersection(drawn, old)) > 0.45 * _area(old):
                return
        self._cover(drawn)
        _draw(self.canvas, (0, 0, side, side), self._tint(picture.levels), matrix, region, oval, feather)
        self._label(picture, matrix, mirrored, np.array([0.0, 0.0, side - 1.0, side - 1.0]))
        if rng.random() < self.settings.hidden:
            self._hide(new)

    def _hide(self, box: Floats) -> None:
        """Draw a piece of a photograph over one side of the newest face: a hand, a scarf, a hat, a neighbour."""
        rng, side = self.rng, self.settings.side
        share = rng.uniform(0.1, 0.4)
        width, height = box[2:] - box[:2]
        edge = rng.integers(4)
        part = box.copy()
        if edge == 0:
            part[2] = part[0] + share * width
        elif edge == 1:
            part[0] = part[2] - share * width
        elif edge == 2:
            part[3] = part[1] + share * height
        else:
            part[1] = part[3] - share * height
        part += rng.normal(0, 0.05, 4) * np.array([width, height, width, height])
        if part[2] - part[0] < 2 or part[3] - part[1] < 2:
            return
        levels = self.maker.backgrounds[int(rng.integers(len(self.maker.backgrounds)))]
        shape = levels[0].shape
        center = rng.uniform(0.3, 0.7, 2) * (shape[1], shape[0])
        size = rng.uniform(0.1, 0.3) * min(shape[:2])
        region = np.concatenate([center - size, center + size])
        scale = np.diag((part[2:] - part[:2]) / (2 * size))
        matrix = np.concatenate([scale, ((part[2:] + part[:2]) / 2 - scale @ center)[:, None]], axis=1)
        _draw(self.canvas, (0, 0, side, side), levels, matrix, region, bool(rng.random() < 0.4), rng.uniform(1, 4))

    def _tiles(self) -> None:
        rng, side = self.rng, self.settings.side
        columns, rows = ((1, 1), (2, 1), (1, 2), (2, 2))[rng.choice(4, p=(0.4, 0.15, 0.15, 0.3))]
        xs = [0, side] if columns == 1 else [0, int(rng.uniform(0.3, 0.7) * side), side]
        ys = [0, side] if rows == 1 else [0, int(rng.uniform(0.3, 0.7) * side), side]
        for y0, y1 in itertools.pairwise(ys):
            for x0, x1 in itertools.pairwise(xs):
                self._tile((x0, y0, x1, y1))

    def _tile(self, clip: tuple[int, int, int, int]) -> None:
        """A real picture, cut by the tile's border."""
        rng = self.rng
        x0, y0, x1, y1 = clip
        self._background(clip)
        picture = self.maker.picture(rng)
        side = min(x1 - x0, y1 - y0)
        # One in twelve is a part of a face, much larger than the tile: an eye or a cheek alone is no face.
        part = rng.random() < 0.08
        size = side * rng.uniform(2.2, 5.0) if part else _draw_size(rng, self.settings.sizes[0], 1.15 * side)
        corner = np.array([x0, y0], dtype=np.float64)
        extent = np.array([x1 - x0, y1 - y0], dtype=np.float64)
        if rng.random() < 0.3:
            # Near the border, or cut by it.
            center = corner + extent * rng.uniform(0, 1, 2)
        else:
            room = np.maximum(extent - size, 0.15 * extent)
            center = corner + extent / 2 + room * rng.uniform(-0.5, 0.5, 2)
        matrix, mirrored = self._matrix(picture, center, size)
        shape = picture.levels[0].shape
        region = np.array([-0.5, -0.5, shape[1] - 0.5, shape[0] - 0.5])
        levels = self._tint(picture.levels)
        surroundings = rng.random()
        if surroundings < 0.15:
            # Never mirrored: that would be a second face, unannotated.
            self._fill(clip, levels, matrix, mirror=False)
        elif surroundings < 0.35:
            self._plain(clip)
        _draw(self.canvas, clip, levels, matrix, region, False, 1.0)
        self._label(picture, matrix, mirrored, np.array([x0, y0, x1 - 1, y1 - 1], dtype=np.float64))
        if not part and rng.random() < self.settings.hidden / 2:
            self._hide_in(clip)

    def _plain(self, clip: tuple[int, int, int, int]) -> None:
        x0, y0, x1, y1 = clip
        rng = self.rng
        self.canvas[y0:y1, x0:x1] = rng.choice([0, 127, 255]) if rng.random() < 0.7 else rng.integers(0, 256, 3)

    def _hide_in(self, clip: tuple[int, int, int, int]) -> None:
        x0, y0, x1, y1 = clip
        kept = self.canvas.copy()
        self._hide(self.faces[-1][0])
        kept[y0:y1, x0:x1] = self.canvas[y0:y1, x0:x1]
        self.canvas = kept

    def _degrade(self) -> None:
        rng, settings = self.rng, self.settings
        image = self.canvas
        side = settings.side
        table = np.arange(256, dtype=np.float64)
        if rng.random() < 0.6:
            contrast, bright, gamma = math.exp(rng.normal(0, 0.2)), rng.normal(0, 15), math.exp(rng.normal(0, 0.25))
            table = np.clip((table / 255) ** gamma * 255, 0, 255)
            table = np.clip((table - 128) * contrast + 128 + bright, 0, 255)
            tint = np.exp(rng.normal(0, 0.06, 3))
            colors = np.clip(table[:, None] * tint, 0, 255).astype(np.uint8)
            image = cv2.LUT(image, colors[None]).astype(np.uint8, copy=False)
        if rng.random() < settings.grey:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(
                np.uint8, copy=False
            )
        if rng.random() < settings.blurred:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4)).astype(np.uint8, copy=False)
        if rng.random() < settings.coarse:
            small = int(side * rng.uniform(0.5, 0.9))
            image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        if rng.random() < settings.noisy:
            noise = rng.normal(0, rng.uniform(2, 12), (side, side, 1 if rng.random() < 0.5 else 3))
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
        if rng.random() < settings.compressed:
            done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
            if done:
                image = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.uint8, copy=False)  # type: ignore[union-attr]
        self.canvas = np.ascontiguousarray(image)
