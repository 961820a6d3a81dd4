import numpy as np
import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.ferns import FernSettings, _leaf_means, frames, read_pixels, train_fern_stage
from facerec.landmarks.patches import pixel_differences

SETTINGS = FernSettings(levels=2, ferns=12, features=3, pixels=60, shrinkage=5, rank=4)


def discs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops (N, 40, 40) of a disc on dark ground, shape of four points on its rim, mean shape."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0.35, 0.65, (n, 1, 2)).astype(np.float32)
    rim = np.array([[-0.2, 0], [0, -0.2], [0.2, 0], [0, 0.2]], dtype=np.float32)
    place = (np.arange(40) + 0.5) / 40
    far = np.hypot(place[None, None, :] - centre[:, :, :1], place[None, :, None] - centre[:, :, 1:])
    return np.tanh(20 * (0.2 - far)).astype(np.float32), centre + rim, rim + np.float32(0.5)


def test_the_frame_of_a_turned_and_scaled_mean_shape_is_that_turn() -> None:
    rng = np.random.default_rng(0)
    mean = rng.random((6, 2)).astype(np.float32)
    turn = 1.3 * np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    shape = (mean @ turn + [0.2, -0.1]).astype(np.float32)
    assert np.allclose(frames(mean, shape), turn, atol=1e-5)


def test_pixels_ride_on_their_landmarks_and_turn_with_the_shape() -> None:
    images, shapes, mean = discs(3)
    landmark, offset = np.array([0, 2]), np.array([[0.1, 0.0], [0.0, 0.05]], dtype=np.float32)
    frame = frames(mean, shapes[:, None])
    assert np.allclose(frame, np.eye(2), atol=1e-5)
    read = read_pixels(images, shapes[:, None], frame, landmark, offset)
    for i in range(3):
        for k in range(2):
            x, y = (shapes[i, landmark[k]] + offset[k]) * 40 - 0.5
            x0, y0 = int(x), int(y)
            block = images[i, y0 : y0 + 2, x0 : x0 + 2]
            by_hand = np.array([1 - (y - y0), y - y0]) @ block @ np.array([1 - (x - x0), x - x0])
            assert np.isclose(read[i, k], by_hand, atol=1e-5)


def test_what_a_fern_compares_is_the_pixel_difference_of_the_paper() -> None:
    """`read_pixels` and Eq. 18 read the same grey levels."""
    images, shapes, mean = discs(2)
    offset = np.array([[0.05, 0.02], [-0.1, 0.04]], dtype=np.float32)
    read = read_pixels(images, shapes[:, None], frames(mean, shapes[:, None]), np.array([1, 1]), offset)
    points = torch.from_numpy(shapes[:, 1:2] * 40 - 0.5)
    d1, d2 = (torch.from_numpy(offset[k : k + 1] * 40) for k in (0, 1))
    expected = pixel_differences(torch.from_numpy(images), points, d1, d2)[:, 0].numpy()
    assert np.allclose(read[:, 0] - read[:, 1], expected, atol=1e-5)


def test_leaves_hold_shrunk_means() -> None:
    rest = np.array([[1.0], [3.0], [10.0]], dtype=np.float32)
    leaves = _leaf_means(np.array([2, 2, 0], dtype=np.uint8), rest, 4, shrinkage=2.0)
    assert leaves[:, 0].tolist() == pytest.approx([10 / 3, 0.0, 1.0, 0.0])


def test_every_level_brings_shapes_nearer_on_faces_it_has_not_seen() -> None:
    images, truth, mean = discs(400)
    standing = np.broadcast_to(mean, (400, 2, 4, 2)).copy()
    errors: list[float] = []
    levels, after = train_fern_stage(
        images, standing, truth, mean, SETTINGS, np.random.default_rng(0), lambda _number, left: errors.append(left)
    )
    assert len(levels) == len(errors) == 2
    assert errors[1] < errors[0] < np.linalg.norm(standing - truth[:, None], axis=-1).mean()
    assert np.isclose(np.linalg.norm(after - truth[:, None], axis=-1).mean(), errors[1])
    fresh, wanted, _ = discs(100, seed=9)
    shapes = np.broadcast_to(mean, (100, 1, 4, 2)).astype(np.float32)
    left = [np.linalg.norm(shapes - wanted[:, None], axis=-1).mean()]
    for level in levels:
        shapes = level.step(fresh, shapes, mean)
        left.append(np.linalg.norm(shapes - wanted[:, None], axis=-1).mean())
    assert left[2] < left[1] < 0.7 * left[0]


@pytest.mark.parametrize("features", [3, 8])
def test_a_level_adds_the_leaf_that_each_fern_s_bits_name(features: int) -> None:
    """`FernLevel.step` beside its slow twin, which walks through ferns and bits one by one."""
    images, truth, mean = discs(60)
    standing = np.broadcast_to(mean, (60, 2, 4, 2)).astype(np.float32)
    settings = FernSettings(levels=1, ferns=5, features=features, pixels=40, shrinkage=5, rank=4)
    [level], after = train_fern_stage(images, standing, truth, mean, settings, np.random.default_rng(0))
    frame = frames(mean, standing)
    pixels = read_pixels(images, standing, frame, level.landmark, level.offset)
    change = np.zeros((120, 4), dtype=np.float32)
    for row in range(120):
        for fern in range(5):
            leaf = 0
            for bit, (a, b) in enumerate(zip(level.first[fern], level.second[fern], strict=True)):
                leaf += 2**bit * int(pixels[row, a] - pixels[row, b] > level.threshold[fern, bit])
            change[row] += level.leaves[fern, leaf]
    moved = (change @ level.directions).reshape(standing.shape) @ frame
    assert np.abs(moved).max() > 0.01
    assert np.allclose(after, standing + moved, atol=1e-6)


def test_the_same_generator_gives_the_same_ferns() -> None:
    images, truth, mean = discs(60)
    standing = np.broadcast_to(mean, (60, 1, 4, 2)).copy()
    one, other = (
        train_fern_stage(images, standing, truth, mean, SETTINGS, np.random.default_rng(5))[0] for _ in range(2)
    )
    assert all(np.array_equal(a.leaves, b.leaves) for a, b in zip(one, other, strict=True))


def test_wrong_input_is_refused() -> None:
    images, truth, mean = discs(4)
    with pytest.raises(InvalidInputError, match="shapes"):
        train_fern_stage(images, truth, truth, mean, SETTINGS, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="at most 8 features"):
        FernSettings(features=9)
