import numpy as np
import pytest
import torch

from facerec.landmarks.crop import ROI_SIZE, Roi
from facerec.landmarks.errors import DeviceError, InvalidInputError
from facerec.landmarks.godp import Decisions, Godp
from facerec.landmarks.godp_graph import Calibration, GodpSettings
from facerec.landmarks.godp_weights import runner
from facerec.landmarks.landmarker import GodpLandmarker, Landmarker, LandmarkerSettings
from facerec.landmarks.score_maps import DecodeSettings, Logistic
from facerec.landmarks.types import Box


class SpotFinder(Godp):
    """Stands in for a trained network: point 0 is the brightest place, point 16 the darkest, all others point 0.

    The proposal knows no point 5, so point 5 is hidden.
    """

    def __init__(self) -> None:
        super().__init__(GodpSettings(width=0.125))
        self.batches: list[int] = []

    def forward(self, roi: torch.Tensor) -> Decisions:
        self.batches.append(len(roi))
        bright = torch.nn.functional.avg_pool2d(roi, 2)
        maps = bright.repeat(1, 69, 1, 1)
        maps[:, 16] *= -1
        maps[:, 68] = 0
        proposal = maps.clone() * 5
        proposal[:, 5] = -20
        return Decisions(maps, maps, maps, proposal, maps * 5)


def finder(settings: LandmarkerSettings | None = None) -> Landmarker:
    calibration = Calibration(Logistic(1.0, 0.0), Logistic(1.0, 0.0))
    return GodpLandmarker(runner(SpotFinder().eval()), DecodeSettings(), calibration, settings)


def picture(bright: tuple[float, float], dark: tuple[float, float], size: int = 400) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size]
    levels = np.full((size, size), 120.0)
    for (cx, cy), sign in ((bright, 120), (dark, -120)):
        levels += sign * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 6.0**2))
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("settings", [LandmarkerSettings(), LandmarkerSettings(boxes=9)])
def test_points_come_back_in_the_pixels_of_the_photograph(settings: LandmarkerSettings) -> None:
    image = picture((180, 160), (240, 230))
    (marks,) = finder(settings).locate(image, [Box(140, 130, 270, 260)])
    assert np.allclose(marks.points[0], [180, 160], atol=1.0)
    assert np.allclose(marks.points[16], [240, 230], atol=1.0)
    assert marks.markup == "ibug68"
    assert marks.points.dtype == np.float32


def test_every_box_is_answered_in_its_order_and_batches_change_nothing() -> None:
    image = picture((180, 160), (240, 230))
    boxes = [Box(140 + i, 130 - i, 270 + i, 260 - i) for i in range(5)]
    together = finder().locate(image, boxes)
    one_by_one = finder(LandmarkerSettings(batch=2)).locate(image, boxes)
    assert len(together) == 5
    for one, other in zip(together, one_by_one, strict=True):
        assert np.allclose(one.points, other.points, atol=1e-3)


def test_the_mirrored_look_gives_the_mirrored_points_back() -> None:
    """On a network that obeys mirroring, averaging with the mirror image changes nothing."""
    image = picture((180, 160), (240, 230))
    box = [Box(140, 130, 270, 260)]
    (marks,) = finder().locate(image, box)
    (both,) = finder(LandmarkerSettings(mirrored=True)).locate(image, box)
    # Rows 1-15 and up are bright-spot finders on both sides; 0 and 16 swap meaning in the mirror, so leave them.
    rows = [i for i in range(68) if i not in (0, 16)]
    assert np.allclose(marks.points[rows], both.points[rows], atol=0.05)


def test_a_point_the_proposal_does_not_see_is_hidden() -> None:
    (marks,) = finder().locate(picture((180, 160), (240, 230)), [Box(140, 130, 270, 260)])
    assert np.flatnonzero(~marks.visible).tolist() == [5]
    assert ((marks.confidence >= 0) & (marks.confidence <= 1)).all()


def test_no_boxes_no_landmarks() -> None:
    assert finder().locate(picture((50, 50), (80, 80)), []) == []


def test_a_box_beyond_the_picture_still_answers() -> None:
    (marks,) = finder().locate(picture((50, 50), (80, 80)), [Box(-60, -60, 90, 90)])
    assert np.isfinite(marks.points).all()


def test_the_same_photograph_gives_the_same_points() -> None:
    image = picture((180, 160), (240, 230))
    marker = finder(LandmarkerSettings(boxes=5))
    first, second = (marker.locate(image, [Box(140, 130, 270, 260)])[0] for _ in range(2))
    assert np.array_equal(first.points, second.points)


def test_the_first_of_the_perturbed_rois_is_the_box_itself() -> None:
    rois = finder(LandmarkerSettings(boxes=4))._rois(Box(0, 0, 100, 80))
    plain = Roi.around(Box(0, 0, 100, 80))
    assert (rois[0].center_x, rois[0].center_y, rois[0].side) == (plain.center_x, plain.center_y, plain.side)
    assert all(abs(roi.side / plain.side - 1) <= 0.06 for roi in rois)
    assert ROI_SIZE == 160


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="RGB"):
        finder().locate(np.zeros((10, 10), dtype=np.uint8), [])
    with pytest.raises(InvalidInputError, match="landmark model"):
        Landmarker.load("dlib")
    with pytest.raises(InvalidInputError, match="boxes"):
        LandmarkerSettings(boxes=0)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda"):
            Landmarker.load(device="cuda")


def test_on_a_cpu_godp_looks_at_one_face_after_the_other() -> None:
    """Sixteen at once are no faster, and a crowd's score maps would take 240 MB more."""
    assert Landmarker.load("godp", "cpu", LandmarkerSettings(boxes=2)).settings == LandmarkerSettings(boxes=2, batch=1)
