import numpy as np
import pytest

from facerec.landmarks.crop import (
    PACK_SCALE,
    PACK_SIZE,
    ROI_SCALE,
    ROI_SIZE,
    Roi,
    apply_matrix,
    cut,
    cut_grey,
    framed,
    grey,
    warp_matrix,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box


def test_the_roi_is_a_square_about_the_boxs_middle() -> None:
    roi = Roi.around(Box(10, 20, 50, 100))
    assert (roi.center_x, roi.center_y, roi.side) == (30, 60, 1.25 * 80)


@pytest.mark.parametrize("side", [9.3, 40.0, 311.7])
@pytest.mark.parametrize("center", [(60.2, 44.9), (0.0, 0.0), (119.0, 3.3), (-80.0, 50.0), (60.0, 300.0)])
def test_turning_the_square_grey_is_turning_the_picture_grey(side: float, center: tuple[float, float]) -> None:
    """Inside, across the picture's edges and beyond them; a grey level of rounding at most."""
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    roi = Roi(*center, side)
    whole, own = cut(grey(image), roi, 32).astype(int), cut_grey(image, roi, 32).astype(int)
    assert np.abs(whole - own).max() <= 1


@pytest.mark.parametrize("center", [(60.2, 44.9), (0.0, 0.0), (119.0, 3.3), (-80.0, 50.0)])
def test_what_lies_outside_the_picture_is_white_where_people_look(center: tuple[float, float]) -> None:
    image = np.random.default_rng(0).integers(0, 200, (90, 120, 3), dtype=np.uint8)
    roi = Roi(*center, 60.0)
    shown, sampled = framed(image, roi, 30), cut(image, roi, 30)
    at = roi.to_picture(np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1), 30)
    inside = ((at >= -0.5) & (at <= (119.5, 89.5))).all(axis=-1)
    np.testing.assert_array_equal(shown[inside], sampled[inside])
    assert (shown[~inside] == 255).all()


def test_points_go_to_the_crop_and_back() -> None:
    roi = Roi(123.4, -7.0, 311.0)
    points = np.random.default_rng(0).uniform(-100, 400, (68, 2)).astype(np.float32)
    assert np.allclose(roi.to_picture(roi.to_crop(points, 160), 160), points, atol=1e-3)


@pytest.mark.parametrize("side", [40.0, 160.0, 333.0, 1000.0])
def test_a_bright_spot_lands_where_the_point_map_says(side: float) -> None:
    y, x = np.mgrid[0:600, 0:600]
    spot = np.array([300 + 0.0937 * side, 300 - 0.1413 * side])
    picture = (255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (side / 30) ** 2))).astype(np.uint8)
    roi = Roi(300, 300, side)
    crop = cut(picture, roi, 160).astype(float)
    yy, xx = np.mgrid[0:160, 0:160]
    found = np.array([(crop * xx).sum(), (crop * yy).sum()]) / crop.sum()
    assert np.allclose(found, roi.to_crop(spot, 160), atol=0.15)


def test_a_crop_at_its_own_size_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    # Pixel centres: the middle of columns 20..179 is 99.5.
    assert np.array_equal(cut(picture, Roi(99.5, 99.5, 160), 160), picture[20:180, 20:180])


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((800, 800), dtype=np.uint8)
    stripes[:, ::2] = 200
    crop = cut(stripes, Roi(399.5, 399.5, 640), 160)
    assert np.abs(crop.astype(int) - 100).max() <= 4


def test_outside_the_picture_its_edge_repeats() -> None:
    picture = np.full((50, 50, 3), 77, dtype=np.uint8)
    assert (cut(picture, Roi(0, 0, 200), 160) == 77).all()


def test_packs_and_rois_show_the_face_at_the_same_size() -> None:
    assert PACK_SIZE / PACK_SCALE == ROI_SIZE / ROI_SCALE


def test_the_plain_warp_is_the_middle_of_the_pack() -> None:
    points = np.array([[16.0, 16.0], [175.0, 100.0]])
    assert np.allclose(apply_matrix(warp_matrix(192, 160), points), points - 16)


def test_a_clockwise_turn_moves_the_top_to_the_right() -> None:
    turned = apply_matrix(warp_matrix(161, 161, degrees=90), np.array([80.0, 0.0]))
    assert np.allclose(turned, [160, 80], atol=1e-4)


def test_mirroring_comes_before_turning_and_shifting() -> None:
    matrix = warp_matrix(161, 161, degrees=90, shift=(5, 0), mirrored=True)
    assert np.allclose(apply_matrix(matrix, np.array([0.0, 80.0])), [85, 160], atol=1e-4)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="float64"):
        cut(np.zeros((10, 10)), Roi(5, 5, 5), 160)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="positive side"):
        Roi(0, 0, 0)
    with pytest.raises(InvalidInputError, match="RGB"):
        grey(np.zeros((10, 10), dtype=np.uint8))
