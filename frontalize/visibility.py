"""What the camera sees of the fitted face: per landmark and per texel, by z-buffer and surface angle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.raster import depth_buffers
from facerec.frontalize.types import Camera

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VisibilitySettings:
    """Settings of the visibility tests."""

    buffer: int = 128  # px, side of the z-buffer's picture of the face: a pixel is then about 2 mm, one grid step
    tolerance_mm: float = 4.0  # depth slack: two grid steps on a surface seen at 45 degrees
    min_cosine: float = 0.12  # surfaces seen under 7 degrees hold no texture, only smear
    # Near the far silhouette a fit that is off by two pixels samples background. Where the mirror twin is seen much
    # better, such a texel adds nothing but that risk: it must face the camera by more.
    far_cosine: float = 0.4
    far_lag: float = 0.3
    # Patches cut off from the rest, such as the far eye's inner corner beyond the nose's bridge, are a few nodes
    # across: a fit that is off by a pixel fills them with background.
    island: float = 0.02  # share of the seen nodes


def surface_normals(geometry: Floats) -> Floats:
    """(..., G, G, 3) outward unit normals of geometry images (..., G, G, 3)."""
    du = np.gradient(geometry, axis=-2)
    dv = np.gradient(geometry, axis=-3)
    # In the project's space a frontal face looks along -z and du x dv points along +z there.
    normal = np.stack(
        [
            du[..., 2] * dv[..., 1] - du[..., 1] * dv[..., 2],
            du[..., 0] * dv[..., 2] - du[..., 2] * dv[..., 0],
            du[..., 1] * dv[..., 0] - du[..., 0] * dv[..., 1],
        ],
        axis=-1,
    )
    length = np.sqrt(np.einsum("...d,...d->...", normal, normal))
    return np.asarray(normal / np.maximum(length, 1e-12)[..., None])


def depth_gap(model: FaceModel, geometry: Floats, camera: Camera, settings: VisibilitySettings) -> Floats:
    """(G, G) how far each node lies behind the nearest surface along the view ray, mm; 0 for the nearest."""
    flat = camera.project(geometry.reshape(-1, 3))
    low, high = flat[:, :2].min(axis=0), flat[:, :2].max(axis=0)
    zoom = (settings.buffer - 3) / max(float((high - low).max()), 1e-6)
    placed = flat.copy()
    # Centred, so that the mirrored face falls on the mirrored pixels.
    placed[:, :2] = (flat[:, :2] - (low + high) / 2) * zoom + (settings.buffer - 1) / 2
    buffer = depth_buffers(placed[None], model.triangles, settings.buffer, settings.buffer)[0]
    depth = np.where(np.isfinite(buffer), buffer, flat[:, 2].max() + camera.scale * 1000)
    # The farthest of the pixels around lets silhouette nodes see themselves.
    sampled = cv2.remap(
        cv2.dilate(depth.astype(np.float32), np.ones((3, 3), np.uint8)),
        placed[:, 0].astype(np.float32).reshape(geometry.shape[:2]),
        placed[:, 1].astype(np.float32).reshape(geometry.shape[:2]),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    gap = (flat[:, 2].reshape(geometry.shape[:2]) - sampled) / camera.scale
    return np.maximum(gap, 0.0)


@dataclass(frozen=True, eq=False)
class SurfaceView:
    """What a camera sees of a surface, before any rule about angles.

    Attributes:
        facing: (G, G) cosine between each node's normal and the direction to the camera.
        gap: (G, G) mm behind the nearest surface, see `depth_gap`.
    """

    facing: Floats
    gap: Floats

    @staticmethod
    def of(model: FaceModel, geometry: Floats, camera: Camera, settings: VisibilitySettings) -> SurfaceView:
        """The view of a geometry image (G, G, 3), mm."""
        facing = -(surface_normals(geometry) @ camera.rotation[2])
        return SurfaceView(facing, depth_gap(model, geometry, camera, settings))

    def nodes(self, settings: VisibilitySettings) -> Floats:
        """(G, G) in [0, 1]: 0 where a node is hidden, otherwise `facing`."""
        seen = (self.facing > settings.min_cosine) & (self.gap < settings.tolerance_mm)
        visible = np.where(seen, self.facing, 0.0)
        if settings.far_cosine <= 0:
            return visible
        # The half that is seen less well is the far one. On the near half the inner corner of the eye faces the camera
        # less than its twin does, and must stay all the same.
        middle = visible.shape[1] // 2
        far_half = np.zeros(visible.shape[1], dtype=bool)
        if visible[:, :middle].sum() > visible[:, -middle:].sum():
            far_half[-middle:] = True
        else:
            far_half[:middle] = True
        far = (visible < settings.far_cosine) & (visible[:, ::-1] > visible + settings.far_lag)
        return without_islands(np.where(far & far_half, 0.0, visible), settings.island)

    def landmarks(self, model: FaceModel, settings: VisibilitySettings) -> NDArray[np.bool_]:
        """(68,) whether the camera sees each landmark: any of the nodes around it is visible."""
        # A landmark near the silhouette is a place, not a texture: the far rule does not apply to it.
        visibility = self.nodes(replace(settings, far_cosine=0.0))
        at = np.clip(model.landmark_uv, 0, 1) * (model.size - 1)
        # A landmark of the middle line lies on a node: both its sides count, or left and right profiles would differ.
        low = np.clip(np.ceil(at - 1e-3).astype(int) - 1, 0, model.size - 1)
        high = np.clip(np.floor(at + 1e-3).astype(int) + 1, 0, model.size - 1)
        middle = np.rint(at).astype(int)
        around = np.stack([visibility[v[:, 1], u[:, 0]] for v in (low, middle, high) for u in (low, middle, high)])
        return np.asarray(around.max(axis=0) > 0)


def without_islands(visible: Floats, least: float) -> Floats:
    """`visible` (G, G) without the connected patches that hold less than a share `least` of its seen nodes."""
    _, labels, figures, _ = cv2.connectedComponentsWithStats((visible > 0).astype(np.uint8), connectivity=4)
    kept = figures[:, cv2.CC_STAT_AREA] >= least * (visible > 0).sum()
    kept[0] = False
    return np.where(kept[labels], visible, 0.0)


def node_visibility(
    model: FaceModel, geometry: Floats, camera: Camera, settings: VisibilitySettings | None = None
) -> Floats:
    """(G, G) in [0, 1]: 0 where a node is hidden, otherwise the cosine between its normal and the view ray."""
    settings = settings or VisibilitySettings()
    return SurfaceView.of(model, geometry, camera, settings).nodes(settings)


def landmark_visibility(model: FaceModel, shape: Floats, expression: Floats, camera: Camera) -> NDArray[np.bool_]:
    """(68,) whether the camera sees each landmark: any of the nodes around it is visible."""
    settings = VisibilitySettings()
    return SurfaceView.of(model, model.geometry(shape, expression), camera, settings).landmarks(model, settings)
