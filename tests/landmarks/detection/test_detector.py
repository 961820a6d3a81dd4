import itertools

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facerec.landmarks.detection.detector import (
    DetectorSettings,
    FaceDetector,
    non_maximum_suppression,
    shrunk,
    tile_edges,
)
from facerec.landmarks.detection.detector_graph import STRIDES
from facerec.landmarks.detection.detector_network import (
    DetectorNetwork,
    cell_centers,
    decode,
    detector_arrays,
    normalize,
)
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.types import Box, Image

pytestmark = pytest.mark.usefixtures("one_thread")


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

    with open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False), "rb") as stream:
        data = np.frombuffer(stream.read(), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return as_image(decoded[..., ::-1])


def as_image(pixels: np.ndarray) -> Image:
    """What OpenCV made, whose type it does not state."""
    return np.ascontiguousarray(pixels, dtype=np.uint8)


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


# -- the network -----------------------------------------------------------------------------------------------------


def test_folding_the_normalisation_leaves_the_function_unchanged() -> None:
    network = random_network()
    pictures = torch.randn(2, 3, 128, 192, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for ours, theirs in zip(network(pictures), network.fused()(pictures), strict=True):
            scale = ours.abs().max()
            assert (ours - theirs).abs().max() < 1e-4 * scale


def test_decoded_boxes_lie_around_their_cells() -> None:
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


def test_every_pixel_belongs_to_the_cell_whose_center_is_nearest() -> None:
    centers = cell_centers(64, 128, 32).numpy()
    assert centers[0].tolist() == [15.5, 15.5]
    assert centers[1].tolist() == [47.5, 15.5]
    assert centers[4].tolist() == [15.5, 47.5]


# -- suppression -----------------------------------------------------------------------------------------------------


def test_suppression_keeps_the_best_of_each_cluster_and_drops_parts_inside() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 11, 10], [100, 100, 120, 120], [2, 2, 5, 5], [9, 0, 19, 10]], dtype=np.float32
    )
    scores = np.array([0.5, 0.9, 0.7, 0.8, 0.4], dtype=np.float32)
    assert non_maximum_suppression(boxes, scores, 0.4, 0.8).tolist() == [1, 2, 4]


def test_no_kept_box_overlaps_a_better_one() -> None:
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


def test_portrait_is_found_and_nothing_else(finder: Found, portrait: Image) -> None:
    assert is_the_face(finder.detect(portrait), PORTRAIT_BOX)


@pytest.mark.parametrize("scale", [0.25, 0.5, 3.0])
def test_portrait_is_found_at_any_size(finder: Found, portrait: Image, scale: float) -> None:
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = as_image(cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=way))
    box = PORTRAIT_BOX
    assert is_the_face(finder.detect(image), Box(*(scale * v for v in (box.x0, box.y0, box.x1, box.y1))))


def test_portrait_is_found_mirrored_grey_and_padded(finder: Found, portrait: Image) -> None:
    height, width = portrait.shape[:2]
    box = PORTRAIT_BOX
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    assert is_the_face(finder.detect(mirrored), Box(width - 1 - box.x1, box.y0, width - 1 - box.x0, box.y1))
    grey = as_image(np.repeat(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2))
    assert is_the_face(finder.detect(grey), box)
    padded = np.zeros((height + 300, width + 400, 3), dtype=np.uint8)
    padded[200 : 200 + height, 100 : 100 + width] = portrait
    # A medal on her jacket is still taken for a small second face here; the largest is hers.
    assert is_the_face(finder.detect(padded)[:1], Box(box.x0 + 100, box.y0 + 200, box.x1 + 100, box.y1 + 200))


@pytest.mark.parametrize("tilt", [-40, -20, 20, 40])
def test_portrait_is_found_when_turned_in_the_plane(detector: FaceDetector, portrait: Image, tilt: int) -> None:
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((263, 249), tilt, 1.0)
    turned = cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    boxes = detector.detect(as_image(turned))
    assert boxes
    assert np.hypot(boxes[0].center[0] - 263, boxes[0].center[1] - 249) < 30


@pytest.fixture(scope="module")
def crowd(portrait: Image) -> tuple[Image, list[Box]]:
    """4800 x 3600 px with the portrait at 24 to 30 px, and once large; the boxes of the small ones."""
    image = cv2.resize(
        np.random.default_rng(0).integers(60, 190, (72, 96, 3), dtype=np.uint8),
        (4800, 3600),
        interpolation=cv2.INTER_CUBIC,
    )
    boxes = []
    for number in range(12):
        scale = (24 + number % 4 * 2) / min(PORTRAIT_BOX.width, PORTRAIT_BOX.height)
        small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = 40 + number // 4 * 1137, 11 + number % 4 * 1483
        left = min(left, 4800 - small.shape[1])
        image[top : top + small.shape[0], left : left + small.shape[1]] = small
        edges = (PORTRAIT_BOX.x0, PORTRAIT_BOX.y0, PORTRAIT_BOX.x1, PORTRAIT_BOX.y1)
        boxes.append(Box(*(scale * v + (left, top)[k % 2] for k, v in enumerate(edges))))
    large = cv2.resize(portrait, None, fx=1.8, fy=1.8)
    image[1400 : 1400 + large.shape[0], 1700 : 1700 + large.shape[1]] = large
    return as_image(image), boxes


def seen(boxes: list[Box], truth: list[Box]) -> int:
    return sum(any(box.iou(own) > 0.4 for box in boxes) for own in truth)


def test_faces_of_24_pixels_are_found_in_a_large_photograph_where_they_are_asked_for(
    detector: FaceDetector, crowd: tuple[Image, list[Box]]
) -> None:
    image, truth = crowd
    plain, deep = detector.detect(image), detector.detect_down_to(image, 24.0)
    assert seen(plain, truth) == 0
    assert seen(deep, truth) == len(truth)
    assert max(a.iou(b) for i, a in enumerate(deep) for b in deep[:i]) <= detector.settings.merge_iou


def test_faces_that_the_working_size_shows_coarsely_are_looked_at_again(
    detector: FaceDetector, portrait: Image
) -> None:
    """72 px in 12 megapixels are 12 px at the working size."""
    image = as_image(np.full((3000, 4000, 3), 120, np.uint8))
    scale = 72 / min(PORTRAIT_BOX.width, PORTRAIT_BOX.height)
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    truth = []
    for left, top in ((0, 0), (1700, 1300), (1900, 1300), (4000 - small.shape[1], 3000 - small.shape[0])):
        image[top : top + small.shape[0], left : left + small.shape[1]] = small
        edges = (PORTRAIT_BOX.x0, PORTRAIT_BOX.y0, PORTRAIT_BOX.x1, PORTRAIT_BOX.y1)
        truth.append(Box(*(scale * v + (left, top)[k % 2] for k, v in enumerate(edges))))
    coarse = detector._merged(detector._whole(image))[1]
    overlap = [max(box.iou(Box(*map(float, edges))) for edges in coarse) for box in truth]
    assert min(overlap) < 0.6
    found = detector.detect(image)
    assert len([one for one in found if one.width < 200]) == len(truth)  # and a candidate around two of them
    assert min(max(box.iou(one) for one in found) for box in truth) > 0.7


def test_searching_for_small_faces_leaves_large_ones_as_they_are(
    detector: FaceDetector, crowd: tuple[Image, list[Box]]
) -> None:
    image, _ = crowd
    largest = [
        max(boxes, key=lambda b: b.width) for boxes in (detector.detect(image), detector.detect_down_to(image, 24.0))
    ]
    assert largest[0].width > 300
    assert vars(largest[0]) == vars(largest[1])


def test_a_small_photograph_is_not_searched_twice(detector: FaceDetector, portrait: Image) -> None:
    """512 px already show faces of 20 px as large as they are."""
    assert [vars(b) for b in detector.detect_down_to(portrait, 20.0)] == [vars(b) for b in detector.detect(portrait)]
    assert [*detector._tiled(portrait, 5.0)] == []


def test_a_smallest_face_is_more_than_nothing(detector: FaceDetector, portrait: Image) -> None:
    with pytest.raises(InvalidInputError, match="more than 0"):
        detector.detect_down_to(portrait, 0.0)


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(1, 1024, 100), (1024, 1024, 100), (1025, 1024, 160), (5000, 1024, 500)]
)
def test_tiles_cover_a_side_and_overlap_as_they_should(length: int, side: int, overlap: int) -> None:
    edges = tile_edges(length, side, overlap)
    assert (edges[0][0], edges[-1][1]) == (0, length)
    assert all(0 < stop - start <= side for start, stop in edges)
    assert all(one[1] - other[0] >= overlap for one, other in itertools.pairwise(edges))


def test_close_up_cut_by_the_border_is_found(detector: FaceDetector, portrait: Image) -> None:
    box = PORTRAIT_BOX
    crop = portrait[int(box.y0) - 5 : int(box.y1) + 5, int(box.x0) - 5 : int(box.x1) + 5]
    large = cv2.resize(crop, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    boxes = detector.detect(as_image(large))
    assert boxes
    assert boxes[0].iou(Box(30, 30, 1212, 1062)) > 0.5


class Looks(FaceDetector):
    """Answers its first look with one box, and counts its looks."""

    def __init__(self, box: Box, settings: DetectorSettings | None = None) -> None:
        super().__init__(lambda picture: [], 0.3, settings)
        self.box = box
        self.sizes: list[tuple[int, ...]] = []

    def _see(self, image: Image, margin: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.sizes.append(image.shape[:2])
        found = [] if len(self.sizes) > 1 else [self.box]
        places = [[(b.x0, b.y0), (b.x1, b.y1), *[b.center] * 5] for b in found]
        return np.array([b.score for b in found], np.float32), np.array(places, np.float32).reshape(-1, 7, 2)


@pytest.mark.parametrize(
    ("box", "looks"),
    [
        (Box(10, 10, 90, 100, 0.75), 1),  # sure, and a sixth of 480 px
        (Box(10, 10, 90, 100, 0.65), 2),  # large, but not sure
        (Box(10, 10, 70, 100, 0.95), 2),  # sure, but small: it may be an ornament beside a face that fills the picture
    ],
)
def test_a_sure_face_of_some_size_saves_the_look_at_the_thumbnail(box: Box, looks: int) -> None:
    detector = Looks(box, DetectorSettings(sure_score=0.7, sure_share=1 / 6.5))
    (found,) = detector.detect(np.zeros((480, 640, 3), np.uint8))
    assert len(detector.sizes) == looks
    assert (found.x0, found.y1) == (box.x0, box.y1)
    assert found.score == pytest.approx(box.score)


def test_places_of_a_shrunk_picture_are_those_of_the_photograph() -> None:
    """In two steps, and whatever is left out at the edge: a dot is where it was."""
    for height, width, scale in ((1999, 3001, 0.2133), (480, 640, 0.25), (700, 900, 0.9), (4000, 6000, 160 / 6000)):
        y, x = height * 0.7, width * 0.6
        size = 6 / scale
        rows, columns = np.mgrid[:height, :width]
        dot = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * size**2))
        small, ratio = shrunk(np.repeat(dot[..., None], 3, axis=2).astype(np.uint8), scale)
        assert max(small.shape[:2]) == round(max(height, width) * scale)
        weight = small[..., 0].astype(float)
        rows, columns = np.mgrid[: small.shape[0], : small.shape[1]]
        center = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        assert np.abs((center + 0.5) * ratio - 0.5 - (x, y)).max() < 0.05 / scale


def test_a_picture_is_not_shrunk_to_more_than_it_has() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    small, ratio = shrunk(image, 1.5)
    assert small is image
    assert ratio.tolist() == [1, 1]


def test_five_points_lie_in_the_box_in_order(detector: FaceDetector, portrait: Image) -> None:
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
def test_pictures_of_any_shape_without_a_face_give_no_box(detector: FaceDetector, shape: tuple[int, int]) -> None:
    height, width = shape
    ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    assert detector.detect(ramp.astype(np.uint8)) == []


def test_same_picture_gives_the_same_boxes_in_falling_order(detector: FaceDetector, portrait: Image) -> None:
    twice = np.hstack([portrait, portrait[:, ::-1]])
    first, second = detector.detect(twice), detector.detect(twice)
    assert len(first) >= 2
    assert [(b.x0, b.y0, b.x1, b.y1, b.score) for b in first] == [(b.x0, b.y0, b.x1, b.y1, b.score) for b in second]
    assert first[0].score >= first[1].score >= first[-1].score >= detector.score_threshold


def test_detecting_leaves_torch_and_the_picture_as_they_were(detector: FaceDetector, portrait: Image) -> None:
    state, picture = torch.get_rng_state(), portrait.copy()
    detector.detect(portrait)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()
    np.testing.assert_array_equal(picture, portrait)


def test_a_threshold_in_the_settings_replaces_the_calibrated_one(portrait: Image) -> None:
    strict = FaceDetector.load(settings=DetectorSettings(score_threshold=0.999))
    assert strict.score_threshold == 0.999
    assert strict.detect(portrait) == []


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_other_forms_of_image_are_refused(detector: FaceDetector, image: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="expected an image"):
        detector.detect(image)


def test_a_missing_gpu_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="cuda"):
        FaceDetector.load("cuda")


def test_other_weights_are_refused() -> None:
    arrays = detector_arrays(random_network(), 0.3)
    del arrays["stem.0.bias"]
    with pytest.raises(InvalidInputError, match=r"stem\.0\.bias"):
        FaceDetector.from_arrays(arrays)
    with pytest.raises(InvalidInputError, match="score_threshold"):
        FaceDetector.from_arrays({})


@pytest.mark.parametrize("settings", [{"working_side": 8}, {"score_threshold": 1.0}, {"thumbnail_margin": -1}])
def test_impossible_settings_are_refused(settings: dict[str, float] | dict[str, int]) -> None:
    with pytest.raises(InvalidInputError):
        DetectorSettings(**settings)


def test_normalised_pictures_span_minus_one_to_one() -> None:
    picture = normalize(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2).expand(1, 3, 1, 2))
    assert picture.min() == -1
    assert picture.max() == 1
