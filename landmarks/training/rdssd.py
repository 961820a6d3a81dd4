"""Training DSSD and R-DSSD (Algorithms 1 and 2): ferns by boosting, then H and Q by gradients and P and C by the solver
in turns.

Where this goes beyond the paper: between two turns of the solver, gradients also move the entries of P and C that it
left other than zero, and what it finds is kept only if faces it has not seen are located better by it. With P and C
held still the features learn for detectors that the next turn throws away; a solver that is always believed fits the
faces it sees (`benchmarks/results/`).
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn import functional

from facerec.landmarks.dssd import HALF_PATCH, Dssd
from facerec.landmarks.dssd_weights import cascade_from_arrays
from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE, Cascade, CascadeSettings
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.rdssd_coarse import with_coarse_stages
from facerec.landmarks.training.rdssd_errors import pack_errors
from facerec.landmarks.training.rdssd_faces import CropSource, DssdTrainSettings, Prepared, prepare
from facerec.landmarks.training.rdssd_solver import solve_round
from facerec.landmarks.training.resume import TrainingRun, load_checkpoint, save_checkpoint
from facerec.landmarks.training.schedule import cosine_rate

CLOSE = 0.05 / CROP_SCALE
"""Distance that counts as right for the confidence, share of the crop: 5 % of the face's side, as GoDP's."""


def refinement_loss(cascade: Cascade, batch: Prepared, stages: Sequence[int]) -> dict[str, Tensor]:
    """Losses by name: of each stage of `stages`, and of the evidence read off the last one.

    A stage's loss is the mean distance of its annotated points, in half patches at 200 px. The distance and not its
    square (Eq. 6): the landmarks of one turned face must not outweigh a hundred others.
    """
    parts: dict[str, Tensor] = {}
    last = max(stages)
    begin = min(stages)
    with torch.no_grad():
        done = cascade.refine(batch.crops, batch.start, begin)
    shape = done[-1].shape.detach() if done else batch.start
    share = batch.known.float() / batch.known.sum().clamp_min(1)
    for stage in range(begin, last + 1):
        network = cascade.networks[cascade.settings.network_of(stage)]
        assert isinstance(network, Dssd)
        step = network(batch.crops[cascade.settings.fine[stage]], shape)
        shape = step.shape
        left = (shape - batch.truth) * (CROP_SIZE / HALF_PATCH)
        distance = ((left**2).sum(dim=2) + 1e-6).sqrt()
        parts[f"stage_{stage + 1}"] = (distance * share).sum()
        if stage == last:
            right, seen = network.evidence(step.features.detach())
            close = (distance.detach() <= CLOSE * CROP_SIZE / HALF_PATCH).float()
            for name, odds, truth in (("confidence", right, close), ("visibility", seen, batch.visible.float())):
                every = functional.binary_cross_entropy_with_logits(odds, truth, reduction="none")
                parts[name] = (every * share).sum()
    return parts


@dataclass(frozen=True, slots=True)
class DssdProgress:
    """What a training reports.

    Attributes:
        share: of the steps done, in [0, 1].
        minutes: spent, coarse stages included.
        samples: faces the networks saw.
        losses: of the last step.
        detectors: sparsity of P and of C, by network, when the solver just ran and was believed.
        errors: `pack_errors` of the test pack when it was just measured.
    """

    share: float
    minutes: float
    samples: int
    losses: dict[str, float]
    detectors: list[tuple[float, float]] | None = None
    errors: dict[str, dict[str, float]] | None = None


def train_cascade(
    packs: Sequence[tuple[LandmarkPack, float]],
    settings: DssdTrainSettings,
    run: TrainingRun,
    *,
    test: LandmarkPack | None = None,
    on_progress: Callable[[DssdProgress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Cascade:
    """Train a cascade; continues from the folder of `run` when a training with the same settings was interrupted there.

    Args:
        packs: packs with their sampling weights.
        settings: of the training.
        run: where and for how long; `coarse.npz`, `checkpoint.pt` and `curve.csv` lie in its folder. Ferns and solver
            stay on the CPU. `run.start` is the folder of a finished training of the same cascade, or its weight file:
            its coarse stages are kept and its networks gone on with, after a turn of the solver.
        test: pack whose errors are reported after each round; it steers nothing.
        on_progress: called after every step and every round.
        say: takes a line of text.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    source = CropSource(packs, settings)
    cascade = with_coarse_stages(source, settings, run.folder, run.start, say)
    cascade.networks.to(run.device)
    if not settings.cascade.fine:
        return cascade
    learner = _Learner(cascade, settings, coarse_seconds=time.monotonic() - began)
    began = time.monotonic() - learner.begin(run)
    saved = time.monotonic()

    def prepare_step(number: int) -> Prepared:
        rng = np.random.default_rng([settings.seed, number, 1])
        return prepare(cascade, source.faces(number, settings.batch), rng)

    cascade.networks.train()
    with ThreadPoolExecutor(1) as pool, (run.folder / "curve.csv").open("a", newline="") as stream:
        curve = csv.writer(stream)
        ahead: Future[Prepared] = pool.submit(prepare_step, learner.step)
        while True:
            elapsed = time.monotonic() - began
            share = learner.share_done(elapsed, run.max_minutes)
            # The round after the last one only solves: P and C end fitted to the final features.
            turn = settings.rounds if share >= 1 else int(share * settings.rounds)
            if turn > learner.solved:
                sparsity = learner.solve(source, turn, say)
                errors = pack_errors(cascade, test, device=run.device, most=60) if test is not None else None
                on_progress(DssdProgress(share, elapsed / 60, learner.samples, {}, sparsity, errors))
            if share >= 1:
                break
            batch = ahead.result().to(run.device)
            ahead = pool.submit(prepare_step, learner.step + 1)
            rate = settings.learning_rate * cosine_rate(share, settings.warm_up)
            losses = _train_step(
                cascade, learner.optimizer, batch, _stages_at(settings.cascade, share), rate, settings.clip
            )
            learner.step += 1
            if learner.step % 20 == 0:
                curve.writerow([learner.samples, f"{time.monotonic() - began:.1f}", f"{rate:.3g}"]
                               + [f"{name}={value:.4f}" for name, value in losses.items()])  # fmt: skip
            if time.monotonic() - saved > 60 * run.checkpoint_minutes:
                learner.save(run, time.monotonic() - began)
                stream.flush()
                saved = time.monotonic()
            on_progress(DssdProgress(share, elapsed / 60, learner.samples, losses))
        ahead.cancel()
    learner.save(run, time.monotonic() - began)
    cascade.networks.eval()
    return cascade


class _Learner:
    """What a training changes: the cascade's networks, their optimiser, steps and rounds done."""

    def __init__(self, cascade: Cascade, settings: DssdTrainSettings, coarse_seconds: float) -> None:
        self.cascade, self.settings = cascade, settings
        self.optimizer = torch.optim.AdamW(
            _decay_groups(cascade.networks, settings.weight_decay), lr=settings.learning_rate
        )
        self.steps = math.ceil(settings.samples / settings.batch)
        self.coarse_seconds = coarse_seconds
        self.step, self.solved = 0, -1
        self.untrained = True

    @property
    def samples(self) -> int:
        """Faces the networks saw."""
        return self.step * self.settings.batch

    def share_done(self, seconds: float, max_minutes: float | None) -> float:
        """Share of the training that is done after `seconds`, by steps or by the clock, whichever is ahead; at most 1.

        The clock of the refinements starts after the coarse stages, or their warm-up would be over before it began.
        """
        share = self.step / self.steps
        if max_minutes:
            left = max(60 * max_minutes - self.coarse_seconds, 1.0)
            share = max(share, (seconds - self.coarse_seconds) / left)
        return min(1.0, share)

    def solve(self, source: CropSource, turn: int, say: Callable[[str], None]) -> list[tuple[float, float]] | None:
        """Round `turn` of the solver; returns the sparsity of P and of C by network, where it was believed."""
        first, self.solved, self.untrained = self.untrained, turn, False
        if self.settings.cascade.network.detectors != "sharable":
            return None
        self.cascade.networks.eval()
        kept = solve_round(self.cascade, source, self.settings, turn, say, first=first)
        self.cascade.networks.train()
        return [one.sparsity for one in kept] or None

    def save(self, run: TrainingRun, seconds: float) -> None:
        """Write the run's checkpoint after `seconds`."""
        state = {
            "networks": self.cascade.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": seconds,
            "coarse_seconds": self.coarse_seconds,
            "solved": self.solved,
        }
        save_checkpoint(run.folder / "checkpoint.pt", self.settings, state)

    def begin(self, run: TrainingRun) -> float:
        """Take up the run's checkpoint, or else the networks of `run.start`; returns the seconds already spent."""
        seconds = self.coarse_seconds
        checkpoint = run.folder / "checkpoint.pt"
        if checkpoint.exists():
            state = load_checkpoint(checkpoint, self.settings)
            self.cascade.networks.load_state_dict(state["networks"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.solved = int(state["step"]), int(state["solved"])
            self.untrained = self.solved < 0
            seconds, self.coarse_seconds = float(state["seconds"]), float(state["coarse_seconds"])
        elif run.start is not None:
            if run.start.is_file():
                states = cascade_from_arrays(load_file(run.start)).networks.state_dict()
            else:
                states = torch.load(run.start / "checkpoint.pt", weights_only=True, map_location="cpu")["networks"]
            self.cascade.networks.load_state_dict(states)
            self.untrained = False
        # A run that its clock ended has done all its rounds; gone on with, it has those of its remaining steps before
        # it.
        self.solved = min(self.solved, int(self.step / self.steps * self.settings.rounds))
        return seconds


def _stages_at(cascade: CascadeSettings, share: float) -> list[int]:
    """Refinements that are trained at `share` of the steps: one after the other, or all together."""
    if cascade.learning == "sequential":
        return [min(int(share * len(cascade.fine)), len(cascade.fine) - 1)]
    return list(range(len(cascade.fine)))


def _detectors(networks: nn.Module) -> list[nn.Parameter]:
    return [part for network in networks.modules() if isinstance(network, Dssd) for part in network.detectors()]


def _decay_groups(networks: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, biases and the solver's P and C do not."""
    solved = {id(part) for part in _detectors(networks)}
    matrices = [p for p in networks.parameters() if p.ndim > 1 and id(p) not in solved]
    rest = [p for p in networks.parameters() if p.ndim <= 1 or id(p) in solved]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _train_step(
    cascade: Cascade, optimizer: torch.optim.Optimizer, batch: Prepared, stages: list[int], rate: float, clip: float
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts = refinement_loss(cascade, batch, stages)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(cascade.networks.parameters(), clip)
    zeros = [(part, part.detach() == 0) for part in _detectors(cascade.networks)]
    optimizer.step()
    with torch.no_grad():
        # What the solver set to zero stays so until its next turn.
        for part, zero in zeros:
            part.masked_fill_(zero, 0.0)
    return {name: float(part.detach()) for name, part in parts.items()}
