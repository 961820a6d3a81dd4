import pytest
import torch

from facerec.evaluation.score_maps import mean_probabilities
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.heatmaps import Targets


def targets(places: list[list[float]], visible: list[bool], annotated: list[bool]) -> Targets:
    """Of one picture; places in px of a map of 80 px."""
    points = torch.tensor([places]) * 2 + 0.5
    return Targets(points, torch.tensor([annotated]), torch.tensor([visible]), torch.zeros(1, dtype=torch.long))


def slow(scores: torch.Tensor, places: list[list[int]], channels: list[int]) -> tuple[float, float]:
    near: list[float] = []
    far: list[float] = []
    for y in range(80):
        for x in range(80):
            row = torch.tensor([scores[0, c, y, x] for c in channels])
            keypoint = 1 - float(row.softmax(0)[-1])
            close = any(abs(x - a) <= 1 and abs(y - b) <= 1 for a, b in places)
            (near if close else far).append(keypoint)
    return sum(near) / len(near), sum(far) / len(far)


def test_candidates_are_the_nine_pixels_around_visible_keypoints() -> None:
    scores = torch.randn(1, 4, 80, 80, generator=torch.Generator().manual_seed(0))
    # One point at the corner of the map, one hidden, one not annotated: the last one's channel is not in the softmax.
    found = mean_probabilities(scores, targets([[0, 0], [40, 50], [10, 10]], [True, False, False], [True, True, False]))
    expected = slow(scores, [[0, 0]], [0, 1, 3])
    assert found[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_clear_maps_have_one_and_nought() -> None:
    scores = torch.full((1, 2, 80, 80), -20.0)
    scores[:, 1] = 0.0
    scores[0, 0, 29:32, 19:22] = 20.0
    mpk, mpb = mean_probabilities(scores, targets([[20, 30]], [True], [True]))[0].tolist()
    assert mpk == pytest.approx(1, abs=1e-6)
    assert mpb == pytest.approx(0, abs=1e-6)


def test_scores_of_other_landmarks_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="expected scores"):
        mean_probabilities(torch.zeros(1, 4, 80, 80), targets([[1, 1], [2, 2]], [True, True], [True, True]))
