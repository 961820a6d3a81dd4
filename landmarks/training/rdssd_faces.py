"""How a cascade is trained, and the faces it is trained on: augmented crops drawn from packs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.initial_shapes import normalised
from facerec.landmarks.markup import MIRRORED_MARKUPS
from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE, RDSSD, Cascade, CascadeSettings, Pyramid, pyramid
from facerec.landmarks.training.apg import SharableSettings
from facerec.landmarks.training.augment import AugmentSettings, augment
from facerec.landmarks.training.packs import NOT_ANNOTATED, VISIBLE, FaceDraw, LandmarkPack, PackedFace

COARSE_STEP, SOLVER_STEP = 2**31, 2**32
"""Steps that no training reaches: the coarse stages and the solver get fresh faces."""


@dataclass(frozen=True, slots=True)
class DssdTrainSettings:
    """How a cascade is trained.

    Attributes:
        coarse_faces: augmented faces that initial shapes and ferns are trained on, all in memory at once.
        coarse_starts: starts of each, drawn from the centres near its rough shape (ESR's augmentation).
        samples: augmented faces the networks see.
        batch: faces per step.
        rounds: turns of gradients and solver. The paper's converges in 15, where nothing else moves P and C.
        solver_faces: fresh faces of each; the solver uses three of four, and how far its step is gone is chosen on the
            rest.
        learning_rate: top of the cycle of AdamW. The paper has plain SGD (0.01, momentum 0.9) and far more time. At
            1e-3 a run died: every rectifier of the convolutions ended at zero.
        warm_up: share of the steps over which the rate rises.
        weight_decay: the paper's.
        clip: largest norm of the gradient; guards the first steps.
        seed: of clusters, ferns, weights, faces and augmentation.
    """

    cascade: CascadeSettings = RDSSD
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    sharable: SharableSettings = field(default_factory=SharableSettings)
    coarse_faces: int = 24_000
    coarse_starts: int = 4
    samples: int = 50_000
    batch: int = 8
    rounds: int = 3
    solver_faces: int = 2048
    learning_rate: float = 4e-4
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.samples < self.batch or min(self.rounds, self.solver_faces, self.coarse_starts) < 1:
            raise InvalidInputError(f"expected positive numbers and samples >= batch; got {self}")
        if self.coarse_starts > self.cascade.initial.spread or self.coarse_faces < self.cascade.initial.spread:
            raise InvalidInputError(
                f"expected at least {self.cascade.initial.spread} coarse faces and at most as many starts; got "
                f"{self.coarse_faces}, {self.coarse_starts}"
            )


class Faces(NamedTuple):
    """Training faces: crops (N, 200, 200) uint8; truth (N, L, 2) in [0, 1], 0 if not known; known, visible (N, L)."""

    crops: NDArray[np.uint8]
    truth: NDArray[np.float32]
    known: NDArray[np.bool_]
    visible: NDArray[np.bool_]


class CropSource:
    """Draws augmented faces; the faces of a step depend on the seed and the step alone."""

    def __init__(self, packs: Sequence[tuple[LandmarkPack, float]], settings: DssdTrainSettings) -> None:
        self._draw = FaceDraw(packs)
        count = settings.cascade.network.landmarks
        if self._draw.landmarks != count:
            raise InvalidInputError(f"expected packs of {count} points; got {self._draw.landmarks}")
        self._seed = settings.seed
        self._augment = settings.augment
        if count not in MIRRORED_MARKUPS:
            self._augment = replace(settings.augment, mirror=0.0)

    def faces(self, step: int, count: int) -> Faces:
        """`count` faces of step `step`."""
        rng = np.random.default_rng([self._seed, step])
        return stack_faces(
            [augment(face, self._augment, rng, CROP_SIZE, CROP_SCALE) for face in self._draw.draw(count, rng)]
        )


def stack_faces(faces: Sequence[PackedFace]) -> Faces:
    """Faces of 200 px as arrays."""
    state = np.stack([face.state for face in faces])
    truth = np.nan_to_num(np.stack([normalised(face.points, CROP_SIZE) for face in faces]))
    return Faces(np.stack([face.image for face in faces]), truth, state != NOT_ANNOTATED, state == VISIBLE)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A batch with its coarse shapes: crops by side, start (N, L, 2), truth, known, visible."""

    crops: Pyramid
    start: Tensor
    truth: Tensor
    known: Tensor
    visible: Tensor

    def to(self, device: torch.device) -> Prepared:
        """The same batch on `device`."""
        return Prepared(
            {side: crops.to(device) for side, crops in self.crops.items()},
            *(part.to(device) for part in (self.start, self.truth, self.known, self.visible)),
        )


def prepare(cascade: Cascade, faces: Faces, rng: np.random.Generator) -> Prepared:
    """Faces with the shapes that the coarse stages give them."""
    crops = pyramid(faces.crops, cascade.settings)
    start = torch.from_numpy(cascade.begin(crops, rng)[-1])
    wanted = {side: crops[side] for side in set(cascade.settings.fine)}
    return Prepared(wanted, start, *(torch.from_numpy(part) for part in faces[1:]))
