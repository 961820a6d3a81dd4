"""Training GoDP on landmark packs: seeded, resumable, one learning-rate cycle, weights averaged over time."""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from facerec.landmarks.crop import ROI_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Decisions, normalize_roi
from facerec.landmarks.godp_graph import GodpSettings
from facerec.landmarks.godp_weights import godp_from_arrays
from facerec.landmarks.heatmaps import Targets
from facerec.landmarks.precision import training_autocast
from facerec.landmarks.training.augment import AugmentSettings, augment
from facerec.landmarks.training.dsl import (
    FAST_SHARES,
    LOSSES,
    LossSettings,
    SpatialSettings,
    Stage,
    distance_aware_softmax_loss,
    paced,
    spatial_loss,
)
from facerec.landmarks.training.godp_baselines import (
    Coordinates,
    LandmarkNetwork,
    Outputs,
    build_network,
    coordinate_loss,
)
from facerec.landmarks.training.godp_errors import pack_errors, shrunk_rois
from facerec.landmarks.training.packs import NOT_ANNOTATED, VISIBLE, FaceDraw, LandmarkPack, PackedFace
from facerec.landmarks.training.resume import TrainingRun, load_checkpoint, save_checkpoint
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.training.workers import Workers

SCHEDULES = {"fast": FAST_SHARES, "published": (1 / 3, 1 / 3, 1 / 3), "last": (0.0, 0.0, 1.0)}
"""Shares of the three stages in the training, by the name the command line takes; "last" is for going on with a trained
network."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How GoDP is trained.

    Attributes:
        samples: faces seen, augmented ones counted each. The paper's three days of SGD are out of reach; 100,000
            faces with AdamW and one cycle of the learning rate are an hour on two CPU cores at quarter width.
        batch: faces per step; 16 keep batch normalisation steady and still give 6,000 steps.
        learning_rate: top of the cycle.
        warm_up: share of the training over which the rate rises.
        weight_decay: AdamW's.
        averaging: decay a step of the running mean of the weights, which is what is evaluated and shipped.
        clip: largest norm of the gradient; guards the first steps.
        schedule: name in `SCHEDULES`.
        losses: name in `LOSSES`. The baselines have one loss and take that of the stages' initial maps.
        seed: of weights, samples, augmentation and loss sampling.
    """

    network: GodpSettings = field(default_factory=GodpSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    spatial: SpatialSettings = field(default_factory=SpatialSettings)
    samples: int = 100_000
    batch: int = 16
    learning_rate: float = 2e-3
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    averaging: float = 0.998
    clip: float = 5.0
    schedule: str = "fast"
    losses: str = "godp-a"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < self.batch or self.batch < 2:
            raise InvalidInputError(f"expected batch >= 2 and samples >= batch; got {self.batch}, {self.samples}")
        if self.schedule not in SCHEDULES:
            raise InvalidInputError(f"expected a schedule of {sorted(SCHEDULES)}; got {self.schedule!r}")
        if self.losses not in LOSSES:
            raise InvalidInputError(f"expected losses of {sorted(LOSSES)}; got {self.losses!r}")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Losses of each stage, and how long it lasts."""
        return paced(LOSSES[self.losses], SCHEDULES[self.schedule])


@dataclass(frozen=True, eq=False)
class Batch:
    """Network input (N, 1, side, side) float32, and its targets in px of 160."""

    roi: Tensor
    targets: Targets


class BatchSource(Protocol):
    """Where a training's batches come from."""

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, on the CPU."""
        ...


class FaceSource:
    """Draws augmented batches from several packs; batch `step` depends on the seed and `step` alone."""

    def __init__(self, packs: Sequence[tuple[LandmarkPack, float]], settings: TrainSettings) -> None:
        self._settings = settings
        self._faces = FaceDraw(packs)
        if self._faces.landmarks != settings.network.landmarks:
            raise InvalidInputError(
                f"expected packs of {settings.network.landmarks} points; got {self._faces.landmarks}"
            )
        if settings.network.yaw_bins > 1 and any(np.isnan(pack.yaw).any() for pack, _ in packs):
            raise InvalidInputError(
                "expected packs with a known yaw for every face when there is more than one yaw bin"
            )

    def faces(self, step: int) -> list[PackedFace]:
        """The augmented faces of step `step`."""
        rng = np.random.default_rng([self._settings.seed, step])
        drawn = self._faces.draw(self._settings.batch, rng)
        return [augment(face, self._settings.augment, rng) for face in drawn]

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, on the CPU."""
        return as_batch(self.faces(step), self._settings.network)


class _Numbered(Dataset[Batch]):
    """The batches of a source by their number, as a `DataLoader` asks for them."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source

    def __getitem__(self, step: int) -> Batch:
        return self._source.batch(step)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def drawn_ahead(source: BatchSource, steps: Sequence[int], loaders: int) -> Generator[Batch, None, None]:
    """The batches of `steps` in order, drawn by so many processes, or by a thread, while the ones before are learnt."""
    if loaders:
        loader = DataLoader(
            _Numbered(source),
            batch_size=None,
            sampler=steps,
            num_workers=loaders,
            worker_init_fn=_one_thread,
            prefetch_factor=4,
            generator=torch.Generator(),  # The global one stays as it is.
        )
        # A fork has no threads: one that inherits OpenCV's pool would wait for it forever.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            batches = iter(loader)
        finally:
            cv2.setNumThreads(threads)
        yield from batches
        return
    with ThreadPoolExecutor(1) as pool:
        upcoming: Future[Batch] | None = None
        for step in steps:
            ready, upcoming = upcoming, pool.submit(source.batch, step)
            if ready is not None:
                yield ready.result()
        if upcoming is not None:
            yield upcoming.result()


def as_batch(faces: Sequence[PackedFace], network: GodpSettings) -> Batch:
    """Stack faces of 160 px for the network and the losses."""
    images = np.stack([face.image for face in faces])
    if images.shape[1:] != (ROI_SIZE, ROI_SIZE):
        raise InvalidInputError(f"expected faces of {ROI_SIZE} px; got {images.shape[1:]}")
    state = torch.from_numpy(np.stack([face.state for face in faces]))
    points = torch.from_numpy(np.nan_to_num(np.stack([face.points for face in faces]), nan=0.0))
    yaw = np.array([face.yaw for face in faces])
    bins = np.searchsorted(np.array(network.yaw_edges), np.nan_to_num(yaw))
    targets = Targets(points, state != NOT_ANNOTATED, state == VISIBLE, torch.from_numpy(bins.astype(np.int64)))
    return Batch(normalize_roi(torch.from_numpy(shrunk_rois(images, network.side))), targets)


def godp_loss(
    decisions: Decisions, targets: Targets, stage: Stage, spatial: SpatialSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """The losses of one stage by name: initial, proposal_1, ... and, beside each active refinement, its spatial term.

    Their plain sum is what is minimised; `spatial.weight` is in it already.
    """
    parts: dict[str, Tensor] = {}
    for name in Decisions._fields:
        settings: LossSettings | None = getattr(stage, name)
        if settings is None:
            continue
        scores: Tensor = getattr(decisions, name)
        parts[name] = distance_aware_softmax_loss(scores, targets, settings, generator)
        if spatial.weight and name.startswith("refinement"):
            parts[f"{name}_spatial"] = spatial.weight * spatial_loss(scores, targets, spatial, settings.points)
    return parts


def network_loss(
    outputs: Outputs, targets: Targets, stage: Stage, spatial: SpatialSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """`godp_loss`, or what a baseline learns from in that stage: its one map takes the loss of the initial maps."""
    if isinstance(outputs, Decisions):
        return godp_loss(outputs, targets, stage, spatial, generator)
    settings = stage.initial
    if isinstance(outputs, Coordinates):
        return coordinate_loss(outputs, targets, settings.points)
    parts = {"scores": distance_aware_softmax_loss(outputs.scores, targets, settings, generator)}
    if spatial.weight:
        parts["spatial"] = spatial.weight * spatial_loss(outputs.scores, targets, spatial, settings.points)
    return parts


def stage_at(stages: Sequence[Stage], progress: float) -> int:
    """Index of the stage that training has reached at `progress` in [0, 1]."""
    ends = np.cumsum([stage.share for stage in stages]) / sum(stage.share for stage in stages)
    return min(int(np.searchsorted(ends, progress, side="right")), len(stages) - 1)


class Averaged:
    """Running mean of a network's weights and normalisation statistics, warm-started."""

    def __init__(self, network: LandmarkNetwork, decay: float) -> None:
        self.network: LandmarkNetwork = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        # Early on the mean may not lean on the random start, so the decay grows with the steps seen.
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.network.state_dict(), network.state_dict()
        # All tensors at once: on a GPU a launch for each would take longer than the arithmetic.
        averaged = [name for name, value in mine.items() if value.is_floating_point()]
        counted = [name for name in mine if name not in set(averaged)]
        torch._foreach_lerp_([mine[name] for name in averaged], [theirs[name] for name in averaged], 1 - decay)
        if counted:
            torch._foreach_copy_([mine[name] for name in counted], [theirs[name] for name in counted])


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training reports after a step."""

    samples: int
    minutes: float
    share: float
    stage: int
    rate: float
    losses: dict[str, Tensor]
    """Scalars on the training's device; to read one is to wait until the step is done there."""
    errors: dict[str, dict[str, float]] | None
    """Of the averaged network on the test pack, by source, when it was just evaluated."""


def train_godp(
    packs: Sequence[tuple[LandmarkPack, float]] | BatchSource,
    settings: TrainSettings,
    run: TrainingRun,
    *,
    test: LandmarkPack | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> LandmarkNetwork:
    """Train and return the averaged network, in evaluation mode, not fused.

    Resumes from `checkpoint.pt` in the folder of `run` when it is there; curves go to `curve.csv` and `errors.jsonl`.
    Several processes (`facerec.landmarks.training.workers`) see `settings.batch` faces per step each; the first one
    writes.

    Args:
        packs: packs with their sampling weights, or what draws the batches otherwise (`DrawnFaces`).
        settings: of the training; a checkpoint made with others is refused.
        run: where and for how long. Layers run in bfloat16 where that is faster (`training_autocast`); no accuracy is
            lost here. `run.start` is a checkpoint, whose averaged network is begun with; its optimiser is not
            taken over.
        test: pack whose errors are reported while training; it steers nothing.
        on_progress: called after every step.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    learner = _Learner(settings, run)
    source = FaceSource(packs, settings) if isinstance(packs, Sequence) else packs
    workers = learner.workers
    began = time.monotonic() - learner.restore(run)
    saved = evaluated = time.monotonic()
    numbers = range(learner.step * workers.count + workers.rank, learner.steps * workers.count, workers.count)
    batches = drawn_ahead(source, numbers, run.loaders)
    with closing(batches), (run.folder / "curve.csv").open("a", newline="") as stream:
        curve = csv.writer(stream)
        for batch in batches:
            share = learner.share_done(time.monotonic() - began, run.max_minutes)
            if share >= 1:
                break
            rate = settings.learning_rate * cosine_rate(share, settings.warm_up)
            stage = stage_at(settings.stages, share)
            losses = learner.learn(batch, settings.stages[stage], rate)
            now = time.monotonic()
            errors = None
            due = run.evaluation_due(learner.step, learner.steps, (now - evaluated) / 60)
            if test is not None and workers.first and due:
                errors = pack_errors(learner.averaged.network, test, device=run.device, most=run.evaluate_faces)
                evaluated = time.monotonic()
                with (run.folder / "errors.jsonl").open("a") as log:
                    log.write(json.dumps({"samples": learner.samples, "seconds": now - began, **errors}) + "\n")
            if learner.step % 20 == 0 and workers.first:
                curve.writerow([learner.samples, f"{now - began:.1f}", stage + 1, f"{rate:.3g}"]
                               + [f"{name}={float(value):.4f}" for name, value in losses.items()])  # fmt: skip
            if workers.first and now - saved > 60 * run.checkpoint_minutes:
                learner.save(run, now - began)
                stream.flush()
                saved = now
            on_progress(Progress(learner.samples, (now - began) / 60, share, stage + 1, rate, losses, errors))
    if workers.first:
        learner.save(run, time.monotonic() - began)
    return learner.averaged.network


class _Learner:
    """What a training changes: the network, its average, the optimiser, steps done; one among several workers."""

    def __init__(self, settings: TrainSettings, run: TrainingRun) -> None:
        self.settings, self.device, self.workers = settings, run.device, Workers.here()
        self.generator = torch.Generator(device=run.device).manual_seed(settings.seed)
        network = build_network(settings.network, settings.seed)
        if run.start is not None:
            network.load_state_dict(_trained_state(run.start))
        network = network.to(device=run.device)
        self.network: LandmarkNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        self.averaged = Averaged(self.network, settings.averaging)
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.network, settings.weight_decay),
            lr=settings.learning_rate,
            fused=True if run.device.type == "cuda" else None,  # one launch instead of one per operation
        )
        self.faces = settings.batch * self.workers.count
        self.steps = math.ceil(settings.samples / self.faces)
        self.step = 0

    @property
    def samples(self) -> int:
        """Faces seen by all workers."""
        return self.step * self.faces

    def share_done(self, seconds: float, max_minutes: float | None) -> float:
        """Share of the training that is done after `seconds`, by steps or by the clock, whichever is ahead."""
        share = max(self.step / self.steps, seconds / (60 * max_minutes) if max_minutes else 0.0)
        return self.workers.agreed(share, self.device)

    def learn(self, batch: Batch, stage: Stage, rate: float) -> dict[str, Tensor]:
        """One step at the learning rate `rate`; returns the losses by name, on the device: nothing waits for them."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        roi = batch.roi.to(self.device).contiguous(memory_format=torch.channels_last)
        targets = Targets(*[getattr(batch.targets, field.name).to(self.device) for field in fields(Targets)])
        with training_autocast(self.device):
            outputs = self.network(roi)
        parts = network_loss(outputs, targets, stage, self.settings.spatial, self.generator)
        total = torch.stack(list(parts.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.workers.average_gradients(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.averaged.update(self.network)
        self.step += 1
        return {name: part.detach() for name, part in parts.items()}

    def save(self, run: TrainingRun, seconds: float) -> None:
        """Write the run's checkpoint after `seconds`."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.network.state_dict(),
            "averaged_steps": self.averaged.steps,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": seconds,
        }
        save_checkpoint(run.folder / "checkpoint.pt", self.settings, state)

    def restore(self, run: TrainingRun) -> float:
        """Take up the run's checkpoint, when there is one; returns the seconds that were spent before it."""
        path = run.folder / "checkpoint.pt"
        if not path.exists():
            return 0.0
        state = load_checkpoint(path, self.settings)
        self.network.load_state_dict(state["network"])
        self.averaged.network.load_state_dict(state["averaged"])
        self.averaged.steps = state["averaged_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        if len(state["generator"]) == len(self.generator.get_state()):
            self.generator.set_state(state["generator"])
        else:  # a GPU draws other numbers than a CPU: going on elsewhere starts the losses' samples again
            self.generator.manual_seed(self.settings.seed + self.step)
        return float(state["seconds"])


def _trained_state(path: Path) -> Mapping[str, Any]:
    """The network of a weight file (safetensors), or the averaged one of a checkpoint."""
    if path.suffix != ".safetensors":
        averaged: Mapping[str, Any] = torch.load(path, weights_only=True, map_location="cpu")["averaged"]
        return averaged
    from safetensors.numpy import load_file

    return godp_from_arrays(load_file(path))[0].state_dict()


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels decay, normalisation and biases do not: pulling those to zero only fights the data."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
