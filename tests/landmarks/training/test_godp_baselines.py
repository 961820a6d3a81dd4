from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facerec.cli.train_godp import LOSS_NAMES
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Godp, normalize_roi
from facerec.landmarks.godp_graph import Architecture, GodpSettings, godp_graph
from facerec.landmarks.heatmaps import Targets
from facerec.landmarks.training.dsl import LOSSES, PUBLISHED_STAGES
from facerec.landmarks.training.godp import TrainSettings, train_godp
from facerec.landmarks.training.godp_baselines import (
    CoordinateLossSettings,
    Coordinates,
    Maps,
    build_network,
    coordinate_loss,
    places_of,
)
from facerec.landmarks.training.godp_errors import forward, located, pack_errors, shrunk_rois
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.resume import TrainingRun

TINY = GodpSettings(width=0.03)
CPU = torch.device("cpu")


def rois(n: int = 2) -> torch.Tensor:
    return normalize_roi(
        torch.randint(0, 256, (n, 160, 160), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    )


def targets(points: torch.Tensor, visible: torch.Tensor, annotated: torch.Tensor | None = None) -> Targets:
    known = torch.ones_like(visible) if annotated is None else annotated
    return Targets(points, known, visible, torch.zeros(len(points), dtype=torch.long))


@pytest.mark.parametrize("architecture", ["deconvnet", "hourglass", "coordinates"])
def test_every_baseline_answers_with_a_place_for_each_landmark(architecture: Architecture) -> None:
    network = build_network(replace(TINY, architecture=architecture), 0).eval()
    with torch.no_grad():
        outputs = network(rois())
    if isinstance(outputs, Maps):
        assert outputs.scores.shape == (2, 69, 80, 80)
    assert located(outputs, 68).shape == (2, 68, 2)


def test_an_hourglass_is_a_deconvnet_with_three_hyperlinks() -> None:
    plain, linked = (build_network(replace(TINY, architecture=one), 0).eval() for one in ("deconvnet", "hourglass"))
    assert plain.state_dict().keys() == linked.state_dict().keys()
    for network in (plain, linked):
        assert isinstance(network.g8, nn.Module)
        network.g8.register_forward_pre_hook(lambda _, inputs: network_inputs.append(inputs[0]))
    network_inputs: list[torch.Tensor] = []
    with torch.no_grad():
        plain(rois()), linked(rois())
        assert not torch.equal(*network_inputs)
        network_inputs.clear()
        linked.hyperlinks = ()
        plain(rois()), linked(rois())
    # Without its links it is the other network, weight for weight.
    assert torch.equal(*network_inputs)


def test_the_backbone_is_the_same_for_all_at_the_same_seed() -> None:
    godp, deconv = (build_network(replace(TINY, architecture=one), 3) for one in ("godp", "deconvnet"))
    for name in ("g1.0.conv.weight", "g6.2.conv.weight", "g10.1.conv.weight"):
        assert torch.equal(godp.state_dict()[name], deconv.state_dict()[name])


@pytest.mark.parametrize("architecture", ["deconvnet", "hourglass", "coordinates"])
def test_baselines_train_by_the_same_trainer(
    tmp_path: Path, make_pack: Callable[..., LandmarkPack], architecture: Architecture
) -> None:
    settings = TrainSettings(replace(TINY, architecture=architecture), samples=40, batch=4, losses="sl-a")
    losses: list[float] = []
    network = train_godp(
        [(make_pack(4), 1.0)],
        settings,
        TrainingRun(tmp_path),
        on_progress=lambda p: losses.append(float(sum(p.losses.values()))),
    )
    assert sum(losses[-3:]) < sum(losses[:3])
    assert pack_errors(network, make_pack(2), device=CPU)["drawn"]["n"] == 2


def test_places_of_coordinates_are_where_they_were_placed() -> None:
    points = torch.tensor([[[0.0, 159.0], [79.5, 79.5]]])
    exact = Coordinates((points - 79.5) / 160, torch.zeros(1, 2))
    assert torch.allclose(places_of(exact), points)
    visible = torch.ones(1, 2, dtype=torch.bool)
    assert coordinate_loss(exact, targets(points, visible), "all")["points"] == pytest.approx(0.0, abs=1e-9)


def test_points_that_are_not_asked_for_count_for_nothing_in_the_regressor() -> None:
    points = torch.full((1, 3, 2), 40.0)
    found = Coordinates(torch.zeros(1, 3, 2), torch.zeros(1, 3))
    visible = torch.tensor([[True, False, False]])
    annotated = torch.tensor([[True, True, False]])
    both = targets(points, visible, annotated)
    weights = CoordinateLossSettings(points=2.0, visible=3.0)
    one = 2 * ((39.5 / 160) ** 2)  # squared distance of one point
    seen, everything = (coordinate_loss(found, both, which, weights) for which in ("visible", "all"))
    assert seen["points"] == pytest.approx(2.0 * one / 2)
    assert everything["points"] == pytest.approx(2.0 * one / 2)
    moved = Targets(points + torch.tensor([[[0.0], [10.0], [99.0]]]), annotated, visible, both.yaw_bin)
    assert coordinate_loss(found, moved, "visible", weights)["points"] == pytest.approx(2.0 * one / 2)
    assert coordinate_loss(found, moved, "all", weights)["points"] != pytest.approx(2.0 * one / 2)
    assert everything["visibility"] == pytest.approx(3.0 * 0.6931, abs=1e-3)


def test_minus_dsl_takes_the_distance_out_and_nothing_else() -> None:
    stages, without = LOSSES["godp-a"], LOSSES["godp-a-dsl"]
    for stage, plain in zip(stages, without, strict=True):
        for name in ("initial", "proposal_1", "refinement_1", "proposal_2", "refinement_2"):
            one, other = getattr(stage, name), getattr(plain, name)
            if one is None:
                assert other is None
                continue
            assert not other.distance_aware
            assert (one.far, one.near, one.alpha, one.points) == (other.far, other.near, other.alpha, other.points)
            assert other.beta == (one.beta if not one.distance_aware else {0.6: 0.1, 1.0: 0.3}[one.beta])
    last = LOSSES["p-dsl"][-1]
    assert last.refinement_2 is not None
    assert (last.proposal_2.distance_aware, last.refinement_2.distance_aware) == (True, False)
    assert LOSSES["r-dsl"][-1].proposal_1 == LOSSES["godp-a-dsl"][-1].proposal_1


def test_without_a_only_visible_points_are_trained_on() -> None:
    for name, stages in LOSSES.items():
        last = stages[-1]
        assert last.refinement_2 is not None
        hidden = name in ("godp-a", "godp-a-dsl", "p-dsl", "r-dsl", "sl-a")
        assert last.refinement_2.points == ("all" if hidden else "visible")
    assert LOSSES["godp"] == PUBLISHED_STAGES


def test_the_command_line_names_every_loss() -> None:
    assert set(LOSS_NAMES) == set(LOSSES)


def test_the_error_for_a_wrong_network_or_loss_names_what_was_expected() -> None:
    with pytest.raises(InvalidInputError, match="expected losses"):
        TrainSettings(losses="hinge")
    with pytest.raises(InvalidInputError, match="expected the architecture godp"):
        Godp(replace(TINY, architecture="hourglass"))
    with pytest.raises(InvalidInputError, match="one yaw range"):
        build_network(GodpSettings(width=0.03, yaw_bins=2, yaw_edges=(0.0,), architecture="coordinates"), 0)


@pytest.mark.parametrize("architecture", ["godp", "hourglass", "coordinates"])
def test_a_network_of_small_faces_answers_in_pixels_of_the_roi(architecture: Architecture) -> None:
    settings = replace(TINY, architecture=architecture, side=64)
    large = np.zeros((1, 160, 160), np.uint8)
    large[0, 60:65, 100:105] = 255
    shrunk = shrunk_rois(large, 64)
    assert shrunk.shape == (1, 64, 64)
    assert shrunk[0].sum() == pytest.approx(255 * 25 / 2.5**2, rel=0.02)  # each pixel the mean of what it covers
    network = build_network(settings, 0).eval()
    with torch.no_grad():
        (outputs,) = forward(network, large, CPU)
    assert located(outputs, 68).shape == (1, 68, 2)
    if isinstance(outputs, Maps):
        assert outputs.scores.shape == (1, 69, 32, 32)
        # A map with one high pixel: its centre, in pixels of the ROI.
        scores = torch.full((1, 69, 32, 32), -20.0)
        scores[0, :68, 12, 20] = 20.0
        assert located(Maps(scores), 68)[0, 0].tolist() == pytest.approx([20 * 5 + 2, 12 * 5 + 2])


def test_only_sides_of_which_every_map_has_whole_pixels_of_the_roi() -> None:
    for side in (0, 50, 96, 128, 192):
        with pytest.raises(InvalidInputError, match="input side"):
            replace(TINY, side=side)
    with pytest.raises(InvalidInputError, match="side of 160"):
        godp_graph({}, replace(TINY, side=64))
