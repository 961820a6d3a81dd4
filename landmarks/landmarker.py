"""Locating the landmarks of faces whose boxes are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.batches import in_batches
from facerec.landmarks.checkpoint import load_weights, weight_records
from facerec.landmarks.crop import ROI_SCALE, ROI_SIZE, Roi, cut_grey, normalized
from facerec.landmarks.device import check_device
from facerec.landmarks.engine import Network, engine_on
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp_graph import SCORE_STRIDES, Calibration, godp_graph, stated_settings
from facerec.landmarks.markup import IBUG68, IBUG68_MIRROR, mirror_points
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.landmarks.onnx_graph import graph_network
from facerec.landmarks.score_maps import (
    DecodeSettings,
    Logistic,
    decode,
    landmark_log_odds,
    peak_log_odds,
    peak_share_log_odds,
)
from facerec.landmarks.types import Box, Image, Landmarks, check_image

if TYPE_CHECKING:
    from facerec.landmarks.rdssd import Cascade

Maps = NDArray[np.float32]
"""Score maps of one ROI (KL + 1, S, S), or what is read off them."""


@dataclass(frozen=True, slots=True)
class LandmarkerSettings:
    """How faces are located.

    Attributes:
        mirrored: average with what is found in the mirrored ROI (GoDP: score maps, DSSD: points); twice the time.
        boxes: ROIs per face, the first from its box as it is, the others shifted and scaled at random; every coordinate
            is the median over them. The paper reports 16 for its figures; 1 is what a user waits for.
        box_shift, box_scale: extent of these changes, shares of the ROI's side; about what a detector errs by.
        seed: of these changes, so that the same photograph always gives the same points.
        batch: ROIs the network looks at together; bounds the memory of a photograph with many faces. GoDP on a CPU
            takes one after the other: sixteen are no faster, and their score maps take 240 MB more.
    """

    mirrored: bool = False
    boxes: int = 1
    box_shift: float = 0.04
    box_scale: float = 0.06
    seed: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        if self.boxes < 1 or self.batch < 1:
            raise InvalidInputError(f"expected boxes >= 1 and batch >= 1; got {self.boxes}, {self.batch}")
        if not (0 <= self.box_shift < 0.5 and 0 <= self.box_scale < 0.5):
            raise InvalidInputError(
                f"expected box_shift and box_scale in [0, 0.5); got {self.box_shift}, {self.box_scale}"
            )


class RoiLandmarks(NamedTuple):
    """What a model says of M ROIs: places (M, 68, 2) px of the ROI; probabilities (M, 68) that a place is right, that
    the camera sees the point."""

    places: NDArray[np.float32]
    confidence: NDArray[np.float32]
    visible: NDArray[np.float32]


class Locator(Protocol):
    """Locates landmarks in boxes: a `Landmarker`, or what stands before one."""

    def locate(self, image: Image, boxes: Sequence[Box]) -> list[Landmarks]:
        """Landmarks of the faces in `boxes`, in their order; see `Landmarker.locate`."""
        ...


SEEN_WHOLE: Final = 0.95
"""Share of visible landmarks below which a face is turned or covered, and `look_again` looks at it again."""


def look_again(locator: Locator, image: Image, found: Sequence[Landmarks]) -> list[Landmarks]:
    """Turned and covered faces located once more, in the tight box of their own landmarks; the mean of both looks.

    The detector's boxes of such faces are off by some hundredths of their size. From its boxes the landmark error of
    CFP's profiles of people for calibration is 5.9 % higher than from true boxes, and 3.7 % higher after the second
    look; of faces turned by rendering it is 7.7 and 3.9 % higher. Faces seen whole gain 1 %, so they are left alone.

    Args:
        locator: what located them.
        image: (H, W, 3) uint8 RGB.
        found: landmarks in `image`, px.

    Returns:
        the same faces in their order: points and confidence are the means of both looks, visibility the second's.
    """
    hidden = [k for k, one in enumerate(found) if one.visible.mean() < SEEN_WHOLE]
    rows = [k for k in hidden if np.ptp(found[k].points, axis=0).min() > 0]
    second = locator.locate(image, [Box.around(found[k].points) for k in rows]) if rows else []
    result = list(found)
    for k, again in zip(rows, second, strict=True):
        points = np.asarray((found[k].points + again.points) / 2, dtype=np.float32)
        confidence = np.asarray((found[k].confidence + again.confidence) / 2, dtype=np.float32)
        result[k] = replace(again, points=points, confidence=confidence)
    return result


class Landmarker(ABC):
    """Locates 68 landmarks in face boxes. Holds no state between calls; safe to share between threads.

    Args:
        settings: how faces are located.
    """

    roi_size: int
    """Side of the model's grey input, px."""
    roi_scale: float
    """Side of the ROI over the longer side of the face's box."""

    def __init__(self, settings: LandmarkerSettings | None) -> None:
        self.settings = settings or LandmarkerSettings()

    @staticmethod
    def load(
        model: str = "godp",
        device: str = "cpu",
        settings: LandmarkerSettings | None = None,
    ) -> Landmarker:
        """The landmark model of that name that comes with the package.

        Raises:
            InvalidInputError: no such model, or its weights are not installed.
            ContractError: the weight file is not the recorded one.
            DeviceError: `device` is not there.
        """
        if model not in LANDMARK_MODELS:
            raise InvalidInputError(f"expected a landmark model of {', '.join(LANDMARK_MODELS)}; got {model!r}")
        if model not in [record.name for record in weight_records() if record.folder == "landmarks"]:
            raise InvalidInputError(
                f"the package has no weights of the landmark model {model!r} yet; train them with "
                f"`facerec train {model} --pack PACK.npz` (`facerec train landmark-packs` makes packs)"
            )
        arrays = load_weights("landmarks", model)
        if model == "godp":
            return GodpLandmarker.from_arrays(arrays, device, settings)
        return CascadeLandmarker.from_arrays(arrays, device, settings)

    def locate(self, image: Image, boxes: Sequence[Box]) -> list[Landmarks]:
        """Landmarks of the faces in `boxes`, in the order of the boxes.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: tight landmark boxes as the detector gives them, px.

        Returns:
            one `Landmarks` ("ibug68") a box, px in `image`.

        Raises:
            InvalidInputError: another form of image.
        """
        check_image(image)
        return self._locate([image] * len(boxes), boxes)

    def locate_each(self, planes: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> list[Landmarks]:
        """Landmarks of one face in each of many pictures, in batches.

        Args:
            planes: grey pictures (H, W) uint8; boxes: the tight landmark box in each, px.
        """
        if len(planes) != len(boxes):
            raise InvalidInputError(f"expected a box for each picture; got {len(planes)}, {len(boxes)}")
        return self._locate(planes, boxes)

    def _locate(self, pictures: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> list[Landmarks]:
        """Landmarks of one face in each of `pictures`, RGB or grey."""
        if not boxes:
            return []
        count, size = self.settings.boxes, self.roi_size
        pairs = [(picture, roi) for picture, box in zip(pictures, boxes, strict=True) for roi in self._rois(box)]
        crops = np.stack([cut_grey(picture, roi, size) for picture, roi in pairs])
        looks = in_batches(self._look, crops, self.settings.batch)
        found = RoiLandmarks(*(np.concatenate(parts) for parts in zip(*looks, strict=True)))
        points = np.stack([roi.to_picture(own, size) for (_, roi), own in zip(pairs, found.places, strict=True)])
        points = np.median(points.reshape(len(boxes), count, -1, 2), axis=1).astype(np.float32)
        confidence = _median(found.confidence, count).clip(0, 1)
        visible = _median(found.visible, count) >= 0.5
        return [Landmarks(points[i], confidence[i], visible[i], IBUG68) for i in range(len(boxes))]

    def _rois(self, box: Box) -> list[Roi]:
        first = Roi.around(box, self.roi_scale)
        rng = np.random.default_rng(self.settings.seed)
        rois = [first]
        for _ in range(self.settings.boxes - 1):
            dx, dy = rng.uniform(-self.settings.box_shift, self.settings.box_shift, 2) * first.side
            scale = 1 + rng.uniform(-self.settings.box_scale, self.settings.box_scale)
            rois.append(Roi(first.center_x + float(dx), first.center_y + float(dy), first.side * float(scale)))
        return rois

    @abstractmethod
    def _look(self, rois: NDArray[np.uint8]) -> RoiLandmarks:
        """Landmarks of ROIs (M, `roi_size`, `roi_size`)."""


class GodpLandmarker(Landmarker):
    """GoDP.

    Args:
        network: ROIs (N, 1, 160, 160) of `crop.normalized` to the score maps of the last refinement and of the last
            proposal, each (N, KL + 1, 80, 80).
        decoding: how places are read off its score maps.
        calibration: of its confidence and visibility.
        settings: see `Landmarker`.
    """

    roi_size = ROI_SIZE
    roi_scale = ROI_SCALE

    def __init__(
        self,
        network: Network,
        decoding: DecodeSettings,
        calibration: Calibration,
        settings: LandmarkerSettings | None = None,
    ) -> None:
        super().__init__(settings)
        self._network = network
        self._decoding = decoding
        self._calibration = calibration

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], device: str = "cpu", settings: LandmarkerSettings | None = None
    ) -> GodpLandmarker:
        """A landmarker from the arrays of a weight file."""
        check_device(device)
        shape, decoding, calibration = stated_settings(arrays)
        if shape.landmarks != len(IBUG68_MIRROR):
            raise InvalidInputError(f"expected a network of 68 landmarks; got {shape.landmarks}")
        if engine_on(device) == "onnx":
            own = {name: value for name, value in arrays.items() if name != "settings"}
            one_by_one = replace(settings or LandmarkerSettings(), batch=1)
            return cls(graph_network(godp_graph(own, shape)), decoding, calibration, one_by_one)
        from facerec.landmarks.godp_weights import godp_from_arrays, runner

        return cls(runner(godp_from_arrays(arrays)[0], device), decoding, calibration, settings)

    def _look(self, rois: NDArray[np.uint8]) -> RoiLandmarks:
        x = normalized(rois)
        scores = self._network(x)
        mirrored = self._network(np.ascontiguousarray(x[..., ::-1])) if self.settings.mirrored else None
        # One ROI after the other: its maps fit into a core's cache.
        read = [
            self._read([maps[i] for maps in scores], None if mirrored is None else [maps[i] for maps in mirrored])
            for i in range(len(x))
        ]
        return RoiLandmarks(*(np.stack(parts) for parts in zip(*read, strict=True)))

    def _read(self, scores: Sequence[Maps], mirrored: Sequence[Maps] | None) -> tuple[Maps, Maps, Maps]:
        """Places, confidence and visibility off the maps of one ROI, averaged with those of its mirror image."""
        odds = [landmark_log_odds(maps, len(IBUG68_MIRROR)) for maps in scores]
        if mirrored is not None:
            twins = [landmark_log_odds(maps, len(IBUG68_MIRROR))[IBUG68_MIRROR, :, ::-1] for maps in mirrored]
            odds = [np.float32(0.5) * (own + twin) for own, twin in zip(odds, twins, strict=True)]
        places = decode(odds[0], self._decoding)
        sure = self._calibration.confidence(peak_share_log_odds(odds[0], places))
        seen = self._calibration.visibility(peak_log_odds(odds[1], places))
        stride = SCORE_STRIDES[-1]
        return places * np.float32(stride) + np.float32((stride - 1) / 2), sure, seen


class CascadeLandmarker(Landmarker):
    """DSSD or R-DSSD, which run in torch.

    Args:
        cascade: of 68 landmarks, as `cascade_from_arrays` returns it.
        settings: see `Landmarker`.
        device: "cpu" or a CUDA device.

    Raises:
        DeviceError: `device` is not there.
    """

    def __init__(self, cascade: Cascade, settings: LandmarkerSettings | None = None, device: str = "cpu") -> None:
        import torch

        from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE

        super().__init__(settings)
        self.roi_size, self.roi_scale = CROP_SIZE, CROP_SCALE
        self._device = torch.device(check_device(device))
        if cascade.settings.network.landmarks != len(IBUG68_MIRROR):
            raise InvalidInputError(f"expected a cascade of 68 landmarks; got {cascade.settings.network.landmarks}")
        cascade.networks.eval().requires_grad_(False).to(self._device)
        self._cascade = cascade

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], device: str = "cpu", settings: LandmarkerSettings | None = None
    ) -> CascadeLandmarker:
        """A landmarker from the arrays of a weight file."""
        from facerec.landmarks.dssd_weights import cascade_from_arrays

        return cls(cascade_from_arrays(arrays), settings, device)

    def _look(self, rois: NDArray[np.uint8]) -> RoiLandmarks:
        located = self._cascade.locate(rois, self._device)
        points, sure, seen = located.points, located.confidence, located.visibility
        if self.settings.mirrored:
            other = self._cascade.locate(np.ascontiguousarray(rois[:, :, ::-1]), self._device)
            points = np.float32(0.5) * (points + mirror_points(other.points, self.roi_size))
            sure = np.float32(0.5) * (sure + other.confidence[:, IBUG68_MIRROR])
            seen = np.float32(0.5) * (seen + other.visibility[:, IBUG68_MIRROR])
        plain = Logistic()
        return RoiLandmarks(points, plain(sure), plain(seen))


def _median(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Median over each `count` successive rows: (M * count, L) -> (M, L)."""
    return np.median(values.reshape(-1, count, values.shape[1]), axis=1).astype(np.float32)
