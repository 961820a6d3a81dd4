"""The views of many fitted faces at once, on any device, computed during training.

The batched twin of `facerec.frontalize.texture`, `facerec.frontalize.visibility` and `facerec.recognition.views`, in
torch. Surfaces are drawn as dense points with a depth buffer instead of triangles, so that a batch is a few scatter
operations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import skull_chart
from facerec.frontalize.visibility import VisibilitySettings
from facerec.recognition.views import ViewFrame, chart_map, frontal_camera

_DENSE = 289
"""Points along each side of the drawn surface: three per node, five per pixel of the view."""

_SKULL_POINTS = 40_000


@dataclass(frozen=True, eq=False)
class FitBatch:
    """Fits of B faces.

    Attributes:
        shape: (B, K); expression: (B, E), standard deviations.
        rotation: (B, 3, 3); translation: (B, 2) px of the crop; scale: (B,) px per mm.
    """

    shape: Tensor
    expression: Tensor
    rotation: Tensor
    translation: Tensor
    scale: Tensor

    def rows(self, chosen: Tensor) -> FitBatch:
        """The fits at `chosen`, a mask or row numbers."""
        return FitBatch(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def to(self, device: str | torch.device) -> FitBatch:
        """On another device."""
        return FitBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface in front of its camera.

    Attributes:
        geometry: (B, G, G, 3) mm; normals: (B, G, G, 3) unit, outward; visible: (B, G, G) in [0, 1], 0 where hidden.
    """

    geometry: Tensor
    normals: Tensor
    visible: Tensor


def rotations(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """(B, 3, 3), as `Camera.from_angles`, from radians."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, dim=-1).reshape(-1, 3, 3)

    about_y = matrix(yaw.cos(), zero, -yaw.sin(), zero, one, zero, yaw.sin(), zero, yaw.cos())
    about_x = matrix(one, zero, zero, zero, pitch.cos(), pitch.sin(), zero, -pitch.sin(), pitch.cos())
    about_z = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return about_z @ about_x @ about_y


def _linear(at: NDArray[np.floating], grid: int) -> Tensor:
    """(len(at), grid) rows that interpolate linearly at grid coordinates `at`."""
    low = np.clip(np.floor(at).astype(int), 0, grid - 2)
    out = np.zeros((len(at), grid), dtype=np.float32)
    out[np.arange(len(at)), low] = 1 - (at - low)
    out[np.arange(len(at)), low + 1] = at - low
    return torch.from_numpy(out)


def _gradient(values: Tensor, dim: int) -> Tensor:
    gradient: Tensor = torch.gradient(values, dim=dim)[0]
    return gradient


def _normal(geometry: Tensor) -> Tensor:
    du, dv = _gradient(geometry, -2), _gradient(geometry, -3)
    return F.normalize(torch.cross(dv, du, dim=-1), dim=-1)


def push_pull(pixels: Tensor, known: Tensor) -> Tensor:
    """Fill (B, 3, T, T) smoothly where `known` (B, 1, T, T) is 0."""
    if min(pixels.shape[-2:]) <= 2:
        mean = (pixels * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1e-6)
        return pixels * known + mean * (1 - known)
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(pixels * known, 2, ceil_mode=True) / weight.clamp(min=1e-6)
    below = push_pull(coarse, (weight > 0).to(pixels.dtype))
    up = F.interpolate(below, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
    return pixels * known + up * (1 - known)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), borders reflected."""
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    b, c, h, w = x.shape
    flat = F.pad(x.reshape(b * c, 1, h, w), (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(flat, kernel), kernel.transpose(2, 3)).reshape(b, c, h, w)


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """(B, N, 3) shading of unit normals (B, N, 3) under `light` (B, 9, 3), at least 0.05."""
    x, y, z = normals.unbind(-1)
    basis = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], dim=-1)
    return (basis @ light).clamp(min=0.05)


class BatchedViews:
    """Makes the views of `facerec.recognition.views` for batches of crops and fits.

    Args:
        model: the face model.
        frame: where the network expects the face.
        device: where to compute.
        texels: side of the lifted chart; 192 hold what a view of 150 px shows.
    """

    def __init__(
        self, model: FaceModel, frame: ViewFrame, device: str | torch.device = "cpu", texels: int = 192
    ) -> None:
        self.frame, self.texels, self.device = frame, texels, torch.device(device)
        g = model.size

        def put(values: NDArray[np.floating]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

        self._g = g
        self._mean = put(model.mean.reshape(-1))
        self._identity = put(model.identity.reshape(len(model.identity), -1))
        self._expression = put(model.expression.reshape(len(model.expression), -1))
        groups = np.zeros((len(frame.groups), 68))
        for k, group in enumerate(frame.groups):
            groups[k, list(group)] = 1 / len(group)
        middle = groups.mean(axis=0)
        self._middle = put(middle @ model.landmark_mean)
        self._middle_identity = put(np.einsum("l,kld->kd", middle, model.landmark_identity))
        self._middle_expression = put(np.einsum("l,kld->kd", middle, model.landmark_expression))
        self._to_texels = _linear((np.arange(texels) + 0.5) / texels * (g - 1), g).to(self.device)
        self._to_dense = _linear(np.linspace(0, g - 1, _DENSE), g).to(self.device)
        column, row, covered = chart_map(frame, texels)
        self._chart = put(np.stack([(column + 0.5) / texels * 2 - 1, (row + 0.5) / texels * 2 - 1], axis=-1))
        self._covered = torch.from_numpy(covered).to(self.device)
        self._scale = frontal_camera(frame, model).scale
        self._anchor = put(np.array([(frame.size - 1) / 2, np.mean([y for _, y in frame.targets])]))
        self._neutral = put(np.array(frame.neutral) / 255).view(3, 1, 1)
        rng = np.random.default_rng(0)
        corners = model.skull[model.skull_triangles]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        which = model.skull_triangles[rng.choice(len(area), _SKULL_POINTS, p=area / area.sum())]
        share = rng.dirichlet((1.0, 1.0, 1.0), _SKULL_POINTS)
        self._skull = put(np.einsum("nc,ncd->nd", share, model.skull[which]))
        self._skull_identity = put(
            np.einsum("nc,kncd->knd", share, model.skull_identity[:, which]).reshape(len(model.skull_identity), -1)
        )
        chart = np.einsum("nc,ncd->nd", share, skull_chart(model)[which])
        self._skull_at = put(chart * 2 - 1)
        centre = model.skull.mean(axis=0)
        out = np.einsum("nc,ncd->nd", share, model.skull[which]) - centre
        self._skull_normals = put(out / np.linalg.norm(out, axis=1, keepdims=True))
        self._seeing = VisibilitySettings()

    @property
    def scale(self) -> float:
        """Px of the view per mm."""
        return self._scale

    @property
    def anchor(self) -> NDArray[np.float32]:
        """(2,) px, where the middle of the frame's landmarks lies in the view."""
        return self._anchor.cpu().numpy()

    def geometry(self, shape: Tensor, expression: Tensor) -> Tensor:
        """(B, G, G, 3) mm."""
        flat = (
            self._mean + shape @ self._identity[: shape.shape[1]] + expression @ self._expression[: expression.shape[1]]
        )
        return flat.reshape(-1, self._g, self._g, 3)

    def _resample(self, matrix: Tensor, values: Tensor) -> Tensor:
        """(B, T, T, D) of grid values (B, G, G, D)."""
        return torch.einsum("ti,bijd,uj->btud", matrix, values, matrix)

    def surface(self, geometry: Tensor, rotation: Tensor) -> Surface:
        """What a camera of this rotation (B, 3, 3) sees of a geometry."""
        s = self._seeing
        normals = _normal(geometry)
        facing = -(normals * rotation[:, None, None, 2]).sum(-1)
        gap = self._gap(geometry, rotation)
        visible = torch.where((facing > s.min_cosine) & (gap < s.tolerance_mm), facing, torch.zeros_like(facing))
        half = self._g // 2
        left, right = visible[:, :, :half].sum((1, 2)), visible[:, :, -half:].sum((1, 2))
        far_half = torch.zeros(len(visible), 1, self._g, dtype=torch.bool, device=visible.device)
        far_half[:, :, -half:] = (left > right)[:, None, None]
        far_half[:, :, :half] = (left <= right)[:, None, None]
        far = (visible < s.far_cosine) & (visible.flip(2) > visible + s.far_lag) & far_half
        return Surface(geometry, normals, torch.where(far, torch.zeros_like(visible), visible))

    def _gap(self, geometry: Tensor, rotation: Tensor) -> Tensor:
        """(B, G, G) mm behind the nearest surface."""
        b, side = len(geometry), self._seeing.buffer
        turned = geometry @ rotation.transpose(1, 2)[:, None]
        dense = self._resample(self._to_dense, turned).reshape(b, -1, 3)
        low, high = dense[..., :2].amin(1), dense[..., :2].amax(1)
        zoom = (side - 3) / (high - low).amax(1)

        def placed(points: Tensor) -> Tensor:
            at = (points - ((low + high) / 2)[:, None]) * zoom[:, None, None] + (side - 1) / 2
            return at.round().long().clamp(0, side - 1)

        at = placed(dense[..., :2])
        buffer = torch.full((b, side * side), torch.inf, device=geometry.device)
        buffer.scatter_reduce_(1, at[..., 1] * side + at[..., 0], dense[..., 2], "amin")
        buffer = buffer.view(b, 1, side, side)
        # Pixels between the points take their neighbours' depth; then the farthest around, as in `depth_gap`.
        around = -F.max_pool2d(-buffer, 3, 1, 1)
        filled = torch.where(buffer.isinf(), around, buffer)
        filled = torch.where(buffer.isinf() & (F.avg_pool2d(buffer.isinf().float(), 3, 1, 1) > 0.5), buffer, filled)
        depth = F.max_pool2d(filled.nan_to_num(posinf=1e4), 3, 1, 1).view(b, -1)
        at = placed(turned.reshape(b, -1, 3)[..., :2])
        nearest = depth.gather(1, at[..., 1] * side + at[..., 0])
        return (turned[..., 2].reshape(b, -1) - nearest).clamp(min=0).view(b, self._g, self._g)

    def lift(self, crops: Tensor, fit: FitBatch, surface: Surface) -> tuple[Tensor, Tensor]:
        """Texture (B, 3, T, T) in [0, 1] and visibility (B, T, T) of crops (B, 3, S, S) in [0, 1]."""
        size = crops.shape[-1]
        turned = (surface.geometry @ fit.rotation.transpose(1, 2)[:, None])[..., :2]
        at = turned * fit.scale[:, None, None, None] + fit.translation[:, None, None]
        seen = surface.visible[..., None]
        grid = self._resample(self._to_texels, torch.cat([at, seen, (seen > 0).to(at.dtype)], dim=-1))
        place, weight, whole = grid[..., :2], grid[..., 2], grid[..., 3]
        inside = ((place >= 0) & (place <= size - 1)).all(-1)
        visible = torch.where((whole > 0.999) & inside, weight.clamp(max=1.0), torch.zeros_like(weight))
        texture = F.grid_sample(crops, (place + 0.5) / size * 2 - 1, align_corners=False, padding_mode="border")
        return texture * (visible > 0)[:, None], visible

    def turned_mask(self, geometry: Tensor, rotation: Tensor) -> Tensor:
        """(B, T, T) float, 1 where a camera of `rotation` would see the texel of a geometry (B, G, G, 3)."""
        seen = (self.surface(geometry, rotation).visible > 0).to(geometry.dtype)[..., None]
        return (self._resample(self._to_texels, seen)[..., 0] > 0.999).to(geometry.dtype)

    def frontal(self, texture: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Frontal view (B, 3, S, S) in [0, 1] and what was seen (B, S, S), as `frontal_pixels`."""
        b = len(texture)
        both = torch.cat([texture, (visible > 0).to(texture.dtype)[:, None]], dim=1)
        grid = self._chart[None].expand(b, -1, -1, -1)
        sampled = F.grid_sample(both, grid, align_corners=False, padding_mode="border")
        seen = (sampled[:, 3] > 0.5) & self._covered
        return (sampled[:, :3] / sampled[:, 3:].clamp(min=1e-6)).clamp(max=1) * seen[:, None], seen

    def shares(self, seen: Tensor) -> Tensor:
        """(B, 2) share of the left and the right half that was seen (B, S, S)."""
        half = self.frame.size // 2
        covered = self._covered[:, :half].sum().clamp(min=1)
        return torch.stack([seen[..., :half].sum((1, 2)), seen[..., -half:].sum((1, 2))], dim=1) / covered

    def half(self, pixels: Tensor, seen: Tensor, right: Tensor) -> Tensor:
        """(B, 3, S, S): the left half and its mirror, or, where `right` (B,), the right one; as `filled_view`."""
        size = self.frame.size
        side = torch.arange(size, device=pixels.device) < (size + 1) // 2
        side = torch.where(right[:, None], side.flip(0)[None], side[None])
        seen = seen & side[:, None]
        view = torch.where(seen.flip(2)[:, None], pixels.flip(3), self._neutral)
        return torch.where(seen[:, None], pixels, view)

    def photo(self, crops: Tensor, fit: FitBatch) -> Tensor:
        """(B, 3, S, S) the photograph around the face, upright, at the frame's scale; as `photo_view`."""
        size, frame = crops.shape[-1], self.frame
        middle = self._centre(fit.shape, fit.expression, fit.rotation) * fit.scale[:, None] + fit.translation
        roll = torch.atan2(-fit.rotation[:, 0, 1], fit.rotation[:, 1, 1])
        ratio = fit.scale / self._scale
        turn = ratio[:, None, None] * torch.stack(
            [torch.stack([roll.cos(), -roll.sin()], -1), torch.stack([roll.sin(), roll.cos()], -1)], dim=1
        )
        along = torch.arange(frame.size, device=crops.device, dtype=crops.dtype)
        at = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1) - self._anchor
        place = torch.einsum("hwd,bed->bhwe", at, turn) + middle[:, None, None]
        return F.grid_sample(crops, (place + 0.5) / size * 2 - 1, align_corners=False, padding_mode="border")

    def _centre(self, shape: Tensor, expression: Tensor, rotation: Tensor) -> Tensor:
        """(B, 2) mm: the middle of the frame's landmarks in front of the camera."""
        middle = self._middle + shape @ self._middle_identity[: shape.shape[1]]
        middle = middle + expression @ self._middle_expression[: expression.shape[1]]
        return (rotation @ middle[..., None])[:, :2, 0]

    def blended(self, texture: Tensor, visible: Tensor) -> Tensor:
        """(B, 3, T, T) the texture without holes, as `blended_texture` of a face that nearly faces the camera."""
        own = (_blur(visible[:, None], self.texels / 64) * (visible > 0)[:, None]) ** 3
        twin = own.flip(3)
        total = own + twin
        mixed = (texture * own + texture.flip(3) * twin) / total.clamp(min=1e-9)
        lead = ((visible[:, None] - 0.25) / 0.25).clamp(0, 1)
        return push_pull(texture * lead + mixed * (1 - lead), (total > 1e-6).to(texture.dtype))

    def render(
        self, geometry: Tensor, shape: Tensor, expression: Tensor, rotation: Tensor, texture: Tensor, light: Tensor,
        behind: Tensor,
    ) -> Tensor:  # fmt: skip
        """The head at a pose, in the network's frame.

        Args:
            geometry: (B, G, G, 3) mm, of `shape` and `expression`.
            rotation: (B, 3, 3) of the pose.
            texture: (B, 3, T, T) in [0, 1] without holes.
            light: (B, 9, 3) that multiplies it.
            behind: (B, 3, S, S) the background.

        Returns:
            (B, 3, S, S) in [0, 1].
        """
        b, size = len(geometry), self.frame.size
        normals = self._resample(self._to_dense, _normal(geometry)).reshape(b, -1, 3)
        points = self._resample(self._to_dense, geometry).reshape(b, -1, 3)
        along = torch.linspace(-1, 1, _DENSE, device=self.device)
        dense = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1)[None].expand(b, -1, -1, -1)
        colour = F.grid_sample(texture, dense, align_corners=False, padding_mode="border").flatten(2).transpose(1, 2)
        skull = (self._skull.reshape(-1) + shape @ self._skull_identity[: shape.shape[1]]).reshape(b, -1, 3)
        soft = F.grid_sample(
            _blur(texture, self.texels / 32), self._skull_at[None, None].expand(b, -1, -1, -1), align_corners=False,
            padding_mode="border",
        )[:, :, 0].transpose(1, 2)  # fmt: skip
        points, colour = torch.cat([points, skull], 1), torch.cat([colour, soft], 1)
        normals = torch.cat([normals, self._skull_normals[None].expand(b, -1, -1)], 1)
        colour = colour * shade(F.normalize(normals @ rotation.transpose(1, 2), dim=-1), light)
        turned = points @ rotation.transpose(1, 2)
        middle = self._centre(shape, expression, rotation)
        at = ((turned[..., :2] - middle[:, None]) * self._scale + self._anchor).round().long()
        # Points that turn away would show between those in front of them.
        front = (normals * rotation[:, None, 2]).sum(-1) < 0.2
        inside = ((at >= 0) & (at < size)).all(-1) & front
        place = torch.where(inside, at[..., 1] * size + at[..., 0], size * size)
        nearest = torch.full((b, size * size + 1), torch.inf, device=self.device)
        nearest.scatter_reduce_(1, place, turned[..., 2], "amin")
        # All points within two millimetres of the nearest share the pixel.
        front = (turned[..., 2] <= nearest.gather(1, place) + 2.0).to(colour.dtype)[..., None]
        total = torch.zeros(b, size * size + 1, 4, device=self.device)
        total.scatter_add_(
            1, place[..., None].expand(-1, -1, 4), torch.cat([colour, torch.ones_like(front)], -1) * front
        )
        total = total[:, :-1].transpose(1, 2).reshape(b, 4, size, size)
        # A pixel much farther than most of those around it shows what lies behind the surface, between its points.
        depth = nearest[:, :-1].reshape(b, 1, size, size).clamp(max=1e4)
        around = F.unfold(F.pad(depth, (1, 1, 1, 1), mode="replicate"), 3).median(dim=1).values.view(b, 1, size, size)
        alpha = ((total[:, 3:] > 0) & (depth < around + 6.0)).to(colour.dtype)
        drawn = total[:, :3] / total[:, 3:].clamp(min=1e-6)
        # A pixel between the points, inside the head, takes its neighbours' colour.
        near = F.avg_pool2d(alpha, 5, 1, 2)
        smooth = F.avg_pool2d(drawn * alpha, 5, 1, 2) / near.clamp(min=1e-6)
        hole = (alpha == 0) & (near > 0.5)
        return torch.where(hole, smooth, torch.where(alpha > 0, drawn, behind)).clamp(0, 1)
