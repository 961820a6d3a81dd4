"""The solver's steps: fit P and C of each network to its present features; keep them if unseen faces improve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

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
"""Distance, half patches, below which the solver trusts all points alike."""

_BEGIN = (1.0, 0.3, 0.1, 0.03)  # shares of the regressions' weights that P and C may begin with


def _gather(
    cascade: Cascade, prepared: Sequence[Prepared], stages: Sequence[int]
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
    cascade: Cascade, prepared: Sequence[Prepared], network: int, settings: DssdTrainSettings
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
        What was found and kept.
    """
    rng = np.random.default_rng([settings.seed, SOLVER_STEP, turn])
    device = next(cascade.networks.parameters()).device
    prepared = []
    for number, begin in enumerate(range(0, settings.solver_faces, 32)):
        faces = source.faces(SOLVER_STEP + 1000 * turn + number, min(32, settings.solver_faces - begin))
        prepared.append(prepare(cascade, faces, rng).to(device))
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
