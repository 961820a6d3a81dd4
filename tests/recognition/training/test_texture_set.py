"""Texture sets: what is written is read back, and a choice of textures is spread over people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.training.texture_set import TextureSet, near_frontal


def made_up(people: list[str], yaw: list[float], seen: list[float] | None = None) -> TextureSet:
    """One texture a row; `seen` is the share of the chart's rows that is visible."""
    n = len(people)
    rng = np.random.default_rng(0)
    visible = np.zeros((n, 256, 256), np.uint8)
    for k, share in enumerate(seen or [1.0] * n):
        visible[k, : round(256 * share)] = 200
    return TextureSet(
        rng.integers(0, 256, (n, 256, 256, 3), dtype=np.uint8) * (visible > 0)[..., None].astype(np.uint8),
        visible,
        np.array(people),
        np.array(["cfp-frontal"] * (n - 1) + ["lfw"]),
        np.array(yaw, dtype=np.float32),
    )


def test_a_set_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    one = made_up(["ann", "bob"], [10, -20])
    one.save(tmp_path / "deep" / "set.npz")
    other = TextureSet.load(tmp_path / "deep" / "set.npz")
    for name in ("pixels", "visible", "person", "source", "yaw"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    texture = other.texture(1)
    np.testing.assert_array_equal(texture.pixels, one.pixels[1])
    np.testing.assert_allclose(texture.visible, one.visible[1] / 255, atol=1e-6)


def test_a_file_that_is_no_texture_set_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"other\.npz lacks person, source, visible, yaw"):
        TextureSet.load(tmp_path / "other.npz")


def test_a_set_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one lifted picture"):
        TextureSet.gather([])


def test_near_frontal_textures_are_spread_over_people_the_best_seen_first() -> None:
    people = ["ann"] * 4 + ["bob"] * 2 + ["cid"]
    seen = [0.8, 0.95, 0.9, 1.0, 0.85, 0.9, 0.99]
    textures = made_up(people, [0] * 7, seen)
    np.testing.assert_array_equal(near_frontal(textures, 3, 0.7), [3, 5, 6])
    np.testing.assert_array_equal(near_frontal(textures, 5, 0.7), [1, 3, 4, 5, 6])
    np.testing.assert_array_equal(near_frontal(textures, 100, 0.7), np.arange(7))
    np.testing.assert_array_equal(near_frontal(textures, 100, 0.92), [1, 3, 6])


def test_side_views_are_left_out_and_a_half_seen_face_counts_by_its_twin() -> None:
    textures = made_up(["ann", "bob", "cid"], [-24.9, 25.1, 10])
    np.testing.assert_array_equal(near_frontal(textures, 10, 0.5), [0, 2])
    textures.visible[0, :, 128:] = 0
    np.testing.assert_array_equal(near_frontal(textures, 10, 0.99), [0, 2])
