import math
from dataclasses import replace
from typing import Literal

import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.heatmaps import Targets
from facerec.landmarks.training.dsl import (
    FAST_STAGES,
    GODP_A_STAGES,
    NEAR_PX,
    PUBLISHED_STAGES,
    LossSettings,
    SpatialSettings,
    distance_aware_softmax_loss,
    spatial_loss,
)

EVERY_PIXEL = LossSettings(far=1.0, near=1.0, alpha=3.0, beta=0.6, distance_aware=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_targets(yaw_bins: int = 1) -> Targets:
    """Two pictures, four landmarks: visible ones, hidden ones, ones that are not annotated."""
    annotated = torch.tensor([[True, True, False, True], [True, False, True, True]])
    visible = torch.tensor([[True, True, False, False], [True, False, False, True]])
    points = torch.rand(2, 4, 2, generator=generator(3)) * 150 + 5
    return Targets(points, annotated, visible, torch.arange(2) % yaw_bins)


def some_scores(n: int = 2, count: int = 4, side: int = 20, yaw_bins: int = 1) -> torch.Tensor:
    return torch.randn(n, count * yaw_bins + 1, side, side, generator=generator(4)).requires_grad_()


def by_hand(scores: torch.Tensor, targets: Targets, settings: LossSettings) -> float:
    """Eq. 7 pixel by pixel, every background pixel sampled."""
    n, channels, side, _ = scores.shape
    count = targets.points.shape[1]
    places = targets.on_map(160 // side)
    counted = targets.counted(settings.points)
    total, keys = 0.0, 0
    for i in range(n):
        allowed = [bool(targets.annotated[i, c % count]) for c in range(channels - 1)] + [True]
        key_pixels = set()
        for k in range(count):
            if counted[i, k]:
                x, y = (int(v) for v in places[i, k].round())
                key_pixels.add((x, y))
                p = scores[i, :, y, x][torch.tensor(allowed)].softmax(0)
                own = int(targets.yaw_bin[i]) * count + k
                total -= settings.alpha * math.log(float(p[sum(allowed[:own])]))
                keys += 1
        for y in range(side):
            for x in range(side):
                if (x, y) in key_pixels:
                    continue
                logits = scores[i, :, y, x].clone()
                logits[~torch.tensor(allowed)] = -torch.inf
                p = logits.softmax(0)
                top = int(p[:-1].argmax()) % count
                weight = settings.beta
                if settings.distance_aware and counted[i, top]:
                    weight *= math.log10(math.dist((x, y), places[i, top].tolist()) + 1)
                total -= weight * math.log(float(p[-1]))
    return total / keys


@pytest.mark.parametrize("points", ["visible", "all"])
@pytest.mark.parametrize("distance_aware", [True, False])
@pytest.mark.parametrize("yaw_bins", [1, 2])
def test_the_loss_is_equation_7(points: Literal["visible", "all"], distance_aware: bool, yaw_bins: int) -> None:
    settings = replace(EVERY_PIXEL, points=points, distance_aware=distance_aware)
    scores, targets = some_scores(yaw_bins=yaw_bins).detach(), some_targets(yaw_bins=yaw_bins)
    loss = distance_aware_softmax_loss(scores, targets, settings, generator())
    assert float(loss) == pytest.approx(by_hand(scores, targets, settings), rel=1e-4)


def test_points_that_are_not_annotated_are_not_trained_on() -> None:
    scores, targets = some_scores(), some_targets()
    loss = distance_aware_softmax_loss(scores, targets, EVERY_PIXEL, generator())
    loss = loss + spatial_loss(scores, targets, SpatialSettings())
    (gradient,) = torch.autograd.grad(loss, scores)
    per_channel = gradient.abs().sum(dim=(2, 3))[:, :-1]
    assert bool((per_channel[~targets.annotated] == 0).all())
    assert bool((per_channel[targets.annotated] > 0).all())


def test_hidden_points_are_background_to_the_visible_only_loss() -> None:
    targets = some_targets()
    hidden = targets.annotated & ~targets.visible
    picture, landmark = (int(v[0]) for v in hidden.nonzero(as_tuple=True))
    x, y = (int(v) for v in targets.on_map(8)[picture, landmark].round())
    signs = []
    for points in ("visible", "all"):
        scores = torch.zeros(2, 5, 20, 20, requires_grad=True)
        settings = replace(EVERY_PIXEL, points=points)
        (gradient,) = torch.autograd.grad(distance_aware_softmax_loss(scores, targets, settings, generator()), scores)
        signs.append(float(gradient[picture, landmark, y, x]))
    assert signs[0] > 0 > signs[1]


def test_a_far_false_alarm_costs_more_than_a_near_one() -> None:
    targets = Targets(
        torch.tensor([[[83.5, 83.5]]]), torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
    )  # fmt: skip
    cost = []
    for x in (11, 18):
        scores = torch.zeros(1, 2, 20, 20)
        scores[0, 1] = 20
        scores[0, 0, 10, 10] = 40
        scores[0, 0, 10, x] = 40
        cost.append(float(distance_aware_softmax_loss(scores, targets, EVERY_PIXEL, generator())))
    assert cost[1] == pytest.approx(cost[0] * math.log10(9) / math.log10(2), rel=1e-3)


def test_the_mask_samples_near_and_far_background_at_their_ratios() -> None:
    n, side = 40, 80
    annotated = torch.ones(n, 1, dtype=torch.bool)
    targets = Targets(torch.full((n, 1, 2), 80.5), annotated, annotated, torch.zeros(n, dtype=torch.int64))
    scores = torch.zeros(n, 2, side, side, requires_grad=True)
    settings = LossSettings(far=0.05, near=0.5, alpha=1.0, beta=1.0)
    (gradient,) = torch.autograd.grad(distance_aware_softmax_loss(scores, targets, settings, generator()), scores)
    touched = (gradient[:, 1] < 0).float().mean(dim=0)
    yy, xx = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = ((xx - 40) ** 2 + (yy - 40) ** 2).float().sqrt()
    near = (distance <= NEAR_PX) & (distance > 0)
    assert float(touched[near].mean()) == pytest.approx(0.5, abs=0.06)
    assert float(touched[distance > NEAR_PX].mean()) == pytest.approx(0.05, abs=0.005)
    assert float(touched[40, 40]) == 0.0  # the key-point itself pulls background down, in every picture
    assert bool((gradient[:, 1, 40, 40] > 0).all())


def test_the_background_sample_follows_the_generator() -> None:
    scores, targets = some_scores(side=40).detach(), some_targets()
    settings = LossSettings(far=0.01, near=0.1, alpha=1, beta=1)
    losses = [float(distance_aware_softmax_loss(scores, targets, settings, generator(s))) for s in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


def test_points_outside_the_map_are_no_key_points() -> None:
    targets = some_targets()
    away = Targets(targets.points.clone(), targets.annotated, targets.visible, targets.yaw_bin)
    away.points[:] = -50.0
    scores = some_scores().detach()
    nothing = LossSettings(far=0.0, near=0.0, alpha=1.0, beta=1.0)
    assert float(distance_aware_softmax_loss(scores, away, nothing, generator())) == 0.0
    assert float(spatial_loss(scores, away, SpatialSettings())) == 0.0


def test_the_stages_are_the_papers_tables() -> None:
    first, second, third = PUBLISHED_STAGES
    assert first.refinement_1 is None
    assert first.refinement_2 is None
    for stage in PUBLISHED_STAGES:
        assert stage.initial == LossSettings(0.005, 0.1, 1, 0.2)
    assert second.proposal_1 == second.proposal_2 == LossSettings(0.001, 0.2, 3, 0.1)
    assert third.proposal_1 == third.proposal_2 == LossSettings(0.001, 0.15, 3, 0.6, distance_aware=True)
    assert second.refinement_2 == LossSettings(0.01, 0.05, 1, 0.3)
    assert third.refinement_2 == LossSettings(0.01, 0.05, 1.5, 1, distance_aware=True)
    last = GODP_A_STAGES[-1]
    assert last.refinement_1 is not None
    assert last.refinement_2 is not None
    assert (last.refinement_1.points, last.refinement_2.points, last.proposal_2.points) == ("all", "all", "visible")
    assert sum(stage.share for stage in FAST_STAGES) == pytest.approx(1)


@pytest.mark.parametrize("yaw_bins", [1, 2])
def test_the_spatial_loss_is_the_cross_entropy_over_the_map(yaw_bins: int) -> None:
    scores, targets = some_scores(yaw_bins=yaw_bins), some_targets(yaw_bins=yaw_bins)
    settings = SpatialSettings(sigma=1.0)
    places = targets.on_map(8)
    yy, xx = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    losses = []
    for i, k in targets.annotated.nonzero().tolist():
        x, y = places[i, k]
        weight = torch.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 2)
        weight = weight * ((xx - x.round()).abs() <= 3) * ((yy - y.round()).abs() <= 3)
        odds = scores[i, int(targets.yaw_bin[i]) * 4 + k] - scores[i, -1]
        losses.append(-(weight / weight.sum() * odds.flatten().log_softmax(0).view(20, 20)).sum())
    expected = torch.stack(losses).mean()
    loss = spatial_loss(scores, targets, settings)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    (mine,) = torch.autograd.grad(loss, scores)
    (theirs,) = torch.autograd.grad(expected, scores)
    assert torch.allclose(mine, theirs, atol=1e-7)


def test_wrong_input_is_refused() -> None:
    targets = some_targets()
    with pytest.raises(InvalidInputError, match="divides 160"):
        distance_aware_softmax_loss(torch.zeros(2, 5, 33, 33), targets, EVERY_PIXEL, generator())
    with pytest.raises(InvalidInputError, match=r"K \* 4 \+ 1"):
        distance_aware_softmax_loss(torch.zeros(2, 7, 20, 20), targets, EVERY_PIXEL, generator())
    with pytest.raises(InvalidInputError, match="NaN"):
        replace(targets, points=torch.full((2, 4, 2), torch.nan))
    with pytest.raises(InvalidInputError, match="sampling ratios"):
        LossSettings(far=1.5, near=0, alpha=1, beta=1)
