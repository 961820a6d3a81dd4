"""From score maps to points, in torch for training: log-odds maps, arg-max and sub-pixel places; and true places.

`score_maps` reads maps the same way, a picture at a time, where networks are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.score_maps import DecodeSettings, Logistic


def landmark_log_odds(scores: Tensor, landmarks: int) -> Tensor:
    """Log-odds of each landmark against background.

    The K yaw maps of a landmark are summed as probabilities (the paper's element-wise summation), which for log-odds
    is a log-sum-exp.

    Args:
        scores: (N, KL + 1, S, S) logits, background last.
        landmarks: L.

    Returns:
        (N, L, S, S) float32.
    """
    if scores.ndim != 4 or (scores.shape[1] - 1) % landmarks:
        raise InvalidInputError(f"expected scores (N, K * {landmarks} + 1, S, S); got {tuple(scores.shape)}")
    scores = scores.float()
    # Every map in one piece: what follows looks at one landmark's map after the other.
    odds = (scores[:, :-1] - scores[:, -1:]).contiguous()
    n, maps, h, w = odds.shape
    if maps == landmarks:
        return odds
    return torch.logsumexp(odds.reshape(n, maps // landmarks, landmarks, h, w), dim=1)


def highest(maps: Tensor) -> Tensor:
    """(N, L, H, W) -> (N, L, 2) int64: x and y of the highest pixel of each map."""
    width = maps.shape[3]
    flat = maps.flatten(2).argmax(dim=2)
    return torch.stack([flat % width, flat // width], dim=2)


def _window(maps: Tensor, centers: Tensor, radius: int, fill: float) -> Tensor:
    """Square windows (N, L, 2r + 1, 2r + 1) of maps (N, L, H, W) about integer centers (N, L, 2); `fill` outside."""
    _, _, height, width = maps.shape
    offsets = torch.arange(-radius, radius + 1, device=maps.device)
    rows = centers[..., 1, None, None] + offsets[:, None]
    columns = centers[..., 0, None, None] + offsets[None, :]
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    taken = maps.flatten(2).gather(2, index.flatten(2)).reshape(index.shape)
    return taken.masked_fill(outside, fill)


def decode(odds: Tensor, settings: DecodeSettings | None = None) -> Tensor:
    """Places of the landmarks.

    Args:
        odds: (N, L, S, S) log-odds from `landmark_log_odds`.

    Returns:
        (N, L, 2) float32, x and y, map px (the centre of the top-left pixel is (0, 0)).
    """
    settings = settings or DecodeSettings()
    peak = highest(odds)
    places = peak.float()
    if settings.method == "argmax":
        return places
    if settings.method == "local":
        r = settings.radius
        weights = (_window(odds, peak, r, float("-inf")) / settings.temperature).flatten(2).softmax(dim=2)
        weights = weights.reshape(*places.shape[:2], 2 * r + 1, 2 * r + 1)
        offsets = torch.arange(-r, r + 1, device=odds.device, dtype=torch.float32)
        dx = (weights.sum(dim=2) * offsets).sum(dim=2)
        dy = (weights.sum(dim=3) * offsets).sum(dim=2)
        return places + torch.stack([dx, dy], dim=2)
    near = _window(odds, peak, 1, float("nan"))
    middle = near[:, :, 1, 1]

    def vertex(before: Tensor, after: Tensor) -> Tensor:
        bend = before - 2 * middle + after
        shift = (before - after) / (2 * bend)
        # Flat tops and the edge of the map (NaN) have no vertex: stay on the pixel.
        return torch.where(bend < -1e-6, shift, torch.zeros_like(shift)).nan_to_num(0.0).clamp(-0.5, 0.5)

    shift = torch.stack([vertex(near[:, :, 1, 0], near[:, :, 1, 2]), vertex(near[:, :, 0, 1], near[:, :, 2, 1])], dim=2)
    return places + shift


def peak_log_odds(odds: Tensor, places: Tensor, radius: int = 2) -> Tensor:
    """Log of the summed odds in a window of each map around its place: the evidence that the landmark is there.

    Because it sums, it does not depend on how the peak falls between pixels.

    Args:
        odds: (N, L, S, S).
        places: (N, L, 2) map px.

    Returns:
        (N, L) float32.
    """
    size = odds.shape[3]
    centers = places.round().long().clamp(0, size - 1)
    return _window(odds, centers, radius, float("-inf")).flatten(2).logsumexp(dim=2)


def peak_share_log_odds(odds: Tensor, places: Tensor, radius: int = 3) -> Tensor:
    """Log of the ratio of what a map holds around a place to what it holds elsewhere: low when several places compete.

    Args:
        odds: (N, L, S, S).
        places: (N, L, 2) map px.

    Returns:
        (N, L) float32.
    """
    near = peak_log_odds(odds, places, radius)
    everything = odds.flatten(2).logsumexp(dim=2)
    # Both sides kept above e^-12: float32 cannot tell shares closer to 0 or 1 apart.
    share = (near - everything).exp().clamp(6e-6, 1 - 6e-6)
    return torch.logit(share)


def fit_logistic(x: Tensor, truth: Tensor, steps: int = 50) -> Logistic:
    """Maximum-likelihood slope and offset by Newton's method, with a weak pull of the slope to zero.

    Args:
        x: (M,) evidence.
        truth: (M,) bool; both values must occur.
    """
    if x.ndim != 1 or x.shape != truth.shape or bool(truth.all()) or not bool(truth.any()):
        raise InvalidInputError(
            f"expected evidence (M,) with true and false cases; got {tuple(x.shape)}, {int(truth.sum())} true"
        )
    x64 = x.double()
    center, spread = x64.mean(), x64.std().clamp_min(1e-6)
    design = torch.stack([(x64 - center) / spread, torch.ones_like(x64)], dim=1)
    target = truth.double()
    weight = torch.zeros(2, dtype=torch.float64)
    ridge = torch.diag(torch.tensor([1e-5, 1e-9], dtype=torch.float64)) * len(x64)
    for _ in range(steps):
        p = torch.sigmoid(design @ weight)
        gradient = design.T @ (p - target) + ridge @ weight
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + ridge + 1e-9 * torch.eye(2, dtype=torch.float64)
        step = torch.linalg.solve(curvature, gradient)
        # A damped step: separable evidence would otherwise overshoot into a flat region.
        weight = weight - step * min(1.0, 2.0 / float(step.abs().max().clamp_min(1e-12)))
        if float(step.abs().max()) < 1e-9:
            break
    slope = float(weight[0] / spread)
    return Logistic(slope, float(weight[1] - weight[0] * center / spread))


@dataclass(frozen=True, eq=False)
class Targets:
    """True places of a batch of pictures.

    Attributes:
        points: (N, L, 2) float32, px of the network's input; any finite value where not annotated.
        annotated: (N, L) bool. The channels of a point that is not annotated take no part in that picture's softmax.
        visible: (N, L) bool; False where hidden or not annotated.
        yaw_bin: (N,) int64 in [0, K).
    """

    points: Tensor
    annotated: Tensor
    visible: Tensor
    yaw_bin: Tensor

    def __post_init__(self) -> None:
        n, count = self.points.shape[:2]
        shapes = (tuple(self.annotated.shape), tuple(self.visible.shape), tuple(self.yaw_bin.shape))
        if self.points.shape != (n, count, 2) or shapes != ((n, count), (n, count), (n,)):
            raise InvalidInputError(
                "expected points (N, L, 2), annotated (N, L), visible (N, L), yaw_bin (N,); got "
                f"{tuple(self.points.shape)}, {shapes}"
            )
        if not bool(torch.isfinite(self.points).all()):
            raise InvalidInputError("expected finite points, 0 where not annotated; got NaN or infinity")

    def on_map(self, stride: int) -> Tensor:
        """(N, L, 2) px of a score map whose pixels are `stride` input px wide."""
        return (self.points - (stride - 1) / 2) / stride

    def counted(self, which: Literal["visible", "all"]) -> Tensor:
        """(N, L) bool: the points that count as key-points."""
        return self.visible & self.annotated if which == "visible" else self.annotated
