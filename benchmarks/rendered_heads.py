"""Heads nobody was trained on, photographed by a perspective camera in the 21 poses of UHDB31, with the truth.

Shapes are drawn from the head model's own 100 identity modes and bounded expressions, not from the face model that is
fitted; the camera is a pinhole 0.6 to 1.5 m away, the fitted one is scaled-orthographic.

    python benchmarks/rendered_heads.py DATA/ict_facekit.npz OUT --people 10

writes the pictures, OUT/points.csv for `facerec evaluate landmarks points`, with the z-buffer's verdict on each point
(columns v0 to v67), and OUT/rendered.npz, the same faces as a landmark pack.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.light import shading
from facerec.frontalize.raster import rasterize
from facerec.frontalize.render import _vertex_normals, skull_chart
from facerec.frontalize.synthesize import UHDB31_POSES
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.training.face_model import HeadModel, learn_face_model
from facerec.frontalize.training.pose_augment import random_light
from facerec.frontalize.types import Camera
from facerec.frontalize.visibility import VisibilitySettings, surface_normals
from facerec.landmarks.image import write_image
from facerec.landmarks.training.packs import HIDDEN, VISIBLE, LandmarkPack, PackedFace
from facerec.landmarks.types import Box

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 256, 306  # px, UHDB31 at a quarter
FACE_SHARE = 0.42  # brows to chin, of the height


@dataclass(frozen=True, eq=False)
class RenderedHead:
    """A rendered photograph and its truth.

    Attributes:
        image: (306, 256, 3) uint8 RGB.
        person: number; pose: UHDB31's number, yaw and pitch, degrees.
        angles: yaw, pitch, roll as rendered, degrees.
        neutral, surface: (G, G, 3) mm, the face without and with its expression.
        points: (68, 2) px, exact landmarks.
        seen: (G, G) bool, nodes that the camera sees, by a z-buffer of the whole head.
        facing: (G, G) cosine between normal and view ray.
    """

    image: NDArray[np.uint8]
    person: int
    pose: tuple[int, int, int]
    angles: tuple[float, float, float]
    neutral: Floats
    surface: Floats
    points: Floats
    seen: NDArray[np.bool_]
    facing: Floats

    def mask(self, rules: VisibilitySettings) -> NDArray[np.bool_]:
        """(G, G) the seen nodes that the lift's rules about angles would keep."""
        visible = np.where(self.seen & (self.facing > rules.min_cosine), self.facing, 0.0)
        far = (visible < rules.far_cosine) & (visible[:, ::-1] > visible + rules.far_lag)
        return np.asarray((visible > 0) & ~far)

    def landmarks_seen(self, model: FaceModel) -> NDArray[np.bool_]:
        """(68,) whether the camera sees a landmark: any of the nodes around its place on the chart."""
        at = model.landmark_uv * (model.size - 1)
        low = np.clip(np.ceil(at - 1e-3).astype(int) - 1, 0, model.size - 1)
        high = np.clip(np.floor(at + 1e-3).astype(int) + 1, 0, model.size - 1)
        middle = np.rint(at).astype(int)
        around = [self.seen[v[:, 1], u[:, 0]] for v in (low, middle, high) for u in (low, middle, high)]
        return np.asarray(np.stack(around).any(axis=0))


class HeadSampler:
    """Draws heads of the packed ICT-FaceKit model and photographs them."""

    def __init__(self, path: Path) -> None:
        self.head, self.model, self.paint = HeadModel.read(path), FaceModel.load(), TextureModel.load()
        learnt = learn_face_model(self.head)
        self._used = learnt["operator_vertices"]
        self._operator = sp.csr_matrix(
            (learnt["operator_data"], learnt["operator_indices"], learnt["operator_indptr"]),
            shape=(self.model.size**2, len(self._used)),
        )
        rows = self.head.triangles
        skull = rows[(rows < self.head.head_end).all(axis=1) & (rows >= self.head.face_end).any(axis=1)]
        self._skull = np.unique(skull)

    def person(self, seed: int) -> tuple[Floats, Floats]:
        """Identity weights (100,) and texture coefficients of person `seed`."""
        rng = np.random.default_rng([seed, 77])
        return self.head.sample_identity(rng, 1)[0], rng.standard_normal(len(self.paint.modes))

    def photograph(self, person: int, pose: tuple[int, int, int]) -> RenderedHead:
        """Person `person` in a pose (number, yaw, pitch) of `UHDB31_POSES`."""
        rng = np.random.default_rng([person, pose[0]])
        identity, colours = self.person(person)
        expression = 0.4 * self.head.sample_expression(rng, 1)[0]  # laboratory faces are nearly neutral
        plain = self.head.neutral + np.tensordot(identity, self.head.identity, axes=1)
        moved = plain + np.tensordot(expression, self.head.expression, axes=1)
        g = self.model.size
        neutral = (self._operator @ plain[self._used]).reshape(g, g, 3)
        surface = (self._operator @ moved[self._used]).reshape(g, g, 3)
        angles = tuple(a + s * rng.uniform(-1, 1) for a, s in zip((*pose[1:], 0), (4, 4, 5), strict=True))
        rotation = Camera.from_angles(*angles).rotation
        skull = moved[self._skull]
        marks = surface_landmarks(surface, self.model)
        middle = (marks @ rotation.T).mean(axis=0)
        distance = rng.uniform(600, 1500)
        focal = HEIGHT * FACE_SHARE / 115.0 * distance

        def view(points: Floats) -> Floats:
            turned = points @ rotation.T - middle + [0, 0, distance]
            xy = focal * turned[:, :2] / turned[:, 2:] + [WIDTH / 2, HEIGHT * 0.52]
            # -1 / z is linear over a triangle in the picture and grows with the distance.
            return np.concatenate([xy, -1e6 / turned[:, 2:]], axis=1)

        points = np.concatenate([surface.reshape(-1, 3), skull])
        triangles = np.concatenate([self.model.triangles, self.model.skull_triangles + g * g])
        along = np.arange(g) / (g - 1)
        chart = np.concatenate([np.stack(np.meshgrid(along, along), axis=2).reshape(-1, 2), skull_chart(self.model)])
        normals = np.concatenate(
            [surface_normals(surface).reshape(-1, 3), _vertex_normals(skull, self.model.skull_triangles)]
        )
        k = 2
        placed = view(points)
        placed[:, :2] = (placed[:, :2] + 0.5) * k - 0.5
        raster = rasterize(placed, triangles, HEIGHT * k, WIDTH * k)
        texture = self.paint.paint(colours)
        at = (raster.interpolate(chart, triangles) * len(texture) - 0.5).astype(np.float32)
        colour = cv2.remap(texture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        turned = raster.interpolate(normals, triangles) @ rotation.T
        turned /= np.maximum(np.linalg.norm(turned, axis=2, keepdims=True), 1e-9)
        covered = (raster.triangle >= 0).astype(np.float32)
        backdrop = rng.uniform(90, 200) * (1 + 0.06 * rng.standard_normal(3))
        colour = np.where(covered[..., None] > 0, colour * shading(turned, random_light(rng, 0.18)), backdrop)
        picture = cv2.resize(colour.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        picture = cv2.GaussianBlur(picture, (0, 0), 0.6) + 1.5 * rng.standard_normal(picture.shape)

        nodes = placed[: g * g]
        column, row = (np.rint(nodes[:, i]).astype(int) for i in (0, 1))
        inside = (column >= 1) & (column < WIDTH * k - 1) & (row >= 1) & (row < HEIGHT * k - 1)
        # 2 mm of slack, and of the pixels around a node the farthest: its own pixel's centre lies beside it.
        depth = cv2.dilate(np.where(np.isfinite(raster.depth), raster.depth, 0.0).astype(np.float32), np.ones((3, 3)))
        behind = np.full(g * g, False)
        sampled = depth[row[inside], column[inside]].astype(float)
        behind[inside] = (-1e6 / nodes[inside, 2]) - (-1e6 / np.minimum(sampled, -1e-6)) > 2.0
        rays = surface.reshape(-1, 3) @ rotation.T - middle + [0, 0, distance]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        facing = -(normals[: g * g] @ rotation.T * rays).sum(axis=1).reshape(g, g)
        seen = inside & ~behind & (facing.ravel() > 0)
        return RenderedHead(
            np.clip(np.rint(picture), 0, 255).astype(np.uint8),
            person,
            pose,
            (float(angles[0]), float(angles[1]), float(angles[2])),
            neutral,
            surface,
            view(marks)[:, :2],
            seen.reshape(g, g),
            facing,
        )


def surface_landmarks(surface: Floats, model: FaceModel) -> Floats:
    """(68, 3) landmarks of a geometry image (G, G, 3)."""
    at = (model.landmark_uv * (model.size - 1)).astype(np.float32)
    sampled = cv2.remap(surface.astype(np.float32), at[:, :1], at[:, 1:], cv2.INTER_LINEAR)
    return np.asarray(sampled[:, 0], dtype=np.float64)


def uhdb31_heads(path: Path, people: int) -> list[RenderedHead]:
    """`people` heads of the packed model at `path` in the 21 poses."""
    sampler = HeadSampler(path)
    return [sampler.photograph(person, pose) for person in range(people) for pose in UHDB31_POSES]


def write_set(folder: Path, heads: Sequence[RenderedHead], model: FaceModel) -> None:
    """Pictures, points.csv and rendered.npz (see the module)."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["file", *[f"{axis}{i}" for i in range(68) for axis in "xy"], "pose", "yaw", "pitch"]
    faces = []
    with (folder / "points.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, *[f"v{i}" for i in range(68)]])
        for head in heads:
            name = f"{head.person:03d}_{head.pose[0]:02d}.png"
            write_image(folder / name, head.image)
            seen = head.landmarks_seen(model)
            places = [f"{value:.3f}" for value in head.points.ravel()]
            writer.writerow([name, *places, *head.pose, *seen.astype(int)])
            points = head.points.astype(np.float32)
            state = np.where(seen, VISIBLE, HIDDEN).astype(np.int8)
            faces.append(PackedFace.cut_from(head.image, points, state, Box.around(points), head.angles[0], "rendered"))
    LandmarkPack.gather(iter(faces)).save(folder / "rendered.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=10)
    arguments = parser.parse_args()
    write_set(arguments.folder, uhdb31_heads(arguments.model, arguments.people), FaceModel.load())


if __name__ == "__main__":
    main()
