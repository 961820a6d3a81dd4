"""The distance-aware softmax loss (DSL) of GoDP, Eqs. 7, 7a and 7b, its stages (Tables 2-6), and a spatial companion.

    loss = - sum_(x, y) m(x, y) w  sum_k t_k(x, y) log softmax_k(psi(x, y))   (Eq. 7, its missing minus sign put back)
    w = alpha                              where the pixel is a key-point    (Eq. 7a)
    w = beta log10(d((x, y), (x', y')) + 1)       where it is background              (Eq. 7b)

(x', y') is the true place of the key-point class that ranks highest at (x, y). With w = beta for background the loss
is the degraded one, "SL". m samples the background: one ratio within three map px of a key-point, another farther off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.heatmaps import Targets

NEAR_PX = 3.0
"""A background pixel this close to a key-point, map px, counts as near (the paper's threshold)."""


@dataclass(frozen=True, slots=True)
class LossSettings:
    """One of the five losses in one stage (a row of Tables 2-6).

    Attributes:
        far, near: share of the background pixels sampled far from and near to key-points.
        alpha: weight of a key-point pixel.
        beta: weight of a background pixel, times log10(d + 1) when distance-aware.
        distance_aware: DSL (Eq. 7b) rather than SL.
        points: "visible": only visible points count; "all": the hidden ones do, too.
    """

    far: float
    near: float
    alpha: float
    beta: float
    distance_aware: bool = False
    points: Literal["visible", "all"] = "visible"

    def __post_init__(self) -> None:
        if not (0 <= self.far <= 1 and 0 <= self.near <= 1 and self.alpha > 0 and self.beta >= 0):
            raise InvalidInputError(f"expected sampling ratios in [0, 1], alpha > 0 and beta >= 0; got {self}")


@dataclass(frozen=True, slots=True)
class Stage:
    """The losses of one training stage, None where switched off, and the stage's share of the training."""

    initial: LossSettings
    proposal_1: LossSettings
    refinement_1: LossSettings | None
    proposal_2: LossSettings
    refinement_2: LossSettings | None
    share: float = 1 / 3
    """Every stage of the paper lasts three of its nine epochs."""


_SL = LossSettings(far=0.005, near=0.1, alpha=1.0, beta=0.2)
_PROPOSAL_2 = LossSettings(far=0.001, near=0.2, alpha=3.0, beta=0.1)
_PROPOSAL_3 = LossSettings(far=0.001, near=0.15, alpha=3.0, beta=0.6, distance_aware=True)
_REFINEMENT_2 = LossSettings(far=0.01, near=0.05, alpha=1.0, beta=0.3)
_REFINEMENT_3 = LossSettings(far=0.01, near=0.05, alpha=1.5, beta=1.0, distance_aware=True)

PUBLISHED_STAGES = (
    Stage(_SL, _SL, None, _SL, None),
    Stage(_SL, _PROPOSAL_2, _REFINEMENT_2, _PROPOSAL_2, _REFINEMENT_2),
    Stage(_SL, _PROPOSAL_3, _REFINEMENT_3, _PROPOSAL_3, _REFINEMENT_3),
)
"""Tables 2-6 as printed: visible points only."""


def with_hidden(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The (A) of GoDP(A): the last two losses of the last stage learn every point, hidden ones included; the proposals
    stay with the visible ones."""
    last = stages[-1]

    def everything(loss: LossSettings | None) -> LossSettings | None:
        return None if loss is None else replace(loss, points="all")

    refined = replace(last, refinement_1=everything(last.refinement_1), refinement_2=everything(last.refinement_2))
    return (*stages[:-1], refined)


def degraded(stages: tuple[Stage, ...], *, proposals: bool, refinements: bool) -> tuple[Stage, ...]:
    """The stages with SL in place of DSL in the proposals, in the refinements, or in both.

    SL keeps the sampling ratios and alpha of the loss it replaces, and takes the beta that the table prints for SL:
    DSL's own beta is meant to be multiplied by log10(d + 1), which is 0.3 one pixel from a key-point.
    """

    def sl(loss: LossSettings | None, where: bool, beta: float) -> LossSettings | None:
        if loss is None or not where or not loss.distance_aware:
            return loss
        return replace(loss, distance_aware=False, beta=beta)

    def proposal(loss: LossSettings) -> LossSettings:
        return sl(loss, proposals, _PROPOSAL_2.beta) or loss  # a proposal is never switched off

    return tuple(
        replace(
            stage,
            proposal_1=proposal(stage.proposal_1),
            proposal_2=proposal(stage.proposal_2),
            refinement_1=sl(stage.refinement_1, refinements, _REFINEMENT_2.beta),
            refinement_2=sl(stage.refinement_2, refinements, _REFINEMENT_2.beta),
        )
        for stage in stages
    )


GODP_A_STAGES = with_hidden(PUBLISHED_STAGES)

_SL_ALL = replace(_SL, points="all")

LOSSES: dict[str, tuple[Stage, ...]] = {
    "godp-a": GODP_A_STAGES,
    "godp": PUBLISHED_STAGES,
    "godp-a-dsl": with_hidden(degraded(PUBLISHED_STAGES, proposals=True, refinements=True)),
    "godp-dsl": degraded(PUBLISHED_STAGES, proposals=True, refinements=True),
    "p-dsl": with_hidden(degraded(PUBLISHED_STAGES, proposals=False, refinements=True)),
    "r-dsl": with_hidden(degraded(PUBLISHED_STAGES, proposals=True, refinements=False)),
    "sl": (Stage(_SL, _SL, _SL, _SL, _SL),),
    "sl-a": (Stage(_SL_ALL, _SL_ALL, _SL_ALL, _SL_ALL, _SL_ALL),),
}
"""Losses by the name the trainer takes. Those of Table 7: "godp-a" GoDP(A), "godp" GoDP, "godp-a-dsl" GoDP(A)-DSL and
"godp-dsl" GoDP-DSL (both minus DSL), "sl" GoDP-DSL-PR (the degraded loss with the same parameters everywhere), which is
also what the baselines learn by, and "sl-a" the same with hidden points. "p-dsl" and "r-dsl" are GoDP(A) with DSL in
the proposals or in the refinements alone."""


def paced(stages: tuple[Stage, ...], shares: tuple[float, float, float]) -> tuple[Stage, ...]:
    """Three stages with other shares of the training; a single stage stays as it is."""
    if len(stages) == 1:
        return stages
    return tuple(replace(stage, share=share) for stage, share in zip(stages, shares, strict=True))


FAST_SHARES = (0.04, 0.16, 0.80)
"""Of a training of an hour: the first two stages only set the maps up, so they are kept short."""

FAST_STAGES = paced(GODP_A_STAGES, FAST_SHARES)


@dataclass(frozen=True, slots=True)
class SpatialSettings:
    """The spatial companion loss on the refinements: cross-entropy of each landmark's log-odds over all pixels of its
    map.

    Eq. 7 lets each pixel choose among landmarks; this term lets each landmark choose among pixels, with a Gaussian
    target that knows the place between pixels. Not in the paper; what it
    gains over Eq. 7 alone has not been measured.

    Attributes:
        weight: of the term beside the DSL; 0 switches it off.
        sigma: deviation of the target, map px. 1 px is wide enough for the place between pixels to show in the values.
    """

    weight: float = 1.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.sigma <= 0:
            raise InvalidInputError(f"expected weight >= 0 and sigma > 0; got {self.weight}, {self.sigma}")


def _included(targets: Targets, yaw_bins: int) -> Tensor:
    """(N, KL + 1) bool: the channels that take part in the softmax."""
    background = torch.ones_like(targets.annotated[:, :1])
    return torch.cat([targets.annotated.repeat(1, yaw_bins), background], dim=1)


def distance_aware_softmax_loss(
    scores: Tensor, targets: Targets, settings: LossSettings, generator: torch.Generator
) -> Tensor:
    """Eq. 7, summed over the sampled pixels and divided by the number of key-point pixels of the batch.

    Only the sampled pixels are ever normalised, so the loss costs little beside the network.

    Args:
        scores: (N, KL + 1, S, S) logits.
        targets: of the batch; the map's stride follows from `scores` and the input side, which must be 160 / S.
        settings: ratios and weights.
        generator: draws the background sample; on the device of `scores`.

    Returns:
        scalar float32, >= 0.
    """
    n, channels, height, width = scores.shape
    count = targets.points.shape[1]
    if (channels - 1) % count or n != len(targets.points):
        raise InvalidInputError(
            f"expected scores ({len(targets.points)}, K * {count} + 1, S, S); got {tuple(scores.shape)}"
        )
    yaw_bins = (channels - 1) // count
    device = scores.device
    places = targets.on_map(_stride(width))
    pixel = places.round().long()
    inside = ((pixel >= 0) & (pixel < torch.tensor([width, height], device=device))).all(dim=2)
    key = targets.counted(settings.points) & inside
    rows = scores.permute(0, 2, 3, 1).reshape(-1, channels)
    included = _included(targets, yaw_bins)

    picture, landmark = key.nonzero(as_tuple=True)
    flat = (picture * height + pixel[picture, landmark, 1]) * width + pixel[picture, landmark, 0]
    channel = targets.yaw_bin[picture] * count + landmark
    log_p = _log_softmax(rows[flat], included[picture])
    loss = -settings.alpha * log_p.gather(1, channel[:, None]).sum()

    ratio = _background_ratio(places, key, flat, (n, height, width), settings)
    drawn = (torch.rand(ratio.shape, generator=generator, device=device) < ratio).nonzero().squeeze(1)
    if len(drawn):
        picture = drawn // (height * width)
        log_p = _log_softmax(rows[drawn], included[picture])
        weight = torch.full((len(drawn),), settings.beta, device=device)
        if settings.distance_aware:
            top = log_p.detach()[:, :-1].argmax(dim=1) % count
            where = torch.stack([drawn % width, drawn // width % height], dim=1)
            distance = (where - places[picture, top]).norm(dim=1)
            # Where the class that ranks highest is not in the picture there is no distance: the weight stays beta.
            weight = torch.where(key[picture, top], settings.beta * torch.log10(distance + 1), weight)
        loss = loss - (weight * log_p[:, -1]).sum()
    return loss / max(len(flat), 1)


def _stride(width: int, input_side: int = 160) -> int:
    if input_side % width:
        raise InvalidInputError(f"expected a score map whose side divides {input_side}; got {width}")
    return input_side // width


def _log_softmax(rows: Tensor, included: Tensor) -> Tensor:
    return rows.float().masked_fill(~included, float("-inf")).log_softmax(dim=1)


def _background_ratio(
    places: Tensor, key: Tensor, key_pixels: Tensor, shape: tuple[int, int, int], settings: LossSettings
) -> Tensor:
    """(N * H * W,) probability that m samples a pixel: 0 on key-points, which are always in."""
    n, height, width = shape
    device = places.device
    ratio = torch.full((n * height * width,), settings.far, device=device)
    reach = int(NEAR_PX) + 1
    step = torch.arange(-reach, reach + 1, device=device)
    picture, landmark = key.nonzero(as_tuple=True)
    center = places[picture, landmark]
    around = center.round().long()
    x = around[:, 0, None, None] + step[None, None, :]
    y = around[:, 1, None, None] + step[None, :, None]
    distance2 = (x - center[:, 0, None, None]) ** 2 + (y - center[:, 1, None, None]) ** 2
    near = (distance2 <= NEAR_PX**2) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    flat = (picture[:, None, None] * height + y) * width + x
    ratio[flat[near]] = settings.near
    ratio[key_pixels] = 0.0
    return ratio


def spatial_loss(
    scores: Tensor, targets: Targets, settings: SpatialSettings, points: Literal["visible", "all"] = "all"
) -> Tensor:
    """Mean cross-entropy, over the landmarks that count, between a Gaussian at the true place and the landmark's map.

    The map is the softmax over all pixels of the log-odds against background, of the picture's yaw range.

    Args:
        scores: (N, KL + 1, S, S) logits.
        targets: of the batch.
        settings: weight (not applied here) and deviation.
        points: which landmarks count.

    Returns:
        scalar float32.
    """
    n, channels, height, width = scores.shape
    count = targets.points.shape[1]
    places = targets.on_map(_stride(width))
    around = places.round().long()
    inside = ((around >= 0) & (around < torch.tensor([width, height], device=scores.device))).all(dim=2)
    counted = targets.counted(points) & inside
    reach = max(1, round(3 * settings.sigma))
    step = torch.arange(-reach, reach + 1, device=scores.device)
    x = (around[..., 0, None, None] + step).expand(-1, -1, 2 * reach + 1, -1)
    y = (around[..., 1, None, None] + step[:, None]).expand(-1, -1, -1, 2 * reach + 1)
    distance2 = (x - places[..., 0, None, None]) ** 2 + (y - places[..., 1, None, None]) ** 2
    weight = torch.exp(-distance2 / (2 * settings.sigma**2))
    weight = weight * ((x >= 0) & (x < width) & (y >= 0) & (y < height))
    weight = (weight / weight.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)).flatten(2)
    flat = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(2)
    maps = scores.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    if channels - 1 > count:
        column = targets.yaw_bin[:, None] * count + torch.arange(count, device=scores.device)
        column = torch.cat([column, torch.full_like(column[:, :1], channels - 1)], dim=1)
        maps = maps.gather(2, column[:, None, :].expand(-1, height * width, -1))
    # Windows as (N, pixels of the window, L): along the pixels of each landmark's own column.
    near = (flat.transpose(1, 2), weight.transpose(1, 2))
    loss: Tensor = _SpatialCrossEntropy.apply(maps, *near, counted)  # type: ignore[no-untyped-call]
    return loss


class _SpatialCrossEntropy(torch.autograd.Function):
    """Mean over the columns that count of logsumexp(z) - sum(weight * z[place]), z = maps[..., :-1] - maps[..., -1:].

    The gradient, softmax(z) - weight, is written out: left to autograd the passes over the maps cost as much as a
    third of the network's.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, place: Tensor, weight: Tensor, counted: Tensor) -> Tensor:
        odds = maps[..., :-1].float() - maps[..., -1:].float()
        expected = (odds.gather(1, place) * weight).sum(dim=1)
        top = odds.amax(dim=1)
        share = odds.sub_(top[:, None]).exp_()
        total = share.sum(dim=1)
        scale = counted / counted.sum().clamp_min(1)
        ctx.save_for_backward(share, place, weight, scale / total, scale)
        ctx.dtype = maps.dtype
        return ((total.log() + top - expected) * scale).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        share, place, weight, per_share, scale = ctx.saved_tensors
        n, pixels, count = share.shape
        gradient = torch.empty((n, pixels, count + 1), dtype=torch.float32, device=share.device)
        columns = gradient[..., :-1]
        torch.mul(share, per_share[:, None] * grad, out=columns)
        columns.scatter_add_(1, place, -(weight * scale[:, None]) * grad)
        gradient[..., -1] = -columns.sum(dim=2)
        return gradient.to(ctx.dtype), None, None, None
