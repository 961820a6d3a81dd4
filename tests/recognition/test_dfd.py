"""DFD's fast path equals the paper's definition, texel by texel, and unseen cells stay empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.dfd import (
    CELL,
    CROP,
    DFD,
    GRID,
    DFDSettings,
    cell_filters,
    neighbour_offsets,
    neighbourhoods,
    plain_cells,
    prepare_texture,
    usable_pixels,
)

SETTINGS = DFDSettings(words=9)
CELLS = GRID * GRID
HALF, REACH = SETTINGS.patch // 2, SETTINGS.support // 2


def difference_matrix(picture: np.ndarray, y: int, x: int, settings: DFDSettings) -> np.ndarray:
    """dI of the paper, literally: column i is the patch around neighbour i minus the patch around (y, x)."""

    def patch(row: int, column: int) -> np.ndarray:
        h = settings.patch // 2
        return picture[row - h : row + h + 1, column - h : column + h + 1].ravel()

    r = settings.radius
    columns = []
    for dy in range(-r, r + 1):
        for dx in range(-r, r + 1):
            if (dy, dx) != (0, 0):
                columns.append(patch(y + dy, x + dx) - patch(y, x))
    return np.stack(columns, axis=1)


def random_parts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """W (S^2, a), V (d, b)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(25, 5)), rng.normal(size=(48, 5))


def random_texture(seed: int, hidden: bool = True) -> FaceTexture:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    visible = np.ones((256, 256), np.float32)
    if hidden:
        visible[:, 150:] = 0
        visible[60:75, 60:90] = 0
    pixels[visible == 0] = 0
    return FaceTexture(pixels, visible)


@pytest.fixture(scope="module")
def random_dfd() -> DFD:
    rng = np.random.default_rng(3)
    filters = np.stack([cell_filters(*random_parts(k), SETTINGS) for k in range(CELLS)]).astype(np.float32)
    return DFD(
        filters=filters,
        words=rng.normal(0, 60, (CELLS, 9, 25)).astype(np.float32),
        mean=rng.uniform(0, 0.2, (CELLS, 9)).astype(np.float32),
        projection=rng.normal(size=(CELLS, 9, 4)).astype(np.float32),
        settings=SETTINGS,
    )


@pytest.mark.parametrize("settings", [DFDSettings(), DFDSettings(patch=3, radius=2, filters=4, samplings=2)])
def test_the_filter_bank_equals_the_literal_pattern_on_random_patches(settings: DFDSettings) -> None:
    rng = np.random.default_rng(0)
    d = (2 * settings.radius + 1) ** 2 - 1
    assert neighbour_offsets(settings).shape == (d, 2)
    w, v = rng.normal(size=(settings.patch**2, settings.filters)), rng.normal(size=(d, settings.samplings))
    bank = cell_filters(w, v, settings)
    n = settings.support
    assert bank.shape == (n * n, settings.filters * settings.samplings)
    for _ in range(5):
        picture = rng.normal(size=(n, n))
        literal = w.T @ difference_matrix(picture, n // 2, n // 2, settings) @ v
        np.testing.assert_allclose(picture.ravel() @ bank, literal.ravel(), atol=1e-10)


def test_a_brighter_picture_has_the_same_pattern() -> None:
    bank = cell_filters(*random_parts(0), SETTINGS)
    np.testing.assert_allclose(np.ones(121) @ bank, 0, atol=1e-9)


def test_neighbourhoods_are_the_squares_around_a_cells_texels_row_by_row() -> None:
    prepared = np.random.default_rng(0).normal(size=(CROP + 10, CROP + 10)).astype(np.float32)
    for cell in (0, 13, 63):
        around = neighbourhoods(prepared, cell, SETTINGS)
        assert around.shape == (CELL * CELL, 121)
        for pixel in (0, 27, 399):
            y, x = (cell // GRID) * CELL + pixel // CELL + REACH, (cell % GRID) * CELL + pixel % CELL + REACH
            square = prepared[y - REACH : y + REACH + 1, x - REACH : x + REACH + 1]
            np.testing.assert_array_equal(around[pixel], square.ravel())


def test_a_texel_counts_when_its_patch_and_one_around_is_visible() -> None:
    mask = np.random.default_rng(0).random((CROP + 10, CROP + 10)) > 0.004
    usable = usable_pixels(mask, SETTINGS)
    reach = HALF + 1
    for cell in (0, 7, 30, 63):
        for pixel in range(0, 400, 7):
            y, x = (cell // GRID) * CELL + pixel // CELL + REACH, (cell % GRID) * CELL + pixel % CELL + REACH
            assert usable[cell, pixel] == mask[y - reach : y + reach + 1, x - reach : x + reach + 1].all()
    assert 0.3 < usable.mean() < 0.95


def test_histograms_equal_a_slow_loop_over_texels(random_dfd: DFD) -> None:
    texture = random_texture(1)
    counts, seen = random_dfd.histograms(texture)
    prepared, mask = prepare_texture(texture, SETTINGS)
    usable = usable_pixels(mask, SETTINGS)
    checked = 0
    for cell in (9, 3, 44):  # 9 is partly hidden, 3 and 44 whole
        assert seen[cell]
        w, v = random_parts(cell)
        slow = np.zeros(9)
        for pixel in np.flatnonzero(usable[cell]):
            y, x = (cell // GRID) * CELL + pixel // CELL + REACH, (cell % GRID) * CELL + pixel % CELL + REACH
            pattern = (w.T @ difference_matrix(prepared.astype(np.float64), int(y), int(x), SETTINGS) @ v).ravel()
            slow[int(((random_dfd.words[cell] - pattern) ** 2).sum(axis=1).argmin())] += 1
        np.testing.assert_array_equal(counts[cell], slow)
        assert slow.max() < slow.sum()
        checked += int(slow.sum())
    assert checked < 3 * 400


def test_cells_that_were_not_seen_are_zero_and_the_others_have_unit_length(random_dfd: DFD) -> None:
    texture = random_texture(2)
    counts, seen = random_dfd.histograms(texture)
    grid = seen.reshape(GRID, GRID)
    # The chart's right from texel 150 on is hidden: the crop starts at texel 48, so columns 5-7 are gone.
    assert not grid[:, 5:].any()
    assert grid[4:, :5].all()
    assert not counts[~seen].any()
    usable = usable_pixels(prepare_texture(texture, SETTINGS)[1], SETTINGS)
    np.testing.assert_array_equal(counts[seen].sum(axis=1), usable[seen].sum(axis=1))
    for cells in (random_dfd.describe(texture)[0], plain_cells(counts, seen)):
        assert cells.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(cells, axis=1), seen.astype(float), atol=1e-5)
    assert random_dfd.describe(texture)[0].shape == (CELLS, 4)


def test_a_texture_that_saw_nothing_has_no_cells(random_dfd: DFD) -> None:
    blind = FaceTexture(np.zeros((256, 256, 3), np.uint8), np.zeros((256, 256), np.float32))
    cells, seen = random_dfd.describe(blind)
    assert not seen.any()
    assert not cells.any()


def test_hidden_texels_do_not_change_what_is_seen(random_dfd: DFD) -> None:
    texture = random_texture(4)
    painted = texture.pixels.copy()
    painted[texture.visible == 0] = np.random.default_rng(0).integers(0, 256, 3)
    other = FaceTexture(painted, texture.visible)
    for one, two in zip(random_dfd.histograms(texture), random_dfd.histograms(other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_preparing_takes_out_the_level_the_contrast_and_slow_changes_of_light() -> None:
    texture = random_texture(5, hidden=False)
    halved = FaceTexture((texture.pixels * 0.5 + 40).astype(np.uint8), texture.visible)
    ramp = np.linspace(0.4, 1.0, 256)[None, :, None]
    lit = FaceTexture((texture.pixels * ramp).astype(np.uint8), texture.visible)
    plain, mask = prepare_texture(texture)
    assert plain.shape == mask.shape == (CROP + 10, CROP + 10)
    assert mask.all()
    for other in (halved, lit):
        found = prepare_texture(other)[0]
        assert np.corrcoef(plain.ravel(), found.ravel())[0, 1] > 0.98
        assert np.abs(plain - found).mean() < 0.2


def test_the_published_signature_has_65536_numbers() -> None:
    settings = DFDSettings()
    assert CELLS * settings.words == 65_536
    assert len(neighbour_offsets(settings)) == 48
    assert GRID * CELL == CROP == 160


def test_settings_survive_their_storage() -> None:
    odd = DFDSettings(patch=3, radius=2, filters=4, samplings=6, words=77, min_visible=0.35)
    stored = odd.as_array()
    assert stored.shape == (6,)
    assert stored.dtype == np.float64
    assert DFDSettings.from_array(stored) == odd
    with pytest.raises(InvalidInputError, match="six stored settings"):
        DFDSettings.from_array(np.zeros(5))
    with pytest.raises(InvalidInputError, match="local_sigma"):
        replace(odd, local_sigma=3.0).as_array()


def test_arrays_that_do_not_belong_together_are_refused(random_dfd: DFD) -> None:
    with pytest.raises(InvalidInputError, match="expected filters"):
        replace(random_dfd, filters=random_dfd.filters[:, :, :-1])
    with pytest.raises(InvalidInputError, match="expected mean"):
        replace(random_dfd, mean=random_dfd.mean[:-1])
    with pytest.raises(InvalidInputError, match="256 texels per side; got 128"):
        prepare_texture(FaceTexture(np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.float32)))
