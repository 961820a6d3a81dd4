from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facerec.landmarks.detection.detector import (
    STRIDES,
    DetectorNetwork,
    DetectorSettings,
    FaceDetector,
    cell_centers,
    decode,
    detector_arrays,
    non_maximum_suppression,
    normalize,
)
from facerec.landmarks.detector_scenes import (
    AnnotatedPicture,
    Decoy,
    SceneMaker,
    SceneSettings,
    completed_frontal,
    halvings,
)
from facerec.landmarks.detector_training import (
    DetectorTraining,
    TrainingData,
    box_overlap,
    detection_loss,
    targets,
    train_detector,
)
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.types import Box, Image


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector.load()


class Found:
    """What the product sees: the detector's candidates that the landmarks confirm."""

    def __init__(self) -> None:
        self.finder = FaceFinder.load()

    def detect(self, image: Image) -> list[Box]:
        return [face.box for face in self.finder.find(image)]


@pytest.fixture(scope="module")
def finder() -> Found:
    return Found()


@pytest.fixture(scope="module")
def portrait() -> Image:
    """Grace Hopper, public domain, as matplotlib carries her: 600 x 512 px."""
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as stream:
        data = np.frombuffer(stream.read(), np.uint8)
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


PORTRAIT_BOX = Box(165, 163, 362, 335)


def random_network(seed: int = 0) -> DetectorNetwork:
    """A network whose running means and every weight are random, so that a part left out shows."""
    generator = torch.Generator().manual_seed(seed)
    network = DetectorNetwork()
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point and value.ndim == 1:
            low = 0.5 if "var" in name or name.endswith("1.weight") else -0.3
            value.copy_(torch.rand(value.shape, generator=generator) + low)
    return network.eval()


def picture_with_face(seed: int, kind="frame") -> AnnotatedPicture:
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


# -- the network -----------------------------------------------------------------------------------------------------


def test_folding_the_normalisation_leaves_the_function_unchanged():
    network = random_network()
    pictures = torch.randn(2, 3, 128, 192, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for ours, theirs in zip(network(pictures), network.fused()(pictures), strict=True):
            scale = ours.abs().max()
            assert (ours - theirs).abs().max() < 1e-4 * scale


def test_decoded_boxes_lie_around_their_cells():
    maps = [torch.zeros(1, 15, 128 // s, 192 // s) for s in STRIDES]
    row, column = 3, 5
    left, top, right, bottom = 10.0, 20.0, 30.0, 40.0
    maps[1][0, 1:5, row, column] = torch.log(torch.tensor([left, top, right, bottom]) / 16)
    maps[1][0, 5, row, column] = 0.5
    _, boxes, points = decode(maps, 128, 192)
    cell = (16 * 24) + row * 12 + column
    x, y = 16 * column + 7.5, 16 * row + 7.5
    np.testing.assert_allclose(boxes[0, cell].numpy(), [x - left, y - top, x + right, y + bottom], rtol=1e-5)
    np.testing.assert_allclose(points[0, cell, 0].numpy(), [x + 8, y], rtol=1e-5)


def test_every_pixel_belongs_to_the_cell_whose_center_is_nearest():
    centers = cell_centers(64, 128, 32).numpy()
    assert centers[0].tolist() == [15.5, 15.5]
    assert centers[1].tolist() == [47.5, 15.5]
    assert centers[4].tolist() == [15.5, 47.5]


# -- suppression -----------------------------------------------------------------------------------------------------


def test_suppression_keeps_the_best_of_each_cluster_and_drops_parts_inside():
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 11, 10], [100, 100, 120, 120], [2, 2, 5, 5], [9, 0, 19, 10]], dtype=np.float32
    )
    scores = np.array([0.5, 0.9, 0.7, 0.8, 0.4], dtype=np.float32)
    assert non_maximum_suppression(boxes, scores, 0.4, 0.8).tolist() == [1, 2, 4]


def test_no_kept_box_overlaps_a_better_one():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (200, 2))], axis=1).astype(np.float32)
    scores = rng.random(200).astype(np.float32)
    kept = non_maximum_suppression(boxes, scores, 0.4, 1.0)
    assert 1 < len(kept) < 200
    assert (np.diff(scores[kept]) <= 0).all()
    chosen = [Box(*boxes[i].tolist()) for i in kept]
    assert max(a.iou(b) for i, a in enumerate(chosen) for b in chosen[:i]) <= 0.4 + 1e-6
    for i in set(range(200)) - set(kept.tolist()):
        box = Box(*boxes[i].tolist())
        assert max(box.iou(b) for b, k in zip(chosen, kept, strict=True) if scores[k] >= scores[i]) > 0.4 - 1e-6


# -- the detector with the package's weights -------------------------------------------------------------------------


def is_the_face(boxes: list[Box], truth: Box) -> bool:
    return len(boxes) == 1 and boxes[0].iou(truth) > 0.5


def test_portrait_is_found_and_nothing_else(finder, portrait):
    assert is_the_face(finder.detect(portrait), PORTRAIT_BOX)


@pytest.mark.parametrize("scale", [0.25, 0.5, 3.0])
def test_portrait_is_found_at_any_size(finder, portrait, scale):
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=way)
    box = PORTRAIT_BOX
    assert is_the_face(finder.detect(image), Box(*(scale * v for v in (box.x0, box.y0, box.x1, box.y1))))


def test_portrait_is_found_mirrored_grey_and_padded(finder, portrait):
    height, width = portrait.shape[:2]
    box = PORTRAIT_BOX
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    assert is_the_face(finder.detect(mirrored), Box(width - 1 - box.x1, box.y0, width - 1 - box.x0, box.y1))
    grey = np.repeat(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert is_the_face(finder.detect(grey), box)
    padded = np.zeros((height + 300, width + 400, 3), dtype=np.uint8)
    padded[200 : 200 + height, 100 : 100 + width] = portrait
    # A medal on her jacket is still taken for a small second face here; the largest is hers.
    assert is_the_face(finder.detect(padded)[:1], Box(box.x0 + 100, box.y0 + 200, box.x1 + 100, box.y1 + 200))


@pytest.mark.parametrize("tilt", [-40, -20, 20, 40])
def test_portrait_is_found_when_turned_in_the_plane(detector, portrait, tilt):
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((263, 249), tilt, 1.0)
    boxes = detector.detect(cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))
    assert boxes
    assert np.hypot(boxes[0].center[0] - 263, boxes[0].center[1] - 249) < 30


def test_close_up_cut_by_the_border_is_found(detector, portrait):
    box = PORTRAIT_BOX
    crop = portrait[int(box.y0) - 5 : int(box.y1) + 5, int(box.x0) - 5 : int(box.x1) + 5]
    large = cv2.resize(crop, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    boxes = detector.detect(large)
    assert boxes
    assert boxes[0].iou(Box(30, 30, 1212, 1062)) > 0.5


def test_five_points_lie_in_the_box_in_order(detector, portrait):
    face = max(detector.detect_faces(portrait), key=lambda found: found.box.score)
    points, box = face.points, face.box
    assert points.shape == (5, 2)
    assert points.dtype == np.float32
    assert ((points > (box.x0, box.y0)) & (points < (box.x1, box.y1))).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (5, 3), (64, 64), (333, 1000)])
def test_pictures_of_any_shape_without_a_face_give_no_box(detector, shape):
    height, width = shape
    ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    assert detector.detect(ramp.astype(np.uint8)) == []


def test_same_picture_gives_the_same_boxes_in_falling_order(detector, portrait):
    twice = np.hstack([portrait, portrait[:, ::-1]])
    first, second = detector.detect(twice), detector.detect(twice)
    assert len(first) >= 2
    assert [(b.x0, b.y0, b.x1, b.y1, b.score) for b in first] == [(b.x0, b.y0, b.x1, b.y1, b.score) for b in second]
    assert first[0].score >= first[1].score >= first[-1].score >= detector.score_threshold


def test_detecting_leaves_torch_and_the_picture_as_they_were(detector, portrait):
    state, picture = torch.get_rng_state(), portrait.copy()
    detector.detect(portrait)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()
    np.testing.assert_array_equal(picture, portrait)


def test_a_threshold_in_the_settings_replaces_the_calibrated_one(portrait):
    strict = FaceDetector.load(settings=DetectorSettings(score_threshold=0.999))
    assert strict.score_threshold == 0.999
    assert strict.detect(portrait) == []


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_other_forms_of_image_are_refused(detector, image):
    with pytest.raises(InvalidInputError, match="expected an image"):
        detector.detect(image)


def test_a_missing_gpu_is_an_error():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="cuda"):
        FaceDetector(random_network().fused(), 0.3, device="cuda")


def test_other_weights_are_refused():
    arrays = detector_arrays(random_network(), 0.3)
    del arrays["stem.0.bias"]
    with pytest.raises(InvalidInputError, match=r"stem\.0\.bias"):
        FaceDetector.from_arrays(arrays)
    with pytest.raises(InvalidInputError, match="score_threshold"):
        FaceDetector.from_arrays({})


@pytest.mark.parametrize("settings", [{"working_side": 8}, {"score_threshold": 1.0}, {"thumbnail_margin": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InvalidInputError):
        DetectorSettings(**settings)


# -- training pictures -----------------------------------------------------------------------------------------------


def test_a_scene_depends_on_seed_and_number_alone():
    pictures = [picture_with_face(0), picture_with_face(1, "profile"), picture_with_face(2, "frontal")]
    maker, same = (SceneMaker(pictures, backgrounds(), seed=5) for _ in range(2))
    other = SceneMaker(pictures, backgrounds(), seed=6)
    for number in (0, 7):
        a, b = maker.scene(number), same.scene(number)
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)
    assert (maker.scene(0).image != other.scene(0).image).any()
    assert (maker.scene(0).image != maker.scene(1).image).any()


def test_boxes_lie_where_the_face_was_drawn():
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


def test_mirroring_swaps_left_and_right_points():
    maker = SceneMaker([picture_with_face(0)], backgrounds(), settings=SceneSettings(tilt=0.0), seed=2)
    seen = 0
    for number in range(20):
        for five in maker.scene(number).points:
            assert five[0, 0] < five[1, 0]
            assert five[3, 0] < five[4, 0]
            seen += 1
    assert seen > 10


def test_scenes_without_faces_are_made_of_backgrounds_alone():
    maker = SceneMaker([picture_with_face(0)], backgrounds(), settings=SceneSettings(empty=1.0), seed=0)
    assert all(len(maker.scene(i).boxes) + len(maker.scene(i).ignored) == 0 for i in range(10))


def test_decoys_are_drawn_and_never_labelled():
    image = np.full((100, 100, 3), (250, 0, 250), dtype=np.uint8)
    decoy = Decoy(halvings(image), np.array([30.0, 30.0, 70.0, 70.0]))
    settings = SceneSettings(empty=1.0, decoy=1.0, grey=0, blurred=0, noisy=0, coarse=0, compressed=0)
    maker = SceneMaker([picture_with_face(0)], backgrounds(), [decoy], settings, seed=0)
    for number in range(10):
        scene = maker.scene(number)
        assert len(scene.boxes) == 0
        assert (scene.image[..., 1].astype(int) + 40 < scene.image[..., 0]).mean() > 0.004


def test_a_frontal_is_completed_about_its_middle_line():
    rng = np.random.default_rng(0)
    half = np.stack([rng.uniform(-50, -5, 30), rng.uniform(-60, 60, 30)], axis=1)
    middle = [18, 19, 20, 21, 22, 26, 27, 28, 29, 8]
    half[middle, 0], half[middle, 1] = 0.0, np.linspace(-40, 60, len(middle))
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    whole = completed_frontal(half @ turn.T + (100, 80))
    expected = np.concatenate([half, half * (-1, 1)]) @ turn.T + (100, 80)
    np.testing.assert_allclose(whole, expected, atol=1e-9)


# -- targets, loss, training -----------------------------------------------------------------------------------------


def test_every_face_that_must_be_found_has_a_cell_and_no_cell_is_asked_for_elsewhere():
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


def test_the_loss_is_lowest_for_the_right_answer():
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


def test_overlap_of_boxes_agrees_with_the_box_type():
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
    return data, DetectorTraining(steps=4, batch=2, warm_up=1, mining=(0.5,), scenes=scenes)


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path: Path):
    data, settings = small_training()
    whole = train_detector(data, tmp_path / "whole", settings, loaders=0, export=False)
    assert whole.finished
    for _ in range(settings.steps):
        result = train_detector(data, tmp_path / "parts", settings, loaders=0, export=False, max_minutes=1e-9)
    assert result.finished
    from safetensors.numpy import load_file

    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-5, atol=1e-7)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path):
    data, settings = small_training()
    train_detector(data, tmp_path, settings, loaders=0, export=False, max_minutes=1e-9)
    from dataclasses import replace

    with pytest.raises(InvalidInputError, match="work folder"):
        train_detector(data, tmp_path, replace(settings, seed=1), loaders=0, export=False)


def test_a_finished_training_exports_weights_that_load(tmp_path: Path):
    data, settings = small_training()
    result = train_detector(data, tmp_path / "work", settings, loaders=0, export_root=tmp_path)
    assert result.record is not None
    assert result.record.bytes < 2 * 2**20
    assert "research" in result.record.licence
    from facerec.landmarks.checkpoint import load_weights

    loaded = FaceDetector.from_arrays(load_weights("landmarks", "detector", root=tmp_path))
    assert 0.05 < loaded.score_threshold < 1


def test_normalised_pictures_span_minus_one_to_one():
    picture = normalize(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2).expand(1, 3, 1, 2))
    assert picture.min() == -1
    assert picture.max() == 1
