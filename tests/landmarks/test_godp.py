import pytest
import torch
from torch.nn import functional

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import ConvUnit, Godp, double, normalize_roi
from facerec.landmarks.godp_graph import SCORE_STRIDES, GodpSettings

SMALL = GodpSettings(width=0.125)


def out_channels(layer: object) -> int:
    assert isinstance(layer, torch.nn.Conv2d)
    return layer.out_channels


def a_network(settings: GodpSettings = SMALL) -> Godp:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Godp(settings)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # not the identity, so that fusing has something to do
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                torch.nn.init.normal_(module.weight, 1, 0.2)
                torch.nn.init.normal_(module.bias, 0, 0.2)
        return network.eval()


def some_rois(n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 160, 160), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_score_maps_have_the_papers_sizes() -> None:
    with torch.no_grad():
        decisions = a_network()(normalize_roi(some_rois()))
    assert [tuple(scores.shape[1:]) for scores in decisions] == [(69, s, s) for s in (20, 40, 40, 80, 80)]
    assert [160 // scores.shape[-1] for scores in decisions] == list(SCORE_STRIDES)


def test_each_yaw_range_has_its_own_maps() -> None:
    settings = GodpSettings(width=0.125, landmarks=5, yaw_bins=3, yaw_edges=(-30, 30))
    with torch.no_grad():
        assert a_network(settings)(normalize_roi(some_rois(1))).refinement_2.shape[1] == 16


def test_at_full_width_the_groups_have_vggs_channels() -> None:
    with torch.device("meta"):
        network = Godp(GodpSettings(width=1.0))
    groups = [network.g1, network.g2, network.g3, network.g4, network.g5, network.g6, network.g7, network.g8]
    widths = [[out_channels(unit.conv) for unit in group] for group in [*groups, network.g9, network.g10]]
    assert widths[:5] == [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3]
    assert widths[5:] == [[512] * 3, [512] * 3, [512, 512, 256], [256, 256, 128], [128, 64]]


def test_doubling_is_bilinear_interpolation() -> None:
    maps = torch.randn(2, 7, 5, 9, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(double(maps), expected, atol=1e-6)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (mine,) = torch.autograd.grad((double(maps) * weight).sum(), maps)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), maps)
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_fusing_the_normalisation_changes_no_answer() -> None:
    network = a_network()
    x = normalize_roi(some_rois())
    with torch.no_grad():
        before = network(x)
        after = network.fuse()(x)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-3 * float(one.abs().max()))


def test_every_weight_gets_a_gradient() -> None:
    network = a_network().train()
    torch.autograd.backward(torch.stack([s.square().sum() for s in network(normalize_roi(some_rois()))]).sum())
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_unpooling_puts_values_back_where_they_were() -> None:
    x = torch.relu(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    for kind in (torch.float32, torch.bfloat16):
        values = x.to(kind)
        pooled, places = functional.max_pool2d(values, 2, return_indices=True)
        back = functional.max_unpool2d(pooled, places, [2, 2])
        assert torch.equal(torch.where(back > 0, values, 0), back)
        assert torch.equal(functional.max_pool2d(back, 2), pooled)


def test_rois_are_normalised_whatever_the_light() -> None:
    rois = torch.randint(60, 120, (1, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    brighter = rois * 2
    assert torch.allclose(normalize_roi(rois), normalize_roi(brighter), atol=1e-4)
    assert torch.equal(normalize_roi(torch.full((1, 160, 160), 9, dtype=torch.uint8)), torch.zeros(1, 1, 160, 160))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="multiples of 32"):
        a_network()(torch.zeros(1, 1, 150, 150))
    with pytest.raises(InvalidInputError, match="uint8"):
        normalize_roi(torch.zeros(1, 160, 160))
    with pytest.raises(InvalidInputError, match="evaluation mode"):
        a_network().train().fuse()
    with pytest.raises(InvalidInputError, match="2 rising yaw edges"):
        GodpSettings(yaw_bins=3, yaw_edges=(10.0, -10.0))
    assert isinstance(a_network().g1[0], ConvUnit)
