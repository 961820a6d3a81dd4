"""Faces to learn from: what is read, who is left out, who is one person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.set_names import training_sets
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet
from facerec.recognition.training.faces import Cleaning, clean_people, load_faces


def test_crops_come_at_one_size_with_fits_scaled_along(face_set: Any) -> None:
    small, large = face_set(2, 3, size=96, name="small"), face_set(2, 3, size=128, name="large")
    faces = load_faces([small, large], size=128)
    assert len(faces) == 12
    assert faces.crops.batch(torch.arange(12)).shape == (12, 3, 128, 128)
    # The same face in both sets: the centre of a pixel stays the centre of a pixel.
    torch.testing.assert_close(faces.fit.scale[:6], faces.fit.scale[6:], atol=1e-4, rtol=0)
    torch.testing.assert_close(faces.fit.translation[:6], faces.fit.translation[6:], atol=0.3, rtol=0)


def test_decoded_ahead_or_when_looked_at_makes_no_difference(face_set: Any) -> None:
    faces = load_faces([face_set(2, 3)], size=64)
    rows = torch.tensor([4, 0, 5])
    torch.testing.assert_close(faces.crops.resident(2).batch(rows), faces.crops.batch(rows))
    some = faces.rows(np.array([4, 0, 5]))
    torch.testing.assert_close(some.crops.batch(torch.arange(3)), faces.crops.batch(rows))


def test_fits_that_cannot_be_trusted_are_left_out_and_wrong_ones_refused(face_set: Any) -> None:
    path = face_set(2, 3)
    fits = CropFits.load(fits_path(path))
    residual = fits.residual.copy()
    residual[1] = 0.5
    replace(fits, residual=residual).save(fits_path(path))
    assert len(load_faces([path], size=64)) == 5
    CropFits.join([fits, fits]).save(fits_path(path))
    with pytest.raises(InvalidInputError, match=r"expected 6 fits for set\.npz; got 12"):
        load_faces([path])


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(InvalidInputError, match=r"other\.npz lacks"):
        CropSet.load(tmp_path / "other.npz")
    with pytest.raises(InvalidInputError, match=r"other\.npz lacks"):
        CropFits.load(tmp_path / "other.npz")


def test_a_picture_of_somebody_else_is_left_out_and_a_person_of_two_sets_is_one(face_set: Any) -> None:
    faces = load_faces([face_set(3, 6)], size=64)
    person = faces.person.astype(object)
    # The second person is in CelebA under a number; all faces look at the camera here.
    person[6:12] = "celeba 7"
    faces = replace(faces.with_people(person.astype(str)), yaw=np.zeros(18, np.float32))
    axes = np.eye(8, dtype=np.float32)
    vectors = np.repeat(axes[[0, 0, 2]], 6, axis=0) + 0.1 * axes[7]
    vectors[3] = axes[5]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    keep, names = clean_people(faces, vectors, Cleaning())
    assert np.flatnonzero(~keep).tolist() == [3]
    assert set(names[6:12].tolist()) == {"p0"}
    assert set(names.tolist()) == {"p0", "p2"}


def test_sets_are_named_for_the_record(face_set: Any) -> None:
    faces = load_faces([face_set(1, 3)], size=64)
    assert training_sets(faces.source) == ["CFP"]
