"""Lifting: from the photograph to the UV texture, with a mask of what the camera saw."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FittedSurface
from facerec.frontalize.light import estimate_light, shading
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.frontalize.visibility import VisibilitySettings, node_visibility, surface_normals
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Image, check_image

Floats = NDArray[np.float64]

TEXTURE_SIZE = 256
"""Default side of the UV chart, texels: about 1.2 mm each, what a face 160 px high holds."""


@cache
def texel_positions(size: int, grid: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grid coordinates (column, row), each (T, T) float32, of the texel centres of a chart of side `size`.

    Shared by all calls and read-only.
    """
    along = ((np.arange(size) + 0.5) / size * (grid - 1)).astype(np.float32)
    column, row = (np.ascontiguousarray(a) for a in np.meshgrid(along, along))
    for positions in (column, row):
        positions.setflags(write=False)
    return column, row


def resample_grid(values: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Bilinear values (T, T[, D]) at the texel centres from grid values (G, G[, D])."""
    column, row = texel_positions(size, values.shape[0])
    return np.asarray(cv2.remap(values.astype(np.float32), column, row, cv2.INTER_LINEAR), dtype=np.float32)


def _shrink(image: Image, texels_per_pixel: float) -> tuple[Image, float, float]:
    """The picture area-averaged so that a pixel is no smaller than a texel, and its scale along x and y."""
    if texels_per_pixel >= 1.0:
        return image, 1.0, 1.0
    height, width = image.shape[:2]
    across, down = max(1, round(width * texels_per_pixel)), max(1, round(height * texels_per_pixel))
    small = np.asarray(cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # Rounded to whole pixels, the two scales differ a little.
    return small, across / width, down / height


def lift_surface(image: Image, surface: FittedSurface, size: int = TEXTURE_SIZE) -> FaceTexture:
    """`lift_texture` of a face whose surface and view are at hand: the z-buffer is the slow part of both."""
    visible = surface.view.nodes(VisibilitySettings())
    return lift_geometry(image, surface.geometry, surface.camera, visible, size)


def lift_geometry(
    image: Image, geometry: Floats, camera: Camera, visibility: Floats, size: int = TEXTURE_SIZE
) -> FaceTexture:
    """Lift the texture of a surface whose node visibility is known (see `lift_texture`).

    Args:
        image: (H, W, 3) uint8 RGB.
        geometry: (G, G, 3) surface, mm.
        camera: where it stands in the picture.
        visibility: (G, G) in [0, 1].
        size: T, texels per side.
    """
    check_image(image)
    if size < 16:
        raise InvalidInputError(f"expected a texture of at least 16 texels per side; got {size}")
    # One resampling for all: place in the picture, visibility, and how much of the texel's surroundings is seen.
    grid = np.empty((*geometry.shape[:2], 4), dtype=np.float32)
    grid[..., :2] = camera.project(geometry)[..., :2]
    grid[..., 2], grid[..., 3] = visibility, visibility > 0
    x, y, weight, whole = cv2.split(resample_grid(grid, size))
    # Only the face's part of the picture is touched: a large photograph costs no more than its face.
    height, width = image.shape[:2]
    (low_x, high_x), (low_y, high_y) = cv2.minMaxLoc(x)[:2], cv2.minMaxLoc(y)[:2]
    x0, y0 = max(0, int(np.floor(low_x)) - 2), max(0, int(np.floor(low_y)) - 2)
    x1, y1 = min(width, int(np.ceil(high_x)) + 3), min(height, int(np.ceil(high_y)) + 3)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return FaceTexture(np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.float32), cut=1.0)
    texel_mm = 320.0 / size  # side of the unrolled face, mm
    crop, zoom_x, zoom_y = _shrink(image[y0:y1, x0:x1], 1.0 / (camera.scale * texel_mm))
    # A texel is seen when all nodes around it are: interpolation must not creep over the silhouette.
    facing = (whole > 0.999) & (weight > 0)
    seen = facing & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    # Pixel centres: x' + 0.5 = zoom (x + 0.5).
    column = (x - np.float32(x0 - 0.5)) * np.float32(zoom_x) - np.float32(0.5)
    row = (y - np.float32(y0 - 0.5)) * np.float32(zoom_y) - np.float32(0.5)
    sampled = cv2.remap(crop, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    blank = cv2.remap(blank_pixels(crop), column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) > 0
    if int((seen & blank).sum()) >= LEAST_BLANK * int(facing.sum()):
        seen &= ~blank
    faced = facing & inner_face(size)
    pixels = cv2.bitwise_and(sampled, sampled, mask=seen.view(np.uint8))
    visible = np.where(seen, np.minimum(weight, 1.0), np.float32(0))
    return FaceTexture(
        np.asarray(pixels, dtype=np.uint8), visible, cut=1.0 - int((seen & faced).sum()) / max(int(faced.sum()), 1)
    )


@cache
def inner_face(size: int) -> NDArray[np.bool_]:
    """(T, T) the texels between brows, eyes' outer corners and mouth: the hull of landmarks 17 to 67."""
    points = FaceModel.load().landmark_uv[17:] * size - 0.5
    inside = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.rint(points).astype(np.int32)), 1)
    inside.setflags(write=False)
    return inside.view(np.bool_)


LEAST_BLANK = 0.04
"""Share of the texels facing the camera from which on patches of one colour count as not seen: a bar over the eyes
covers some 10 %, overexposed skin and deep shadow stay below."""


def blank_pixels(image: Image, flat: int = 2, spread: int = 6, least: float = 0.01) -> NDArray[np.uint8]:
    """Patches of one colour: bars, filled borders, what was painted over.

    Skin is never this even: over a hundredth of a face its shading alone moves by more than `spread` levels.

    Args:
        image: (H, W, 3) uint8 RGB.
        flat: levels by which pixels within two of each other may differ: a bar saved as JPEG is not quite even.
        spread: levels by which the whole patch may differ.
        least: share of the picture below which a patch is none.

    Returns:
        (H, W) uint8, 1 inside such patches.
    """
    around = np.ones((5, 5), np.uint8)
    even = (cv2.dilate(image, around) - cv2.erode(image, around)).max(axis=2) <= flat
    blank = np.zeros(image.shape[:2], np.uint8)
    if even.sum() < least * even.size:
        return blank
    patches, labels, figures, _ = cv2.connectedComponentsWithStats(even.view(np.uint8), connectivity=4)
    for patch in range(1, patches):
        if figures[patch, cv2.CC_STAT_AREA] >= least * even.size:
            inside = labels == patch
            if np.ptp(image[inside], axis=0).max() <= spread:
                blank[inside] = 1
    return np.asarray(cv2.dilate(blank, around), dtype=np.uint8)


def lift_texture(
    image: Image,
    fitted: FittedFace,
    model: FaceModel,
    size: int = TEXTURE_SIZE,
    visibility: VisibilitySettings | None = None,
    albedo: NDArray[np.float32] | None = None,
) -> FaceTexture:
    """Lift the UV texture of a fitted face: each texel is one surface point, one projection, one sampling.

    Texels that the face itself hides (z-buffer), that turn away from the camera, that lie outside the picture or in a
    large patch of one colour (`blank_pixels`) are 0 in both arrays: nothing is ever sampled from behind, from the
    background or from a bar.

    Args:
        image: (H, W, 3) uint8 RGB, the photograph.
        fitted: the fitted face.
        model: the face model.
        size: T, texels per side.
        visibility: see `VisibilitySettings`.
        albedo: (T', T', 3) 0-255, how a face looks under white light (`TextureModel.load().mean`): when given, the
            light is taken out of the texture (see `delight`). Off by default: `benchmarks/textures.py` has the effect.
    """
    geometry = model.geometry(fitted.shape, fitted.expression)
    seen = node_visibility(model, geometry, fitted.camera, visibility)
    texture = lift_geometry(image, geometry, fitted.camera, seen, size)
    if albedo is None or int((texture.visible > 0).sum()) < LEAST_SEEN:
        return texture
    normals = resample_grid(surface_normals(geometry) @ fitted.camera.rotation.T, size)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
    expected = np.asarray(cv2.resize(albedo, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    plain = delight(texture, expected, normals.astype(np.float64))
    return FaceTexture(np.rint(plain).astype(np.uint8), texture.visible, texture.cut)


LEAST_SEEN = 20
"""Seen texels below which no light can be estimated."""


def delight(texture: FaceTexture, albedo: NDArray[np.float32], normals: Floats) -> NDArray[np.float32]:
    """Remove the lighting from a texture: fit order-two harmonics against the expected `albedo` and divide by them.

    Args:
        texture: lifted texture, T texels per side.
        albedo: (T, T, 3) expected colours, 0-255.
        normals: (T, T, 3) unit normals in the camera's frame.

    Returns:
        (T, T, 3) float32 colours 0-255; 0 where nothing was seen.
    """
    seen = texture.visible > 0
    if int(seen.sum()) < LEAST_SEEN:
        raise InvalidInputError(f"expected a texture with at least {LEAST_SEEN} seen texels; got {int(seen.sum())}")
    pixels = texture.pixels[seen] / 255.0
    light = estimate_light(pixels, albedo[seen] / 255.0, normals[seen], texture.visible[seen].astype(np.float64))
    out = np.zeros(texture.pixels.shape, dtype=np.float32)
    # Skin tone is the person's, not the light's: each channel keeps its level, only the variation over the face goes.
    shade = shading(normals[seen], light)
    level = np.median(shade, axis=0)
    out[seen] = np.clip(texture.pixels[seen] / np.maximum(shade / level, 0.25), 0, 255)
    return out


def mirror_fill(texture: FaceTexture) -> tuple[FaceTexture, NDArray[np.bool_]]:
    """Fill unseen texels from the mirrored side, where that was seen.

    For showing and for rendering only: matching must use what was seen.

    Returns:
        The filled texture and (T, T) bool, which texels were filled.
    """
    twin_pixels, twin_visible = texture.pixels[:, ::-1], texture.visible[:, ::-1]
    filled = (texture.visible <= 0) & (twin_visible > 0)
    pixels = np.where(filled[..., None], twin_pixels, texture.pixels)
    visible = np.where(filled, twin_visible, texture.visible)
    return FaceTexture(np.ascontiguousarray(pixels), np.ascontiguousarray(visible)), filled
