"""Training GoDP on landmark packs: seeded, resumable, one learning-rate cycle, weights averaged over time."""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerec.landmarks.checkpoint import WeightRecord, save_weights
from facerec.landmarks.crop import PACK_SIZE, ROI_SIZE
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.godp import Decisions, Godp, normalize_roi
from facerec.landmarks.godp_graph import SCORE_STRIDES, Calibration, GodpSettings
from facerec.landmarks.godp_weights import godp_arrays
from facerec.landmarks.heatmaps import (
    Targets,
    decode,
    fit_logistic,
    landmark_log_odds,
    peak_log_odds,
    peak_share_log_odds,
)
from facerec.landmarks.markup import IBUG68_MIRROR, IBUG68_OUTER_EYE_CORNERS
from facerec.landmarks.score_maps import DecodeSettings
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
    CoordinateNet,
    Coordinates,
    DeconvNet,
    Hourglass,
    Maps,
    coordinate_loss,
    places_of,
)
from facerec.landmarks.training.packs import NOT_ANNOTATED, VISIBLE, FaceDraw, LandmarkPack, PackedFace
from facerec.landmarks.training.resume import TrainingRun, load_checkpoint, save_checkpoint
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.training.workers import Workers

SCHEDULES = {"fast": FAST_SHARES, "published": (1 / 3, 1 / 3, 1 / 3), "last": (0.0, 0.0, 1.0)}
"""Shares of the three stages in the training, by the name the command line takes; "last" is for going on with a trained
network."""

LandmarkNetwork = Godp | DeconvNet | CoordinateNet
"""What the trainer trains; an Hourglass is a DeconvNet."""

Outputs = Decisions | Maps | Coordinates


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How GoDP is trained.

    Attributes:
        samples: faces seen, augmented ones counted each. The paper's three days of SGD are out of reach; 100,000
            faces with AdamW and one cycle of the learning rate are an hour on two CPU cores at quarter width.
        batch: faces a step; 16 keep batch normalisation steady and still give 6,000 steps.
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
    """Network input (N, 1, 160, 160) float32 and its targets."""

    roi: Tensor
    targets: Targets


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

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, on the CPU."""
        rng = np.random.default_rng([self._settings.seed, step])
        drawn = self._faces.draw(self._settings.batch, rng)
        faces = [augment(face, self._settings.augment, rng) for face in drawn]
        return as_batch(faces, self._settings.network)


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
    return Batch(normalize_roi(torch.from_numpy(images)), targets)


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
    """`godp_loss`, or what a baseline is taught by in that stage: its one map takes the loss of the initial maps."""
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
        theirs = network.state_dict()
        for name, mine in self.network.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name].to(mine.dtype), 1 - decay)
            else:
                mine.copy_(theirs[name])


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training reports after a step."""

    samples: int
    minutes: float
    share: float
    stage: int
    rate: float
    losses: dict[str, float]
    errors: dict[str, dict[str, float]] | None
    """Of the averaged network on the test pack, by source, when it was just evaluated."""


def train_godp(
    packs: Sequence[tuple[LandmarkPack, float]],
    settings: TrainSettings,
    run: TrainingRun,
    *,
    test: LandmarkPack | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> LandmarkNetwork:
    """Train and return the averaged network, in evaluation mode, not fused.

    Resumes from `checkpoint.pt` in the folder of `run` when it is there; curves go to `curve.csv` and `errors.jsonl`.
    Several processes (`facerec.landmarks.training.workers`) see `settings.batch` faces a step each; the first one
    writes.

    Args:
        packs: packs with their sampling weights.
        settings: of the training; a checkpoint made with others is refused.
        run: where and for how long. On a CPU, layers run in bfloat16 (no accuracy is lost here, and recent CPUs are
            twice as fast). `run.start` is a checkpoint, whose averaged network is begun with; its optimiser is not
            taken over.
        test: pack whose errors are reported while training; it steers nothing.
        on_progress: called after every step.
    """
    device, max_minutes = run.device, run.max_minutes
    run.folder.mkdir(parents=True, exist_ok=True)
    stages = settings.stages
    generator = torch.Generator(device=device).manual_seed(settings.seed)
    network = build_network(settings.network, settings.seed)
    if run.start is not None:
        network.load_state_dict(torch.load(run.start, weights_only=True, map_location="cpu")["averaged"])
    network = network.to(device=device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = Averaged(network, settings.averaging)
    optimizer = torch.optim.AdamW(_decay_groups(network, settings.weight_decay), lr=settings.learning_rate)
    source = FaceSource(packs, settings)
    checkpoint = run.folder / "checkpoint.pt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        step, spent = _restore(checkpoint, settings, network, averaged, optimizer, generator)
    workers = Workers.here()
    faces = settings.batch * workers.count
    steps = math.ceil(settings.samples / faces)
    started = time.monotonic() - spent
    saved = evaluated = time.monotonic()
    network.train()
    with ThreadPoolExecutor(1) as pool, (run.folder / "curve.csv").open("a", newline="") as stream:
        curve = csv.writer(stream)
        upcoming: Future[Batch] = pool.submit(source.batch, step * workers.count + workers.rank)
        while step < steps:
            elapsed = time.monotonic() - started
            share = max(step / steps, elapsed / (60 * max_minutes) if max_minutes else 0.0)
            share = workers.agreed(share, device)
            if share >= 1:
                break
            batch = upcoming.result()
            upcoming = pool.submit(source.batch, (step + 1) * workers.count + workers.rank)
            rate = settings.learning_rate * cosine_rate(share, settings.warm_up)
            stage = stage_at(stages, share)
            losses = _train_step(network, optimizer, batch, stages[stage], settings, rate, generator, device, workers)
            averaged.update(network)
            step += 1
            now = time.monotonic()
            errors = None
            if test is not None and workers.first and now - evaluated > 60 * run.evaluate_minutes:
                errors = pack_errors(averaged.network, test, device=device, most=100)
                evaluated = time.monotonic()
                with (run.folder / "errors.jsonl").open("a") as log:
                    log.write(json.dumps({"samples": step * faces, "seconds": now - started, **errors}) + "\n")
            if step % 20 == 0 and workers.first:
                curve.writerow([step * faces, f"{now - started:.1f}", stage + 1, f"{rate:.3g}"]
                               + [f"{name}={value:.4f}" for name, value in losses.items()])  # fmt: skip
            if workers.first and now - saved > 60 * run.checkpoint_minutes:
                _save(checkpoint, settings, network, averaged, optimizer, generator, step, now - started)
                stream.flush()
                saved = now
            on_progress(Progress(step * faces, (now - started) / 60, share, stage + 1, rate, losses, errors))
        upcoming.cancel()
    if workers.first:
        _save(checkpoint, settings, network, averaged, optimizer, generator, step, time.monotonic() - started)
    return averaged.network


def build_network(settings: GodpSettings, seed: int) -> LandmarkNetwork:
    """A network of `settings.architecture` with seeded random weights; the global generator is left as it was."""
    networks = {"godp": Godp, "deconvnet": DeconvNet, "hourglass": Hourglass, "coordinates": CoordinateNet}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: LandmarkNetwork = networks[settings.architecture](settings)
        return network


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels decay, normalisation and biases do not: pulling those to zero only fights the data."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _train_step(
    network: LandmarkNetwork,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    stage: Stage,
    settings: TrainSettings,
    rate: float,
    generator: torch.Generator,
    device: torch.device,
    workers: Workers,
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    roi = batch.roi.to(device).contiguous(memory_format=torch.channels_last)
    targets = Targets(*[getattr(batch.targets, name).to(device) for name in Targets.__dataclass_fields__])
    with torch.autocast(device.type, torch.bfloat16):
        outputs = network(roi)
    parts = network_loss(outputs, targets, stage, settings.spatial, generator)
    total = torch.stack(list(parts.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    workers.average_gradients(network)
    nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    optimizer.step()
    return {name: float(part.detach()) for name, part in parts.items()}


def _save(
    path: Path,
    settings: TrainSettings,
    network: LandmarkNetwork,
    averaged: Averaged,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    step: int,
    seconds: float,
) -> None:
    state = {
        "network": network.state_dict(),
        "averaged": averaged.network.state_dict(),
        "averaged_steps": averaged.steps,
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "step": step,
        "seconds": seconds,
    }
    save_checkpoint(path, settings, state)


def _restore(
    path: Path,
    settings: TrainSettings,
    network: LandmarkNetwork,
    averaged: Averaged,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> tuple[int, float]:
    state = load_checkpoint(path, settings)
    network.load_state_dict(state["network"])
    averaged.network.load_state_dict(state["averaged"])
    averaged.steps = state["averaged_steps"]
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    return int(state["step"]), float(state["seconds"])


def plain_rois(pack: LandmarkPack, rows: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Faces of a pack cut to the network's input without any change.

    Returns:
        (M, 160, 160) uint8; points (M, 68, 2) px of it, NaN where not annotated.
    """
    margin = (PACK_SIZE - ROI_SIZE) // 2
    images = pack.images[rows, margin : margin + ROI_SIZE, margin : margin + ROI_SIZE]
    return images, pack.points[rows] - np.float32(margin)


def forward(
    network: LandmarkNetwork, rois: NDArray[np.uint8], device: torch.device, batch: int = 16
) -> Iterator[Outputs]:
    """What the network says of ROIs (M, 160, 160), batch by batch."""
    with torch.inference_mode():
        for first in range(0, len(rois), batch):
            roi = normalize_roi(torch.from_numpy(rois[first : first + batch]).to(device))
            yield network(roi.contiguous(memory_format=torch.channels_last))


def located(outputs: Outputs, landmarks: int, decoding: DecodeSettings | None = None) -> Tensor:
    """(N, L, 2) float32 px of the ROI: where a network's answer puts the landmarks."""
    if isinstance(outputs, Coordinates):
        return places_of(outputs)
    scores = outputs.refinement_2 if isinstance(outputs, Decisions) else outputs.scores
    stride = SCORE_STRIDES[-1]
    return decode(landmark_log_odds(scores, landmarks), decoding) * stride + (stride - 1) / 2


def pack_errors(
    network: LandmarkNetwork,
    pack: LandmarkPack,
    *,
    device: torch.device,
    decoding: DecodeSettings | None = None,
    most: int | None = None,
) -> dict[str, dict[str, float]]:
    """Mean landmark errors on a pack, unchanged faces cut from their annotated boxes.

    Args:
        most: look at this many faces of a source only, evenly spread.

    Returns:
        by source: n; nme_box: mean error over the square root of the area of the annotated points' box;
            nme_interocular: over the distance of the outer eye corners, where a pack of 68 points has both
            (else absent). Shares, not percent.
    """
    result: dict[str, dict[str, float]] = {}
    for source in np.unique(pack.source):
        rows = np.flatnonzero(pack.source == source)
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]
        rois, truth = plain_rois(pack, rows)
        count = network.settings.landmarks
        found = [located(outputs, count, decoding).cpu().numpy() for outputs in forward(network, rois, device)]
        error = np.linalg.norm(np.concatenate(found) - truth, axis=2)
        mean = np.nanmean(error, axis=1)
        extent = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
        report = {"n": float(len(rows)), "nme_box": float(np.mean(mean / np.sqrt(extent.prod(axis=1))))}
        if count == len(IBUG68_MIRROR):
            left, right = IBUG68_OUTER_EYE_CORNERS
            span = np.linalg.norm(truth[:, left] - truth[:, right], axis=1)
            if np.isfinite(span).any():
                report["nme_interocular"] = float(np.nanmean(mean / span))
        result[str(source)] = report
    return result


def calibrate(
    network: Godp,
    packs: Sequence[tuple[LandmarkPack, float]],
    settings: TrainSettings,
    *,
    device: torch.device,
    batches: int = 60,
) -> Calibration:
    """Fit the calibration on freshly augmented faces of the training packs.

    Needs hidden points among them (occluders make some in every set). Augmented faces are harder than plain ones, which
    balances that their people were trained on.
    """
    source = FaceSource(packs, settings)
    share, right, evidence, seen = [], [], [], []
    calibration = Calibration()
    stride = SCORE_STRIDES[-1]
    for number in range(batches):
        # Steps no training reaches, so no batch was trained on.
        batch = source.batch(2**31 + number)
        with torch.inference_mode():
            decisions = network(batch.roi.to(device).contiguous(memory_format=torch.channels_last))
        odds = landmark_log_odds(decisions.refinement_2, network.settings.landmarks)
        places = decode(odds)
        proposals = landmark_log_odds(decisions.proposal_2, network.settings.landmarks)
        known = batch.targets.annotated
        distance = (places.cpu() - batch.targets.on_map(stride)).norm(dim=2) * stride
        share.append(peak_share_log_odds(odds, places).cpu()[known])
        right.append((distance <= calibration.close * ROI_SIZE)[known])
        evidence.append(peak_log_odds(proposals, places).cpu()[known])
        seen.append(batch.targets.visible[known])
    return Calibration(
        fit_logistic(torch.cat(share), torch.cat(right)), fit_logistic(torch.cat(evidence), torch.cat(seen))
    )


def export_godp(
    network: Godp,
    calibration: Calibration,
    *,
    sources: Sequence[str],
    errors: dict[str, dict[str, float]],
    command: str,
    root: Path | None = None,
) -> WeightRecord:
    """Write `landmarks/weights/godp.safetensors` and its record.

    Args:
        network: the averaged network.
        calibration: of its confidence and visibility.
        sources: the training packs' sets.
        errors: `pack_errors` on held-out people, for the record.
        command: that makes the weights again.
        root: folder of the stages; the installed package by default.
    """
    metric = {f"{source}_{name}": round(value, 5) for source, found in errors.items() for name, value in found.items()}
    return save_weights(
        "landmarks",
        "godp",
        godp_arrays(network, calibration),
        what=f"GoDP landmark network, 68 points, {network.settings.width:g} of VGG-16's width",
        training_sets=sources,
        split="held out: CFP folds 07 and 08, every seventh YouTube Faces person, and their namesakes",
        metric=metric,
        licence="research use only: learnt from CFP and YouTube Faces",
        command=command,
        root=root,
    )
