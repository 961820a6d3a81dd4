"""Training the face network: margin softmax over people on views of every kind, starting from dlib's network."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.precision import training_autocast
from facerec.landmarks.training.resume import load_checkpoint, save_checkpoint
from facerec.landmarks.training.schedule import cosine_rate
from facerec.recognition.resnet import FaceResNet, dlib_model_file, network_arrays, network_of, read_dlib_network
from facerec.recognition.resnet_graph import DIMENSION, for_photographs, with_photo_head
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import Faces
from facerec.recognition.training.looks import DisturbanceSettings, LookMaker, LookSettings, disturb
from facerec.recognition.training.network_cells import photo_vectors, view_input, views_on
from facerec.recognition.views import FACE_FRAME

SAVE_EVERY = 180.0
"""Seconds between two checkpoints."""


@dataclass(frozen=True)
class IdentityTraining:
    """Settings of learning to tell people apart.

    Attributes:
        steps, batch: number of steps, and of views per step.
        rate: highest learning rate of the network; class_rate: that of the people's centres; warm_up: steps over which
            both rise, before they fall as a cosine. decay: weight decay.
        scale, margin: of the margin softmax (CosFace).
        teacher_weight: of 1 - cosine to what the start network gives for a near-frontal picture's photograph or for
            its person's mean, half and half; only for people with several pictures, whom it tells apart.
        frontal: |yaw| up to which a picture is near-frontal, degrees.
        averaging: decay a step of the running mean of the weights, which is the result.
    """

    steps: int = 6000
    batch: int = 384
    rate: float = 6e-4
    class_rate: float = 3e-3
    warm_up: int = 150
    decay: float = 1e-2
    scale: float = 40.0
    margin: float = 0.3
    teacher_weight: float = 1.0
    frontal: float = 30.0
    averaging: float = 0.998
    disturbance: DisturbanceSettings = field(default_factory=DisturbanceSettings)
    seed: int = 0


@dataclass(frozen=True)
class ResNetTraining(IdentityTraining):
    """Settings of the training of a whole network: 6,000 batches of 384 show each picture about thirty times.

    Attributes:
        shares: how often the faces of each source are drawn; within a source every person as often as the root of
            the number of their pictures, and pictures beyond 35 degrees profile_weight times as often.
        reuse: how often a view is degraded and used before it is made again; more than 1 spares a CPU.
        looks: which views are drawn.
    """

    profile_weight: float = 2.5
    shares: tuple[tuple[str, float], ...] = (
        ("celeba", 0.40),
        ("cfp-frontal", 0.06),
        ("cfp-profile", 0.12),
        ("ytf", 0.06),
        ("lfw-colour", 0.10),
        ("all-age-faces", 0.16),
        ("utkface", 0.10),
    )
    reuse: int = 3
    looks: LookSettings = field(default_factory=LookSettings)


@dataclass(frozen=True)
class ResNetRun:
    """Where a training runs and for how long.

    Attributes:
        checkpoint: file to resume from and to write every few minutes.
        max_minutes: the schedule follows the clock when this runs out before the steps do.
        trained: networks to go on with, when the teacher is not what the training begins with.
    """

    checkpoint: Path | None = None
    max_minutes: float | None = None
    trained: TrainedNetworks | None = None


def row_chances(faces: Faces, training: ResNetTraining) -> NDArray[np.float64]:
    """(N,) chance of each face to be drawn."""
    person = np.unique(faces.person, return_inverse=True)[1]
    weight = 1.0 / np.sqrt(np.bincount(person)[person])
    weight = weight * np.where(np.abs(faces.yaw) > 35, training.profile_weight, 1.0)
    chance = np.zeros(len(faces))
    for source, share in training.shares:
        mine = faces.source == source
        if mine.any():
            chance[mine] = share * weight[mine] / weight[mine].sum()
    return np.asarray(chance / chance.sum())


@dataclass(frozen=True, eq=False)
class TeacherVectors:
    """What the starting network gives for the faces: where the trained one is pulled to.

    Attributes:
        own: (N, D) unit vectors of the photographs.
        mean: (P, D) unit vectors of the people, in which near-frontal photographs count five times.
        label: (N,) int64 row of each face's person in `mean`.
        clear: (N,) bool, near-frontal photographs.
        several: (N,) bool, faces of people with several photographs.
    """

    own: Tensor
    mean: Tensor
    label: Tensor
    clear: Tensor
    several: Tensor

    @classmethod
    def of(cls, vectors: NDArray[np.float32], faces: Faces, frontal: float) -> TeacherVectors:
        """Of its `photo_vectors` (N, D); a photograph is near-frontal when its |yaw| is below `frontal` degrees."""
        names, person = np.unique(faces.person, return_inverse=True)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        clear = np.abs(faces.yaw) < frontal
        mean = np.zeros((len(names), DIMENSION), dtype=np.float32)
        np.add.at(mean, person, vectors * np.where(clear, 1.0, 0.2).astype(np.float32)[:, None])
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        parts = (vectors, mean, person, clear, np.bincount(person)[person] > 1)
        return cls(*(torch.from_numpy(part).to(faces.crops.device) for part in parts))

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """(B, D) the faces' own vectors or their people's, half and half; their people's where not near-frontal."""
        own = torch.rand(len(rows), generator=generator, device=rows.device) < 0.5
        return torch.where((own & self.clear[rows])[:, None], self.own[rows], self.mean[self.label[rows]])


def identity_loss(
    vectors: Tensor, centres: Tensor, rows: Tensor, target: Tensor, teacher: TeacherVectors, training: IdentityTraining
) -> tuple[Tensor, Tensor]:
    """Margin softmax over people (CosFace), and the distance to the teacher for people with several photographs.

    Args:
        vectors: (B, D) of the views of the faces `rows` (B,).
        centres: (P, D) of the people.
        target: (B, D) what the teacher wants for each.

    Returns:
        the loss; and (3,) its two parts and the share of views whose person scored highest.
    """
    direction = F.normalize(vectors, dim=1)
    scores = training.scale * (direction @ F.normalize(centres, dim=1).T)
    label = teacher.label[rows]
    index = torch.arange(len(label), device=vectors.device)
    scores[index, label] = scores[index, label] - training.scale * training.margin
    softmax = F.cross_entropy(scores, label)
    known = teacher.several[rows].float()
    distance = ((1 - (direction * target).sum(dim=1)) * known).sum() / known.sum().clamp(min=1)
    right = (scores.detach().argmax(1) == label).float().mean()
    return softmax + training.teacher_weight * distance, torch.stack([softmax.detach(), distance.detach(), right])


class _Centres(nn.Module):
    """A centre for each person."""

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.centres = nn.Parameter(centres)


class TwoHeaded(nn.Module):
    """A face network with linear layers of their own for photographs, behind the same convolutions.

    Args:
        frontal: describes the halves of the frontal view.
        photo: whose linear layers describe photographs.
    """

    def __init__(self, frontal: FaceResNet, photo: FaceResNet) -> None:
        super().__init__()
        self.frontal = deepcopy(frontal)
        self.photo = deepcopy(photo.head)
        self.photo_places = deepcopy(photo.places)

    def forward(self, x: Tensor, photo: Tensor) -> Tensor:
        """(B, 3, S, S) views, (B,) bool which are photographs, to (B, 128)."""
        places, pooled = self.frontal.features(x)
        own: Tensor = self.photo(pooled)
        if self.photo_places is not None:
            own = own + self.photo_places(places)
        return torch.where(photo[:, None], own, self.frontal.described(places, pooled))

    def parted(self) -> TrainedNetworks:
        """Copies of both networks on the CPU, ready to describe."""
        frontal, photo = deepcopy(self.frontal).float().cpu(), deepcopy(self.frontal).float().cpu()
        photo.head = deepcopy(self.photo).float().cpu()
        photo.places = None if self.photo_places is None else deepcopy(self.photo_places).float().cpu()
        return TrainedNetworks(frontal.requires_grad_(False).eval(), photo.requires_grad_(False).eval())


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """The networks that describe the halves of the frontal view and photographs; their convolutions are the same."""

    frontal: FaceResNet
    photo: FaceResNet

    def arrays(self, dlib_mean: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        """Of a weight file: see `network_arrays` and `with_photo_head`."""
        return with_photo_head(network_arrays(self.frontal, dlib_mean), network_arrays(self.photo, dlib_mean))

    def mixed(self, start: FaceResNet, share: float) -> TrainedNetworks:
        """Networks whose weights are `share` those of `start` and the rest their own."""
        return TrainedNetworks(*(mixed(network, start, share) for network in (self.frontal, self.photo)))


class _Learner:
    """What a training changes: the network, the people's centres, the optimiser, the averaged weights."""

    def __init__(self, begin: TrainedNetworks, centres: Tensor, teacher: TeacherVectors, training: ResNetTraining):
        self.training, self.teacher = training, teacher
        self.device = teacher.mean.device
        network = TwoHeaded(begin.frontal, begin.photo).train().requires_grad_(True)
        self.network: TwoHeaded = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = _Centres(centres.clone())
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(self.network.parameters()), "top": training.rate},
                {"params": list(self.classes.parameters()), "top": training.class_rate, "weight_decay": 0.0},
            ],
            lr=training.rate,
            weight_decay=training.decay,
        )
        self.step = 0

    def learn(self, shown: Shown, target: Tensor, rate: float) -> Tensor:
        """One step on views.

        Args:
            shown: the views and whose they are.
            target: (B, D) what the teacher wants for each.
            rate: share of the highest learning rates.

        Returns:
            (3,) loss of the margin softmax, that of the teacher, share of views whose person scored highest.
        """
        training = self.training
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * rate
        with training_autocast(self.device):
            vectors = self.network(shown.inputs, shown.photo)
        loss, told = identity_loss(vectors.float(), self.classes.centres, shown.rows, target, self.teacher, training)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            keep = min(training.averaging, self.step / (10 + self.step))
            theirs = self.network.state_dict()
            torch._foreach_lerp_(list(self.average.values()), [theirs[name] for name in self.average], 1 - keep)
        return told

    def averaged(self) -> TrainedNetworks:
        """Copies of the networks with the averaged weights, on the CPU."""
        copy = deepcopy(self.network).float()
        copy.load_state_dict(self.average)
        return copy.parted()

    def save(self, path: Path, seconds: float, generator: torch.Generator) -> None:
        """Write a checkpoint after `seconds` of training."""
        state = {
            "network": self.network.state_dict(),
            "classes": self.classes.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "spent": seconds,
            "generator": generator.get_state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(path, self.training, state)

    def restore(self, path: Path, generator: torch.Generator) -> float:
        """Take up a checkpoint; returns the seconds that were spent before it."""
        saved = load_checkpoint(path, self.training)
        self.network.load_state_dict(saved["network"])
        self.classes.load_state_dict(saved["classes"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average = {name: value.to(self.device) for name, value in saved["average"].items()}
        self.step = int(saved["step"])
        generator.set_state(saved["generator"].cpu())
        return float(saved["spent"])


@dataclass(frozen=True, eq=False)
class Shown:
    """Views of faces.

    Attributes:
        rows: (B,) the faces.
        photo: (B,) bool, which views are photographs; the others are halves of the frontal view.
        inputs: (B, 3, S, S), pixels in [0, 1] while they are kept, the network's input when they are learnt from.
    """

    rows: Tensor
    photo: Tensor
    inputs: Tensor

    def at(self, rows: Tensor) -> Shown:
        """The views at these places."""
        return Shown(self.rows[rows], self.photo[rows], self.inputs[rows])


class _Looks:
    """Draws the views of a batch; each is degraded and used `reuse` times on average before it is made again."""

    def __init__(self, faces: Faces, views: BatchedViews, training: ResNetTraining, generator: torch.Generator) -> None:
        self.faces, self.training, self.generator = faces, training, generator
        self.maker = LookMaker(views, training.looks, generator)
        self.chance = row_chances(faces, training)
        self.pool: Shown | None = None

    def draw(self, step: int) -> Shown:
        """The views of step `step`; whose they are depends on seed and step alone."""
        training, device = self.training, self.faces.crops.device
        rng = np.random.default_rng([training.seed, step])
        fresh = training.batch if self.pool is None else max(1, training.batch // training.reuse)
        rows = torch.from_numpy(rng.choice(len(self.faces), fresh, p=self.chance)).to(device)
        looks, photo = self.maker.draw(self.faces, rows)
        shown = Shown(rows, photo, looks)
        if training.reuse > 1:
            self.pool = _refresh(self.pool, shown, training, step)
            shown = self.pool.at(torch.from_numpy(rng.choice(len(self.pool.rows), training.batch)).to(device))
        disturbed = disturb(shown.inputs, FACE_FRAME.neutral, training.disturbance, self.generator)
        return replace(shown, inputs=view_input(disturbed))


def train_resnet(
    faces: Faces,
    start: FaceResNet,
    training: ResNetTraining | None = None,
    run: ResNetRun | None = None,
    report: Callable[[int, dict[str, float], TrainedNetworks], None] | None = None,
    every: int = 100,
) -> TrainedNetworks:
    """Train where the faces are (CPU or GPU); returns the networks with averaged weights.

    Args:
        faces: who to learn from.
        start: the network to begin with, whose vectors are the people's first centres and the teacher's.
        training: see there.
        run: see there.
        report: called every `every` steps with the losses and the averaged networks.
    """
    training, run = training or ResNetTraining(), run or ResNetRun()
    generator = torch.Generator(device=faces.crops.device).manual_seed(training.seed)
    views = views_on(faces.crops.device)
    teacher = TeacherVectors.of(photo_vectors(start, views, faces), faces, training.frontal)
    begin, centres = run.trained or TrainedNetworks(start, start), teacher.mean
    if run.trained is not None:
        photo = deepcopy(begin.photo).to(faces.crops.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        centres = TeacherVectors.of(photo_vectors(photo, views, faces), faces, training.frontal).mean
    learner = _Learner(begin, centres, teacher, training)
    source = _Looks(faces, views, training, generator)
    checkpoint = run.checkpoint
    spent = learner.restore(checkpoint, generator) if checkpoint is not None and checkpoint.exists() else 0.0
    began = time.monotonic() - spent
    last_saved = time.monotonic()
    totals = torch.zeros(3, device=learner.device)
    while learner.step < training.steps:
        minutes = (time.monotonic() - began) / 60
        done = max(learner.step / training.steps, minutes / run.max_minutes if run.max_minutes else 0.0)
        if done >= 1.0:
            break
        with torch.no_grad():
            shown = source.draw(learner.step)
            target = learner.teacher.draw(shown.rows, generator)
        rate = cosine_rate(done, training.warm_up / training.steps)
        totals += learner.learn(shown, target, rate) / every
        if learner.step % every == 0:
            if report is not None:
                values = dict(zip(("softmax", "teacher", "right"), totals.tolist(), strict=True))
                report(learner.step, {**values, "minutes": minutes, "done": done}, learner.averaged())
            totals.zero_()
        if checkpoint is not None and time.monotonic() - last_saved > SAVE_EVERY:
            last_saved = time.monotonic()
            learner.save(checkpoint, last_saved - began, generator)
    if checkpoint is not None:
        learner.save(checkpoint, time.monotonic() - began, generator)
    return learner.averaged()


def _refresh(pool: Shown | None, fresh: Shown, training: ResNetTraining, step: int) -> Shown:
    """The pool of views with the oldest replaced by new ones; it grows to eight batches."""
    if pool is None:
        return fresh
    if len(pool.rows) < 8 * training.batch:
        return Shown(*(torch.cat([getattr(pool, name), value]) for name, value in vars(fresh).items()))
    first = (step * len(fresh.rows)) % (len(pool.rows) - len(fresh.rows) + 1)
    for name, value in vars(fresh).items():
        getattr(pool, name)[first : first + len(value)] = value
    return pool


def mixed(trained: FaceResNet, start: FaceResNet, share: float) -> FaceResNet:
    """A network whose weights are `share` those of `start` and the rest those of `trained`."""
    theirs, mine = start.state_dict(), trained.state_dict()
    out = FaceResNet(trained.places is not None)
    out.load_state_dict({name: torch.lerp(mine[name], theirs[name].to(mine[name].dtype), share) for name in mine})
    return out.eval()


def centre(network: FaceResNet, vectors: NDArray[np.float32], clear: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Subtract in `network`'s head what it gives for all clear photographs alike; returns that mean (D,).

    Raises:
        InvalidInputError: no photograph is clear.
    """
    if not clear.any():
        raise InvalidInputError("expected near-frontal faces to centre the network on; got none")
    mean = np.asarray(vectors[clear].mean(axis=0), dtype=np.float32)
    with torch.no_grad():
        network.head.bias.sub_(torch.from_numpy(mean).to(network.head.bias.device))
    return mean


def trained_networks(path: Path) -> TrainedNetworks:
    """The networks of a weight file; one without layers for photographs describes them by those for all views."""
    with safe_open(str(path), framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return TrainedNetworks(network_of(arrays), network_of(for_photographs(arrays)))


def starting_network(path: Path | None = None) -> FaceResNet:
    """The network to begin with: that of a weight file, or the mean of dlib's and the package's weights."""
    if path is not None:
        with safe_open(str(path), framework="np") as file:
            network = network_of({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    else:
        arrays = load_weights("recognition", "resnet")
        package = network_of(arrays)
        network = mixed(package, read_dlib_network(dlib_model_file(), arrays["dlib_mean"]).with_places(), 0.5)
    return (network if network.places is not None else network.with_places()).eval()
