"""DSSD: deep sharable and structural detectors (Liu, Lu, Feng, Zhou, IEEE TIP 2017), one refinement of a shape.

    f_l   = pool(ReLU(H1 * x_l))                       features of a patch (Eq. 2)
    phi_l = tanh(H2 [N_K(f_l)])                        structural features: a landmark's with its neighbours' (Eq. 3)
    u_l   = (P c_l)' phi_l                             sharable detectors, W = PC (Eqs. 4, 5)
    dS    = Q[u]                                       two-layer nonlinear regression over the whole shape (Eq. 6)

Where the paper leaves details open, this implementation chooses as follows: a landmark has two detectors, one for x and
one for y, so C has 2L columns. N_K counts the landmark itself as its nearest neighbour, so K = 1 is a network without
structure; phi has as many numbers as the K features it re-weights (100), which is what lets G go up to 68. Q sees the
displacements and the landmarks they predict, and adds its correction to the displacements, so that leaving Q out of the
solver for P and C (Eq. 8) is right at the start. Displacements are in half patches, so one network serves every scale.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.patches import PATCH_SIZE, patches
from facerec.landmarks.precision import training_autocast

HALF_PATCH = PATCH_SIZE / 2
"""Px a displacement of 1 means."""

_PATCHES_AT_ONCE = 17

Detectors = Literal["sharable", "plain"]


@dataclass(frozen=True, slots=True)
class DssdSettings:
    """Shape of the network.

    Attributes:
        landmarks: L.
        filters: of both convolutions. The paper's 128 take 2.4 billion multiplications per face and stage; 16 take a
            fiftieth, which two CPU cores can train within two hours.
        features: numbers a patch is described by (the paper's 20).
        neighbours: K.
        latent: G.
        correction: hidden width of Q.
        detectors: "plain" is the comparison without structure and sharing: the patches' features of all landmarks
            side by side, and one linear regression of the whole shape.
    """

    landmarks: int = 68
    filters: int = 16
    features: int = 20
    neighbours: int = 5
    latent: int = 20
    correction: int = 128
    detectors: Detectors = "sharable"

    def __post_init__(self) -> None:
        if min(self.filters, self.features, self.latent, self.correction) < 1:
            raise InvalidInputError(f"expected positive sizes; got {self}")
        if not 1 <= self.neighbours <= self.landmarks:
            raise InvalidInputError(f"expected 1 to {self.landmarks} neighbours; got {self.neighbours}")
        if self.detectors not in ("sharable", "plain"):
            raise InvalidInputError(f"expected detectors 'sharable' or 'plain'; got {self.detectors!r}")

    @property
    def width(self) -> int:
        """D, structural features per landmark."""
        return self.features * (self.neighbours if self.detectors == "sharable" else 1)


class Refinement(NamedTuple):
    """What the network makes of one shape.

    Attributes:
        shape: (N, L, 2) after the step, in [0, 1] of the crop.
        local: (N, L, 2) displacements by the detectors alone, in half patches.
        features: (N, L, D) phi.
    """

    shape: Tensor
    local: Tensor
    features: Tensor


def nearest_landmarks(mean: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """(L, count): each landmark and its nearest ones on the mean shape (L, 2), the nearest first."""
    distance = np.linalg.norm(mean[:, None] - mean[None], axis=2)
    return np.asarray(np.argsort(distance, axis=1, kind="stable")[:, :count], dtype=np.int64)


class LargestOfFour(nn.Module):
    """Max-pooling by two, (N, C, H, W) -> (N, C, H // 2, W // 2); an odd last row or column is left out.

    Channels last, as training has it, the library's takes a tenth of the time that the gradient of `torch.maximum`
    does; without a gradient two maxima of slices are the fastest, whatever the layout.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The largest of each 2 x 2 pixels."""
        if torch.is_grad_enabled() and x.requires_grad:
            return functional.max_pool2d(x.contiguous(memory_format=torch.channels_last), 2)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[:, :, :, 0:width:2], rows[:, :, :, 1:width:2])


class Dssd(nn.Module):
    """The network.

    The solver of `facerec.landmarks.training.apg` chooses P and C, sparsely; gradients refine what it chose.

    Args:
        settings: its shape.
        mean: (L, 2) mean shape in [0, 1] of the crop; decides who is whose neighbour.
    """

    neighbours: Tensor
    mean: Tensor

    def __init__(self, settings: DssdSettings, mean: NDArray[np.floating]) -> None:
        super().__init__()
        if mean.shape != (settings.landmarks, 2):
            raise InvalidInputError(f"expected a mean shape ({settings.landmarks}, 2); got {mean.shape}")
        self.settings = settings
        count, filters, width = settings.landmarks, settings.filters, settings.width
        # 30 -> 26 -> 13 -> 9 -> 4 px. Pooled first, then rectified: the same numbers, and a third of the training time
        # less.
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, filters, 5),
            LargestOfFour(),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 5),
            LargestOfFour(),
            nn.ReLU(),
        )
        self.describe = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * filters, 256),
            nn.Tanh(),
            nn.Linear(256, 512),
            nn.Tanh(),
            nn.Linear(512, settings.features),
            nn.Tanh(),
        )
        self.register_buffer("mean", torch.from_numpy(np.asarray(mean, dtype=np.float32)))
        if settings.detectors == "sharable":
            self.register_buffer("neighbours", torch.from_numpy(nearest_landmarks(mean, settings.neighbours)))
            self.reweight = nn.Linear(width, width)
            self.basis = nn.Parameter(torch.zeros(width, settings.latent))
            self.weights = nn.Parameter(torch.zeros(settings.latent, 2 * count))
            self.correct = nn.Sequential(
                nn.Linear(4 * count, settings.correction), nn.Tanh(), nn.Linear(settings.correction, 2 * count)
            )
        else:
            self.regress = nn.Linear(width * count, 2 * count)
        # Normalised initialisation (Eq. 23), biases zero; the last layer begins small so that no shape is thrown far.
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        last = self.correct[2] if settings.detectors == "sharable" else self.regress
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.01)
        # What the camera sees and how sure a place is, read off the features; no part of the paper.
        self.confidence = nn.Parameter(torch.zeros(count, width + 1))
        self.visibility = nn.Parameter(torch.zeros(count, width + 1))

    def features(self, crops: Tensor, shape: Tensor) -> Tensor:
        """Structural features phi (N, L, D) of crops (N, S, S) at shapes (N, L, 2) in [0, 1]."""
        n, count = shape.shape[:2]
        size = crops.shape[-1]
        read = patches(crops, shape * size - 0.5).reshape(n * count, 1, PATCH_SIZE, PATCH_SIZE)
        # How bright a patch is says nothing of where its landmark lies.
        read = read - read.mean(dim=(2, 3), keepdim=True)
        with training_autocast(crops.device) if self.training else nullcontext():
            found = self._described(read.contiguous(memory_format=torch.channels_last))
        own = found.float().reshape(n, count, self.settings.features)
        if self.settings.detectors == "plain":
            return own
        together = own[:, self.neighbours].flatten(2)
        structural: Tensor = torch.tanh(self.reweight(together))
        return structural

    def _described(self, read: Tensor) -> Tensor:
        """Features (M, F) of patches (M, 1, 30, 30)."""
        # Maps of so few patches stay in the processor's cache: a fifth less time for a face.
        few = len(read) if torch.is_grad_enabled() or read.device.type != "cpu" else _PATCHES_AT_ONCE
        maps = [self.convolutions(part) for part in torch.split(read, few)]
        return self.describe(torch.cat(maps))  # type: ignore[no-any-return]

    def forward(self, crops: Tensor, shape: Tensor) -> Refinement:
        """One step: crops (N, S, S), shapes (N, L, 2) in [0, 1]."""
        phi = self.features(crops, shape)
        n, count = shape.shape[:2]
        size = crops.shape[-1]
        if self.settings.detectors == "plain":
            local = self.regress(phi.flatten(1)).reshape(n, count, 2)
            return Refinement(shape + local * (HALF_PATCH / size), local, phi)
        detectors = (self.basis @ self.weights).reshape(self.settings.width, count, 2)
        local = torch.einsum("nld,dlc->nlc", phi, detectors)
        predicted = shape + local * (HALF_PATCH / size)
        # Factors that bring both inputs of Q to about one.
        seen = torch.cat([4 * local.flatten(1), 8 * (predicted - self.mean).flatten(1)], dim=1)
        moved = local + self.correct(seen).reshape(n, count, 2)
        return Refinement(shape + moved * (HALF_PATCH / size), local, phi)

    def evidence(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds, each (N, L), that a landmark's place is right and that the camera sees it."""
        return (
            (phi * self.confidence[:, :-1]).sum(dim=2) + self.confidence[:, -1],
            (phi * self.visibility[:, :-1]).sum(dim=2) + self.visibility[:, -1],
        )

    def detectors(self) -> list[nn.Parameter]:
        """P and C; nothing where the detectors are plain."""
        return [self.basis, self.weights] if self.settings.detectors == "sharable" else []

    @torch.no_grad()
    def set_detectors(self, basis: NDArray[np.floating], weights: NDArray[np.floating]) -> None:
        """Put P (D, G) and C (G, 2L) in."""
        self.basis.copy_(torch.from_numpy(np.asarray(basis, dtype=np.float32)))
        self.weights.copy_(torch.from_numpy(np.asarray(weights, dtype=np.float32)))
