"""Baselines of GoDP on the same ten groups and the same data: DeconvNet, Hourglass and a coordinate regressor.

Table 7 of the GoDP paper (METHODS.md, section 5). DeconvNet and Hourglass end in one converter after G10 instead of the
decision pathway; the regressor stands for HyperFace, which predicts coordinates instead of maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Backbone, ConvUnit, Decisions, Godp
from facerec.landmarks.godp_graph import GodpSettings
from facerec.landmarks.heatmaps import Targets


class Maps(NamedTuple):
    """The one decision of a network without decision pathway."""

    scores: Tensor
    """(N, KL + 1, 80, 80) logits, background last."""


class DeconvNet(Backbone):
    """G1-G10 and a 1 x 1 convolution: the plain DeconvNet."""

    def __init__(self, settings: GodpSettings) -> None:
        super().__init__(settings)
        self.converter = nn.Conv2d(settings.width_of(64), settings.channels, 1)

    def forward(self, roi: Tensor) -> Maps:
        """Score maps of ROIs (N, 1, H, W), H and W multiples of 32."""
        return Maps(self.converter(self.features(roi).g10))


class Hourglass(DeconvNet):
    """HGN: a DeconvNet with three hyper-links from shallow to deep layers, added, without residual units."""

    hyperlinks = (4, 3, 2)


class Coordinates(NamedTuple):
    """What the regressor says of N faces."""

    points: Tensor
    """(N, L, 2) places, shares of the ROI's side from its middle."""
    visible: Tensor
    """(N, L) log-odds that the camera sees a point."""


class CoordinateNet(nn.Module):
    """HyperFace's scheme on GoDP's encoder: features of three depths are fused, and a fully connected layer regresses
    coordinates and visibility.

    HyperFace fuses an early, a middle and the last layer of AlexNet, each brought to 6 x 6; here G2, G4 and G6, each
    brought to 5 x 5 (2 x 2 from an input of 64 px). Detection and gender are left out, as in the paper's comparison,
    and pose, which is not known for most faces at hand.
    """

    def __init__(self, settings: GodpSettings) -> None:
        super().__init__()
        if settings.yaw_bins != 1:
            raise InvalidInputError(f"expected one yaw range for a coordinate regressor; got {settings.yaw_bins}")
        self.settings = settings
        whole = Backbone(settings)
        self.encoder = nn.ModuleList([whole.g1, whole.g2, whole.g3, whole.g4, whole.g5, whole.g6])
        c, self._count = settings.width_of, settings.landmarks
        self.reduce = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(c(128), c(256), 4, stride=4), nn.Conv2d(c(256), c(256), 4, stride=4)),
                nn.Conv2d(c(512), c(256), 4, stride=4),
            ]
        )
        self.fuse_depths = ConvUnit(2 * c(256) + c(512), c(256))
        # HyperFace's 3072 units, by width: the rest of the network is scaled in the same way.
        hidden = c(3072)
        self.fully = nn.Sequential(nn.Linear((settings.side // 32) ** 2 * c(256), hidden), nn.ReLU())
        self.points = nn.Linear(hidden, 2 * self._count)
        self.visible = nn.Linear(hidden, self._count)

    def forward(self, roi: Tensor) -> Coordinates:
        """Coordinates in ROIs (N, 1, side, side)."""
        side = self.settings.side
        if roi.shape[1:] != (1, side, side):
            raise InvalidInputError(f"expected ROIs (N, 1, {side}, {side}); got {tuple(roi.shape)}")
        outputs = []
        x = roi
        for number, group in enumerate(self.encoder):
            x = group(x if number == 0 else functional.max_pool2d(x, 2))
            outputs.append(x)
        early, middle = self.reduce[0](outputs[1]), self.reduce[1](outputs[3])
        fused = self.fuse_depths(torch.cat([early, middle, outputs[5]], dim=1))
        x = self.fully(fused.flatten(1))
        return Coordinates(self.points(x).reshape(-1, self._count, 2), self.visible(x))


@dataclass(frozen=True, slots=True)
class CoordinateLossSettings:
    """Weights of the regressor's losses.

    Attributes:
        points, visible: HyperFace's weights of localisation and visibility, 5 and 0.5.
    """

    points: float = 5.0
    visible: float = 0.5


def coordinate_loss(
    found: Coordinates,
    targets: Targets,
    points: Literal["visible", "all"],
    settings: CoordinateLossSettings | None = None,
) -> dict[str, Tensor]:
    """HyperFace's losses: squared distance over the points that count, cross-entropy of visibility over annotated ones.

    Args:
        found: of the network.
        targets: of the batch.
        points: whether hidden points count.
        settings: weights, which are in the result.

    Returns:
        scalars "points" and "visibility".
    """
    settings = settings or CoordinateLossSettings()
    truth = (targets.points - (ROI_SIZE - 1) / 2) / ROI_SIZE
    counted = targets.counted(points)
    squared = (found.points.float() - truth).square().sum(dim=2) / 2
    seen = functional.binary_cross_entropy_with_logits(found.visible.float(), targets.visible.float(), reduction="none")
    known = targets.annotated
    return {
        "points": settings.points * (squared * counted).sum() / counted.sum().clamp_min(1),
        "visibility": settings.visible * (seen * known).sum() / known.sum().clamp_min(1),
    }


def places_of(found: Coordinates) -> Tensor:
    """(N, L, 2) float32 px of the ROI."""
    return found.points.float() * ROI_SIZE + (ROI_SIZE - 1) / 2


LandmarkNetwork = Godp | DeconvNet | CoordinateNet
"""What the trainer trains; an Hourglass is a DeconvNet."""

Outputs = Decisions | Maps | Coordinates
"""What such a network answers."""


def build_network(settings: GodpSettings, seed: int) -> LandmarkNetwork:
    """A network of `settings.architecture` with seeded random weights; the global generator is left as it was."""
    networks = {"godp": Godp, "deconvnet": DeconvNet, "hourglass": Hourglass, "coordinates": CoordinateNet}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: LandmarkNetwork = networks[settings.architecture](settings)
        return network
