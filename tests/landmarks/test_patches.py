import pytest
import torch

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.patches import image_gradient, patches, pixel_differences, sample

SIDE = 40


def smooth(seed: int = 0) -> torch.Tensor:
    """(2, 40, 40) float64 pictures of slow waves."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIDE).double(), torch.arange(SIDE).double(), indexing="ij")
    pictures = []
    for _ in range(2):
        a, b, c = torch.rand(3, generator=generator, dtype=torch.float64) * 0.05 + 0.03
        pictures.append(torch.sin(a * x + 0.3) * torch.cos(b * y) + torch.sin(c * (x + y)))
    return torch.stack(pictures)


def ramp(dx: float, dy: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE).double(), torch.arange(SIDE).double(), indexing="ij")
    return (dx * x + dy * y)[None]


def some_places(count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((2, count, 2), generator=generator, dtype=torch.float64) * 18 + 11


def test_a_place_on_a_pixel_reads_that_pixel_and_one_between_reads_their_mean() -> None:
    picture = torch.arange(16.0).reshape(1, 4, 4)
    read = sample(picture, torch.tensor([[[1.0, 2.0], [1.5, 2.0], [1.0, 1.5]]]))
    assert torch.allclose(read, torch.tensor([[9.0, 9.5, 7.0]]))


def test_outside_the_picture_its_border_repeats() -> None:
    picture = torch.arange(16.0).reshape(1, 4, 4)
    assert torch.allclose(sample(picture, torch.tensor([[[-5.0, 0.0], [9.0, 9.0]]])), torch.tensor([[0.0, 15.0]]))


def test_a_patch_is_the_picture_cut_at_every_pixel_distance() -> None:
    picture = torch.rand(1, SIDE, SIDE)
    (cut,) = patches(picture, torch.tensor([[[19.5, 15.5]]]), size=30)[0]
    assert torch.allclose(cut, picture[0, 1:31, 5:35], atol=1e-5)


def test_the_derivative_by_the_place_is_the_image_gradient_there() -> None:
    """Eqs. 17 and 21: dJ/dp = sum over the patch of dJ/dX grad X(p + d); the gradient of a ramp is known."""
    picture = ramp(0.7, -0.3)
    point = torch.tensor([[[20.0, 18.0]]], dtype=torch.float64, requires_grad=True)
    weight = torch.rand(30, 30, dtype=torch.float64)
    torch.autograd.backward((patches(picture, point)[0, 0] * weight).sum())
    gradient = image_gradient(picture)[0, :, 18, 20]
    assert torch.allclose(gradient, torch.tensor([0.7, -0.3], dtype=torch.float64))
    assert point.grad is not None
    assert torch.allclose(point.grad[0, 0], weight.sum() * gradient)


def test_autograd_through_patches_agrees_with_the_sobel_gradient_on_smooth_pictures() -> None:
    """Eqs. 17 and 21 with the paper's Sobel gradient, read at the places of the patch."""
    pictures, points = smooth(), some_places(5).requires_grad_(True)
    weight = torch.rand((2, 5, 14, 14), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.autograd.backward((patches(pictures, points, 14) * weight).sum())
    sobel = image_gradient(pictures)
    by_hand = torch.stack(
        [(patches(sobel[:, axis], points.detach(), 14) * weight).sum(dim=(2, 3)) for axis in (0, 1)], dim=2
    )
    assert points.grad is not None
    assert (points.grad - by_hand).norm() < 0.02 * by_hand.norm()


def test_the_derivative_of_a_pixel_difference_is_the_difference_of_gradients() -> None:
    """Eqs. 18 and 19, read half-way between pixels, where the bilinear surface's own derivative is a central one."""
    pictures, points = smooth(), some_places(4).round().requires_grad_(True)
    first = torch.tensor([[2.5, -1.5]] * 4, dtype=torch.float64)
    second = torch.tensor([[-3.5, 2.5]] * 4, dtype=torch.float64)
    weight = torch.rand((2, 4), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.autograd.backward((pixel_differences(pictures, points, first, second) * weight).sum())
    sobel, at = image_gradient(pictures), points.detach()
    by_hand = torch.stack(
        [weight * (sample(sobel[:, axis], at + first) - sample(sobel[:, axis], at + second)) for axis in (0, 1)], dim=2
    )
    assert points.grad is not None
    assert (points.grad - by_hand).norm() < 0.03 * by_hand.norm()


def test_the_derivative_by_the_picture_is_a_pulse_at_each_of_the_two_pixels() -> None:
    """Eqs. 20 and 22: 1 at p + d1, -1 at p + d2, nothing elsewhere."""
    picture = torch.zeros(1, SIDE, SIDE, requires_grad=True)
    first, second = torch.tensor([[3.0, 1.0]]), torch.tensor([[-2.0, 4.0]])
    torch.autograd.backward(pixel_differences(picture, torch.tensor([[[20.0, 10.0]]]), first, second).sum())
    expected = torch.zeros(1, SIDE, SIDE)
    expected[0, 11, 23], expected[0, 14, 18] = 1.0, -1.0
    assert picture.grad is not None
    assert torch.allclose(picture.grad, expected, atol=1e-4)


def test_autograd_agrees_with_finite_differences() -> None:
    pictures = smooth().requires_grad_(True)
    points = some_places(3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x, p: patches(x, p, 4), (pictures, points), eps=1e-5, atol=1e-4)


def test_places_of_another_form_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="places"):
        sample(torch.zeros(2, 4, 4), torch.zeros(3, 1, 2))
