"""GoDP: the globally optimised dual-pathway network (Wu, Shah, Kakadiaris, arXiv:1704.02402).

The information pathway is a ten-group DeconvNet (G1-G10) whose unpooling puts each value back where its maximum was.
The decision pathway carries KL + 1 score maps only: they start at G8 before it is unpooled (20 x 20), are doubled
bilinearly twice (U1, U2) and corrected four times, by proposals from the shallow layers G3 and G2 (converters G12,
G13) and by refinements from the deep layers G9 and G10 (converters G15, G16):

    psi_0 = F_o(I)                              (Eq. 3, converter G14)
    F_b   = concatenate(F_a(I), psi_(t-1))      (Eq. 4)
    d_psi = F_c(F_b)                            (Eq. 5)
    psi_t = psi_(t-1) + d_psi                   (Eq. 6)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp_graph import GodpSettings


class Decisions(NamedTuple):
    """The score maps psi after each step of the decision pathway, logits, (N, KL + 1, S, S).

    Channel k * L + l belongs to landmark l in yaw range k; the last one is background.
    """

    initial: Tensor
    """psi_0 at S = 20, supervised by SL."""
    proposal_1: Tensor
    """After G12 at S = 40, supervised by P-DSL1."""
    refinement_1: Tensor
    """After G15 at S = 40, supervised by R-DSL1."""
    proposal_2: Tensor
    """After G13 at S = 80, supervised by P-DSL2: the visible landmarks only."""
    refinement_2: Tensor
    """After G16 at S = 80, supervised by R-DSL2: all landmarks. The network's answer."""


class ConvUnit(nn.Module):
    """3 x 3 convolution (stride 1, pad 1), batch normalisation, ReLU.

    A stride-1 deconvolution with pad 1 is the same map with its kernel turned, so the decoder uses this unit too.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        y: Tensor = functional.relu(self.norm(self.conv(x)), inplace=not self.training)
        return y

    def fuse(self) -> None:
        """Fold the normalisation's running statistics into the convolution; for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


def _group(inputs: int, outputs: Sequence[int]) -> nn.Sequential:
    widths = [inputs, *outputs]
    return nn.Sequential(*[ConvUnit(a, b) for a, b in pairwise(widths)])


def _converter(inputs: int, channels: int) -> nn.Conv2d:
    """1 x 1 convolution from the information to the decision pathway."""
    layer = nn.Conv2d(inputs, channels, 1)
    # Corrections begin near zero, so the first steps train the maps they correct rather than undo random ones.
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _unpool(maps: Tensor, places: Tensor) -> Tensor:
    """Each value back to where its 2 x 2 maximum was, zero elsewhere.

    The operator itself: its wrapper in `torch.nn.functional` imports half a second of modules to check one size.
    """
    size = [2 * maps.shape[2], 2 * maps.shape[3]]
    grown: Tensor = torch.ops.aten.max_unpool2d(maps, places, size)
    return grown


def double(maps: Tensor) -> Tensor:
    """Bilinear upsampling by two (U1, U2): `interpolate(scale_factor=2, mode="bilinear", align_corners=False)`.

    Two products with a banded matrix. Equal to the library's, whose gradient on a CPU takes as long as the backbone's.

    Args:
        maps: (N, C, H, W).

    Returns:
        (N, C, 2H, 2W), channels last.
    """
    n, c, h, w = maps.shape
    x = maps.permute(0, 2, 3, 1)
    x = (_doubling(h, maps) @ x.reshape(n, h, w * c)).reshape(n * 2 * h, w, c)
    x = (_doubling(w, maps) @ x).reshape(n, 2 * h, 2 * w, c)
    return x.permute(0, 3, 1, 2)


def _doubling(size: int, like: Tensor) -> Tensor:
    """(2 size, size): each row weighs its nearest input 3/4 and the next nearest 1/4; the border repeats."""
    row = torch.arange(2 * size)
    near = row // 2
    far = (near + 2 * (row % 2) - 1).clamp(0, size - 1)
    matrix = torch.zeros(2 * size, size)
    matrix[row, near] += 0.75
    matrix[row, far] += 0.25
    return matrix.to(like)


class Features(NamedTuple):
    """What the decision pathway reads off the information pathway: output of its groups before (un)pooling."""

    g2: Tensor
    g3: Tensor
    g8: Tensor
    g9: Tensor
    g10: Tensor


class Backbone(nn.Module):
    """The information pathway, G1-G10: a DeconvNet without fully connected layers. What GoDP and its baselines share.

    Input of all: (N, 1, 160, 160) float from `normalize_roi`.
    """

    hyperlinks: tuple[int, ...] = ()
    """Encoder groups whose output is added to the decoder's at the same size: 4 before G8, 3 before G9, 2 before
    G10."""

    def __init__(self, settings: GodpSettings) -> None:
        super().__init__()
        self.settings = settings
        c = settings.width_of
        self.g1 = _group(1, [c(64), c(64)])
        self.g2 = _group(c(64), [c(128), c(128)])
        self.g3 = _group(c(128), [c(256)] * 3)
        self.g4 = _group(c(256), [c(512)] * 3)
        self.g5 = _group(c(512), [c(512)] * 3)
        self.g6 = _group(c(512), [c(512)] * 3)
        self.g7 = _group(c(512), [c(512)] * 3)
        self.g8 = _group(c(512), [c(512), c(512), c(256)])
        self.g9 = _group(c(256), [c(256), c(256), c(128)])
        self.g10 = _group(c(128), [c(128), c(64)])

    def features(self, roi: Tensor) -> Features:
        """Of ROIs (N, 1, H, W), H and W multiples of 32."""
        if roi.ndim != 4 or roi.shape[1] != 1 or roi.shape[2] % 32 or roi.shape[3] % 32:
            raise InvalidInputError(
                f"expected ROIs of shape (N, 1, H, W), sides multiples of 32; got {tuple(roi.shape)}"
            )
        g2 = self.g2(functional.max_pool2d(self.g1(roi), 2))
        pooled, places2 = functional.max_pool2d(g2, 2, return_indices=True)
        g3 = self.g3(pooled)
        pooled, places3 = functional.max_pool2d(g3, 2, return_indices=True)
        g4 = self.g4(pooled)
        pooled, places4 = functional.max_pool2d(g4, 2, return_indices=True)
        g5 = self.g5(pooled)
        pooled, places5 = functional.max_pool2d(g5, 2, return_indices=True)
        g7 = self.g7(_unpool(self.g6(pooled), places5))

        def linked(deep: Tensor, places: Tensor, group: int, shallow: Tensor) -> Tensor:
            # Hyperlinks are added, as in an hourglass, so that the decoder keeps the width of a plain DeconvNet.
            unpooled = _unpool(deep, places)
            return unpooled + shallow if group in self.hyperlinks else unpooled

        g8 = self.g8(linked(g7, places4, 4, g4))
        g9 = self.g9(linked(g8, places3, 3, g3))
        g10 = self.g10(linked(g9, places2, 2, g2))
        return Features(g2, g3, g8, g9, g10)

    def fuse(self) -> Self:
        """Fold every batch normalisation into its convolution, in place; the network must be in evaluation mode."""
        if self.training:
            raise InvalidInputError("expected a network in evaluation mode to fuse; call eval() first")
        for module in self.modules():
            if isinstance(module, ConvUnit):
                module.fuse()
        return self


class Godp(Backbone):
    """The network. Input (N, 1, 160, 160) float from `normalize_roi`; output `Decisions`."""

    hyperlinks = (4,)

    def __init__(self, settings: GodpSettings | None = None) -> None:
        settings = settings or GodpSettings()
        if settings.architecture != "godp":
            raise InvalidInputError(f"expected the architecture godp; got {settings.architecture!r}")
        super().__init__(settings)
        c, maps = settings.width_of, settings.channels
        # The paper leaves the converters' inner width open; that of G2 keeps their cost below the backbone's.
        self.g12 = nn.Sequential(ConvUnit(c(256) + maps, c(128)), ConvUnit(c(128), c(128)), _converter(c(128), maps))
        self.g13 = nn.Sequential(ConvUnit(c(128) + maps, c(128)), ConvUnit(c(128), c(128)), _converter(c(128), maps))
        self.g14 = _converter(c(256), maps)
        self.g15 = _converter(c(128) + maps, maps)
        self.g16 = _converter(c(64) + maps, maps)

    def forward(self, roi: Tensor) -> Decisions:
        """Score maps of ROIs, (N, 1, H, W), H and W multiples of 32."""
        g2, g3, g8, g9, g10 = self.features(roi)
        initial = self.g14(g8)
        up1 = double(initial)
        proposal_1 = up1 + self.g12(torch.cat([g3, up1], dim=1))
        refinement_1 = proposal_1 + self.g15(torch.cat([g9, proposal_1], dim=1))
        up2 = double(refinement_1)
        proposal_2 = up2 + self.g13(torch.cat([g2, up2], dim=1))
        refinement_2 = proposal_2 + self.g16(torch.cat([g10, proposal_2], dim=1))
        return Decisions(initial, proposal_1, refinement_1, proposal_2, refinement_2)


def normalize_roi(roi: Tensor) -> Tensor:
    """Grey ROIs (N, H, W) uint8 -> (N, 1, H, W) float32 of zero mean and unit deviation each.

    Args:
        roi: sides of `ROI_SIZE` px for the network as trained.
    """
    if roi.ndim != 3 or roi.dtype != torch.uint8:
        raise InvalidInputError(
            f"expected grey ROIs (N, {ROI_SIZE}, {ROI_SIZE}) uint8; got {tuple(roi.shape)}, {roi.dtype}"
        )
    x = roi.to(torch.float32)
    mean = x.mean(dim=(1, 2), keepdim=True)
    # The floor of 8 grey levels keeps an empty ROI from becoming amplified noise.
    deviation = x.std(dim=(1, 2), keepdim=True, correction=0).clamp_min(8.0)
    return ((x - mean) / deviation).unsqueeze(1)
