"""Training DSSD and R-DSSD (Algorithms 1 and 2): ferns by boosting, then H and Q by gradients and P and C by the solver
in turns.

Where this goes beyond the paper: between two turns of the solver, gradients also move the entries of P and C that it
left other than zero, and what it finds is kept only if faces it has not seen are located better by it. With P and C
held still the features learn for detectors that the next turn throws away; a solver that is always believed fits the
faces it sees (`benchmarks/results/`).
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facerec.landmarks.checkpoint import WeightRecord, save_weights
from facerec.landmarks.crop import PACK_SCALE, PACK_SIZE, apply_matrix, warp_matrix
from facerec.landmarks.dssd import HALF_PATCH, Dssd
from facerec.landmarks.dssd_weights import build_networks, cascade_arrays, coarse_arrays, coarse_from_arrays
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.ferns import FernLevel, train_fern_stage
from facerec.landmarks.initial_shapes import InitialShapes, complete_shapes, normalised
from facerec.landmarks.markup import MIRRORED_MARKUPS
from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE, RDSSD, Cascade, CascadeSettings, Pyramid, pyramid
from facerec.landmarks.training.apg import (
    RegressionStatistics,
    SharableDetectors,
    SharableSettings,
    learn_sharable,
    split_detectors,
)
from facerec.landmarks.training.augment import AugmentSettings, augment
from facerec.landmarks.training.packs import NOT_ANNOTATED, VISIBLE, FaceDraw, LandmarkPack, PackedFace
from facerec.landmarks.training.resume import TrainingRun, load_checkpoint, save_checkpoint
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.training.shape_errors import box_size, mean_distance, nrmse, pupil_distance

NEAR = 0.1
"""Distance, half patches, below which the solver trusts all points alike."""

CLOSE = 0.05 / CROP_SCALE
"""Distance that counts as right for the confidence, share of the crop: 5 % of the face's side, as GoDP's."""


@dataclass(frozen=True, slots=True)
class DssdTrainSettings:
    """How a cascade is trained.

    Attributes:
        coarse_faces: augmented faces that initial shapes and ferns are learnt from, all in memory at once.
        coarse_starts: starts of each, drawn from the centres near its rough shape (ESR's augmentation).
        samples: augmented faces the networks see.
        batch: faces a step.
        rounds: turns of gradients and solver. The paper's converges in 15, where nothing else moves P and C.
        solver_faces: fresh faces of each; the solver sees three of four, and the rest judge what it finds.
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
    batch: int = 16
    rounds: int = 3
    solver_faces: int = 480
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


def plain_crops(pack: LandmarkPack, rows: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crops (N, 200, 200) of packed faces as they are, and their points (N, L, 2), px of the crop."""
    zoom = (CROP_SIZE / CROP_SCALE) / (PACK_SIZE / PACK_SCALE)
    matrix = warp_matrix(PACK_SIZE, CROP_SIZE, scale=zoom)
    crops = [
        cv2.warpAffine(
            pack.images[row], matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for row in rows
    ]
    return np.asarray(np.stack(crops), dtype=np.uint8), apply_matrix(matrix, pack.points[rows])


_BEGIN = (1.0, 0.3, 0.1, 0.03)  # shares of the regressions' weights that P and C may begin with

# Steps that no training reaches: the solver's and the coarse stages' faces are fresh ones.
_COARSE_STEP, _SOLVER_STEP = 2**31, 2**32


def train_coarse(
    source: CropSource, settings: DssdTrainSettings, say: Callable[[str], None] = lambda _: None
) -> tuple[InitialShapes, list[list[FernLevel]]]:
    """Initial shapes and fern stages."""
    cascade = settings.cascade
    scales: dict[int, list[NDArray[np.float32]]] = {side: [] for side in {*cascade.coarse, cascade.initial.side}}
    truth, known = [], []
    # In portions: only the small scales are kept.
    for number, first in enumerate(range(0, settings.coarse_faces, 256)):
        faces = source.faces(_COARSE_STEP + number, min(256, settings.coarse_faces - first))
        made = pyramid(faces.crops, cascade)
        for side, kept in scales.items():
            kept.append(made[side].numpy())
        truth.append(faces.truth)
        known.append(faces.known)
    shapes = complete_shapes(np.concatenate(truth), np.concatenate(known))
    crops = {side: np.concatenate(kept) for side, kept in scales.items()}
    initial = InitialShapes.learn(crops[cascade.initial.side], shapes, cascade.initial, settings.seed)
    say(f"{len(initial.centres)} initial shapes")
    rng = np.random.default_rng([settings.seed, _COARSE_STEP])
    near = initial.nearest(crops[cascade.initial.side], cascade.initial.spread)
    standing = initial.centres[rng.permuted(near, axis=1)[:, : settings.coarse_starts]]
    stages: list[list[FernLevel]] = []
    for number, side in enumerate(cascade.coarse, start=1):

        def on_level(level: int, left: float, stage: int = number) -> None:
            say(f"coarse stage {stage}, level {level + 1}: {100 * left:.2f} % of the crop")

        levels, standing = train_fern_stage(crops[side], standing, shapes, initial.mean, cascade.ferns, rng, on_level)
        stages.append(levels)
    return initial, stages


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A batch with its coarse shapes: crops by side, start (N, L, 2), truth, known, visible."""

    crops: Pyramid
    start: Tensor
    truth: Tensor
    known: Tensor
    visible: Tensor

    def to(self, device: torch.device) -> _Prepared:
        return _Prepared(
            {side: crops.to(device) for side, crops in self.crops.items()},
            *(part.to(device) for part in (self.start, self.truth, self.known, self.visible)),
        )


def _prepare(cascade: Cascade, faces: Faces, rng: np.random.Generator) -> _Prepared:
    crops = pyramid(faces.crops, cascade.settings)
    start = torch.from_numpy(cascade.begin(crops, rng)[-1])
    wanted = {side: crops[side] for side in set(cascade.settings.fine)}
    return _Prepared(wanted, start, *(torch.from_numpy(part) for part in faces[1:]))


def _gather(
    cascade: Cascade, prepared: Sequence[_Prepared], stages: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Of some refinements: features (M, L, D), displacements to make (M, L, 2) in half patches, known (M, L)."""
    features, targets, known = [], [], []
    for batch in prepared:
        shape = batch.start
        for stage, side in enumerate(cascade.settings.fine[: max(stages) + 1]):
            network = cascade.networks[cascade.settings.network_of(stage)]
            assert isinstance(network, Dssd)
            with torch.no_grad():
                if stage in stages:
                    features.append(network.features(batch.crops[side], shape).cpu().numpy())
                    targets.append(((batch.truth - shape) * (side / HALF_PATCH)).cpu().numpy())
                    known.append(batch.known.cpu().numpy())
                if stage < max(stages):
                    shape = network(batch.crops[side], shape).shape
    return np.concatenate(features), np.concatenate(targets), np.concatenate(known)


def linear_detectors(
    features: NDArray[np.float32], targets: NDArray[np.float32], known: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    """W (D, 2L) of independent linear support vector regressions, what P and C are begun from."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVR

    count, width = features.shape[1:]
    found = np.zeros((width, 2 * count))
    with warnings.catch_warnings():
        # A start, not a result: a few hundred passes are enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for landmark in range(count):
            rows = known[:, landmark]
            for axis in range(2):
                # Errors below half a pixel do not count; C weighs them against a small W.
                machine = LinearSVR(
                    epsilon=0.5 / HALF_PATCH, C=1.0, fit_intercept=False, max_iter=300, random_state=seed
                )
                machine.fit(features[rows, landmark], targets[rows, landmark, axis])
                found[:, 2 * landmark + axis] = machine.coef_
    return found


def begin_detectors(
    cascade: Cascade, prepared: Sequence[_Prepared], unseen: Sequence[_Prepared], network: int, seed: int
) -> float:
    """Set P and C of one network to begin with: W of support vector regressions, split by its singular vectors.

    Regressions on features that have learnt nothing yet fit the faces they see and spoil others, so C is made as small
    as unseen faces want it, but not zero: gradients need something to begin with.

    Returns:
        What C was multiplied by.
    """
    own = cascade.networks[network]
    assert isinstance(own, Dssd)
    stage = next(k for k in range(len(cascade.settings.fine)) if cascade.settings.network_of(k) == network)
    # Only at its first stage: the later ones of a shared network stand where an unset one leaves them, nowhere.
    features, targets, known = _gather(cascade, prepared, [stage])
    basis, weights = split_detectors(linear_detectors(features, targets, known, seed), cascade.settings.network.latent)
    left = {}
    for share in _BEGIN:
        own.set_detectors(basis, share * weights)
        left[share] = distance_left(cascade, unseen)
    best = min(left, key=lambda share: left[share])
    own.set_detectors(basis, best * weights)
    return best


def solve_detectors(
    cascade: Cascade, prepared: Sequence[_Prepared], network: int, settings: DssdTrainSettings
) -> SharableDetectors:
    """P and C of one network by the solver, begun from what they are, and set."""
    own = cascade.networks[network]
    assert isinstance(own, Dssd)
    using = [stage for stage in range(len(cascade.settings.fine)) if cascade.settings.network_of(stage) == network]
    features, targets, known = _gather(cascade, prepared, using)
    basis, weights = (part.detach().cpu().numpy().astype(np.float64) for part in own.detectors())
    # A point's weight falls with its distance, as in the loss of the gradients (`refinement_loss`): by plain squares a
    # few faces that the coarse stages lost would decide, and detectors for them spoil all others.
    distance = np.maximum(np.linalg.norm(targets, axis=2), NEAR)
    trust = distance[known].mean() / distance if known.any() else np.ones_like(distance)
    moments = RegressionStatistics.of(features, targets, known, trust)
    found = learn_sharable(moments, basis, weights, settings.sharable)
    own.set_detectors(found.basis, found.weights)
    return found


def distance_left(cascade: Cascade, prepared: Sequence[_Prepared]) -> float:
    """Mean distance of the known points after the last stage, half patches at 200 px."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in prepared:
            shape = cascade.refine(batch.crops, batch.start)[-1].shape
            left = ((shape - batch.truth) * (CROP_SIZE / HALF_PATCH)).norm(dim=2)
            total += float(left[batch.known].sum())
            count += int(batch.known.sum())
    return total / max(count, 1)


def refinement_loss(cascade: Cascade, batch: _Prepared, stages: Sequence[int]) -> dict[str, Tensor]:
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
    """Train a cascade; goes on from the folder of `run` when a training of the same settings was interrupted there.

    Args:
        packs: packs with their sampling weights.
        settings: of the training.
        run: where and for how long; `coarse.npz`, `checkpoint.pt` and `curve.csv` lie in its folder. Ferns and solver
            stay on the CPU. `run.start` is the folder of a finished training of the same cascade: its coarse stages are
            kept and its networks gone on with.
        test: pack whose errors are reported after each round; it steers nothing.
        on_progress: called after every step and every round.
        say: takes a line of text.
    """
    device, start, max_minutes = run.device, run.start, run.max_minutes
    run.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    source = CropSource(packs, settings)
    cascade = _with_coarse_stages(source, settings, run.folder, start, say)
    cascade.networks.to(device)
    if not settings.cascade.fine:
        return cascade
    optimizer = torch.optim.AdamW(_decay_groups(cascade.networks, settings.weight_decay), lr=settings.learning_rate)
    checkpoint = run.folder / "checkpoint.pt"
    # The clock of the refinements starts after the coarse stages, or their warm-up would be over before it began.
    coarse = time.monotonic() - began
    step, spent, solved = 0, coarse, -1
    if checkpoint.exists():
        step, spent, coarse, solved = _restore(checkpoint, settings, cascade, optimizer)
    elif start is not None:
        earlier = torch.load(start / "checkpoint.pt", weights_only=True, map_location="cpu")
        cascade.networks.load_state_dict(earlier["networks"])
        solved = 0
    began = time.monotonic() - spent
    steps = math.ceil(settings.samples / settings.batch)
    # A run that its clock ended has done all its rounds; gone on with, it has those of its remaining steps before it.
    solved = min(solved, int(step / steps * settings.rounds))
    sharable = settings.cascade.network.detectors == "sharable"
    saved = time.monotonic()

    def upcoming(number: int) -> _Prepared:
        rng = np.random.default_rng([settings.seed, number, 1])
        return _prepare(cascade, source.faces(number, settings.batch), rng)

    cascade.networks.train()
    with ThreadPoolExecutor(1) as pool, (run.folder / "curve.csv").open("a", newline="") as stream:
        curve = csv.writer(stream)
        ahead: Future[_Prepared] = pool.submit(upcoming, step)
        while True:
            elapsed = time.monotonic() - began
            share = step / steps
            if max_minutes:
                share = max(share, (elapsed - coarse) / max(60 * max_minutes - coarse, 1.0))
            share = min(1.0, share)
            # The round after the last one only solves: P and C end fitted to the final features.
            turn = settings.rounds if share >= 1 else int(share * settings.rounds)
            if turn > solved:
                found = None
                if sharable:
                    found = _solve(cascade, source, settings, device, turn, say, first=solved < 0)
                solved = turn
                errors = pack_errors(cascade, test, device=device, most=60) if test is not None else None
                sparsity = [one.sparsity for one in found] if found else None
                on_progress(DssdProgress(share, elapsed / 60, step * settings.batch, {}, sparsity, errors))
            if share >= 1:
                break
            batch = ahead.result().to(device)
            ahead = pool.submit(upcoming, step + 1)
            rate = settings.learning_rate * cosine_rate(share, settings.warm_up)
            losses = _train_step(cascade, optimizer, batch, _stages_at(settings.cascade, share), rate, settings.clip)
            step += 1
            if step % 20 == 0:
                curve.writerow([step * settings.batch, f"{time.monotonic() - began:.1f}", f"{rate:.3g}"]
                               + [f"{name}={value:.4f}" for name, value in losses.items()])  # fmt: skip
            if time.monotonic() - saved > 60 * run.checkpoint_minutes:
                _save(checkpoint, settings, cascade, optimizer, step, time.monotonic() - began, coarse, solved)
                stream.flush()
                saved = time.monotonic()
            on_progress(DssdProgress(share, elapsed / 60, step * settings.batch, losses))
        ahead.cancel()
    _save(checkpoint, settings, cascade, optimizer, step, time.monotonic() - began, coarse, solved)
    cascade.networks.eval()
    return cascade


def _with_coarse_stages(
    source: CropSource,
    settings: DssdTrainSettings,
    run_folder: Path,
    start: Path | None,
    say: Callable[[str], None],
) -> Cascade:
    """The cascade with coarse stages from the run, from an earlier one, or learnt now; its networks are untrained."""
    cascade = settings.cascade
    # Only what shapes the coarse stages: cascades that differ in their refinements may share them.
    stated = json.dumps(
        {
            "initial": asdict(cascade.initial),
            "ferns": asdict(cascade.ferns),
            "coarse": cascade.coarse,
            "landmarks": cascade.network.landmarks,
            "faces": settings.coarse_faces,
            "starts": settings.coarse_starts,
            "augment": asdict(settings.augment),
            "seed": settings.seed,
        },
        sort_keys=True,
    )
    file = run_folder / "coarse.npz"
    if not file.exists() and start is not None:
        file.write_bytes((start / "coarse.npz").read_bytes())
    if file.exists():
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        theirs = arrays.pop("settings").tobytes().decode()
        if start is None and theirs != stated:
            raise InvalidInputError(
                f"{file}: expected coarse stages of the same settings {stated}; got {theirs}; use another run folder "
                "to start anew"
            )
        initial, coarse = coarse_from_arrays(arrays, cascade)
    else:
        initial, coarse = train_coarse(source, settings, say)
        arrays = coarse_arrays(initial, coarse) | {"settings": np.frombuffer(stated.encode(), dtype=np.uint8)}
        temporary = run_folder / "coarse.tmp.npz"
        np.savez(temporary, allow_pickle=False, **arrays)
        os.replace(temporary, file)
    return Cascade(cascade, initial, coarse, build_networks(cascade, initial.mean, settings.seed))


def _stages_at(cascade: CascadeSettings, share: float) -> list[int]:
    """Refinements that are trained at `share` of the steps: one after the other, or all together."""
    if cascade.learning == "sequential":
        return [min(int(share * len(cascade.fine)), len(cascade.fine) - 1)]
    return list(range(len(cascade.fine)))


def _solve(
    cascade: Cascade,
    source: CropSource,
    settings: DssdTrainSettings,
    device: torch.device,
    turn: int,
    say: Callable[[str], None],
    *,
    first: bool,
) -> list[SharableDetectors]:
    """P and C of every network, the first stage's first: the later ones begin where it leaves the shapes.

    Returns:
        What was found and kept.
    """
    rng = np.random.default_rng([settings.seed, _SOLVER_STEP, turn])
    prepared = []
    for number, begin in enumerate(range(0, settings.solver_faces, 32)):
        faces = source.faces(_SOLVER_STEP + 1000 * turn + number, min(32, settings.solver_faces - begin))
        prepared.append(_prepare(cascade, faces, rng).to(device))
    seen = max(1, int(0.75 * len(prepared)))
    # With a single batch it judges itself: better than to solve nothing.
    unseen = prepared[seen:] or prepared
    kept = []
    for number, network in enumerate(cascade.networks):
        assert isinstance(network, Dssd)
        if first:
            share = begin_detectors(cascade, prepared[:seen], unseen, number, settings.seed)
            say(f"network {number + 1} begins with {share:g} of support vector regressions")
        stood, before = distance_left(cascade, unseen), [part.detach().clone() for part in network.detectors()]
        found = solve_detectors(cascade, prepared[:seen], number, settings)
        stands = distance_left(cascade, unseen)
        believed = stands < stood
        p, c = found.sparsity
        say(f"round {turn}, network {number + 1}: J {found.objective[0]:.4f} -> {found.objective[-1]:.4f}, zeros in P "
            f"{100 * p:.0f} %, in C {100 * c:.0f} %, unseen faces {stood:.3f} -> {stands:.3f} half patches"
            f"{'' if believed else ', not kept'}")  # fmt: skip
        if believed:
            kept.append(found)
        else:
            with torch.no_grad():
                for part, old in zip(network.detectors(), before, strict=True):
                    part.copy_(old)
    return kept


def _detectors(networks: nn.Module) -> list[nn.Parameter]:
    return [part for network in networks.modules() if isinstance(network, Dssd) for part in network.detectors()]


def _decay_groups(networks: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, biases and the solver's P and C do not."""
    solved = {id(part) for part in _detectors(networks)}
    matrices = [p for p in networks.parameters() if p.ndim > 1 and id(p) not in solved]
    rest = [p for p in networks.parameters() if p.ndim <= 1 or id(p) in solved]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _train_step(
    cascade: Cascade, optimizer: torch.optim.Optimizer, batch: _Prepared, stages: list[int], rate: float, clip: float
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


def _save(
    path: Path,
    settings: DssdTrainSettings,
    cascade: Cascade,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    coarse: float,
    solved: int,
) -> None:
    state = {
        "networks": cascade.networks.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
        "coarse_seconds": coarse,
        "solved": solved,
    }
    save_checkpoint(path, settings, state)


def _restore(
    path: Path, settings: DssdTrainSettings, cascade: Cascade, optimizer: torch.optim.Optimizer
) -> tuple[int, float, float, int]:
    state = load_checkpoint(path, settings)
    cascade.networks.load_state_dict(state["networks"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"]), float(state["coarse_seconds"]), int(state["solved"])


def locate_pack(
    cascade: Cascade, pack: LandmarkPack, rows: NDArray[np.intp], device: torch.device | str = "cpu"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shapes of all stages (T + 1, N, L, 2) and annotations (N, L, 2) of packed faces, px of the 200 px crop."""
    crops, truth = plain_crops(pack, rows)
    training = cascade.networks.training
    cascade.networks.eval()
    found = [cascade.locate(crops[first : first + 16], device).stages for first in range(0, len(crops), 16)]
    cascade.networks.train(training)
    return np.concatenate(found, axis=1), truth


def pack_errors(
    cascade: Cascade, pack: LandmarkPack, *, device: torch.device | str = "cpu", most: int | None = None
) -> dict[str, dict[str, float]]:
    """Errors on a pack's faces as they are, by the set they came from.

    Args:
        cascade: that locates.
        pack: faces with annotations.
        device: of the networks.
        most: look at no more faces of each set, evenly spread.

    Returns:
        by set: `n`, `nme_box` after the last stage, `stage_0`, `stage_1`, ... box-normalised after each; where pupils
        are annotated `nrmse` (Eq. 24).
    """
    result: dict[str, dict[str, float]] = {}
    for source in np.unique(pack.source):
        rows = np.flatnonzero(pack.source == source)
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]
        stages, truth = locate_pack(cascade, pack, rows, device)
        size = box_size(truth)
        report = {"n": float(len(rows)), "nme_box": float(np.mean(mean_distance(stages[-1], truth) / size))}
        for number, shapes in enumerate(stages):
            report[f"stage_{number}"] = float(np.mean(mean_distance(shapes, truth) / size))
        if np.isfinite(pupil_distance(truth)).any():
            report["nrmse"] = float(np.nanmean(nrmse(stages[-1], truth)))
        result[str(source)] = report
    return result


def export_cascade(
    cascade: Cascade,
    name: str,
    *,
    sources: Sequence[str],
    errors: dict[str, dict[str, float]],
    command: str,
    root: Path | None = None,
) -> WeightRecord:
    """Write `landmarks/weights/NAME.safetensors` and its record.

    Args:
        cascade: trained.
        name: "dssd" or "rdssd".
        sources: the training packs' sets.
        errors: `pack_errors` on held-out people, for the record.
        command: that makes the weights again.
        root: folder of the stages; the installed package by default.
    """
    metric = {f"{source}_{key}": round(value, 5) for source, found in errors.items() for key, value in found.items()}
    settings = cascade.settings
    own = all(source.removeprefix("turned-").startswith(("cfp", "ytf", "rendered")) for source in sources)
    return save_weights(
        "landmarks",
        name,
        cascade_arrays(cascade),
        what=f"{'R-' if settings.coarse else ''}DSSD shape cascade, {settings.network.landmarks} points, "
        f"{len(settings.coarse)} fern stages, {len(settings.fine)} refinements of {settings.network.filters} filters",
        training_sets=sources,
        split="held out: CFP folds 07 and 08, every seventh YouTube Faces person, and their namesakes"
        if own
        else "as the training packs were made",
        metric=metric,
        licence="research use only: learnt from CFP and YouTube Faces"
        if own
        else f"that of the sets it was learnt from: {', '.join(sources)}",
        command=command,
        root=root,
    )
