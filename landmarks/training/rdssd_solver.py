"""The solver's steps: fit P and C of each network to its present features; keep them if unseen faces improve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facerec.landmarks.dssd import HALF_PATCH, Dssd
from facerec.landmarks.rdssd import CROP_SIZE, Cascade
from facerec.landmarks.training.apg import (
    RegressionStatistics,
    SharableDetectors,
    learn_sharable,
    split_detectors,
)
from facerec.landmarks.training.rdssd_faces import SOLVER_STEP, CropSource, DssdTrainSettings, Prepared, prepare

NEAR = 0.1
"""Distance, half patches at 200 px, below which the solver trusts all points alike."""

SHARES = (1.0, 0.5, 0.25, 0.1)
"""Shares of a solver's step that are tried on unseen faces."""

_BEGIN = (1.0, 0.3, 0.1, 0.03)  # shares of the regressions' weights that P and C may begin with
_BEGIN_BATCHES = 12  # of the regressions, which need all their faces in memory
_BATCH = 32  # faces


class SolverInputs(NamedTuple):
    """What some refinements see of a batch, M = stages x faces, displacements in half patches.

    Attributes:
        features: (M, L, D).
        whole: (M, L, 2) what is to be moved in all.
        wanted: (M, L, 2) what of it the detectors should move. Q's correction is taken off: Eq. 8 has no Q, and
            detectors that moved the whole way would be corrected a second time.
        trust: (M, L) weights: the squares of a sum weighed so follow the distances that the network leaves now, at the
            scale of the largest crop. By plain squares in each stage's own half patches, the last stage, whose patches
            are a quarter of the first's, would weigh sixteen times as much.
        known: (M, L).
    """

    features: NDArray[np.float32]
    whole: NDArray[np.float32]
    wanted: NDArray[np.float32]
    trust: NDArray[np.float32]
    known: NDArray[np.bool_]


def solver_inputs(cascade: Cascade, batch: Prepared, stages: Sequence[int]) -> SolverInputs:
    """Inputs of the solver from refinements `stages` of one batch."""
    found: list[tuple[torch.Tensor, ...]] = []
    shape = batch.start
    for stage, side in enumerate(cascade.settings.fine[: max(stages) + 1]):
        network = cascade.networks[cascade.settings.network_of(stage)]
        assert isinstance(network, Dssd)
        with torch.no_grad():
            step = network(batch.crops[side], shape)
        if stage in stages:
            whole, left = ((batch.truth - at) * (side / HALF_PATCH) for at in (shape, step.shape))
            zoom = CROP_SIZE / side
            trust = zoom**2 / (zoom * left.norm(dim=2)).clamp_min(NEAR)
            found.append((step.features.float(), whole, left + step.local, trust, batch.known))
        shape = step.shape
    return SolverInputs(*(torch.cat(part).cpu().numpy() for part in zip(*found, strict=True)))


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
    cascade: Cascade, prepared: Sequence[Prepared], unseen: Sequence[Prepared], network: int, seed: int
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
    inputs = SolverInputs(
        *map(np.concatenate, zip(*(solver_inputs(cascade, batch, [stage]) for batch in prepared), strict=True))
    )
    basis, weights = split_detectors(
        linear_detectors(inputs.features, inputs.wanted, inputs.known, seed), cascade.settings.network.latent
    )
    left = {}
    for share in _BEGIN:
        own.set_detectors(basis, share * weights)
        left[share] = distance_left(cascade, unseen)
    best = min(left, key=lambda share: left[share])
    own.set_detectors(basis, best * weights)
    return best


def solve_detectors(
    cascade: Cascade, prepared: Iterable[Prepared], network: int, settings: DssdTrainSettings
) -> SharableDetectors:
    """P and C of one network by the solver, begun from what they are, and set.

    Points are weighed by `SolverInputs.trust`, so the solver minimises what the gradients do (`refinement_loss`): by
    plain squares a few faces that the coarse stages lost would decide, and detectors for them spoil all others.
    """
    own = cascade.networks[network]
    assert isinstance(own, Dssd)
    using = [stage for stage in range(len(cascade.settings.fine)) if cascade.settings.network_of(stage) == network]

    def moments() -> Iterator[RegressionStatistics]:
        for batch in prepared:
            inputs = solver_inputs(cascade, batch, using)
            yield RegressionStatistics.of(inputs.features, inputs.wanted, inputs.known, inputs.trust)

    basis, weights = (part.detach().cpu().numpy().astype(np.float64) for part in own.detectors())
    found = learn_sharable(RegressionStatistics.over(moments()), basis, weights, settings.sharable)
    own.set_detectors(found.basis, found.weights)
    return found


def distance_left(cascade: Cascade, prepared: Sequence[Prepared]) -> float:
    """Mean distance of the known points after the last stage, half patches at 200 px."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in prepared:
            shape = cascade.refine(batch.crops, batch.start)[-1].shape
            left = ((shape - batch.truth) * (CROP_SIZE / HALF_PATCH)).norm(dim=2)
            total += float(left[batch.known].sum())
            count += int(batch.known.sum())
    return total / max(count, 1)


def damp(
    cascade: Cascade, network: int, before: Sequence[torch.Tensor], unseen: Sequence[Prepared]
) -> tuple[float, float, float]:
    """Go from P and C `before` only so far towards those that are set as helps unseen faces, and set what is reached.

    Entries that the solver made zero are zero however far the others go: otherwise the l1 norms would be without effect
    wherever a step is not gone as a whole.

    Returns:
        The share of the way, one of `SHARES` or 0, and the distance left on unseen faces before and after.
    """
    own = cascade.networks[network]
    assert isinstance(own, Dssd)
    after = [part.detach().clone() for part in own.detectors()]

    def go(share: float) -> None:
        with torch.no_grad():
            for part, old, new in zip(own.detectors(), before, after, strict=True):
                part.copy_(torch.lerp(old, new, share))
                if share > 0:
                    part.masked_fill_(new == 0, 0.0)

    left = {}
    for share in (0.0, *SHARES):
        go(share)
        left[share] = distance_left(cascade, unseen)
    # Of equal ones the first, so that nothing moves without a reason.
    best = min(left, key=lambda share: left[share])
    go(best)
    return best, left[0.0], left[best]


def solve_round(
    cascade: Cascade,
    source: CropSource,
    settings: DssdTrainSettings,
    turn: int,
    say: Callable[[str], None],
    *,
    first: bool,
) -> list[SharableDetectors]:
    """P and C of every network, the first stage's first: the later ones begin where it leaves the shapes.

    Returns:
        What was found and kept, at least in part.
    """
    device = next(cascade.networks.parameters()).device

    def faces(number: int) -> Prepared:
        count = min(_BATCH, settings.solver_faces - number * _BATCH)
        drawn = source.faces(SOLVER_STEP + 1000 * turn + number, count)
        rng = np.random.default_rng([settings.seed, SOLVER_STEP, turn, number])
        return prepare(cascade, drawn, rng).to(device)

    batches = -(-settings.solver_faces // _BATCH)
    seen = max(1, int(0.75 * batches))
    # With a single batch it judges itself: better than to solve nothing.
    unseen = [faces(number) for number in range(seen, batches)] or [faces(0)]
    kept = []
    for number, network in enumerate(cascade.networks):
        assert isinstance(network, Dssd)
        if first:
            few = [faces(k) for k in range(min(seen, _BEGIN_BATCHES))]
            share = begin_detectors(cascade, few, unseen, number, settings.seed)
            say(f"network {number + 1} begins with {share:g} of support vector regressions")
        before = [part.detach().clone() for part in network.detectors()]
        found = solve_detectors(cascade, (faces(k) for k in range(seen)), number, settings)
        share, stood, stands = damp(cascade, number, before, unseen)
        p, c = found.sparsity
        say(f"round {turn}, network {number + 1}: J {found.objective[0]:.4f} -> {found.objective[-1]:.4f}, zeros in P "
            f"{100 * p:.0f} %, in C {100 * c:.0f} %, unseen faces {stood:.4f} -> {stands:.4f} half patches, "
            + (f"{100 * share:.0f} % of the step kept" if share else "not kept"))  # fmt: skip
        if share:
            kept.append(found)
    return kept
