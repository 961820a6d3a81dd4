"""Random training views of faces: photograph, half of the frontal view, rendered pose; and their degradation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facerec.recognition.resnet_graph import MEAN_COLOUR
from facerec.recognition.training.batched_views import BatchedViews, rotations
from facerec.recognition.training.faces import Faces


@dataclass(frozen=True)
class LookSettings:
    """Which views a network is shown.

    Attributes:
        photo: share of photographs, real and rendered; the rest are halves of the frontal view.
        turned: share of near-frontal pictures whose photograph is rendered at another pose.
        masked: share of near-frontal pictures whose half has the mask of a turned pose.
        frontal: |yaw| up to which a picture is near-frontal, degrees.
        yaw: least and greatest |yaw| of a rendered pose, degrees; pitch: greatest |pitch|.
        expression: least share of the own expression that a rendered face keeps.
        light: strength of the directional light in rendered poses.
        min_seen: least share of a half that makes a view.
    """

    photo: float = 0.6
    turned: float = 0.45
    masked: float = 0.4
    frontal: float = 35.0
    yaw: tuple[float, float] = (25.0, 90.0)
    pitch: float = 45.0
    expression: float = 0.3
    light: float = 0.25
    min_seen: float = 0.35


class LookMaker:
    """Draws views of faces on a device."""

    def __init__(self, views: BatchedViews, settings: LookSettings, generator: torch.Generator) -> None:
        self._views, self._settings, self._generator = views, settings, generator

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self._generator, device=self._views.device)

    def draw(self, faces: Faces, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) in [0, 1], one view of each of `rows`; and (B,) bool, which are photographs."""
        s, views = self._settings, self._views
        b = len(rows)
        crops = faces.crops.batch(rows)
        fit = faces.fit.rows(rows)
        yaw = torch.atan2(fit.rotation[:, 2, 0], fit.rotation[:, 2, 2]).abs()
        near = yaw < math.radians(s.frontal)
        photo = self._uniform(0, 1, b) < s.photo
        turned = photo & near & (self._uniform(0, 1, b) < s.turned)
        out = torch.empty(b, 3, views.frame.size, views.frame.size, device=views.device)
        plain = torch.nonzero(photo & ~turned).flatten()
        out[plain] = views.photo(crops[plain], fit.rows(plain))
        lifted = torch.nonzero(~photo | turned).flatten()
        if not len(lifted):
            return out, photo
        crops, fit = crops[lifted], fit.rows(lifted)
        geometry = views.geometry(fit.shape, fit.expression)
        texture, visible = views.lift(crops, fit, views.surface(geometry, fit.rotation))
        pose = self._pose(len(lifted))
        at = torch.nonzero(turned[lifted]).flatten()
        if len(at):
            own = fit.rows(at)
            expression = own.expression * self._uniform(s.expression, 1.0, len(at), 1)
            behind = self._background(crops[at])
            out[lifted[at]] = views.render(
                views.geometry(own.shape, expression), own.shape, expression, pose[at],
                views.blended(texture[at], visible[at]), self._light(len(at)), behind,
            )  # fmt: skip
        at = torch.nonzero(~turned[lifted]).flatten()
        if len(at):
            texture, visible = texture[at], visible[at]
            masked = near[lifted[at]] & (self._uniform(0, 1, len(at)) < s.masked)
            hidden = torch.nonzero(masked).flatten()
            if len(hidden):
                shown = views.turned_mask(geometry[at][hidden], pose[at][hidden])
                visible = visible.clone()
                visible[hidden] = visible[hidden] * shown
            pixels, seen = views.frontal(texture, visible)
            shares = views.shares(seen)
            usable = (shares >= s.min_seen).float() * (0.2 + shares)
            right = self._uniform(0, 1, len(at)) * usable.sum(1) > usable[:, 0]
            right = torch.where(usable.sum(1) > 0, right, shares[:, 1] > shares[:, 0])
            out[lifted[at]] = views.half(pixels, seen, right)
        return out, photo

    def _pose(self, count: int) -> Tensor:
        s = self._settings
        sign = torch.where(self._uniform(0, 1, count) < 0.5, -1.0, 1.0)
        yaw = torch.deg2rad(self._uniform(*s.yaw, count)) * sign
        pitch = torch.deg2rad(self._uniform(-s.pitch, s.pitch, count)) * self._uniform(0, 1, count)
        return rotations(yaw, pitch, torch.deg2rad(self._uniform(-4, 4, count)))

    def _light(self, count: int) -> Tensor:
        """(B, 9, 3), as `random_light`."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=self._generator, device=self._views.device)

        tint = 1 + 0.08 * normal(1, 3)
        light = torch.zeros(count, 9, 3, device=self._views.device)
        light[:, :1] = self._uniform(0.65, 1.05, count, 1, 1) * tint
        scale = torch.tensor([1.0, 0.7, 0.6], device=self._views.device)
        offset = torch.tensor([0.0, 0.2, 0.3], device=self._views.device)
        direction = normal(3) * scale - offset
        light[:, 1:4] = self._settings.light * direction[..., None] * tint
        light[:, 4:] = 0.08 * normal(5, 1) * tint
        return light

    def _background(self, crops: Tensor) -> Tensor:
        """(B, 3, S, S) what stands behind a rendered head: another crop, out of focus, or soft colours."""
        b, size = len(crops), self._views.frame.size
        other = F.interpolate(crops.roll(1, 0), size=(14, 14), mode="area")
        soft = self._uniform(0, 1, b, 3, 1, 1) + self._uniform(-0.3, 0.3, b, 3, 5, 5)
        soft = F.interpolate(soft, size=(14, 14), mode="bilinear", align_corners=False)
        behind = torch.where(self._uniform(0, 1, b)[:, None, None, None] < 0.5, other, soft)
        return F.interpolate(behind, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)


@dataclass(frozen=True)
class DisturbanceSettings:
    """How much a view is degraded. Shares of views, and ranges.

    Attributes:
        angle: greatest turn, radians; zoom: greatest relative change; shift: greatest move, share of half the view.
        coarse: share seen through a coarser picture, of coarse_sides px; moved: share blurred by motion of up to
            moved_px; jpeg: share compressed again, at quality of jpeg_quality.
        dark: share darkened to dark_to; grey: share without colour; hole: share with a cut-out.
    """

    angle: float = 0.1
    zoom: float = 0.08
    shift: float = 0.06
    coarse: float = 0.35
    coarse_sides: tuple[int, int] = (22, 100)
    moved: float = 0.12
    moved_px: float = 9.0
    jpeg: float = 0.35
    jpeg_quality: tuple[float, float] = (12.0, 70.0)
    dark: float = 0.15
    dark_to: tuple[float, float] = (0.25, 0.7)
    grey: float = 0.2
    hole: float = 0.25


_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
"""JPEG's standard table for brightness."""


def _jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """(B, 3, S, S) in [0, 1] after JPEG's loss at `quality` (B,), one table for all channels."""
    b, c, h, w = x.shape
    ph, pw = -h % 8, -w % 8
    k = torch.arange(8, device=x.device, dtype=x.dtype)
    cosine = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
    cosine[0] = math.sqrt(1 / 8)
    to_ycc = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], device=x.device, dtype=x.dtype
    )
    y = torch.einsum("dc,bchw->bdhw", to_ycc, F.pad(x * 255 - 128, (0, pw, 0, ph), mode="replicate"))
    blocks = y.reshape(b, c, (h + ph) // 8, 8, (w + pw) // 8, 8)
    frequency = torch.einsum("ui,bcyixj,vj->bcyuxv", cosine, blocks, cosine)
    table = torch.tensor(_LUMA_TABLE, device=x.device, dtype=x.dtype)
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50).view(b, 1, 1, 1, 1, 1)
    steps = (table[None, None, None, :, None, :] * factor).clamp(min=1)
    chroma = torch.tensor([1.0, 1.5, 1.5], device=x.device, dtype=x.dtype).view(1, 3, 1, 1, 1, 1)
    frequency = (frequency / (steps * chroma)).round() * (steps * chroma)
    back = torch.einsum("ui,bcyuxv,vj->bcyixj", cosine, frequency, cosine).reshape(b, c, h + ph, w + pw)
    rgb = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(to_ycc), back)[..., :h, :w]
    return ((rgb + 128) / 255).clamp(0, 1)


def disturb(x: Tensor, neutral: tuple[int, int, int], s: DisturbanceSettings, generator: torch.Generator) -> Tensor:
    """Views (B, 3, S, S) in [0, 1], mirrored at random, moved, coarsened, blurred, relit, cut: in [0, 1]."""
    b, _, size, _ = x.shape
    device = x.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

    def happens(chance: float) -> Tensor:
        return torch.rand(b, generator=generator, device=device) < chance

    # Coarser and back: distant faces, and films. Four sizes per batch.
    coarse = torch.nonzero(happens(s.coarse)).flatten()
    sides = torch.randint(s.coarse_sides[0], s.coarse_sides[1] + 1, (4,), generator=generator, device=device).tolist()
    for rows, side in zip(coarse.chunk(4), sides, strict=False):
        if len(rows):
            small = F.interpolate(x[rows], size=(side, side), mode="area")
            x[rows] = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    angle, zoom = uniform(-s.angle, s.angle, b), 1 + uniform(-s.zoom, s.zoom, b)
    mirror = torch.where(happens(0.5), -1.0, 1.0)
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * zoom * torch.cos(angle), -zoom * torch.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = mirror * zoom * torch.sin(angle), zoom * torch.cos(angle)
    theta[:, :, 2] = uniform(-s.shift, s.shift, b, 2)
    grid = F.affine_grid(theta, [b, 3, size, size], align_corners=False)
    moved = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
    rows = torch.nonzero(happens(s.moved)).flatten()
    if len(rows):
        way = uniform(0, math.pi, len(rows))
        length = uniform(2.0, s.moved_px, len(rows)) / size
        step = torch.stack([way.cos(), way.sin()], -1) * length[:, None]
        total = torch.zeros_like(moved[rows])
        for part in torch.linspace(-1, 1, 7).tolist():
            there = grid[rows] + part * step[:, None, None]
            total += F.grid_sample(x[rows], there, align_corners=False, padding_mode="border")
        moved[rows] = total / 7
    x = moved
    dark = torch.where(happens(s.dark), uniform(*s.dark_to, b), torch.ones(b, device=device))
    x = x * dark[:, None, None, None]
    x = torch.where(happens(s.grey)[:, None, None, None], x.mean(dim=1, keepdim=True).expand_as(x), x)
    x = x * uniform(0.85, 1.15, b, 3, 1, 1)
    x = x.clamp(1e-3, 1.0) ** torch.exp(uniform(-0.35, 0.35, b))[:, None, None, None]
    line = torch.linspace(-1, 1, size, device=device)
    across, down = uniform(-0.3, 0.3, b, 1, 1, 1), uniform(-0.2, 0.2, b, 1, 1, 1)
    x = (x * (1 + across * line + down * line[:, None])).clamp(0, 1)
    rows = torch.nonzero(happens(s.jpeg)).flatten()
    if len(rows):
        x[rows] = _jpeg(x[rows], uniform(*s.jpeg_quality, len(rows)))
    noise = torch.randn(x.shape, generator=generator, device=device)
    x = x + uniform(0.0, 0.04, b)[:, None, None, None] * noise
    top, left = uniform(0, 0.85, b) * size, uniform(0, 0.85, b) * size
    tall, wide = uniform(0.1, 0.35, b) * size, uniform(0.1, 0.35, b) * size
    at = torch.arange(size, device=device)
    hole = (at[None, :, None] >= top[:, None, None]) & (at[None, :, None] < (top + tall)[:, None, None])
    hole = hole & (at[None, None, :] >= left[:, None, None]) & (at[None, None, :] < (left + wide)[:, None, None])
    colour = torch.tensor(neutral, device=device)[:, None, None] / 255
    return torch.where((hole & happens(s.hole)[:, None, None])[:, None], colour, x).clamp(0, 1)


def network_input_of(x: Tensor) -> Tensor:
    """(B, 3, S, S) in [0, 1] as the network wants it, see `network_input`."""
    mean = torch.tensor(MEAN_COLOUR, device=x.device)[:, None, None]
    return (x * 255 - mean) / 256
