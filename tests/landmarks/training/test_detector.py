from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.detection.detector import FaceDetector
from facerec.landmarks.detection.detector_graph import STRIDES
from facerec.landmarks.detection.detector_network import cell_centers, network_of, normalize
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.training.detector import (
    DetectorTraining,
    TimeLimit,
    TrainingData,
    _Learner,
    train_detector,
)
from facerec.landmarks.training.detector_export import export_detector
from facerec.landmarks.training.detector_pictures import (
    AnnotatedPicture,
    Kind,
    completed_frontal,
    halvings,
    set_pictures,
)
from facerec.landmarks.training.detector_scenes import Decoy, SceneMaker, SceneSettings
from facerec.landmarks.training.detector_targets import box_overlap, detection_loss, targets
from facerec.landmarks.training.picture_set import FacePicture, PictureSet
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.types import Box, Image

pytestmark = pytest.mark.usefixtures("one_thread")


def picture_with_face(seed: int, kind: Kind = "frame") -> AnnotatedPicture:
    """Grey noise with a red, green, blue and white patch at the corners of the 'face', five points among them."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 110, (160, 120, 3), dtype=np.uint8)
    outline = np.array([[40.0, 50.0], [80.0, 50.0], [80.0, 110.0], [40.0, 110.0]])
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    for (x, y), color in zip(outline.astype(int), colors, strict=True):
        image[y - 8 : y + 9, x - 8 : x + 9] = color
    five = np.array([[50, 70], [70, 70], [60, 85], [52, 100], [68, 100]], dtype=np.float64)
    return AnnotatedPicture(str(seed), kind, halvings(image), outline, five)


def backgrounds(count: int = 3) -> list[tuple[Image, ...]]:
    rng = np.random.default_rng(9)
    return [halvings(rng.integers(0, 80, (200, 240, 3), dtype=np.uint8)) for _ in range(count)]


PLAIN = SceneSettings(grey=0, blurred=0, noisy=0, coarse=0, compressed=0, hidden=0, empty=0)


# -- training pictures -----------------------------------------------------------------------------------------------


def test_a_scene_depends_on_seed_and_number_alone() -> None:
    pictures = [picture_with_face(0), picture_with_face(1, "profile"), picture_with_face(2, "frontal")]
    maker, same = (SceneMaker(pictures, backgrounds(), seed=5) for _ in range(2))
    other = SceneMaker(pictures, backgrounds(), seed=6)
    for number in (0, 7):
        a, b = maker.scene(number), same.scene(number)
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)
    assert (maker.scene(0).image != other.scene(0).image).any()
    assert (maker.scene(0).image != maker.scene(1).image).any()


def test_boxes_lie_where_the_face_was_drawn() -> None:
    """The four coloured corners of the face must be in the picture, on the border of its box."""
    maker = SceneMaker([picture_with_face(0)], backgrounds(), settings=PLAIN, seed=1)
    checked = 0
    for number in range(60):
        scene = maker.scene(number)
        for box in scene.boxes:
            inside = (box[:2] >= 6).all() and (box[2:] <= 249).all()
            if len(scene.boxes) == 1 and inside and np.sqrt(np.prod(box[2:] - box[:2])) > 40:
                x0, y0, x1, y1 = box.round().astype(int)
                part = scene.image[max(0, y0 - 3) : y1 + 4, max(0, x0 - 3) : x1 + 4].astype(int)
                vivid = part.max(axis=2) - part.min(axis=2) > 120
                rows, columns = np.nonzero(vivid)
                # Red, green and blue corners reach the box from within on three sides at least.
                reach = [rows.min() < 10, columns.min() < 10, rows.max() > len(part) - 11]
                reach.append(columns.max() > part.shape[1] - 11)
                assert sum(reach) >= 3
                checked += 1
    assert checked >= 5


def test_mirroring_swaps_left_and_right_points() -> None:
    maker = SceneMaker([picture_with_face(0)], backgrounds(), settings=SceneSettings(tilt=0.0), seed=2)
    seen = 0
    for number in range(20):
        for five in maker.scene(number).points:
            assert five[0, 0] < five[1, 0]
            assert five[3, 0] < five[4, 0]
            seen += 1
    assert seen > 10


def test_scenes_without_faces_are_made_of_backgrounds_alone() -> None:
    maker = SceneMaker([picture_with_face(0)], backgrounds(), settings=SceneSettings(empty=1.0), seed=0)
    assert all(len(maker.scene(i).boxes) + len(maker.scene(i).ignored) == 0 for i in range(10))


def test_decoys_are_drawn_and_never_labelled() -> None:
    image = np.full((100, 100, 3), (250, 0, 250), dtype=np.uint8)
    decoy = Decoy(halvings(image), np.array([30.0, 30.0, 70.0, 70.0]))
    settings = SceneSettings(empty=1.0, decoy=1.0, grey=0, blurred=0, noisy=0, coarse=0, compressed=0)
    maker = SceneMaker([picture_with_face(0)], backgrounds(), [decoy], settings, seed=0)
    for number in range(10):
        scene = maker.scene(number)
        assert len(scene.boxes) == 0
        assert (scene.image[..., 1].astype(int) + 40 < scene.image[..., 0]).mean() > 0.004


def test_a_frontal_is_completed_about_its_middle_line() -> None:
    rng = np.random.default_rng(0)
    half = np.stack([rng.uniform(-50, -5, 30), rng.uniform(-60, 60, 30)], axis=1)
    middle = [18, 19, 20, 21, 22, 26, 27, 28, 29, 8]
    half[middle, 0], half[middle, 1] = 0.0, np.linspace(-40, 60, len(middle))
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    whole = completed_frontal(half @ turn.T + (100, 80))
    expected = np.concatenate([half, half * (-1, 1)]) @ turn.T + (100, 80)
    np.testing.assert_allclose(whole, expected, atol=1e-9)


# -- targets, loss, training -----------------------------------------------------------------------------------------


def test_every_face_that_must_be_found_has_a_cell_and_no_cell_is_asked_for_elsewhere() -> None:
    maker = SceneMaker([picture_with_face(0), picture_with_face(1, "profile")], backgrounds(), seed=3)
    for number in range(40):
        scene = maker.scene(number)
        wanted = targets(scene)
        asked = {tuple(box) for box in wanted.boxes[wanted.state == 1]}
        given = {tuple(box) for box in scene.boxes.astype(np.float32)}
        assert asked <= given
        # Two faces on one spot share its cells; every other face has its own.
        for box in given - asked:
            assert any(Box(*map(float, box)).iou(Box(*map(float, other))) > 0.1 for other in given - {box})


def test_the_loss_is_lowest_for_the_right_answer() -> None:
    maker = SceneMaker([picture_with_face(0)], backgrounds(), settings=SceneSettings(empty=0), seed=4)
    scene = next(scene for scene in map(maker.scene, range(50)) if len(scene.boxes) == 1)
    wanted = targets(scene)
    state, boxes, points = (torch.from_numpy(v)[None] for v in (wanted.state, wanted.boxes, wanted.points))
    right, start = [], 0
    for stride in STRIDES:
        side = 256 // stride
        here = slice(start, start + side * side)
        start += side * side
        centers = cell_centers(256, 256, stride)
        logit = torch.where(state[0, here] == 1, 12.0, -12.0)[:, None]
        distance = torch.cat([centers - boxes[0, here, :2], boxes[0, here, 2:] - centers], dim=1).clamp(min=1.0)
        off = ((points[0, here] - centers[:, None]) / stride).nan_to_num(0.0).flatten(1)
        table = torch.cat([logit, torch.log(distance / stride), off], dim=1)
        right.append(table.T.reshape(1, 15, side, side))
    best = [float(v) for v in detection_loss(right, state, boxes, points, 256)]
    assert max(best) < 1e-2
    for channel, loss in ((0, 0), (2, 1), (6, 2)):
        wrong = [m.clone() for m in right]
        for m in wrong:
            m[:, channel] = -m[:, channel] + 0.3
        assert float(detection_loss(wrong, state, boxes, points, 256)[loss]) > 10 * best[loss] + 0.01


def test_overlap_of_boxes_agrees_with_the_box_type() -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 20, (2, 50, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 20, (2, 50, 2))], axis=2)
    iou, giou = box_overlap(torch.from_numpy(boxes[0]), torch.from_numpy(boxes[1]))
    expected = [Box(*a).iou(Box(*b)) for a, b in zip(boxes[0].tolist(), boxes[1].tolist(), strict=True)]
    np.testing.assert_allclose(iou.numpy(), expected, rtol=1e-6)
    assert (giou <= iou + 1e-9).all()
    assert giou.min() < 0


def small_training() -> tuple[TrainingData, DetectorTraining]:
    images = [levels[0] for levels in backgrounds(2)]
    data = TrainingData([picture_with_face(0), picture_with_face(1, "profile")], images, images)
    scenes = SceneSettings(side=64, sizes=(17.0, 50.0))
    return data, DetectorTraining(steps=4, batch=2, warm_up=1, mining=(0.5,), scenes=scenes, loaders=0)


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    data, settings = small_training()
    whole = train_detector(data, tmp_path / "whole", settings)
    assert whole.network is not None
    for _ in range(settings.steps):
        result = train_detector(data, tmp_path / "parts", settings, limit=TimeLimit(1e-9))
    assert result.network is not None
    from safetensors.numpy import load_file

    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-5, atol=1e-7)


def test_a_training_by_the_clock_ends_with_the_schedule_done_and_its_mining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of thousands of steps would take hours; rate and mining follow the clock instead."""
    data, settings = small_training()
    settings = replace(settings, steps=500_000, warm_up=0)
    lines: list[str] = []
    progress: list[float] = []

    def noted(done: float, warm_up: float) -> float:
        progress.append(done)
        return cosine_rate(done, warm_up)

    monkeypatch.setattr("facerec.landmarks.training.detector.cosine_rate", noted)
    result = train_detector(data, tmp_path, settings, limit=TimeLimit(finish_in=3 / 60), report=lines.append)
    assert result.network is not None
    assert result.threshold is not None
    assert 0 < result.step < settings.steps
    assert sum(line.startswith("mined") for line in lines) == 1
    learner = _Learner(settings, "cpu")
    learner.restore(tmp_path)
    assert learner.position >= settings.steps
    assert learner.minutes >= 3 / 60
    assert progress == sorted(progress)
    assert progress[0] < 0.1
    assert progress[-1] > 0.8


def test_a_training_by_the_clock_that_was_interrupted_counts_the_minutes_before(tmp_path: Path) -> None:
    data, settings = small_training()
    settings = replace(settings, steps=500_000, mining=())
    for _ in range(1000):
        result = train_detector(data, tmp_path, settings, limit=TimeLimit(minutes=0.2 / 60, finish_in=1 / 60))
        if result.network is not None:
            break
    assert result.network is not None
    assert result.step < settings.steps


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    data, settings = small_training()
    train_detector(data, tmp_path, settings, limit=TimeLimit(1e-9))
    with pytest.raises(InvalidInputError, match="work folder"):
        train_detector(data, tmp_path, replace(settings, seed=1))


def test_a_finished_training_exports_weights_that_load(tmp_path: Path) -> None:
    data, settings = small_training()
    result = train_detector(data, tmp_path / "work", settings)
    assert result.network is not None
    assert result.threshold is not None
    record = export_detector(result.network, result.threshold, settings, "facerec train detector", root=tmp_path)
    assert record.bytes < 2 * 2**20
    assert "research" in record.licence
    from facerec.landmarks.checkpoint import load_weights

    loaded = FaceDetector.from_arrays(load_weights("landmarks", "detector", root=tmp_path))
    assert 0.05 < loaded.score_threshold < 1


def test_a_training_that_begins_with_a_trained_detector_begins_with_its_answers() -> None:
    """The shipped network has no normalisation; the training's has, set so that it changes nothing."""
    trained = network_of(load_weights("landmarks", "detector"))
    learner = _Learner(DetectorTraining(), "cpu")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (8, 16, 16, 3), dtype=np.uint8)
    pictures = np.stack([cv2.resize(one, (128, 128), interpolation=cv2.INTER_LINEAR) for one in coarse])
    learner.begin_with(trained, pictures)
    x = normalize(torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))))
    with torch.no_grad():
        for ours, theirs in zip(learner.mean.eval()(x), trained(x), strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


def set_of(sources: list[str], poses: list[tuple[float, float]]) -> tuple[PictureSet, NDArray[np.float32]]:
    points = np.random.default_rng(1).uniform(20, 60, (68, 2)).astype(np.float32)
    rows = [
        FacePicture(
            np.zeros((80, 80, 3), np.uint8),
            points,
            np.ones(68, np.int8),
            np.array([*pose, 0], np.float32),
            "p",
            source,
        )
        for source, pose in zip(sources, poses, strict=True)
    ]
    return PictureSet.gather(rows), points


def test_faces_of_picture_sets_are_kinds_of_their_own() -> None:
    pictures, points = set_of(
        ["turned-celeba", "turned-celeba", "turned-celeba", "worn-celeba", "worn-celeba"],
        [(0, 60), (-80, 40), (80, 0), (20, 0), (-70, 0)],
    )
    made = list(set_pictures(pictures))
    assert [one.kind for one in made] == ["turned", "steep", "turned", "worn", "worn profile"]
    np.testing.assert_allclose(made[0].five[2], points[30])
    maker = SceneMaker([made[1], picture_with_face(0, "profile")], backgrounds(), settings=PLAIN)
    kinds = {maker.picture(np.random.default_rng(seed)).kind for seed in range(40)}
    assert kinds == {"steep", "profile"}
