import numpy as np
import pytest

from facerec.landmarks.markup import IBUG68_MIRROR
from facerec.landmarks.training.augment import AugmentSettings, augment
from facerec.landmarks.training.packs import HIDDEN, NOT_ANNOTATED, VISIBLE, PackedFace

STILL = AugmentSettings(
    degrees=0, scale=0, shift=0, mirror=0, light=0, blur=0, noise=0, jpeg=0, coarse=0, occluders=0
)  # fmt: skip
SPOTS = {0: (60, 90), 16: (131, 90), 30: (95, 100)}


def spotted() -> PackedFace:
    """A black crop with bright spots of different sizes at three points; all others not annotated."""
    image = np.zeros((192, 192), dtype=np.uint8)
    points = np.full((68, 2), np.nan, dtype=np.float32)
    state = np.full(68, NOT_ANNOTATED, dtype=np.int8)
    for i, (x, y) in SPOTS.items():
        image[y - 1 : y + 2, x - 1 : x + 2] = 80 + 5 * i
        points[i], state[i] = (x, y), VISIBLE
    return PackedFace(image, points, state, 20.0, "spots")


def test_nothing_switched_on_gives_the_middle_of_the_pack() -> None:
    face = augment(spotted(), STILL, np.random.default_rng(0))
    assert np.array_equal(face.image, spotted().image[16:176, 16:176])
    assert np.allclose(face.points, spotted().points - 16, equal_nan=True)
    assert face.yaw == 20.0


def test_points_follow_the_picture() -> None:
    rng = np.random.default_rng(1)
    settings = AugmentSettings(light=0, blur=0, noise=0, jpeg=0, coarse=0, occluders=0)
    original = spotted()
    mirrored = 0
    for _ in range(40):
        face = augment(original, settings, rng)
        if face.yaw < 0:
            mirrored += 1
        for i in SPOTS:
            # The brightness says which spot it is, the index which point it should be.
            j = int(IBUG68_MIRROR[i]) if face.yaw < 0 else i
            x, y = np.round(face.points[j]).astype(int)
            if 1 <= x < 159 and 1 <= y < 159:
                assert abs(int(face.image[y - 1 : y + 2, x - 1 : x + 2].max()) - (80 + 5 * i)) < 30
    assert 8 < mirrored < 32


def test_a_mirrored_face_swaps_sides_and_yaw() -> None:
    face = augment(spotted(), AugmentSettings(0, 0, 0, 1, 0, 0, 0, 0, 0, 40, 0), np.random.default_rng(0))
    assert np.allclose(face.points[16], [191 - 60 - 16, 90 - 16])
    assert face.yaw == -20.0


def test_points_under_an_occluder_become_hidden_and_only_those() -> None:
    original = PackedFace(
        np.full((192, 192), 128, dtype=np.uint8),
        np.random.default_rng(0).uniform(20, 170, (68, 2)).astype(np.float32),
        np.full(68, VISIBLE, dtype=np.int8),
        0.0,
        "flat",
    )
    settings = AugmentSettings(0, 0, 0, 0, 0, 0, 0, 0, 0, 40, occluders=1.0)
    hidden = 0
    rng = np.random.default_rng(4)
    for _ in range(60):
        face = augment(original, settings, rng)
        changed = face.image != 128
        for (x, y), state in zip(np.round(face.points).astype(int), face.state, strict=True):
            if changed[y, x]:
                assert state == HIDDEN
            hidden += state == HIDDEN
    assert 60 < hidden < 60 * 40


@pytest.mark.parametrize("name", ["light", "blur", "noise", "jpeg", "coarse"])
def test_each_change_of_the_picture_leaves_the_points_alone(name: str) -> None:
    rng = np.random.default_rng(2)
    still = augment(spotted(), STILL, rng)
    settings = AugmentSettings(**dict.fromkeys(STILL.__dataclass_fields__, 0) | {"smallest_face": 40, name: 1.0})
    face = augment(spotted(), settings, rng)
    assert not np.array_equal(face.image, still.image)
    assert face.image.dtype == np.uint8
    assert face.image.shape == (160, 160)
    assert np.array_equal(face.points, still.points, equal_nan=True)


def test_the_same_generator_gives_the_same_face_and_the_pack_is_untouched() -> None:
    original = spotted()
    faces = [augment(original, AugmentSettings(occluders=1), np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(faces[0].image, faces[1].image)
    assert np.array_equal(original.image, spotted().image)
    assert np.array_equal(original.state, spotted().state)
