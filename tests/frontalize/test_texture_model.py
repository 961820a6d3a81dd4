"""The texture model learns what varies, survives its own storage, and takes light out of textures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.light import shading
from facerec.frontalize.texture import delight, resample_grid
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.training.texture_model import (
    TextureModelSettings,
    is_usable,
    learn_texture_model,
    texture_model_error,
)
from facerec.frontalize.types import FaceTexture
from facerec.frontalize.visibility import surface_normals
from facerec.landmarks.errors import InvalidInputError

SIZE = 32
SETTINGS = TextureModelSettings(size=SIZE, modes=2, outliers=0.0, early=1)


@pytest.fixture(scope="module")
def normals(model: FaceModel) -> np.ndarray:
    grid = resample_grid(surface_normals(model.mean), SIZE).astype(np.float64)
    return np.asarray(grid / np.linalg.norm(grid, axis=2, keepdims=True))


def patterns() -> tuple[np.ndarray, np.ndarray]:
    """(2, T, T, 3) two ways in which made-up skins differ, fine enough not to be taken for light; (T, T, 3) mean."""
    row, column = np.mgrid[:SIZE, :SIZE]
    first = np.cos(row * np.pi / 2) * np.ones(SIZE)
    second = np.cos(column * np.pi / 2 + 0.3)
    mean = np.full((SIZE, SIZE, 3), 130.0)
    return np.stack([first, second])[..., None] * np.array([12.0, 10.0, 8.0]), mean


def skins(n: int, seed: int, normals: np.ndarray) -> list[tuple[FaceTexture, np.ndarray]]:
    rng = np.random.default_rng(seed)
    modes, mean = patterns()
    out = []
    for _ in range(n):
        albedo = mean + np.tensordot(rng.standard_normal(2) * [2.0, 1.0], modes, axes=1)
        light = np.zeros((9, 3))
        light[0], light[1:4] = 1.0, rng.normal(0, 0.15, (3, 1))
        pixels = np.clip(np.rint(albedo * shading(normals, light)), 0, 255).astype(np.uint8)
        visible = np.ones((SIZE, SIZE), np.float32)
        visible[:, : int(rng.integers(0, 8))] = 0
        pixels[visible == 0] = 0
        out.append((FaceTexture(pixels, visible), np.eye(3)))
    return out


def test_delighting_leaves_the_even_skin(normals: np.ndarray) -> None:
    light = np.zeros((9, 3))
    light[0], light[1] = 0.9, 0.35
    even = np.full((SIZE, SIZE, 3), 120.0)
    lit = np.rint(even * shading(normals, light)).astype(np.uint8)
    visible = np.ones((SIZE, SIZE), np.float32)
    visible[:3] = 0
    lit[:3] = 0
    plain = delight(FaceTexture(lit, visible), even.astype(np.float32), normals)
    seen = visible > 0
    assert lit[seen].std() > 15
    assert plain[seen].std() < 3
    assert not plain[~seen].any()


def test_delighting_almost_nothing_is_refused(normals: np.ndarray) -> None:
    visible = np.zeros((SIZE, SIZE), np.float32)
    visible[0, :19] = 1
    with pytest.raises(InvalidInputError, match="at least 20 seen texels; got 19"):
        delight(
            FaceTexture(np.zeros((SIZE, SIZE, 3), np.uint8), visible), np.ones((SIZE, SIZE, 3), np.float32), normals
        )


def test_the_model_finds_the_ways_in_which_skins_differ_strongest_first(normals: np.ndarray) -> None:
    learnt = learn_texture_model(skins(40, 0, normals), replace(SETTINGS, modes=3))
    truth, mean = patterns()
    assert np.abs(learnt.mean - mean).mean() < 8
    modes = learnt.modes.reshape(3, -1).astype(np.float64)
    sizes = np.linalg.norm(modes, axis=1)
    assert (np.diff(sizes) < 0).all()
    gram = modes @ modes.T / np.outer(sizes, sizes)
    np.testing.assert_allclose(gram, np.eye(3), atol=0.01)
    # Two ways to differ and, as nobody can tell a dark skin from a dim light, the level.
    for pattern in truth.reshape(2, -1):
        inside = np.linalg.norm((modes / sizes[:, None]) @ pattern) / np.linalg.norm(pattern)
        assert inside > 0.9
    # A mode is one standard deviation.
    assert sizes[0] == pytest.approx(2 * np.linalg.norm(truth[0]), rel=0.35)
    error = texture_model_error(learnt, skins(10, 1, normals))
    assert error["error_levels"] < 0.5 * error["mean_only_levels"]


def test_the_same_textures_give_the_same_model(normals: np.ndarray) -> None:
    one, other = (learn_texture_model(skins(8, 0, normals), SETTINGS) for _ in range(2))
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.modes, other.modes)


def test_storage_rounds_by_a_quarter_of_a_level_or_a_254th_of_the_largest_value() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([40.0, 3.0, 0.0], dtype=np.float32)[:, None, None, None]
    model = TextureModel(
        rng.uniform(0, 255, (8, 8, 3)).astype(np.float32),
        (sizes * rng.uniform(-1, 1, (3, 8, 8, 3))).astype(np.float32),
    )
    stored = model.stored()
    assert {name: array.dtype.name for name, array in stored.items()} == {
        "mean": "float16",
        "modes": "int8",
        "mode_scale": "float32",
    }
    back = TextureModel.from_stored(stored)
    np.testing.assert_allclose(back.mean, model.mean, atol=0.13)
    for k in range(3):
        np.testing.assert_allclose(
            back.modes[k], model.modes[k], atol=max(float(sizes[k].item()) / 127, 0.5) / 2 + 1e-6
        )


def test_painting_is_linear_in_between_and_stays_a_colour() -> None:
    modes, mean = patterns()
    model = TextureModel(mean.astype(np.float32), modes.astype(np.float32))
    np.testing.assert_allclose(model.paint(np.array([1.0, -2.0])), mean + modes[0] - 2 * modes[1], atol=1e-4)
    np.testing.assert_allclose(model.paint(np.array([1.0])), mean + modes[0], atol=1e-4)
    wild = model.paint(np.array([100.0, 0.0]))
    assert wild.min() == 0
    assert wild.max() == 255


def test_covered_faces_are_left_out_of_the_modes(normals: np.ndarray) -> None:
    plain = skins(45, 0, normals)
    covered = []
    rng = np.random.default_rng(2)
    for texture, rotation in skins(5, 3, normals):
        pixels = texture.pixels.copy()
        pixels[8:24, 8:24] = rng.integers(0, 256, (16, 16, 3))
        covered.append((FaceTexture(pixels, texture.visible), rotation))
    settings = replace(SETTINGS, modes=6)

    def last(textures: list[tuple[FaceTexture, np.ndarray]], outliers: float) -> float:
        """Levels of the weakest mode: skins differ in fewer ways than there are modes."""
        return float(np.abs(learn_texture_model(textures, replace(settings, outliers=outliers)).modes[-1]).mean())

    assert last(plain + covered, 0.0) > 3 * last(plain, 0.0)
    assert last(plain + covered, 0.1) < 1.5 * last(plain, 0.0)


def test_grey_green_overexposed_and_half_seen_faces_are_not_used() -> None:
    skin = np.full((SIZE, SIZE, 3), (180, 130, 105), np.uint8)
    all_seen = np.ones((SIZE, SIZE), np.float32)
    assert is_usable(FaceTexture(skin, all_seen), SETTINGS)
    half = all_seen.copy()
    half[:, : SIZE // 2] = 0
    assert is_usable(FaceTexture(skin, half), SETTINGS), "its mirror twin was seen"
    half[: SIZE // 2] = 0
    assert not is_usable(FaceTexture(skin, half), SETTINGS)
    for colour in ((130, 130, 130), (110, 150, 90), (180, 100, 130)):
        assert not is_usable(FaceTexture(np.full_like(skin, colour), all_seen), SETTINGS)
    glare = skin.copy()
    glare[:4, :16] = 255
    assert not is_usable(FaceTexture(glare, all_seen), SETTINGS)


def test_too_few_textures_and_other_sizes_are_refused(normals: np.ndarray) -> None:
    textures = skins(4, 0, normals)
    with pytest.raises(InvalidInputError, match="more than 2 textures of 32 texels"):
        learn_texture_model(textures[:2], SETTINGS)
    with pytest.raises(InvalidInputError, match="more than 2 textures of 16 texels"):
        learn_texture_model(textures, replace(SETTINGS, size=16))
    with pytest.raises(InvalidInputError, match="at least one texture"):
        texture_model_error(learn_texture_model(textures, SETTINGS), [])
    with pytest.raises(InvalidInputError, match=r"modes \(M, T, T, 3\)"):
        TextureModel(np.zeros((8, 8, 3), np.float32), np.zeros((2, 9, 8, 3), np.float32))
