"""Textures of crops: whose are taken, and that each is what lifting its photograph gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.texture import lift_texture
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import Camera, FittedFace
from facerec.landmarks.checkpoint import load_weights, weight_record
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.people import is_calibration_person
from facerec.recognition.dfd import DFD, prepare_texture
from facerec.recognition.training.crop_fits import CropFits, fits_path
from facerec.recognition.training.crop_set import CropSet
from facerec.recognition.training.crop_textures import CropTextures, FrontalLimits, PeopleLimits, spread_over_yaw


def test_people_whose_pictures_differ_most_in_yaw_come_first_with_pictures_spread_over_their_yaws() -> None:
    person = np.array(["once", "near", "near", "far", "far", "far", "far"])
    yaw = np.array([0.0, -5.0, 5.0, 80.0, -60.0, 0.0, 2.0])
    both = spread_over_yaw(person, yaw, PeopleLimits(people=5, per_person=3))
    np.testing.assert_array_equal(both, [1, 2, 3, 4, 6])
    one = spread_over_yaw(person, yaw, PeopleLimits(people=1, per_person=2))
    np.testing.assert_array_equal(one, [3, 4])
    assert len(spread_over_yaw(person[:2], yaw[:2], PeopleLimits())) == 0


def test_a_texture_of_a_crop_is_lifted_as_a_photograph_is(face_set: Any) -> None:
    path = face_set(3, 3)
    textures = CropTextures.load([path])
    crops, fits, model = CropSet.load(path), CropFits.load(fits_path(path)), FaceModel.load()
    assert len(textures) == len(textures.person) == 9
    for texture, (_, row) in zip(textures, textures.place.tolist(), strict=True):
        camera = Camera(fits.rotation[row], fits.translation[row], float(fits.scale[row]))
        shape, expression = fits.shape[row].astype(np.float64), fits.expression[row].astype(np.float64)
        fitted = FittedFace(shape, expression, camera, 0.0, np.zeros((68, 2)), np.ones(68, dtype=bool))
        expected = lift_texture(crops.crop(row), fitted, model)
        np.testing.assert_array_equal(texture.pixels, expected.pixels)
        np.testing.assert_array_equal(texture.visible, expected.visible)
        assert textures.person[row] == crops.person[row]


def test_people_for_calibration_and_fits_that_cannot_be_trusted_are_left_out(face_set: Any) -> None:
    calibration = next(k for k in range(1000) if is_calibration_person(f"p{k}"))
    path = face_set(calibration + 1, 2)
    assert f"p{calibration}" in CropSet.load(path).person
    assert f"p{calibration}" not in CropTextures.load([path]).person
    _spoil(fits_path(path))
    with pytest.raises(InvalidInputError, match="two and more faces"):
        CropTextures.load([path])


def test_near_frontal_textures_are_one_per_person_and_balanced_over_groups_of_adults(face_set: Any) -> None:
    path = face_set(24, 3)
    crops, fits = CropSet.load(path), CropFits.load(fits_path(path))
    free = (name for k in range(1000) if not is_calibration_person(name := f"utkface 30_{k % 2}_0_{k}"))
    sexes: dict[str, list[str]] = {"0": [], "1": []}
    for name in free:
        sexes[name.split("_")[1]].append(name)
    child = next(name for k in range(1000) if not is_calibration_person(name := f"utkface 5_1_0_{k}"))
    people = [*sexes["0"][:20], *sexes["1"][:3], child]
    person = np.repeat(people, 3)
    replace(crops, person=person, group=np.full(72, "white")).save(path)
    chosen = CropTextures.frontal([path], FrontalLimits(people=8))
    assert len(set(chosen.person.tolist())) == len(chosen) == 8
    women = [name for name in chosen.person.tolist() if name.split("_")[1] == "1"]
    assert sorted(women) == sorted(sexes["1"][:3])
    assert (np.abs(fits.yaw[chosen.place[:, 1]]) < 20).all()
    again = CropTextures.frontal([path], FrontalLimits(people=8))
    np.testing.assert_array_equal(chosen.place, again.place)
    assert child not in CropTextures.frontal([path], FrontalLimits(people=100)).person
    with pytest.raises(InvalidInputError, match="near-frontal"):
        CropTextures.frontal([path], FrontalLimits(), calibration=True)


def test_a_texture_model_is_trained_on_crops_recorded_and_loaded(
    face_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("facerec.frontalize.training.texture_model.is_usable", lambda texture, settings: True)
    sets = [str(face_set(9, 3, name=name, prefix=name)) for name in ("one", "two")]
    arguments = ["train", "texture-model", *sets, "--modes", "4", "--people", "12", "--weights-root", str(tmp_path)]
    assert run([*arguments, "-q"]) == 0
    assert capsys.readouterr().out.startswith("texture_model.npz ")
    model = TextureModel.from_stored(load_weights("frontalize", "texture_model", tmp_path))
    assert model.mean.shape == (192, 192, 3)
    assert model.modes.shape == (4, 192, 192, 3)
    assert 80 < model.mean.mean() < 180
    record = weight_record("frontalize", "texture_model", tmp_path)
    assert record.command == "facerec train texture-model one.npz two.npz --people 12 --modes 4 --seed 0"
    assert record.licence == "research use only: trained on CFP"
    assert record.split.startswith("12 textures of as many people")
    assert float(record.metric["error_levels"]) < float(record.metric["mean_only_levels"])


def test_the_descriptor_is_trained_on_textures_of_crops_without_a_texture_set(
    face_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [str(face_set(5, 6, name=name, prefix=name)) for name in ("one", "two")]
    given: dict[str, Any] = {}

    def pretend(prepared: Any, masks: Any, people: Any, settings: Any, *_: Any, progress: Any) -> DFD:
        given.update(prepared=prepared, masks=masks, people=people)
        progress(0, 1.0)
        shapes = (64, 121, 25), (64, 8, 25), (64, 8), (64, 8, 4)
        filters, words, mean, projection = (np.zeros(shape, np.float32) for shape in shapes)
        return DFD(filters, words, mean, projection, settings)

    monkeypatch.setattr("facerec.recognition.training.dfd.train_dfd", pretend)
    arguments = ["train", "dfd", *sets, "--words", "8", "--people", "4", "--per-person", "3"]
    assert run([*arguments, "--weights-root", str(tmp_path), "-q"]) == 0
    record = weight_record("recognition", "dfd", tmp_path)
    assert record.command == "facerec train dfd one.npz two.npz --people 4 --per-person 3 --seed 0 --words 8"
    assert record.split.startswith("12 textures of 4 people")
    assert record.training_sets == ("CFP",)
    textures = CropTextures.load([Path(path) for path in sets], PeopleLimits(4, 3))
    np.testing.assert_array_equal(given["people"], textures.person)
    prepared, mask = prepare_texture(next(iter(textures)))
    np.testing.assert_array_equal(given["prepared"][0], prepared.astype(np.float16))
    np.testing.assert_array_equal(given["masks"][0], mask)


def _spoil(path: Path) -> None:
    found = CropFits.load(path)
    found.residual[:] = 1.0
    found.save(path)
