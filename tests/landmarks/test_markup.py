import numpy as np
import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import (
    CFP30_PROFILE_TO_IBUG68,
    CFP30_TO_IBUG68,
    IBUG68_MIRROR,
    IBUG68_REGIONS,
    UHDB31_TO_IBUG68,
    cfp_faces_right,
    cfp_to_ibug68,
    mirror_points,
)


def a_frontal_face() -> np.ndarray:
    """68 points of a face that is its own mirror image in a picture 101 px wide."""
    rng = np.random.default_rng(3)
    points = rng.uniform(10, 90, (68, 2)).astype(np.float32)
    mirrored = points[IBUG68_MIRROR] * [-1, 1] + [100, 0]
    return ((points + mirrored) / 2).astype(np.float32)


def test_mirroring_twice_changes_nothing() -> None:
    assert np.array_equal(IBUG68_MIRROR[IBUG68_MIRROR], np.arange(68))
    points = np.random.default_rng(0).uniform(0, 100, (5, 68, 2)).astype(np.float32)
    assert np.allclose(mirror_points(mirror_points(points, 160), 160), points, atol=1e-4)


def test_mirror_pairs_join_parts_of_the_two_sides() -> None:
    pairs = {"left_eye": "right_eye", "left_brow": "right_brow", "jaw": "jaw", "outer_lips": "outer_lips"}
    for part, other in pairs.items():
        assert sorted(IBUG68_MIRROR[list(IBUG68_REGIONS[part])]) == list(IBUG68_REGIONS[other])
    assert [i for i in range(68) if IBUG68_MIRROR[i] == i] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    # The upper lids stay upper lids: outer corner to outer corner, and so on around the eye.
    assert IBUG68_MIRROR[[36, 37, 38, 39, 40, 41]].tolist() == [45, 44, 43, 42, 47, 46]


def test_a_symmetric_face_is_its_own_mirror_image() -> None:
    face = a_frontal_face()
    assert np.allclose(mirror_points(face, 101), face, atol=1e-4)


def test_the_regions_cover_every_point_once() -> None:
    assert sorted(i for part in IBUG68_REGIONS.values() for i in part) == list(range(68))


def test_cfp_rows_are_distinct_and_profiles_swap_two_lid_points() -> None:
    assert len(set(CFP30_TO_IBUG68)) == len(set(CFP30_PROFILE_TO_IBUG68)) == 30
    assert np.flatnonzero(CFP30_TO_IBUG68 != CFP30_PROFILE_TO_IBUG68).tolist() == [16, 17]
    assert set(CFP30_TO_IBUG68) == set(CFP30_PROFILE_TO_IBUG68)
    assert len(UHDB31_TO_IBUG68) == 9


def test_a_cfp_profile_and_its_mirror_image_are_read_as_mirror_images() -> None:
    fiducials = np.random.default_rng(1).uniform(0, 100, (30, 2))
    fiducials[0:3, 0], fiducials[18:22, 0] = 10, 90
    flipped = fiducials * [-1, 1] + [100, 0]
    assert cfp_faces_right(fiducials)
    assert not cfp_faces_right(flipped)
    right, right_known = cfp_to_ibug68(fiducials, "profile")
    left, left_known = cfp_to_ibug68(flipped, "profile")
    assert right_known.sum() == left_known.sum() == 30
    assert np.array_equal(left_known, right_known[IBUG68_MIRROR])
    assert np.allclose(mirror_points(right, 101), left, equal_nan=True, atol=1e-4)
    assert right_known[36]
    assert not right_known[45]


def test_cfp_frontals_keep_the_image_left_half() -> None:
    points, known = cfp_to_ibug68(np.arange(60, dtype=float).reshape(30, 2), "frontal")
    assert known[[0, 8, 17, 36, 41, 30, 33, 48, 57]].all()
    assert not known[[16, 26, 45, 54]].any()
    assert np.array_equal(points[40], [32, 33])  # fiducial 16: the inner lower lid on frontals


def test_wrong_shapes_and_views_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(30, 2\).*\(29, 2\)"):
        cfp_to_ibug68(np.zeros((29, 2)), "frontal")
    with pytest.raises(InvalidInputError, match="sideways"):
        cfp_to_ibug68(np.zeros((30, 2)), "sideways")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="68, 2"):
        mirror_points(np.zeros((30, 2), dtype=np.float32), 100)
