import numpy as np
import pytest
import torch

from facerec.landmarks import heatmaps, score_maps
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.heatmaps import (
    decode,
    fit_logistic,
    landmark_log_odds,
    peak_log_odds,
    peak_share_log_odds,
)
from facerec.landmarks.score_maps import DecodeSettings


def peaks(places: torch.Tensor, side: int = 80, sigma: float = 1.0) -> torch.Tensor:
    """Log-odds maps (1, L, side, side) with a Gaussian peak at each place (L, 2)."""
    yy, xx = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance2 = (xx - places[:, 0, None, None]) ** 2 + (yy - places[:, 1, None, None]) ** 2
    return (8 - distance2 / (2 * sigma**2)).clamp_min(-12)[None]


PLACES = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * 60 + 10


@pytest.mark.parametrize(("method", "most"), [("argmax", 0.71), ("quadratic", 0.01), ("local", 0.02)])
def test_places_are_found_to_the_methods_accuracy(method: str, most: float) -> None:
    found = decode(peaks(PLACES), DecodeSettings(method=method))[0]  # type: ignore[arg-type]
    assert float((found - PLACES).norm(dim=1).max()) <= most


def test_reading_between_pixels_beats_whole_pixels() -> None:
    maps = peaks(PLACES) + torch.randn(1, 30, 80, 80, generator=torch.Generator().manual_seed(1)) * 0.1
    errors = {
        method: float((decode(maps, DecodeSettings(method=method))[0] - PLACES).norm(dim=1).mean())
        for method in ("argmax", "quadratic", "local")
    }
    assert max(errors["quadratic"], errors["local"]) < errors["argmax"] / 2


@pytest.mark.parametrize("method", ["argmax", "quadratic", "local"])
def test_peaks_at_the_border_stay_finite_and_inside(method: str) -> None:
    corners = torch.tensor([[0.0, 0.0], [79.0, 0.0], [0.0, 79.0], [79.0, 79.0]])
    found = decode(peaks(corners), DecodeSettings(method=method))[0]  # type: ignore[arg-type]
    assert bool(torch.isfinite(found).all())
    assert float((found - corners).abs().max()) <= 1.0


def test_a_flat_map_is_read_without_failing() -> None:
    for method in ("argmax", "quadratic", "local"):
        found = decode(torch.zeros(1, 2, 20, 20), DecodeSettings(method=method))
        assert bool(torch.isfinite(found).all())


def test_the_yaw_maps_are_summed_as_probabilities() -> None:
    scores = torch.randn(2, 3 * 5 + 1, 6, 6, generator=torch.Generator().manual_seed(0))
    p = scores.softmax(dim=1)
    summed = p[:, :-1].reshape(2, 3, 5, 6, 6).sum(dim=1) / p[:, -1:]
    assert torch.allclose(landmark_log_odds(scores, 5), summed.log(), atol=1e-5)
    with pytest.raises(InvalidInputError, match=r"K \* 4 \+ 1"):
        landmark_log_odds(scores, 4)


def test_evidence_grows_with_the_peak_and_not_with_its_place_between_pixels() -> None:
    places = torch.tensor([[40.0, 40.0], [40.5, 40.5], [40.0, 40.0]])
    maps = peaks(places)
    maps[0, 2] -= 3
    evidence = peak_log_odds(maps, places[None])[0]
    assert abs(float(evidence[0] - evidence[1])) < 0.1
    assert float(evidence[0] - evidence[2]) == pytest.approx(3, abs=1e-3)


def test_a_rival_peak_lowers_the_share() -> None:
    places = torch.tensor([[30.0, 30.0], [30.0, 30.0]])
    maps = peaks(places)
    maps[0, 1] = torch.maximum(maps[0, 1], peaks(torch.tensor([[60.0, 60.0]]))[0, 0])
    share = peak_share_log_odds(maps, places[None])[0]
    assert float(share[0]) > 3 > 0.5 > abs(float(share[1]))


def test_the_logistic_fit_recovers_its_own_curve() -> None:
    x = torch.randn(20000, generator=torch.Generator().manual_seed(0)) * 3 + 2
    truth = torch.rand(20000, generator=torch.Generator().manual_seed(1)) < torch.sigmoid(1.5 * x - 2)
    fitted = fit_logistic(x, truth)
    assert fitted.slope == pytest.approx(1.5, abs=0.1)
    assert fitted.offset == pytest.approx(-2, abs=0.15)
    assert float(fitted(np.array(10.0))) > 0.99


def test_separable_evidence_gives_a_finite_steep_curve() -> None:
    x = torch.tensor([-2.0, -1.0, 1.0, 2.0])
    fitted = fit_logistic(x, x > 0)
    assert 0 < fitted.slope < 1e3


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="true and false"):
        fit_logistic(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(InvalidInputError, match="radius"):
        DecodeSettings(radius=0)


@pytest.mark.parametrize("method", ["argmax", "quadratic", "local"])
def test_maps_are_read_alike_in_use_and_in_training(method: str) -> None:
    """Peaks in the middle, at the border and in a corner; flat maps; two yaw ranges."""
    generator = torch.Generator().manual_seed(3)
    scores = 4 * torch.randn(1, 2 * 30 + 1, 40, 40, generator=generator)
    scores[0, 0, 0, 0] = scores[0, 1, 39, 17] = scores[0, 2, 5, 39] = 40.0
    scores[0, 3], scores[0, 33] = 1.0, 1.0
    odds = landmark_log_odds(scores, 30)
    mine = score_maps.landmark_log_odds(scores[0].numpy(), 30)
    np.testing.assert_allclose(mine, odds[0], atol=1e-5)
    settings = DecodeSettings(method=method)  # type: ignore[arg-type]
    places = decode(odds, settings)
    np.testing.assert_allclose(score_maps.decode(odds[0].numpy(), settings), places[0], atol=1e-4)
    for name in ("peak_log_odds", "peak_share_log_odds"):
        theirs = getattr(heatmaps, name)(odds, places)[0]
        np.testing.assert_allclose(getattr(score_maps, name)(odds[0].numpy(), places[0].numpy()), theirs, atol=2e-3)
