"""Views and meshes keep left left, up up, and say what was filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import (
    blended_texture,
    draw_overlay,
    frontal_view,
    push_pull,
    render_head,
    textured_mesh,
    write_mesh,
)
from facerec.frontalize.types import Camera, FaceTexture, FittedFace
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Landmarks

Stand = Callable[..., FittedFace]


@pytest.fixture(scope="module")
def everywhere(red_blue: np.ndarray) -> FaceTexture:
    return FaceTexture(red_blue, np.ones((256, 256), np.float32))


def is_red(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0].astype(int) > pixels[..., 2].astype(int) + 60


def is_blue(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 2].astype(int) > pixels[..., 0].astype(int) + 60


def test_the_frontal_view_keeps_left_left(model: FaceModel, everywhere: FaceTexture, stand: Stand) -> None:
    view = frontal_view(everywhere, stand(50), model, 128)
    assert view.shape == (128, 128, 3)
    assert view.dtype == np.uint8
    assert is_red(view)[:, :60].mean() > 0.3
    assert is_blue(view)[:, 68:].mean() > 0.3
    assert not is_red(view)[:, 68:].any()
    assert not is_blue(view)[:, :60].any()
    assert (view[-1, [0, -1]] == 255).all()
    # Green grows downwards in the chart, and so it does in the view.
    middle = view[:, 40]
    face = np.flatnonzero((middle != 255).any(axis=1))
    assert middle[face[-5], 1] > middle[face[5], 1] + 50


def test_the_frontal_view_turns_every_pose_to_the_front(
    model: FaceModel, everywhere: FaceTexture, stand: Stand
) -> None:
    views = [frontal_view(everywhere, stand(yaw, pitch), model, 64) for yaw, pitch in ((0, 0), (-70, 20))]
    np.testing.assert_array_equal(views[0], views[1])


def test_the_expression_is_kept_unless_a_neutral_face_is_asked_for(
    model: FaceModel, everywhere: FaceTexture, stand: Stand
) -> None:
    plain = stand()
    smiling = replace(plain, expression=np.array([2.0, -2.0, 1.0]))
    views = [
        frontal_view(everywhere, face, model, 96, neutral) for face in (plain, smiling) for neutral in (False, True)
    ]
    assert (views[2] != views[0]).any()
    np.testing.assert_array_equal(views[3], views[1])
    meshes = [textured_mesh(everywhere, smiling, model, neutral).vertices for neutral in (False, True)]
    assert np.abs(meshes[0] - meshes[1]).max() > 0.5  # mm
    np.testing.assert_array_equal(meshes[1], textured_mesh(everywhere, plain, model).vertices)


def test_the_hidden_half_is_filled_from_its_mirror_twin(model: FaceModel, red_blue: np.ndarray, stand: Stand) -> None:
    half = np.zeros((256, 256), np.float32)
    half[:, :128] = 0.9
    texture = FaceTexture((red_blue * (half > 0)[..., None]).astype(np.uint8), half)
    view = frontal_view(texture, stand(), model, 96)
    assert is_red(view)[:, :44].mean() > 0.3
    assert is_red(view)[:, 52:].mean() > 0.3
    assert not is_blue(view).any()


def test_what_both_sides_saw_well_is_not_mixed(everywhere: FaceTexture, red_blue: np.ndarray) -> None:
    np.testing.assert_allclose(blended_texture(everywhere), red_blue, atol=1)


def test_a_texture_without_holes_comes_from_any_that_saw_something(red_blue: np.ndarray) -> None:
    visible = np.zeros((256, 256), np.float32)
    visible[100:130, 30:60] = 0.7
    texture = FaceTexture((red_blue * (visible > 0)[..., None]).astype(np.uint8), visible)
    whole = blended_texture(texture)
    assert whole.shape == (256, 256, 3)
    assert np.isfinite(whole).all()
    assert whole[..., 0].min() > 150


def test_push_pull_keeps_what_is_known_and_stays_between_it() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(50, 200, (33, 33, 3))
    weight = rng.random((33, 33)) > 0.7
    filled = push_pull(pixels, weight.astype(float))
    np.testing.assert_allclose(filled[weight], pixels[weight], atol=1e-3)
    assert filled.min() >= pixels[weight].min() - 1e-3
    assert filled.max() <= pixels[weight].max() + 1e-3
    flat = push_pull(np.full((20, 20, 3), 77.0), (np.arange(400).reshape(20, 20) == 3).astype(float))
    np.testing.assert_allclose(flat, 77, atol=1e-3)
    assert not push_pull(np.ones((8, 8, 3)), np.zeros((8, 8))).any()


def test_coverage_is_one_on_the_face_none_beside_it_and_smooth_between(
    model: FaceModel, red_blue: np.ndarray, stand: Stand
) -> None:
    camera = stand(20, 0, 0.4, 60).camera
    rendering = render_head(model, None, None, camera, red_blue, 120, 120, supersample=3)
    assert rendering.pixels.shape == (120, 120, 3)
    assert set(np.unique(rendering.alpha)) > {0.0, 1.0}
    assert (rendering.face <= rendering.alpha + 1e-6).all()
    assert not rendering.pixels[rendering.alpha == 0].any()
    bare = render_head(model, None, None, camera, red_blue, 120, 120, skull=False)
    assert 0 < bare.alpha.sum() < rendering.alpha.sum()
    np.testing.assert_array_equal(bare.alpha, bare.face)


def test_light_from_the_left_brightens_the_left(model: FaceModel, stand: Stand) -> None:
    light = np.zeros((9, 3))
    light[0], light[1] = 0.6, -0.4
    grey = np.full((64, 64, 3), 150.0)
    camera = stand(0, 0, 0.4, 60).camera
    plain = render_head(model, None, None, camera, grey, 120, 120, skull=False)
    lit = render_head(model, None, None, camera, grey, 120, 120, light=light, skull=False)
    assert (plain.pixels[plain.face > 0] == 150).all()
    left, right = (lit.pixels[50:70, cut][lit.face[50:70, cut] > 0].mean() for cut in (slice(0, 45), slice(75, 120)))
    assert left > right + 50


def test_an_identity_coefficient_changes_the_rendered_face(
    model: FaceModel, red_blue: np.ndarray, stand: Stand
) -> None:
    camera = stand(0, 0, 0.4, 60).camera
    mean, other = (
        render_head(model, shape, None, camera, red_blue, 120, 120).face for shape in (None, np.array([3.0]))
    )
    assert (mean != other).mean() > 0.005


@pytest.mark.parametrize("ending", ["ply", "obj", "glb"])
def test_a_mesh_is_exported_upright_with_its_colours(
    model: FaceModel, everywhere: FaceTexture, stand: Stand, tmp_path: Path, ending: str
) -> None:
    mesh = textured_mesh(everywhere, stand(), model)
    path = tmp_path / f"face 0.{ending}"
    write_mesh(mesh, path)
    read: Any = trimesh.load(path, force="mesh", process=False)  # what it has depends on the kind of file
    assert len(read.vertices) == model.size**2
    colours = np.asarray((read.visual if ending == "ply" else read.visual.to_color()).vertex_colors)[:, :3]
    left, right = read.vertices[:, 0] < -20, read.vertices[:, 0] > 20
    assert is_red(colours[left]).all()
    assert is_blue(colours[right]).all()
    # y grows upwards in a mesh: the top is the forehead, where the chart begins and green is low.
    top, bottom = read.vertices[:, 1] > 80, read.vertices[:, 1] < -120
    assert colours[top, 1].mean() < 60
    assert colours[bottom, 1].mean() > 160
    # The nose points to the viewer, and so do the front faces.
    nose = read.vertices[:, 2].argmax()
    assert abs(read.vertices[nose, 0]) < 3
    assert read.face_normals.mean(axis=0)[2] > 0.3


def test_the_texture_of_a_mesh_counts_v_upwards(model: FaceModel, everywhere: FaceTexture, stand: Stand) -> None:
    mesh: Any = textured_mesh(everywhere, stand(), model)
    top = mesh.vertices[:, 1].argmax()
    assert mesh.visual.uv[top, 1] > 0.9
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image)[0, 0], everywhere.pixels[0, 0])


def test_meshes_in_one_folder_keep_their_own_textures(
    model: FaceModel, everywhere: FaceTexture, stand: Stand, tmp_path: Path
) -> None:
    grey = FaceTexture(np.full((256, 256, 3), 90, np.uint8), everywhere.visible)
    write_mesh(textured_mesh(everywhere, stand(), model), tmp_path / "one.obj")
    write_mesh(textured_mesh(grey, stand(), model), tmp_path / "two.obj")
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}.{e}" for n in ("one", "two") for e in ("obj", "mtl", "png")}
    one: Any = trimesh.load(tmp_path / "one.obj", force="mesh", process=False)
    assert np.asarray(one.visual.material.image.convert("RGB")).std() > 30


def test_a_mesh_file_of_another_kind_is_refused(
    model: FaceModel, everywhere: FaceTexture, stand: Stand, tmp_path: Path
) -> None:
    mesh = textured_mesh(everywhere, stand(), model)
    with pytest.raises(InvalidInputError, match=r"face\.stl"):
        write_mesh(mesh, tmp_path / "face.stl")
    with pytest.raises(InvalidInputError, match="with a texture"):
        write_mesh(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), tmp_path / "face.obj")


def test_the_overlay_draws_on_the_face_and_leaves_the_photograph_alone(model: FaceModel, stand: Stand) -> None:
    fitted = stand(30)
    photo = np.full((400, 500, 3), 100, np.uint8)
    visible = np.arange(68) % 2 == 0
    landmarks = Landmarks(fitted.points.astype(np.float32), np.ones(68, np.float32), visible)
    drawn = draw_overlay(photo, fitted, landmarks, model)
    assert (photo == 100).all()
    changed = (drawn != photo).any(axis=2)
    rows, columns = np.nonzero(changed)
    nodes = Camera.project(fitted.camera, model.mean.reshape(-1, 3))
    assert columns.min() > nodes[:, 0].min() - 10
    assert columns.max() < nodes[:, 0].max() + 10
    assert rows.min() > nodes[:, 1].min() - 10
    for k in (30, 33):  # seen points are green, the others red
        x, y = np.rint(fitted.points[k]).astype(int)
        assert drawn[y, x].argmax() == (1 if visible[k] else 0)


def test_a_tiny_frontal_view_is_refused(model: FaceModel, everywhere: FaceTexture, stand: Stand) -> None:
    with pytest.raises(InvalidInputError, match="at least 16 px"):
        frontal_view(everywhere, stand(), model, 8)
