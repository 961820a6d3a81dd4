"""Training of the box regressor on annotated faces, with boxes that are off as detectors' boxes are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from facerec.landmarks.crop import Roi, apply_matrix, cut, grey, warp_matrix
from facerec.landmarks.detection.box_network import BoxNetwork
from facerec.landmarks.detection.box_regressor import CROP_SCALE, encoded
from facerec.landmarks.detection.boxes import aflw_box, completed_by_mirror
from facerec.landmarks.detection.patch_graphs import CROP_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import normalize_roi
from facerec.landmarks.image import read_image
from facerec.landmarks.markup import cfp_to_ibug68
from facerec.landmarks.sets.cfp import cfp_names, read_cfp
from facerec.landmarks.sets.ytf import person_of_frame, read_points_csv
from facerec.landmarks.training.people import held_out_people, person_key
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.types import Box, Image

T = TypeVar("T")

STORED_SIZE = 192
STORED_SCALE = 4.0
"""Faces are kept as crops of so many px, so many times their tight box: what the largest wrong box can show."""

WARM_UP_STEPS = 100
"""Steps in which the learning rate rises, see `schedule.cosine_rate`."""


@dataclass(frozen=True)
class BoxTraining:
    """How the box regressor is trained.

    Attributes:
        seed: of the first weights and of every crop.
        steps: of `batch` crops; the learning rate follows them in a half cosine. 3,000 take four minutes on one core.
        batch: crops per step.
        rate: peak learning rate of AdamW.
        near: share of boxes that are off as the own detector's are; the others are off as foreign conventions are.
        near_shift, near_scale: standard deviations of such a box's place (shares of its size) and of the logarithms
            of its sides.
        far_shift: largest shift of the others, share of the box.
        far_scale: bounds of the logarithm of their size: from cut at brows and mouth to a whole portrait.
        tilt: largest in-plane rotation, degrees.
    """

    seed: int = 0
    steps: int = 3000
    batch: int = 64
    rate: float = 2e-3
    near: float = 0.6
    near_shift: float = 0.06
    near_scale: float = 0.1
    far_shift: float = 0.2
    far_scale: tuple[float, float] = (-0.3, 0.8)
    tilt: float = 30.0


@dataclass(frozen=True, eq=False)
class BoxFace:
    """An annotated face to learn boxes from.

    Attributes:
        crop: (192, 192) uint8 grey, the tight box centred, four times as wide as its longer side.
        outline: (N, 2) px of the crop, the points whose tight box is the face's box.
        center: (2,) px of the crop, middle of the AFLW-style box.
        side: its side, px of the crop.
    """

    crop: NDArray[np.uint8]
    outline: NDArray[np.float32]
    center: NDArray[np.float32]
    side: float

    @staticmethod
    def cut_from(
        image: Image, points: NDArray[np.float64], outline: NDArray[np.float64], mean_face: NDArray[np.float64]
    ) -> BoxFace:
        """A face of a picture.

        Args:
            image: (H, W, 3) uint8 RGB.
            points: (68, 2) px, ibug68, NaN where not annotated.
            outline: (N, 2) px, the points whose tight box is the face's box.
            mean_face: (68, 3) mm.

        Raises:
            InvalidInputError: the points fix no pose.
        """
        known = np.asarray(np.isfinite(points).all(axis=1), dtype=np.bool_)
        target = aflw_box(points, known, mean_face, (image.shape[0], image.shape[1]))
        roi = Roi.around(Box.around(outline), STORED_SCALE)
        return BoxFace(
            cut(grey(image), roi, STORED_SIZE),
            roi.to_crop(outline, STORED_SIZE),
            roi.to_crop(np.array(target.center), STORED_SIZE),
            target.width * STORED_SIZE / roi.side,
        )


def annotated_faces(data: Path, mean_face: NDArray[np.float64], count: int) -> Iterator[BoxFace]:
    """About `count` annotated faces of training people: half of them CFP's, of these two thirds profiles, half frames.

    Args:
        data: folder with cfp-dataset/ and ytf/.
        mean_face: (68, 3) mm.
        count: faces in all.
    """
    cfp, ytf = data / "cfp-dataset", data / "ytf"
    held = held_out_people(ytf, cfp)
    numbers = [k for k, name in enumerate(cfp_names(cfp), start=1) if person_key(name) not in held]
    listed = list(read_cfp(cfp, numbers))
    views: tuple[tuple[Literal["frontal", "profile"], int], ...] = (("profile", count // 3), ("frontal", count // 6))
    for view, wanted in views:
        for path, _, fiducials in _spread([item for item in listed if item[1] == view], wanted):
            points = cfp_to_ibug68(fiducials, view)[0].astype(np.float64)
            # Half a frontal face alone would leave its yaw to chance.
            points = completed_by_mirror(points) if view == "frontal" else points
            yield BoxFace.cut_from(read_image(path), points, points[np.isfinite(points).all(axis=1)], mean_face)
    frames = [
        row for row in read_points_csv(ytf / "landmarks68.csv") if person_key(person_of_frame(row[0])) not in held
    ]
    for path, marked in _spread(frames, count // 2):
        yield BoxFace.cut_from(read_image(path), marked.astype(np.float64), marked.astype(np.float64), mean_face)


def _spread(rows: list[T], count: int) -> list[T]:
    """About `count` of `rows`, evenly over all."""
    return rows[:: max(1, len(rows) // max(1, count))]


def training_crop(
    face: BoxFace, rng: np.random.Generator, settings: BoxTraining
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A crop around a wrong box of `face`, and what the network should say of it.

    Returns:
        (64, 64) uint8; (7,) float32, see `box_regressor.encoded`.
    """
    tilt = float(rng.uniform(-settings.tilt, settings.tilt)) if rng.random() < 0.5 else float(rng.normal(0.0, 6.0))
    turned = warp_matrix(STORED_SIZE, STORED_SIZE, tilt, mirrored=bool(rng.random() < 0.5))
    tight = Box.around(apply_matrix(turned, face.outline))
    x, y = (float(v) for v in apply_matrix(turned, face.center))
    target = Box(x - face.side / 2, y - face.side / 2, x + face.side / 2, y + face.side / 2)
    if rng.random() < settings.near:
        shift = rng.normal(0, settings.near_shift, 2)
        sides = np.exp(rng.normal(0, settings.near_scale, 2))
    else:
        shift = rng.uniform(-settings.far_shift, settings.far_shift, 2)
        sides = np.exp(rng.uniform(*settings.far_scale) + rng.normal(0, 0.1, 2))
    middle = np.array(tight.center) + shift * (tight.width, tight.height)
    roi = Roi(
        float(middle[0]), float(middle[1]), CROP_SCALE * float(max(tight.width * sides[0], tight.height * sides[1]))
    )
    # One resampling from the stored crop: turned, then cut.
    step = roi.side / CROP_SIZE
    corner = np.array([roi.center_x, roi.center_y]) - step * (CROP_SIZE - 1) / 2
    back = cv2.invertAffineTransform(turned)
    to_stored = np.concatenate([back[:, :2] * step, (back[:, :2] @ corner + back[:, 2])[:, None]], axis=1)
    crop = cv2.warpAffine(
        face.crop,
        to_stored,
        (CROP_SIZE, CROP_SIZE),
        flags=(cv2.INTER_AREA if step > 1.5 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float64)
    crop = (np.clip(crop / 255, 0, 1) ** np.exp(rng.normal(0, 0.25))) * 255
    if rng.random() < 0.3:
        crop = crop + rng.normal(0, rng.uniform(1, 10), crop.shape)
    if rng.random() < 0.25:
        crop = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.4, 1.6)))
    return np.clip(crop, 0, 255).astype(np.uint8), encoded(roi, target, tight)


def train_box_regressor(
    faces: Iterable[BoxFace],
    settings: BoxTraining | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> BoxNetwork:
    """Learn the network.

    Args:
        faces: of training people.
        settings: see `BoxTraining`.
        device: "cpu" or a CUDA device.
        report: gets a line of progress now and then.

    Returns:
        the network, in evaluation mode, on the CPU.

    Raises:
        InvalidInputError: fewer than ten faces.
    """
    settings = settings or BoxTraining()
    known = list(faces)
    if len(known) < 10:
        raise InvalidInputError(f"expected at least ten annotated faces; got {len(known)}")
    rng = np.random.default_rng(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = BoxNetwork().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=0.02)
    began, shown = time.monotonic(), 0.0
    network.train()
    for step in range(settings.steps):
        share = cosine_rate((step + 1) / settings.steps, WARM_UP_STEPS / settings.steps)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * share
        pairs = [training_crop(known[i], rng, settings) for i in rng.integers(0, len(known), settings.batch)]
        crops = torch.from_numpy(np.stack([crop for crop, _ in pairs])).to(device)
        wanted = torch.from_numpy(np.stack([answer for _, answer in pairs])).to(device)
        loss = functional.smooth_l1_loss(network(normalize_roi(crops)), wanted, beta=0.02)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        shown += float(loss.detach()) / 200
        if (step + 1) % 200 == 0:
            report(f"step {step + 1}/{settings.steps}  loss {shown:.4f}  {(time.monotonic() - began) / 60:.1f} min")
            shown = 0.0
    return network.eval().cpu()
