"""Lifting takes from the photograph what the camera saw, where it saw it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facerec.frontalize import texture
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import render_head
from facerec.frontalize.texture import lift_geometry, lift_texture, mirror_fill, resample_grid, texel_positions
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.frontalize.visibility import node_visibility
from facerec.landmarks.errors import InvalidInputError

Stand = Callable[..., FittedFace]


def lively(height: int, width: int) -> np.ndarray:
    """A picture without a patch of one colour, and without black."""
    return np.random.default_rng(0).integers(40, 220, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (35, 0), (-35, 10), (80, 0)])
def test_the_lift_of_a_rendered_texture_is_that_texture_not_its_mirror_image(
    model: FaceModel, red_blue: np.ndarray, stand: Stand, yaw: float, pitch: float
) -> None:
    fitted = stand(yaw, pitch, 1.0, 160)
    picture = render_head(model, None, None, fitted.camera, red_blue, 320, 320).pixels
    lifted = lift_texture(picture, fitted, model)
    seen = lifted.visible > 0
    assert seen.mean() > (0.3 if abs(yaw) > 60 else 0.45)
    away_from_the_seam = np.abs(np.arange(256) - 127.5) > 8
    inner = seen & away_from_the_seam & (lifted.visible > 0.4)
    wrong = np.abs(lifted.pixels.astype(float) - red_blue).max(axis=2)
    assert np.percentile(wrong[inner], 99) < 12
    # A mirrored lift would have red where blue is.
    assert np.percentile(np.abs(lifted.pixels[:, ::-1].astype(float) - red_blue).max(axis=2)[inner], 50) > 150


def test_a_profile_shows_the_half_that_faces_the_camera(model: FaceModel, red_blue: np.ndarray, stand: Stand) -> None:
    # Yaw > 0: the nose points to the image's right, so the left half of the chart faces the camera.
    for yaw, near in ((80, slice(0, 110)), (-80, slice(146, 256))):
        fitted = stand(yaw, 0, 0.8, 140)
        picture = render_head(model, None, None, fitted.camera, red_blue, 280, 280, skull=False).pixels
        seen = lift_texture(picture, fitted, model).visible > 0
        far = slice(146, 256) if near.start == 0 else slice(0, 110)
        assert seen[:, near].mean() > 0.5
        assert seen[:, far].mean() < 0.05


def test_texels_that_were_not_seen_are_zero(model: FaceModel, stand: Stand) -> None:
    lifted = lift_texture(lively(400, 400), stand(50), model)
    unseen = lifted.visible == 0
    assert unseen.any()
    assert (lifted.pixels[unseen] == 0).all()
    assert (lifted.pixels[~unseen] >= 40).all()
    assert lifted.visible.min() >= 0
    assert lifted.visible.max() <= 1


def test_nothing_is_taken_from_outside_the_picture(model: FaceModel, stand: Stand) -> None:
    fitted = stand(0)
    whole = lift_texture(lively(400, 400), fitted, model).visible > 0
    left_half = lift_texture(lively(400, 200), fitted, model).visible > 0
    assert left_half[:, :120].sum() == whole[:, :120].sum()
    assert not left_half[:, 136:].any()
    gone = Camera(fitted.camera.rotation, np.array([5000.0, 5000.0]), 1.2)
    empty = lift_geometry(lively(400, 400), model.mean, gone, np.ones((97, 97)))
    assert not empty.visible.any()
    assert not empty.pixels.any()
    assert empty.cut == 1.0


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (200, 30, 60)])
def test_nothing_is_taken_from_a_bar_and_the_face_knows_what_is_cut(
    model: FaceModel, stand: Stand, colour: tuple[int, int, int]
) -> None:
    fitted, plain = stand(0), lively(400, 400)
    whole = lift_texture(plain, fitted, model)
    assert whole.cut == 0.0
    middle = int(fitted.points[27, 0])
    barred, cropped = plain.copy(), plain[:, :middle]
    barred[:, middle:] = colour
    ok, jpeg = cv2.imencode(".jpg", barred, [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert ok
    for picture in (barred, np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8), cropped):
        lifted = lift_texture(picture, fitted, model)
        assert not (lifted.visible[:, 152:] > 0).any()  # JPEG keeps 16 px beside the edge uneven
        assert (lifted.visible[:, :116] > 0).mean() > 0.9 * (whole.visible[:, :116] > 0).mean()
        assert 0.4 < lifted.cut < 0.6


def test_a_photograph_without_a_bar_is_lifted_as_if_bars_were_not_looked_for(
    model: FaceModel, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = lively(400, 400)
    picture[180:186, 180:260] = 0  # a line is no bar
    one = lift_texture(picture, stand(20), model)
    monkeypatch.setattr(texture, "blank_pixels", lambda image: np.zeros(image.shape[:2], np.uint8))
    other = lift_texture(picture, stand(20), model)
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_array_equal(one.visible, other.visible)


@pytest.mark.parametrize("yaw", [0.0, 35.0, 80.0])
def test_the_mask_of_the_mirrored_pose_is_the_mirrored_mask(model: FaceModel, stand: Stand, yaw: float) -> None:
    picture = lively(401, 401)
    one, other = (lift_texture(picture, stand(y), model).visible > 0 for y in (yaw, -yaw))
    assert (one != other[:, ::-1]).mean() < 0.004


def test_no_texel_is_seen_that_has_a_hidden_node_at_its_side(model: FaceModel, stand: Stand) -> None:
    fitted = stand(40)
    nodes = node_visibility(model, model.geometry(), fitted.camera) > 0
    seen = lift_texture(lively(400, 400), fitted, model).visible > 0
    column, row = texel_positions(256, model.size)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    around = np.stack([nodes[top + dy, left + dx] for dy in (0, 1) for dx in (0, 1)]).all(axis=0)
    assert not (seen & ~around).any()
    assert (seen == around).mean() > 0.99


def test_a_large_photograph_is_averaged_not_picked_from(model: FaceModel, stand: Stand) -> None:
    # Stripes of one pixel, seven of them to a texel: picking pixels gives black and white, averaging gives grey.
    fitted = stand(0, scale=6.0, middle=900.0)
    stripes = np.zeros((1800, 1800, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    lifted = lift_texture(stripes, fitted, model)
    values = lifted.pixels[lifted.visible > 0.5]
    assert abs(values.mean() - 127.5) < 3
    assert values.std() < 12


def test_a_large_photograph_gives_the_texture_of_the_small_one(
    model: FaceModel, red_blue: np.ndarray, stand: Stand
) -> None:
    textures = []
    for scale, side in ((1.0, 300), (2.3, 690)):
        fitted = stand(20, 5, scale, side / 2)
        picture = render_head(model, None, None, fitted.camera, red_blue, side, side).pixels
        textures.append(lift_texture(picture, fitted, model))
    both = (textures[0].visible > 0.4) & (textures[1].visible > 0.4) & (np.abs(np.arange(256) - 127.5) > 8)
    apart = np.abs(textures[0].pixels.astype(float) - textures[1].pixels).max(axis=2)
    assert np.percentile(apart[both], 99) < 12


def test_a_face_two_thousand_pixels_high_is_lifted_without_aliasing(model: FaceModel, stand: Stand) -> None:
    # Rings ever finer away from the middle, down to 4 px: picked pixels would show rings that are not there.
    side = 2300
    fitted = stand(0, scale=8.7, middle=side / 2)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - side / 2
    rings = np.cos((x * x + y * y) * np.float32(np.pi / (4 * side)))
    picture = np.repeat(np.rint(127.5 + 120 * rings).astype(np.uint8)[..., None], 3, axis=2)
    lifted = lift_texture(picture, fitted, model)
    seen = lifted.visible > 0.5
    # The truth: the picture averaged over about a texel, 1.25 mm, around each texel's place.
    blurred = cv2.GaussianBlur(picture, (0, 0), 8.7 * 1.25 / 2)
    grid = fitted.camera.project(model.geometry())[..., :2]
    at = resample_grid(grid, 256)
    truth = cv2.remap(blurred, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[..., 0].astype(float)
    picked = cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[..., 0].astype(float)
    error = np.abs(lifted.pixels[..., 0].astype(float) - truth)[seen].mean()
    assert error < 0.25 * np.abs(picked - truth)[seen].mean()


def test_delighting_makes_two_lightings_agree(model: FaceModel, stand: Stand) -> None:
    fitted = stand(20)
    albedo = np.full((64, 64, 3), 170, dtype=np.float32)
    pictures = []
    for side in (-1.0, 1.0):
        light = np.zeros((9, 3))
        light[0], light[1] = 0.8, 0.3 * side
        rendered = render_head(model, None, None, fitted.camera, albedo, 400, 400, light=light)
        pictures.append(rendered.pixels)
    lit = [lift_texture(p, fitted, model) for p in pictures]
    plain = [lift_texture(p, fitted, model, albedo=albedo) for p in pictures]
    np.testing.assert_array_equal(plain[0].visible, lit[0].visible)
    both = (lit[0].visible > 0.3) & (lit[1].visible > 0.3)

    def apart(pair: list[FaceTexture]) -> float:
        one, other = (t.pixels[both].astype(float) / t.pixels[both].mean() for t in pair)
        return float(np.abs(one - other).mean())

    assert apart(plain) < 0.3 * apart(lit)


def test_resampling_the_grid_reproduces_affine_functions_at_texel_centres() -> None:
    row, column = np.meshgrid(np.arange(33) / 32, np.arange(33) / 32, indexing="ij")
    texels = resample_grid(np.stack([column, row], axis=2), 50)
    centres = (np.arange(50) + 0.5) / 50
    np.testing.assert_allclose(texels[..., 0], np.broadcast_to(centres, (50, 50)), atol=2e-3)
    np.testing.assert_allclose(texels[..., 1], np.broadcast_to(centres[:, None], (50, 50)), atol=2e-3)


def test_mirror_filling_marks_what_it_filled_and_keeps_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    visible = (rng.random((16, 16)) > 0.5).astype(np.float32) * 0.8
    pixels = (rng.integers(1, 255, (16, 16, 3)) * (visible > 0)[..., None]).astype(np.uint8)
    whole, filled = mirror_fill(FaceTexture(pixels, visible))
    seen, twin = visible > 0, visible[:, ::-1] > 0
    np.testing.assert_array_equal(filled, ~seen & twin)
    assert filled.any()
    np.testing.assert_array_equal(whole.pixels[seen], pixels[seen])
    np.testing.assert_array_equal(whole.pixels[filled], pixels[:, ::-1][filled])
    np.testing.assert_array_equal(whole.visible > 0, seen | twin)
    neither = ~seen & ~twin
    assert neither.any()
    assert not whole.pixels[neither].any()


def test_wrong_input_is_refused(model: FaceModel, stand: Stand) -> None:
    with pytest.raises(InvalidInputError, match=r"\(H, W, 3\)"):
        lift_texture(np.zeros((40, 40), np.uint8), stand(), model)
    with pytest.raises(InvalidInputError, match="at least 16 texels"):
        lift_texture(np.zeros((40, 40, 3), np.uint8), stand(), model, size=8)
