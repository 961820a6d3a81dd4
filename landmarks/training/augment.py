"""Random augmentation of packed faces: variations of photographs that do not change the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.crop import PACK_SCALE, PACK_SIZE, ROI_SCALE, ROI_SIZE, apply_matrix, warp_matrix
from facerec.landmarks.markup import mirror_rows
from facerec.landmarks.training.packs import HIDDEN, VISIBLE, PackedFace


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How far a face is changed, and how often. Every share is a probability.

    Attributes:
        degrees: largest turn in the picture; people tilt their heads by up to 30.
        scale: largest relative change of size, the error of a detector's box.
        shift: largest shift over the ROI's side, likewise.
        mirror: share of mirrored faces.
        light: share with changed brightness, contrast and gamma.
        blur, noise, jpeg: shares.
        coarse: share resampled from a coarser picture.
        smallest_face: the coarsest face, px of its box; below that no detector answers.
        occluders: share with one or two opaque shapes; points under them become hidden.
    """

    degrees: float = 30.0
    scale: float = 0.15
    shift: float = 0.08
    mirror: float = 0.5
    light: float = 0.7
    blur: float = 0.2
    noise: float = 0.3
    jpeg: float = 0.2
    coarse: float = 0.3
    smallest_face: float = 40.0
    occluders: float = 0.35


def augment(
    face: PackedFace,
    settings: AugmentSettings,
    rng: np.random.Generator,
    size: int = ROI_SIZE,
    roi_scale: float = ROI_SCALE,
) -> PackedFace:
    """A changed copy of a packed face, cut to the network's input.

    Args:
        face: image (192, 192).
        settings: extent of the changes.
        rng: draws them; the same state gives the same face.
        size: side of the network's input, px.
        roi_scale: side of its ROI over the longer side of the face's box.

    Returns:
        image (size, size) uint8; points in its px; state with occluded points hidden; yaw with the sign of the mirrored
        face.
    """
    zoom = (size / roi_scale) / (PACK_SIZE / PACK_SCALE)
    mirrored = bool(rng.random() < settings.mirror)
    # A normal turn keeps most faces near upright, as they are, and still reaches the extremes.
    degrees = float(np.clip(rng.normal(0.0, settings.degrees / 2), -settings.degrees, settings.degrees))
    scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(settings.scale)))
    dx, dy = rng.uniform(-settings.shift, settings.shift, 2) * size
    matrix = warp_matrix(PACK_SIZE, size, degrees, zoom * scale, (float(dx), float(dy)), mirrored)
    # Padding differs between cameras, crops and scans: repeated edges mostly, a plain border at times.
    border = cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_CONSTANT
    fill = float(rng.integers(0, 256))
    warped = cv2.warpAffine(
        face.image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=fill
    )
    image = np.asarray(warped, dtype=np.uint8)
    points = apply_matrix(matrix, face.points)
    state = face.state.copy()
    if mirrored:
        rows = mirror_rows(len(points))
        points, state = points[rows], state[rows]
    if rng.random() < settings.occluders:
        for _ in range(int(rng.integers(1, 3))):
            covered = _occlude(image, rng)
            _hide(points, state, covered)
    return PackedFace(
        _degrade(image, scale * size / roi_scale, settings, rng),
        points,
        state,
        -face.yaw if mirrored else face.yaw,
        face.source,
    )


def _occlude(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw one opaque shape into the image; return where."""
    size = image.shape[0]
    cover = np.zeros_like(image)
    x, y = (int(v) for v in rng.integers(0, size, 2))
    # Up to 0.4 of the ROI: a hand or a microphone, not the whole face.
    w, h = (int(v) for v in rng.uniform(0.08, 0.4, 2) * size)
    turn = float(rng.uniform(0, 180))
    if rng.random() < 0.5:
        cv2.ellipse(cover, (x, y), (w // 2, h // 2), turn, 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints(((float(x), float(y)), (float(w), float(h)), turn))
        cv2.fillConvexPoly(cover, corners.astype(np.int32), 1)
    mask = cover.astype(bool)
    if rng.random() < 0.5:
        # A piece of the picture itself, moved: texture that no face has at that place.
        moved = np.roll(image, tuple(int(v) for v in rng.integers(size // 4, 3 * size // 4, 2)), axis=(0, 1))
        image[mask] = moved[mask]
    else:
        image[mask] = int(rng.integers(0, 256))
    return mask


def _hide(points: NDArray[np.float32], state: NDArray[np.int8], covered: NDArray[np.bool_]) -> None:
    size = covered.shape[0]
    for i in np.flatnonzero(state == VISIBLE):
        x, y = (int(v) for v in np.round(points[i]))
        if 0 <= x < size and 0 <= y < size and covered[y, x]:
            state[i] = HIDDEN


def _degrade(
    image: NDArray[np.uint8], face: float, settings: AugmentSettings, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Light, focus, resolution, noise and compression, in the order a camera adds them; `face` is its side, px."""
    size = image.shape[0]
    if rng.random() < settings.light:
        gamma = float(np.exp(rng.normal(0.0, 0.25)))
        contrast = float(np.exp(rng.normal(0.0, 0.25)))
        shift = float(rng.normal(0.0, 20.0))
        levels = 255.0 * (np.arange(256) / 255.0) ** gamma
        table = np.clip((levels - 128.0) * contrast + 128.0 + shift, 0, 255).astype(np.uint8)
        image = np.asarray(cv2.LUT(image, table), dtype=np.uint8)
    if rng.random() < settings.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 1.6))), dtype=np.uint8)
    if rng.random() < settings.coarse:
        factor = float(np.exp(rng.uniform(np.log(min(1.0, settings.smallest_face / face)), 0.0)))
        small = max(8, round(size * factor))
        coarse = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if rng.random() < settings.noise:
        grain = rng.standard_normal((size, size), dtype=np.float32) * float(rng.uniform(2.0, 10.0))
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if rng.random() < settings.jpeg:
        _, stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])
        image = np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return np.ascontiguousarray(image)
