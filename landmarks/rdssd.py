"""R-DSSD: a cascade of coarse fern stages and recurrent DSSD stages (Liu et al., Algorithm 2), and DSSD alone.

    S_0 = initial shape,  S_t = S_(t-1) + R_t(X, S_(t-1))                                    (Eqs. 14, 15)

A face begins at several cluster centres. All of them pass the coarse stages, which cost little; the mean of their
middle half goes through the refinements, which share one network over crops of 50, 100 and 200 px (recurrent learning)
or have one each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facerec.landmarks.dssd import Dssd, DssdSettings, Refinement
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.ferns import FernLevel, FernSettings
from facerec.landmarks.initial_shapes import InitialShapes, InitialShapeSettings, in_pixels

CROP_SIZE = 200
"""Side of the largest crop, px (the paper's)."""

CROP_SCALE = 1.3
"""Side of the crop over the longer side of the face's box: boxes are enlarged by 30 % (the paper's)."""

Learning = Literal["recurrent", "joint", "sequential"]


@dataclass(frozen=True, slots=True)
class CascadeSettings:
    """What a cascade is made of.

    Attributes:
        network: of each refinement.
        initial: how a face is begun.
        ferns: of each coarse stage.
        coarse: crop side of each coarse stage, px.
        fine: crop side of each refinement, px.
        learning: "recurrent": the refinements share one network, trained through all stages at once. "joint": one
            network each, trained through all stages at once. "sequential": one each, trained one after the other.
    """

    network: DssdSettings = field(default_factory=DssdSettings)
    initial: InitialShapeSettings = field(default_factory=InitialShapeSettings)
    ferns: FernSettings = field(default_factory=FernSettings)
    coarse: tuple[int, ...] = (50, 100)
    fine: tuple[int, ...] = (50, 100, 200)
    learning: Learning = "recurrent"

    def __post_init__(self) -> None:
        sides = (*self.coarse, *self.fine, self.initial.side)
        if any(side < 2 or CROP_SIZE % side for side in sides):
            raise InvalidInputError(f"expected crop sides that divide {CROP_SIZE}; got {sides}")
        if self.learning not in ("recurrent", "joint", "sequential"):
            raise InvalidInputError(f"expected recurrent, joint or sequential learning; got {self.learning!r}")
        if not self.coarse and not self.fine:
            raise InvalidInputError("expected at least one stage; got none")

    @property
    def networks(self) -> int:
        """How many networks the refinements have."""
        return min(1, len(self.fine)) if self.learning == "recurrent" else len(self.fine)

    def network_of(self, stage: int) -> int:
        """Which of them refinement `stage` (from 0) uses."""
        return 0 if self.learning == "recurrent" else stage


# One network cannot look closely and far at once: at 100 px its patches cover nearly a third of the face, which is
# about how far the initial shape errs.
DSSD = CascadeSettings(coarse=(), fine=(100,))
RDSSD = CascadeSettings()
RDSSD_STAR = CascadeSettings(coarse=(50,), fine=(100, 200))

VARIANTS: dict[str, CascadeSettings] = {"dssd": DSSD, "rdssd": RDSSD, "rdssd-star": RDSSD_STAR}
"""Cascades of the paper by name: DSSD, R-DSSD, and R-DSSD* with one coarse stage and two refinements."""


Pyramid = dict[int, Tensor]
"""Crops (N, side, side) float by side: zero mean and unit deviation at 200 px, smaller ones by averaging areas."""


def pyramid(crops: NDArray[np.uint8], settings: CascadeSettings) -> Pyramid:
    """Normalised crops at every scale the cascade needs.

    Args:
        crops: (N, 200, 200) uint8 grey.
        settings: of the cascade.
    """
    if crops.ndim != 3 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE) or crops.dtype != np.uint8:
        raise InvalidInputError(
            f"expected grey crops (N, {CROP_SIZE}, {CROP_SIZE}) uint8; got {crops.shape}, {crops.dtype}"
        )
    x = torch.from_numpy(crops).to(torch.float32)
    mean = x.mean(dim=(1, 2), keepdim=True)
    # The floor of 8 grey levels keeps an empty crop from becoming amplified noise.
    x = (x - mean) / x.std(dim=(1, 2), keepdim=True, correction=0).clamp_min(8.0)
    sides = {*settings.coarse, *settings.fine, settings.initial.side}
    return {
        side: functional.avg_pool2d(x.unsqueeze(1), CROP_SIZE // side).squeeze(1) if side != CROP_SIZE else x
        for side in sides
    }


class CascadeShapes(NamedTuple):
    """What a cascade says of N crops.

    Attributes:
        stages: (T + 1, N, L, 2) px of the 200 px crop: the initial shape, then the shape after each stage.
        confidence, visibility: (N, L) log-odds that the place is right, that the camera sees the point.
    """

    stages: NDArray[np.float32]
    confidence: NDArray[np.float32]
    visibility: NDArray[np.float32]

    @property
    def points(self) -> NDArray[np.float32]:
        """(N, L, 2) px, after the last stage."""
        return np.asarray(self.stages[-1])


class Cascade:
    """Initial shapes, coarse stages and refinements together; keeps no state between calls.

    Args:
        settings: of the cascade.
        initial: where faces begin.
        coarse: levels of each coarse stage.
        networks: of the refinements, on one device, `settings.networks` of them.
    """

    def __init__(
        self,
        settings: CascadeSettings,
        initial: InitialShapes,
        coarse: Sequence[Sequence[FernLevel]],
        networks: Sequence[Dssd],
    ) -> None:
        if len(coarse) != len(settings.coarse) or len(networks) != settings.networks:
            raise InvalidInputError(
                f"expected {len(settings.coarse)} coarse stages and {settings.networks} networks; got {len(coarse)}, "
                f"{len(networks)}"
            )
        self.settings = settings
        self.initial = initial
        self.coarse = [list(levels) for levels in coarse]
        self.networks = nn.ModuleList(networks)

    def begin(self, crops: Pyramid, rng: np.random.Generator | None = None) -> list[NDArray[np.float32]]:
        """Shapes (N, L, 2) in [0, 1]: the initial one and the one after each coarse stage, means over the middle half
        of the starts.

        Args:
            crops: on the CPU.
            rng: for training: draw the starts at random, and leave the last coarse stage after a random number of its
                levels. On the faces they were trained on, ferns leave a sixth less than on others, and refinements
                would learn to correct too little.
        """
        shapes = self.initial.starts(crops[self.settings.initial.side].numpy(), rng)
        middles = [_middle_mean(shapes)]
        for number, (side, levels) in enumerate(zip(self.settings.coarse, self.coarse, strict=True), start=1):
            last = number == len(self.coarse)
            count = len(levels) if rng is None or not last else int(rng.integers(len(levels) + 1))
            for level in levels[:count]:
                shapes = level.step(crops[side].numpy(), shapes, self.initial.mean)
            middles.append(_middle_mean(shapes))
        return middles

    def refine(self, crops: Pyramid, shape: Tensor, stages: int | None = None) -> list[Refinement]:
        """The refinements of shapes (N, L, 2) one after the other, the first `stages` of them; with gradients."""
        found = []
        for stage, side in enumerate(self.settings.fine[:stages]):
            step: Refinement = self.networks[self.settings.network_of(stage)](crops[side], shape)
            found.append(step)
            shape = step.shape
        return found

    @torch.inference_mode()
    def locate(self, crops: NDArray[np.uint8], device: torch.device | str = "cpu") -> CascadeShapes:
        """Landmarks of crops (N, 200, 200) uint8 grey, with the shapes of all stages."""
        scales = pyramid(crops, self.settings)
        shapes = self.begin(scales)
        confidence = visibility = np.zeros(shapes[-1].shape[:2], dtype=np.float32)
        if self.settings.fine:
            there = {side: scales[side].to(device) for side in set(self.settings.fine)}
            steps = self.refine(there, torch.from_numpy(shapes[-1]).to(device))
            shapes += [step.shape.cpu().numpy() for step in steps]
            last = self.networks[self.settings.network_of(len(self.settings.fine) - 1)]
            assert isinstance(last, Dssd)
            right, seen = last.evidence(steps[-1].features)
            confidence, visibility = right.cpu().numpy(), seen.cpu().numpy()
        return CascadeShapes(in_pixels(np.stack(shapes), CROP_SIZE), confidence, visibility)


def _middle_mean(shapes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K, L, 2) -> (N, L, 2): mean of the middle half of the K values of each coordinate.

    As deaf to lost starts as the median, and steadier.
    """
    count = shapes.shape[1]
    outer = count // 4
    return np.asarray(np.sort(shapes, axis=1)[:, outer : count - outer].mean(axis=1), dtype=np.float32)
