"""The fit against rendered truth: pose, dense shape and visibility in the 21 poses of UHDB31, from detected landmarks.

    python benchmarks/fit.py DATA/ict_facekit.npz [--people 6]

Heads, expressions and the perspective camera are those of `rendered_heads.py`: no shape and no camera that the fit
assumes. Faces are found and located as the product does; a face that is not found is counted and left out of the means.
Dense errors are mean distances, mm, after the best rotation, scale and shift, of the surface with its expression.
Visibility is the intersection over union of the nodes called visible with those that the renderer's z-buffer saw, plain
and with the lift's rules about angles on both sides.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from joint_fit import fit_jointly
from numpy.typing import NDArray
from rendered_heads import HEIGHT, WIDTH, RenderedHead, uhdb31_heads

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FitSettings, fit_batch, landmark_weights
from facerec.frontalize.landmark_places import LandmarkSource
from facerec.frontalize.visibility import SurfaceView, VisibilitySettings
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.types import Landmarks

Floats = NDArray[np.float64]
METHODS = {"model fit": FitSettings(), "2FCSL": FitSettings(method="2fcsl")}
EVERY = 7  # nodes compared: every seventh gives the mean to 0.01 mm


def dense_error(found: Floats, truth: Floats) -> float:
    """Mean distance, mm, of two surfaces (G, G, 3) after the best similarity."""
    a, b = (s.reshape(-1, 3)[::EVERY] for s in (found, truth))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    u, sizes, vt = np.linalg.svd(a.T @ b)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (sizes * flip).sum() / (a**2).sum()
    return float(np.linalg.norm(scale * a @ (u * flip) @ vt - b, axis=1).mean())


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def located(heads: list[RenderedHead]) -> list[Landmarks | None]:
    """Landmarks of the largest face of each picture."""
    finder = FaceFinder.load()
    found = [finder.find(head.image) for head in heads]
    return [faces[0].landmarks if faces else None for faces in found]


def measure(
    heads: list[RenderedHead], points: Floats, weights: Floats, model: FaceModel, settings: FitSettings
) -> NDArray[np.float64]:
    """(N, 6) errors of yaw, pitch, roll, degrees; dense error, mm; visibility IoU plain and with the lift's rules."""
    fit = fit_batch(points, weights, model, settings)
    plain, rules = VisibilitySettings(min_cosine=0.0, far_cosine=0.0), VisibilitySettings()
    rows = []
    for k, head in enumerate(heads):
        camera, surface = fit.camera(k), model.geometry(fit.shape[k], fit.expression[k])
        off = np.abs((np.array(camera.angles) - head.angles + 180) % 360 - 180)
        view = SurfaceView.of(model, surface, camera, rules)
        truth = SurfaceView(head.facing, np.where(head.seen, 0.0, 100.0))
        # The renderer's truth ends with the picture, and so does the lift.
        x, y = np.moveaxis(camera.project(surface)[..., :2], 2, 0)
        inside = (x >= 0) & (x <= WIDTH - 1) & (y >= 0) & (y <= HEIGHT - 1)
        seen = [overlap((view.nodes(s) > 0) & inside, truth.nodes(s) > 0) for s in (plain, rules)]
        rows.append([*off, dense_error(surface, head.surface), *seen])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head_model", type=Path)
    parser.add_argument("--people", type=int, default=6)
    arguments = parser.parse_args()
    model = FaceModel.load()
    heads = uhdb31_heads(arguments.head_model, arguments.people)
    marks = located(heads)
    kept = [(head, mark) for head, mark in zip(heads, marks, strict=True) if mark is not None]
    heads = [head for head, _ in kept]
    print(f"{len(kept)} of {len(marks)} found")
    detected = np.stack([mark.points for _, mark in kept]).astype(np.float64)
    trust = np.stack([landmark_weights(mark, FitSettings()) for _, mark in kept])
    exact = np.stack([head.points for head in heads])
    # 1.5 mm is what hand-made annotations scatter by.
    scatter = 1.5 * 306 * 0.42 / 115 * np.random.default_rng(0).standard_normal(exact.shape)
    floor = np.array([dense_error(model.mean, head.surface) for head in heads])
    pose = np.array([head.pose[1:] for head in heads])
    kinds: tuple[tuple[str, Floats, Floats, LandmarkSource], ...] = (
        ("detected", detected, trust, "located"),
        ("detected, places not learnt", detected, trust, "model"),
        ("exact + 1.5 mm", exact + scatter, np.ones_like(trust), "model"),
    )
    for what, points, weights, places in kinds:
        answers = {
            name: measure(heads, points, weights, model, replace(s, places=places)) for name, s in METHODS.items()
        }
        print(f"\n{what} landmarks: errors of yaw, pitch, roll (degrees), dense (mm), visibility IoU plain, with rules")
        print("yaw pitch  n   mean face  " + "  ".join(f"{name:39}" for name in METHODS))
        for yaw, pitch in [*sorted({tuple(p) for p in pose.tolist()}), (None, None)]:
            rows = np.ones(len(pose), bool) if yaw is None else (pose == [yaw, pitch]).all(axis=1)
            label = "all       " if yaw is None else f"{yaw:3d} {pitch:5d} "
            figures = (" ".join(f"{v:6.2f}" for v in answer[rows].mean(axis=0)) for answer in answers.values())
            print(f"{label}{rows.sum():3d} {floor[rows].mean():8.2f}    " + "  ".join(figures))
        person = np.array([head.person for head in heads])
        alone, joint, mean = [], [], []
        settings = FitSettings(places=places)
        one = fit_batch(points, weights, model, settings)
        for number in np.unique(person):
            rows = np.flatnonzero((person == number) & (pose[:, 1] == 0))
            neutral = heads[rows[0]].neutral
            shared = fit_jointly(points[rows], weights[rows], model, settings).shape[0]
            alone += [dense_error(model.geometry(one.shape[row]), neutral) for row in rows]
            joint.append(dense_error(model.geometry(shared), neutral))
            mean.append(dense_error(model.mean, neutral))
        print(
            f"neutral shape, the level views of a person: mean face {np.mean(mean):.2f}, one view alone "
            f"{np.mean(alone):.2f}, up to seven together {np.mean(joint):.2f} mm"
        )


if __name__ == "__main__":
    main()
