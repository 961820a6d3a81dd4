"""Pictures of the fitted face: the head from any side, the frontal view, overlays and meshes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.light import shading
from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.raster import rasterize
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.frontalize.visibility import surface_normals
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Image, Landmarks

if TYPE_CHECKING:
    import trimesh

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rendering:
    """A rendered head.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, 0 on the background.
        alpha: (H, W) float32 in [0, 1], coverage by the head.
        face: (H, W) float32 in [0, 1], coverage by the textured face (without the rest of the head).
    """

    pixels: Image
    alpha: NDArray[np.float32]
    face: NDArray[np.float32]


def push_pull(
    pixels: NDArray[np.floating | np.integer], weight: NDArray[np.floating | np.integer]
) -> NDArray[np.float32]:
    """Fill texels of weight 0 smoothly from those around (pyramid push-pull); the others keep their value.

    Args:
        pixels: (T, T, 3); weight: (T, T) >= 0.
    """
    known = (weight > 0).astype(np.float32)
    kept = pixels.astype(np.float32) * known[..., None]
    if known.all() or min(known.shape) <= 2:
        total = max(float(known.sum()), 1e-6)
        mean = kept.sum(axis=(0, 1)) / total
        return np.asarray(np.where(known[..., None] > 0, kept, mean), dtype=np.float32)
    half = (max(1, known.shape[1] // 2), max(1, known.shape[0] // 2))
    coarse_weight = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(kept, half, interpolation=cv2.INTER_AREA) / np.maximum(coarse_weight, 1e-6)[..., None]
    below = push_pull(coarse, coarse_weight)
    up = cv2.resize(below, (known.shape[1], known.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.where(known[..., None] > 0, kept, up), dtype=np.float32)


@cache
def skull_chart(model: FaceModel) -> Floats:
    """(S, 2) chart positions the rest of the head borrows its colour from: the nearest node of the chart's border."""
    from scipy.spatial import cKDTree  # late: it takes longer to load than a photograph to describe

    g = model.size
    border = np.zeros((g, g), dtype=bool)
    border[0], border[-1], border[:, 0], border[:, -1] = True, True, True, True
    rows, columns = np.nonzero(border)
    nearest = cKDTree(model.mean[rows, columns]).query(model.skull)[1]
    # Two nodes inwards: the outermost texels are the least often seen.
    return np.asarray(np.clip(np.stack([columns, rows], axis=1)[nearest] / (g - 1), 2 / g, 1 - 2 / g))


def render_head(
    model: FaceModel,
    shape: Floats | None,
    expression: Floats | None,
    camera: Camera | PerspectiveCamera,
    texture: NDArray[np.number],
    height: int,
    width: int,
    light: Floats | None = None,
    supersample: int = 1,
    skull: bool = True,
) -> Rendering:
    """Render a textured head.

    Args:
        model, shape, expression: the face (coefficients in standard deviations).
        camera: where it stands.
        texture: (T, T, 3) colours 0-255 over the whole chart, no holes.
        height, width: size of the picture, px.
        light: (9, 3) spherical-harmonics light (see `facerec.frontalize.light`) that multiplies the texture; None: as
            it is.
        supersample: samples per pixel and axis, against jagged edges.
        skull: draw the rest of the head too; it takes its colours from the chart's border.
    """
    geometry = model.geometry(shape, expression)
    g = model.size
    points, triangles = geometry.reshape(-1, 3), model.triangles
    columns, rows = np.meshgrid(np.arange(g) / (g - 1), np.arange(g) / (g - 1))
    chart = np.stack([columns.ravel(), rows.ravel()], axis=1)
    normals = surface_normals(geometry).reshape(-1, 3)
    if skull:
        rest = model.skull_geometry(shape)
        offset = len(points)
        rest_triangles = model.skull_triangles
        triangles = np.concatenate([triangles, rest_triangles + offset])
        points = np.concatenate([points, rest])
        chart = np.concatenate([chart, skull_chart(model)])
        normals = np.concatenate([normals, _vertex_normals(rest, rest_triangles)])
    projected = camera.project(points)
    k = supersample
    placed = projected.copy()
    placed[:, :2] = (projected[:, :2] + 0.5) * k - 0.5
    raster = rasterize(placed, triangles, height * k, width * k)
    t = texture.shape[0]
    at = raster.interpolate(chart, triangles) * t - 0.5
    source = np.ascontiguousarray(texture).astype(np.float32)
    sharp = cv2.remap(
        source,
        at[..., 0].astype(np.float32),
        at[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    on_face = (raster.triangle >= 0) & (raster.triangle < len(model.triangles))
    if skull:
        soft = cv2.remap(
            cv2.GaussianBlur(source, (0, 0), t / 32),
            at[..., 0].astype(np.float32),
            at[..., 1].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        sharp = np.where(on_face[..., None], sharp, soft)
    if light is not None:
        turned = raster.interpolate(normals, triangles) @ camera.rotation.T
        turned /= np.maximum(np.linalg.norm(turned, axis=2, keepdims=True), 1e-9)
        sharp = sharp * shading(turned, light)
    covered = (raster.triangle >= 0).astype(np.float32)
    colour = np.clip(sharp, 0, 255) * covered[..., None]
    face = on_face.astype(np.float32)
    if k > 1:
        size = (width, height)
        covered, face = (
            np.asarray(cv2.resize(m, size, interpolation=cv2.INTER_AREA), dtype=np.float32) for m in (covered, face)
        )
        colour = np.asarray(cv2.resize(colour.astype(np.float32), size, interpolation=cv2.INTER_AREA))
        colour = colour / np.maximum(covered, 1e-6)[..., None] * (covered > 0)[..., None]
    return Rendering(np.clip(np.rint(colour), 0, 255).astype(np.uint8), covered, face)


def _vertex_normals(points: Floats, triangles: NDArray[np.int64]) -> Floats:
    face = np.cross(
        points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    )
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9))


def frontal_view(
    texture: FaceTexture, fitted: FittedFace, model: FaceModel, size: int = 224, neutral: bool = False
) -> Image:
    """The face turned to the front, hidden parts filled from the mirrored side.

    The half of the face that was seen better keeps its light in the seam: the filled half is faded into it.

    Args:
        texture: the lifted texture.
        fitted: the fitted face; its own shape and expression are rendered.
        model: the face model.
        size: side of the square picture, px.
        neutral: without the expression. A smile's teeth stay in the texture and are pressed between closed lips.

    Returns:
        (size, size, 3) uint8 RGB, white background.
    """
    if size < 16:
        raise InvalidInputError(f"expected a frontal view of at least 16 px; got {size}")
    camera = Camera(np.eye(3), np.array([size / 2, size * 0.46]), size / 235.0)
    expression = None if neutral else fitted.expression
    filled = blended_texture(texture)
    rendering = render_head(model, fitted.shape, expression, camera, filled, size, size, supersample=2, skull=False)
    alpha = rendering.alpha[..., None]
    return np.asarray(np.rint(rendering.pixels * alpha + 255 * (1 - alpha)), dtype=np.uint8)


def blended_texture(texture: FaceTexture) -> NDArray[np.float32]:
    """(T, T, 3) the texture without holes, for showing and rendering only: matching uses what was seen.

    Mirrored where only the twin was seen, with a faded seam; smooth where neither was.

    Each texel is the mean of itself and its mirror twin, weighted by how squarely each was seen (cubed, so that a well
    seen side keeps its own details).
    """
    size = texture.visible.shape[0]
    visible = texture.visible * ~behind_silhouette(texture)
    weight = cv2.GaussianBlur(visible, (0, 0), size / 64) * (visible > 0)
    own = weight**3
    twin = own[:, ::-1]
    total = own + twin
    mixed = (texture.pixels * own[..., None] + texture.pixels[:, ::-1] * twin[..., None]) / np.maximum(total, 1e-9)[
        ..., None
    ]
    # Both sides seen well: keep them apart, or a mole would be on both cheeks.
    lead = np.clip((visible - 0.25) / 0.25, 0.0, 1.0)[..., None]
    mixed = texture.pixels * lead + mixed * (1 - lead)
    known = (total > 1e-6).astype(np.uint8)
    return push_pull(mixed, known)


@dataclass(frozen=True)
class SilhouetteSettings:
    """Which part of a profile's rim is background or hair. Lengths are shares of the chart's side."""

    middle: float = 0.06  # half width of the strip about the middle column in which it is looked for; eyes lie outside
    rim: float = 1 / 128  # always cut there: a fit is off by a pixel or two
    reach: float = 0.035  # how far from the rim: 9 of 256 texels; farther in, nostrils and lips would go as well
    spread: float = 0.025  # the neighbourhood inside that shows how the face looks there
    levels: float = 40.0  # grey levels from it in some channel; shading over that distance stays below


def behind_silhouette(texture: FaceTexture, settings: SilhouetteSettings | None = None) -> NDArray[np.bool_]:
    """(T, T) which seen texels at a profile's silhouette hold background, hair or a hand rather than the face.

    Seen from the side, the silhouette runs along the middle of the face, and where the fit is off, the rim of the
    texture takes what lies behind it. Such texels look unlike the face a little further in, and reach to the rim.
    """
    settings = settings or SilhouetteSettings()
    size = texture.visible.shape[0]
    seen = (texture.visible > 0).astype(np.uint8)
    aside = np.abs(np.arange(size) + 0.5 - size / 2) > settings.middle * size

    def inside(by: float) -> NDArray[np.uint8]:
        width = 2 * max(1, round(by * size)) + 1
        eroded = cv2.erode(seen, np.ones((width, width), np.uint8), borderType=cv2.BORDER_REPLICATE)
        return np.asarray(eroded, dtype=np.uint8)

    deep = inside(settings.reach).astype(np.float32)
    spread = settings.spread * size
    weight = cv2.GaussianBlur(deep, (0, 0), spread)
    around = cv2.GaussianBlur(texture.pixels * deep[..., None], (0, 0), spread) / np.maximum(weight, 1e-6)[..., None]
    unlike = np.abs(texture.pixels - around).max(axis=2) > settings.levels
    strip = (seen > 0) & (deep == 0) & ~aside & (weight > 1e-4)
    rim = (seen > 0) & (inside(settings.rim) == 0) & ~aside
    # Only what hangs together with the rim: a nostril or a lip further in is the face's own.
    parts, labels = cv2.connectedComponents(((strip & unlike) | rim).astype(np.uint8), connectivity=4)
    touching = np.zeros(parts, dtype=bool)
    touching[np.unique(labels[rim])] = True
    touching[0] = False
    return np.asarray(touching[labels])


def draw_overlay(image: Image, fitted: FittedFace, landmarks: Landmarks, model: FaceModel) -> Image:
    """The photograph with the fitted mesh's visible nodes and the landmarks: green where visible, red where hidden."""
    from facerec.frontalize.visibility import node_visibility

    out = image.copy()
    geometry = model.geometry(fitted.shape, fitted.expression)
    seen = node_visibility(model, geometry, fitted.camera)
    nodes = fitted.camera.project(geometry.reshape(-1, 3)).reshape(geometry.shape)[..., :2]
    radius = max(1, round(fitted.camera.scale * 0.6))
    shade = out.copy()
    every = 3
    lines = [nodes[i, ::1] for i in range(0, model.size, every)] + [nodes[::1, j] for j in range(0, model.size, every)]
    masks = [seen[i] for i in range(0, model.size, every)] + [seen[:, j] for j in range(0, model.size, every)]
    for line, mask in zip(lines, masks, strict=True):
        for a, b, both in zip(line[:-1], line[1:], (mask[:-1] > 0) & (mask[1:] > 0), strict=True):
            if both:
                cv2.line(shade, _pixel(a), _pixel(b), (70, 200, 255), 1, cv2.LINE_AA)
    out = np.asarray(cv2.addWeighted(shade, 0.55, out, 0.45, 0), dtype=np.uint8)
    for point, visible in zip(landmarks.points, landmarks.visible, strict=True):
        cv2.circle(out, _pixel(point), radius + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(out, _pixel(point), radius, (60, 230, 60) if visible else (240, 60, 60), -1, cv2.LINE_AA)
    return out


def _pixel(point: NDArray[np.floating]) -> tuple[int, int]:
    x, y = np.clip(point, -30000, 30000)
    return round(float(x)), round(float(y))


def textured_mesh(texture: FaceTexture, fitted: FittedFace, model: FaceModel, neutral: bool = False) -> trimesh.Trimesh:
    """The fitted face as a mesh with its texture (PLY, OBJ or GLB through trimesh), mm, y up.

    With its expression, or `neutral`.
    """
    import trimesh
    from PIL import Image as PillowImage

    g = model.size
    geometry = model.geometry(fitted.shape, None if neutral else fitted.expression)
    points = geometry.reshape(-1, 3) * [1.0, -1.0, -1.0]
    columns, rows = np.meshgrid(np.arange(g) / (g - 1), np.arange(g) / (g - 1))
    uv = np.stack([columns.ravel(), 1.0 - rows.ravel()], axis=1)  # meshes count v upwards
    picture = PillowImage.fromarray(np.clip(np.rint(blended_texture(texture)), 0, 255).astype(np.uint8))
    visual = trimesh.visual.TextureVisuals(uv=uv, image=picture)  # type: ignore[no-untyped-call]
    return trimesh.Trimesh(vertices=points, faces=model.triangles, visual=visual, process=False)


def write_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write what `textured_mesh` made as PLY, OBJ (with its own MTL and PNG, named like it) or GLB, by `path`'s ending.

    PLY holds no picture: there each vertex gets the texture's colour at its place.

    Raises:
        InvalidInputError: another ending, or a mesh without a texture.
    """
    import trimesh

    ending = path.suffix.lower()
    if ending not in (".ply", ".obj", ".glb"):
        raise InvalidInputError(f"expected a mesh file that ends in .ply, .obj or .glb; got {path.name}")
    copy = mesh.copy()
    visual = copy.visual
    if not isinstance(visual, trimesh.visual.TextureVisuals):
        raise InvalidInputError("expected a mesh with a texture; got one without")
    if ending == ".ply":
        copy.visual = visual.to_color()  # type: ignore[no-untyped-call]
        copy.export(path)
    elif ending == ".obj":
        # Under trimesh's default names the meshes of a folder would share, and overwrite, one material.
        visual.material.name = path.stem
        copy.export(path, mtl_name=f"{path.stem}.mtl")
    else:
        copy.export(path)
