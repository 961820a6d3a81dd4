"""Training DFD: each round separates people better, the same textures give the same weights, and they recognise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.dfd import CROP, DFD, GRID, DFDSettings, cell_filters, usable_pixels
from facerec.recognition.training import dfd as training_module
from facerec.recognition.training.dfd import (
    DFDTraining,
    _Cell,
    _compaction,
    _Scatter,
    alternate,
    fisher_ratio,
    train_dfd,
)

SETTINGS = DFDSettings(words=12)
QUICK = DFDTraining(rounds=2, pixel_step=4, patterns=2000, iterations=3, compact=6)
SIDE = CROP + 10


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def scatters(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Between- and within-class scatter of made-up neighbourhoods: classes differ smoothly, pictures by noise."""
    rng = np.random.default_rng(seed)
    n = SETTINGS.support

    def fields(count: int, sigma: float) -> np.ndarray:
        made = gaussian_filter(rng.normal(size=(count, n, n)), (0, sigma, sigma), mode="wrap")
        return np.asarray((made / made.std()).reshape(count, -1))

    between, within = fields(300, 1.2), fields(600, 0.6)
    return between.T @ between, within.T @ within


def made_up(people: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prepared textures (N, side, side), masks and names: a smooth field a person, another a picture."""
    base = np.random.default_rng(1).normal(size=(people, SIDE, SIDE))
    rng = np.random.default_rng([2, seed])
    noise = rng.normal(size=(people * each, SIDE, SIDE))
    fields = np.repeat(gaussian_filter(base, (0, 1.5, 1.5)), each, axis=0) * 4 + 0.7 * gaussian_filter(noise, (0, 1, 1))
    masks = np.ones((people * each, SIDE, SIDE), dtype=bool)
    masks[::5, :, : SIDE // 4] = False
    return (fields * masks).astype(np.float16), masks, np.repeat([f"person {k}" for k in range(people)], each)


@pytest.fixture(scope="module")
def trained() -> DFD:
    with threadpool_limits(1):
        return train_dfd(*made_up(7, 4), SETTINGS, QUICK)


@pytest.mark.parametrize("seed", range(4))
def test_alternating_beats_a_sampling_that_was_not_learnt_and_keeps_its_fisher_ratio(seed: int) -> None:
    between, within = scatters(seed)
    w, v, ratios = alternate(between, within, SETTINGS, DFDTraining(rounds=4))
    assert w.shape == (25, 5)
    assert v.shape == (48, 5)
    assert len(ratios) == 4
    # Each half step solves its own Fisher problem, not that of the a x b patterns: the latter may wander a little.
    assert ratios[-1] >= 0.98 * ratios[0]
    assert ratios[-1] == pytest.approx(fisher_ratio(between, within, cell_filters(w, v, SETTINGS)))
    rng = np.random.default_rng(seed)
    unlearnt = [fisher_ratio(between, within, cell_filters(w, rng.normal(size=(48, 5)), SETTINGS)) for _ in range(5)]
    assert ratios[-1] > 1.1 * max(unlearnt)


def test_learnt_filters_separate_better_than_random_ones() -> None:
    between, within = scatters(0)
    rng = np.random.default_rng(0)
    random = [
        fisher_ratio(between, within, cell_filters(rng.normal(size=(25, 5)), rng.normal(size=(48, 5)), SETTINGS))
        for _ in range(5)
    ]
    assert alternate(between, within, SETTINGS, DFDTraining())[2][-1] > 1.2 * max(random)


def test_the_fisher_ratio_does_not_depend_on_the_scale_of_the_directions() -> None:
    between, within = scatters(0)
    directions = np.random.default_rng(0).normal(size=(121, 3))
    plain = fisher_ratio(between, within, directions)
    assert fisher_ratio(between, within, directions @ np.diag([1.0, 10.0, 0.1])) == pytest.approx(plain, rel=1e-4)
    literal = np.trace(np.linalg.inv(directions.T @ within @ directions) @ directions.T @ between @ directions)
    assert plain == pytest.approx(literal, rel=1e-6)


def test_training_has_the_right_shapes_and_reports_each_cell(trained: DFD) -> None:
    assert trained.filters.shape == (64, 121, 25)
    assert trained.words.shape == (64, 12, 25)
    assert trained.projection.shape == (64, 12, 6)
    for array in (trained.filters, trained.words, trained.mean, trained.projection):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()


def test_the_same_textures_and_seed_give_the_same_weights(trained: DFD) -> None:
    reported = []
    again = train_dfd(*made_up(7, 4), SETTINGS, QUICK, progress=lambda cell, ratio: reported.append((cell, ratio)))
    for name in ("filters", "words", "mean", "projection"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trained, name), err_msg=name)
    assert [cell for cell, _ in reported] == list(range(GRID * GRID))
    assert all(ratio > 0 for _, ratio in reported)


def test_fresh_pictures_of_a_person_score_above_those_of_others(trained: DFD, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, masks, names = made_up(7, 2, seed=9)
    cells = []
    for field, mask in zip(fields, masks, strict=True):
        # What a texture is prepared to is made up here, so preparing is skipped.
        monkeypatch.setattr(
            "facerec.recognition.dfd.prepare_texture",
            lambda texture, settings, f=field, m=mask: (f.astype(np.float32), m),
        )
        cells.append(trained.describe(None))  # type: ignore[arg-type]
    same: list[float] = []
    different: list[float] = []
    for i, (one, seen) in enumerate(cells):
        for j, (other, also) in enumerate(cells[:i]):
            score = float((one * other).sum() / (seen & also).sum())
            (same if names[i] == names[j] else different).append(score)
    assert np.min(same) > np.max(different)


def test_directions_without_variance_are_left_out_of_the_compaction() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(6), 4)
    # Three dimensions hold everything; the rest is rounding, and must not pass for what varies least.
    shares = (rng.normal(size=(6, 3))[person] + 0.3 * rng.normal(size=(24, 3))) @ rng.normal(size=(3, 30))
    mean, projection = _compaction(shares.astype(np.float32), person, replace(QUICK, compact=8))
    assert projection.shape == (30, 8)
    assert (np.abs(projection).sum(axis=0) > 0).sum() == 3
    assert np.abs((shares - mean) @ projection).max() < 100


def test_textures_that_teach_nothing_are_refused() -> None:
    prepared, masks, names = made_up(2, 2)
    with pytest.raises(InvalidInputError, match="at least two people"):
        train_dfd(prepared[:2], masks[:2], names[:2], SETTINGS, QUICK)
    with pytest.raises(InvalidInputError, match="two of somebody"):
        train_dfd(prepared[::2], masks[::2], names[::2], SETTINGS, QUICK)
    with pytest.raises(InvalidInputError, match="cell 0 to be visible in at least 20 textures; got 3"):
        train_dfd(prepared, masks, names, SETTINGS, QUICK)


def test_scatters_gathered_in_chunks_are_those_about_the_class_means() -> None:
    rng = np.random.default_rng(5)
    person = np.array([0, 1, 2, 0, 1, 0, 3])
    x = (rng.normal(size=(7, 6, 5)) + 3 * rng.normal(size=(4, 6, 5))[person]).astype(np.float32)
    usable = rng.random((7, 6)) < 0.8
    scatter = _Scatter(4, 6, 5)
    for part in (slice(0, 3), slice(3, 7)):
        scatter.add(x[part], usable[part], person[part])
    between, within = scatter.result()
    expected_between, expected_within = np.zeros((5, 5)), np.zeros((5, 5))
    for pixel in range(6):
        own = usable[:, pixel]
        mean = x[own, pixel].mean(axis=0)
        for k in set(person[own].tolist()):
            rows = x[own & (person == k), pixel]
            inner = rows - rows.mean(axis=0)
            expected_within += inner.T @ inner
            outer = rows.mean(axis=0) - mean
            expected_between += len(rows) * np.outer(outer, outer)
    np.testing.assert_allclose(within, expected_within, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(between, expected_between, rtol=1e-4, atol=1e-4)


def test_the_size_of_the_chunks_changes_neither_patterns_nor_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, masks, _ = made_up(3, 3)
    rng = np.random.default_rng(0)
    usable = np.stack([usable_pixels(mask, SETTINGS) for mask in masks])[:, 9]
    rows = np.array([0, 2, 3, 5, 8])
    cell = _Cell(9, prepared, rows, usable[rows], np.array([0, 0, 1, 1, 2]), SETTINGS)
    filters, words = (rng.normal(size=shape).astype(np.float32) for shape in ((121, 25), (12, 25)))
    chosen = rng.random(int(cell.usable.sum())) < 0.1
    whole = cell.patterns(filters, chosen), cell.histograms(filters, words)
    assert len(whole[0]) == chosen.sum()
    np.testing.assert_array_equal(whole[1].sum(axis=1), cell.usable.sum(axis=1))
    monkeypatch.setattr(training_module, "CHUNK", 2)
    np.testing.assert_allclose(cell.patterns(filters, chosen), whole[0], rtol=1e-4, atol=1e-3)
    assert np.abs(cell.histograms(filters, words) - whole[1]).sum() <= 4
