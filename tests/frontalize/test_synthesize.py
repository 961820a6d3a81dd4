"""Synthetic people are the same for a seed, stand in the pose they are said to, and are marked as rendered."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from facerec.frontalize.perspective import PerspectiveCamera
from facerec.frontalize.synthesize import (
    FRONTAL_POSE,
    LIGHTS,
    UHDB31_POSES,
    SynthesisSettings,
    photograph,
    synthetic_people,
    uhdb31_photographs,
    write_uhdb31,
)
from facerec.frontalize.texture_model import TextureModel
from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import read_image

SMALL = SynthesisSettings(width=48, height=57)


@pytest.fixture(autouse=True)
def plain_paint(monkeypatch: pytest.MonkeyPatch, red_blue: np.ndarray) -> None:
    """A made-up texture model: the shipped one is trained on photographs."""
    model = TextureModel(red_blue.astype(np.float32), np.full((2, 256, 256, 3), 5.0, np.float32))
    monkeypatch.setattr(TextureModel, "load", staticmethod(lambda: model))


def test_the_poses_are_numbered_as_in_uhdb31() -> None:
    assert [number for number, _, _ in UHDB31_POSES] == list(range(1, 22))
    assert UHDB31_POSES[FRONTAL_POSE - 1] == (FRONTAL_POSE, 0, 0)
    assert {yaw for _, yaw, _ in UHDB31_POSES} == {-90, -60, -30, 0, 30, 60, 90}
    assert {pitch for _, _, pitch in UHDB31_POSES} == {-30, 0, 30}


def test_a_seed_gives_the_same_people_however_many_are_asked_for() -> None:
    few, many = synthetic_people(2, 5), synthetic_people(4, 5)
    assert [p.name for p in few] == [p.name for p in many[:2]]
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.shape, b.shape)
        np.testing.assert_array_equal(a.texture, b.texture)
    assert not np.allclose(synthetic_people(1, 6)[0].shape, few[0].shape)
    assert not np.allclose(few[0].shape, few[1].shape)


@pytest.mark.parametrize(("pose", "side"), [(20, 1), (2, -1)])
def test_the_nose_points_where_the_yaw_says_and_the_near_half_is_shown(pose: int, side: int) -> None:
    (person,) = synthetic_people(1, 0)
    photo = photograph(person, pose, np.random.default_rng(0), SynthesisSettings(width=96, height=115))
    assert side * photo.yaw > 80
    assert side * (photo.points[30, 0] - photo.points[36:48, 0].mean()) > 5
    red, blue = (photo.image[..., c].astype(int) for c in (0, 2))
    # The left of the texture is red; turning the nose to the right shows it.
    assert side * int((red > blue + 60).sum() - (blue > red + 60).sum()) > 300


def test_the_same_seed_gives_the_same_photograph() -> None:
    (person,) = synthetic_people(1, 0)
    one, other = (photograph(person, 8, np.random.default_rng(3), SMALL) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    assert one.image.shape == (57, 48, 3)


def test_the_folder_holds_every_pose_a_protocol_and_a_note_that_it_is_rendered(tmp_path: Path) -> None:
    people = synthetic_people(2, 0)
    frontal = photograph(people[1], FRONTAL_POSE, np.random.default_rng(0), SMALL)
    protocol = write_uhdb31(tmp_path, chain(uhdb31_photographs(people[:1], 0, SMALL), [frontal]))
    with protocol.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22
    assert len(list(tmp_path.glob("*.png"))) == 22
    assert {int(r["pose"]) for r in rows if r["person"] == people[0].name} == set(range(1, 22))
    assert {r["person"] for r in rows} == {p.name for p in people}
    assert [r["path"] for r in rows if r["role"] == "gallery"] == ["90001d3111.png", "90002d3111.png"]
    assert {r["pose"]: (r["yaw"], r["pitch"]) for r in rows}["4"] == ("-60", "30")
    assert read_image(tmp_path / rows[0]["path"]).shape == (57, 48, 3)
    assert "no real person" in (tmp_path / "RENDERED.txt").read_text(encoding="utf-8")


def test_lights_come_from_where_their_names_say() -> None:
    (person,) = synthetic_people(1, 0)
    settings = SynthesisSettings(width=96, height=115, light=0.0, jitter_degrees=0.0)
    means = {}
    for light in LIGHTS:
        photo = photograph(person, FRONTAL_POSE, np.random.default_rng(0), settings, light)
        x, y = np.rint(photo.points[17:].mean(axis=0)).astype(int)
        grey = photo.image.astype(float).sum(axis=2)
        means[light] = [grey[y - 10 : y + 10, side].mean() for side in (slice(x - 16, x - 4), slice(x + 4, x + 16))]
    # The made-up texture is red on the left and blue on the right, so each half is compared with itself.
    assert means["I01"][0] > means["I03"][0] > means["I02"][0]
    assert means["I02"][1] > means["I03"][1] > means["I01"][1]


def test_several_lights_are_sets_of_their_own_and_points_lie_beside_them(tmp_path: Path) -> None:
    people = synthetic_people(1, 0)
    photos = [photograph(people[0], FRONTAL_POSE, np.random.default_rng(0), SMALL, light) for light in ("I01", "I02")]
    protocol = write_uhdb31(tmp_path, photos, ["I01", "I02"])
    with protocol.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["set"]) for row in rows] == [("I01/90001d3111.png", "I01"), ("I02/90001d3111.png", "I02")]
    with (tmp_path / "landmarks.csv").open(encoding="utf-8") as file:
        points = list(csv.DictReader(file))
    assert [row["file"] for row in points] == [row["path"] for row in rows]
    assert float(points[0]["x30"]) == pytest.approx(photos[0].points[30, 0], abs=0.006)
    assert (points[0]["pose"], points[0]["yaw"], points[0]["pitch"]) == ("11", "0", "0")


def test_a_set_is_the_same_whichever_lights_are_made_with_it() -> None:
    people = synthetic_people(1, 3)
    jobs = {lights: uhdb31_photographs(people, 1, SMALL, 1, lights) for lights in (("I02",), ("I01", "I02"))}
    alone = next(jobs["I02",])
    beside = next(photo for photo in jobs["I01", "I02"] if photo.light == "I02")
    np.testing.assert_array_equal(alone.image, beside.image)


def test_nearer_parts_are_larger_in_a_photograph_and_far_away_there_is_no_difference() -> None:
    flat = Camera.from_angles(20, 10, 0, 1.5, (40.0, 50.0))
    points = np.random.default_rng(0).normal(scale=40, size=(20, 3))
    near, far = PerspectiveCamera.at(flat, 600.0), PerspectiveCamera.at(flat, 1e9)
    np.testing.assert_allclose(far.project(points), flat.project(points), atol=1e-4)
    np.testing.assert_allclose(near.project(np.zeros(3)), flat.project(np.zeros(3)))
    offset = flat.project(points)[:, :2] - flat.translation
    turned = points @ flat.rotation.T
    for found, plain, depth in zip(near.project(points)[:, :2] - flat.translation, offset, turned[:, 2], strict=True):
        np.testing.assert_allclose(found, plain * 600 / (600 + depth))
    with pytest.raises(InvalidInputError, match="in front of the camera"):
        near.project(np.array([[0.0, 0.0, -700.0]]) @ flat.rotation)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="I01, I02, I03; got 'I04'"):
        photograph(synthetic_people(1, 0)[0], 11, np.random.default_rng(0), SMALL, "I04")
    with pytest.raises(InvalidInputError, match="got none"):
        next(uhdb31_photographs(synthetic_people(1, 0), 0, SMALL, 1, ()))
    with pytest.raises(InvalidInputError, match="at least one person; got 0"):
        synthetic_people(0, 0)
    with pytest.raises(InvalidInputError, match="from 1 to 21; got 22"):
        photograph(synthetic_people(1, 0)[0], 22, np.random.default_rng(0), SMALL)


def test_photographs_are_the_same_whatever_the_number_of_workers() -> None:
    person = synthetic_people(1, 3)
    few = SynthesisSettings(width=48, height=57)
    for one, two in zip(uhdb31_photographs(person, 1, few, 1), uhdb31_photographs(person, 1, few, 3), strict=True):
        assert (one.pose, one.yaw) == (two.pose, two.yaw)
        np.testing.assert_array_equal(one.image, two.image)
