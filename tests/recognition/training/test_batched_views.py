"""Views of many faces at once equal the views that the recognizer makes of each."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import render_head
from facerec.frontalize.texture import lift_geometry
from facerec.frontalize.types import Camera, FittedFace
from facerec.frontalize.visibility import node_visibility
from facerec.recognition.training.batched_views import BatchedViews, FitBatch, push_pull, rotations
from facerec.recognition.views import FACE_FRAME, filled_view, frontal_pixels, photo_view, seen_shares

SIZE, TEXELS = 192, 192
POSES = ((0.0, 0.0, 0.0), (25.0, -10.0, 5.0), (-60.0, 15.0, -8.0), (80.0, 0.0, 3.0))


def picture(seed: int) -> np.ndarray:
    """(192, 192, 3) uint8, smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def views() -> BatchedViews:
    return BatchedViews(FaceModel.load(), FACE_FRAME, texels=TEXELS)


@pytest.fixture(scope="module")
def faces() -> tuple[list[np.ndarray], list[FittedFace]]:
    model, rng = FaceModel.load(), np.random.default_rng(4)
    fits = []
    for angles in POSES:
        shape, expression = rng.normal(0, 0.7, 40), rng.normal(0, 0.5, 20)
        camera = Camera.from_angles(*angles, 0.85, (96.0 + rng.normal(0, 3), 98.0))
        points = camera.project(model.landmarks(shape, expression))[:, :2]
        fits.append(FittedFace(shape, expression, camera, 0.0, points, np.ones(68, bool)))
    return [picture(k) for k in range(len(POSES))], fits


def batch(pictures: list[np.ndarray], fits: list[FittedFace]) -> tuple[torch.Tensor, FitBatch]:
    def put(values: list[np.ndarray] | list[float]) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(v) for v in values]).astype(np.float32))

    crops = put(pictures).permute(0, 3, 1, 2) / 255
    fit = FitBatch(
        put([f.shape for f in fits]),
        put([f.expression for f in fits]),
        put([f.camera.rotation for f in fits]),
        put([f.camera.translation for f in fits]),
        put([f.camera.scale for f in fits]),
    )
    return crops, fit


def test_the_photograph_is_placed_as_the_recognizer_places_it(
    views: BatchedViews, faces: tuple[list[np.ndarray], list[FittedFace]]
) -> None:
    made = views.photo(*batch(*faces)).permute(0, 2, 3, 1).numpy() * 255
    for own, image, fitted in zip(made, *faces, strict=True):
        assert np.abs(own - photo_view(image, fitted, FACE_FRAME)).mean() < 1.5


def test_halves_and_what_was_seen_are_those_of_the_recognizer(
    views: BatchedViews, faces: tuple[list[np.ndarray], list[FittedFace]]
) -> None:
    crops, fit = batch(*faces)
    geometry = views.geometry(fit.shape, fit.expression)
    pixels, seen = views.frontal(*views.lift(crops, fit, views.surface(geometry, fit.rotation)))
    shares = views.shares(seen)
    right = shares[:, 1] > shares[:, 0]
    halves = views.half(pixels, seen, right).permute(0, 2, 3, 1).numpy() * 255
    model = FaceModel.load()
    for k, (image, fitted) in enumerate(zip(*faces, strict=True)):
        surface = model.geometry(fitted.shape, fitted.expression)
        texture = lift_geometry(image, surface, fitted.camera, node_visibility(model, surface, fitted.camera), TEXELS)
        expected, mask = frontal_pixels(texture, FACE_FRAME)
        assert (mask != seen[k].numpy()).mean() < 0.03
        np.testing.assert_allclose(shares[k], seen_shares(mask, FACE_FRAME, TEXELS), atol=0.06)
        both = mask & seen[k].numpy()
        assert np.abs(expected / 255.0 - pixels[k].permute(1, 2, 0).numpy())[both].mean() < 0.02
        half = filled_view(expected, mask, "right" if right[k] else "left", FACE_FRAME)
        assert np.abs(half - halves[k]).mean() < 6.0


def test_a_rendered_head_lies_where_the_triangle_renderer_draws_it(views: BatchedViews) -> None:
    model = FaceModel.load()
    shape, expression = np.random.default_rng(0).normal(0, 0.7, 40), np.zeros(20)
    texture = picture(9)
    put = torch.from_numpy
    for yaw, pitch in ((0.0, 0.0), (60.0, 10.0), (-85.0, -20.0)):
        turn = rotations(*(torch.deg2rad(torch.tensor([float(v)])) for v in (yaw, pitch, 0.0)))
        plain = Camera.from_angles(yaw, pitch, 0.0)
        np.testing.assert_allclose(turn[0].numpy(), plain.rotation, atol=1e-6)
        light = torch.zeros(1, 9, 3)
        light[:, 0] = 1.0
        identity, mimic = (put(v.astype(np.float32))[None] for v in (shape, expression))
        behind = torch.full((1, 3, FACE_FRAME.size, FACE_FRAME.size), -1.0)
        colours = put(texture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        drawn = views.render(views.geometry(identity, mimic), identity, mimic, turn, colours, light, behind)[0]
        points = plain.project(model.landmarks(shape, expression))[:, :2]
        middle = np.mean([points[list(group)].mean(axis=0) for group in FACE_FRAME.groups], axis=0)
        scale, anchor = views.scale, views.anchor
        camera = Camera(plain.rotation, anchor - scale * middle, scale)
        expected = render_head(model, shape, expression, camera, texture, FACE_FRAME.size, FACE_FRAME.size)
        face = expected.face > 0.5
        assert face.mean() > 0.2
        own = drawn.permute(1, 2, 0).numpy() * 255
        assert np.abs(own[face] - expected.pixels[face]).mean() < 14.0


def test_holes_are_filled_and_what_is_known_stays() -> None:
    pixels = torch.rand(1, 3, 40, 40)
    known = torch.ones(1, 1, 40, 40)
    known[..., 10:25, 12:20] = 0
    filled = push_pull(pixels, known)
    torch.testing.assert_close(filled * known, pixels * known)
    hole = filled[..., 10:25, 12:20]
    assert 0.2 < float(hole.mean()) < 0.8
    assert float(hole.std()) < float(pixels.std())
