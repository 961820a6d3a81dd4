"""Texture sets: what is written is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.training.texture_set import TextureSet


def made_up(people: list[str], yaw: list[float]) -> TextureSet:
    """One texture a row."""
    n = len(people)
    rng = np.random.default_rng(0)
    visible = np.full((n, 256, 256), 200, np.uint8)
    return TextureSet(
        rng.integers(0, 256, (n, 256, 256, 3), dtype=np.uint8),
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
