from dataclasses import replace

import numpy as np
import pytest
import torch

from facerec.landmarks.dssd import HALF_PATCH, Dssd, DssdSettings, LargestOfFour, nearest_landmarks
from facerec.landmarks.errors import InvalidInputError

MEAN = np.array([[0.3, 0.3], [0.35, 0.3], [0.7, 0.3], [0.5, 0.5], [0.5, 0.8], [0.4, 0.75]], dtype=np.float32)
SETTINGS = DssdSettings(landmarks=6, filters=4, features=5, neighbours=3, latent=4, correction=8)


def network(settings: DssdSettings = SETTINGS) -> Dssd:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Dssd(settings, MEAN)
    rng = np.random.default_rng(0)
    if settings.detectors == "sharable":
        made.set_detectors(rng.standard_normal((settings.width, 4)), rng.standard_normal((4, 12)))
    return made.eval()


def crops(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = torch.from_numpy(MEAN) + 0.02 * torch.randn((count, 6, 2), generator=generator)
    return torch.randn((count, 100, 100), generator=generator), shape


def test_a_landmark_is_its_own_nearest_neighbour() -> None:
    near = nearest_landmarks(MEAN, 3)
    assert near[:, 0].tolist() == list(range(6))
    assert near[0].tolist() == [0, 1, 3]
    assert near[4].tolist() == [4, 5, 3]


@pytest.mark.parametrize("side", [26, 9])
def test_pooling_by_slices_is_max_pooling(side: int) -> None:
    x = torch.randn((3, 4, side, side), generator=torch.Generator().manual_seed(0), requires_grad=True)
    pooled, twin = LargestOfFour()(x), torch.nn.functional.max_pool2d(x, 2)
    assert torch.equal(pooled, twin)
    weight = torch.arange(pooled.numel()).reshape(pooled.shape).float()
    slopes = [torch.autograd.grad((found * weight).sum(), x)[0] for found in (pooled, twin)]
    assert torch.equal(*slopes)


def test_weights_begin_within_the_papers_bounds() -> None:
    """Eq. 23: uniform up to sqrt(6 / (inputs + outputs)), counted by hand, and biases of zero."""
    torch.manual_seed(0)
    net = Dssd(DssdSettings(), np.random.default_rng(0).uniform(0.2, 0.8, (68, 2)).astype(np.float32))
    first, second = net.convolutions[0], net.convolutions[3]
    widest = net.describe[3]
    for layer, inputs, outputs in ((first, 25, 400), (second, 400, 400), (widest, 256, 512), (net.reweight, 100, 100)):
        bound = (6 / (inputs + outputs)) ** 0.5
        assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
        weight = layer.weight.detach()
        largest, spread = float(weight.abs().max()), float(weight.std())
        assert 0.97 * bound < largest <= bound
        assert abs(spread - bound / 3**0.5) < 0.06 * bound
        assert layer.bias is not None
        assert torch.count_nonzero(layer.bias) == 0


def test_structural_features_re_weigh_those_of_the_neighbours() -> None:
    """Eq. 3 by hand: tanh(H2 [f of the landmark and its neighbours])."""
    net, (pictures, shape) = network(), crops()
    phi = net.features(pictures, shape)
    assert phi.shape == (2, 6, 15)
    plain = Dssd(DssdSettings(landmarks=6, filters=4, features=5, detectors="plain"), MEAN).eval()
    plain.convolutions.load_state_dict(net.convolutions.state_dict())
    plain.describe.load_state_dict(net.describe.state_dict())
    own = plain.features(pictures, shape)
    for landmark, near in enumerate(nearest_landmarks(MEAN, 3)):
        together = torch.cat([own[:, k] for k in near], dim=1)
        assert torch.allclose(phi[:, landmark], torch.tanh(net.reweight(together)), atol=1e-5)


def test_patches_are_described_alike_at_once_and_in_portions() -> None:
    """With a gradient all go through the convolutions together, without one a few at a time."""
    net, (pictures, shape) = network(), crops(7)  # 42 patches, more than a portion
    at_once = net.features(pictures, shape)
    with torch.no_grad():
        assert torch.allclose(net.features(pictures, shape), at_once, atol=1e-6)


def test_each_coordinate_has_the_detector_p_c() -> None:
    """Eqs. 4 and 5 column by column, and displacements in half patches."""
    net, (pictures, shape) = network(), crops()
    step = net(pictures, shape)
    for landmark in range(6):
        for axis in range(2):
            detector = net.basis @ net.weights[:, 2 * landmark + axis]
            assert torch.allclose(step.local[:, landmark, axis], step.features[:, landmark] @ detector, atol=1e-4)
    with torch.no_grad():
        for layer in net.correct:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()
    step = net(pictures, shape)
    assert torch.allclose(step.shape, shape + step.local * HALF_PATCH / 100, atol=1e-6)


def test_p_and_c_are_found_where_the_detectors_are_shared_and_only_there() -> None:
    net = network()
    assert [tuple(part.shape) for part in net.detectors()] == [tuple(net.basis.shape), tuple(net.weights.shape)]
    assert {"basis", "weights", "neighbours", "mean"} <= set(net.state_dict())
    assert network(replace(SETTINGS, detectors="plain")).detectors() == []


def test_the_whole_shape_corrects_each_landmark() -> None:
    """Q: where one landmark's detector is moved, others move too."""
    net, (pictures, shape) = network(), crops()
    with torch.no_grad():
        last = net.correct[2]
        assert isinstance(last, torch.nn.Linear)
        last.weight.mul_(100)
    before = net(pictures, shape)
    with torch.no_grad():
        net.weights[:, 0] += 1.0
    after = net(pictures, shape)
    assert torch.equal(before.local[:, 1:], after.local[:, 1:])
    assert (before.shape[:, 1:] - after.shape[:, 1:]).abs().max() > 1e-4


def test_an_error_reaches_the_shape_the_patches_were_cut_at() -> None:
    """Eq. 17: what joint training of several stages needs."""
    net, (pictures, shape) = network(), crops()
    shape.requires_grad_(True)
    step = net(pictures, shape)
    step.features.sum().backward()
    assert shape.grad is not None
    assert (shape.grad.abs() > 0).all()


def test_one_network_serves_every_scale() -> None:
    net, (pictures, shape) = network(), crops()
    half = torch.nn.functional.avg_pool2d(pictures[:, None], 2)[:, 0]
    assert net(half, shape).shape.shape == (2, 6, 2)


def test_plain_detectors_see_all_features_side_by_side() -> None:
    net = network(DssdSettings(landmarks=6, filters=4, features=5, detectors="plain"))
    assert net.regress.in_features == 30
    pictures, shape = crops()
    step = net(pictures, shape)
    by_hand = net.regress(step.features.flatten(1)).reshape(2, 6, 2)
    assert torch.allclose(step.shape, shape + by_hand * HALF_PATCH / 100, atol=1e-5)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="1 to 6 neighbours"):
        DssdSettings(landmarks=6, neighbours=7)
    with pytest.raises(InvalidInputError, match="detectors"):
        DssdSettings(detectors="other")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="mean shape"):
        Dssd(SETTINGS, MEAN[:5])
