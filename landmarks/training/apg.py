"""Sharable detectors W = PC by accelerated proximal gradients (Liu et al., DSSD, Eqs. 5-13).

Each of T regression tasks (x or y of a landmark) has a detector w_t = P c_t over the D structural features of its
landmark. P (D, G) and C (G, T) minimise

    J(P, C) = f(PC) + gamma |C|_1 + beta |P|_1 + mu |P|_F^2                                   (Eq. 8)
    f(W) = 1/2 sum_t mean_i (target_it - w_t' phi_it)^2

in turns: P with C fixed (Eq. 9), C with P fixed (Eq. 11), each by FISTA with backtracking. The mean instead of the
paper's sum over faces frees gamma, beta and mu of the number of faces.

Eqs. 10 and 13 print the shrinkage threshold mu / V for both. By Eq. 6 the l1 weights are beta and gamma, and mu belongs
to the smooth ridge term, so the thresholds here are beta / V and gamma / V.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError

Matrix = NDArray[np.float64]
Smooth = Callable[[Matrix], tuple[float, Matrix]]
"""Value and gradient of a smooth convex function of a matrix."""


def shrink(z: Matrix, threshold: float) -> Matrix:
    """Soft thresholding T_a(z) = (|z| - a)_+ sgn(z), entry by entry (Eq. 12)."""
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0.0)


@dataclass(frozen=True, eq=False)
class Minimum:
    """What `minimize_l1` found.

    Attributes:
        at: the minimiser.
        objective: value of the whole objective at the start and after each iteration; never rises.
        lipschitz: V of the last iteration.
    """

    at: Matrix
    objective: tuple[float, ...]
    lipschitz: float


def minimize_l1(
    start: Matrix, smooth: Smooth, weight: float, *, iterations: int = 200, tolerance: float = 1e-9
) -> Minimum:
    """Minimise smooth(z) + weight |z|_1 by FISTA with backtracking, in its monotone form.

    Plain FISTA may climb for a few iterations; here a step that does not lower the objective only moves the search
    point (Beck and Teboulle's MFISTA), so what is returned is never worse than the start.

    Args:
        start: where to begin.
        smooth: value and gradient of the smooth part.
        weight: of the l1 norm, >= 0.
        iterations: at most so many.
        tolerance: stop when an accepted step lowers the objective by less than this share of it.
    """
    if weight < 0 or iterations < 1:
        raise InvalidInputError(f"expected weight >= 0 and iterations >= 1; got {weight}, {iterations}")
    best, search, momentum, lipschitz = start, start, 1.0, 1.0
    objective = [smooth(start)[0] + weight * float(np.abs(start).sum())]
    for _ in range(iterations):
        value, gradient = smooth(search)
        # V may also fall again: a bound found far away would make all later steps short.
        lipschitz = max(lipschitz / 2, 1e-12)
        while True:
            found = shrink(search - gradient / lipschitz, weight / lipschitz)
            step = found - search
            reached = smooth(found)[0]
            bound = value + float((gradient * step).sum()) + lipschitz / 2 * float((step**2).sum())
            # The slack is rounding: near the minimum both sides agree to the last digits.
            if reached <= bound + 1e-12 * abs(bound):
                break
            lipschitz *= 2
        reached += weight * float(np.abs(found).sum())
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        if reached <= objective[-1]:
            before, best = best, found
            search = best + (momentum - 1) / next_momentum * (best - before)
            objective.append(reached)
            if objective[-2] - reached <= tolerance * abs(reached):
                break
        else:
            search = best + momentum / next_momentum * (found - best)
            objective.append(objective[-1])
        momentum = next_momentum
    return Minimum(best, tuple(objective), lipschitz)


@dataclass(frozen=True, slots=True)
class SharableSettings:
    """Weights of Eq. 6 and how long to iterate.

    Attributes:
        beta: l1 weight of P; gamma: l1 weight of C; mu: ridge weight of P. Errors are in half patches, and their half
            mean square summed over 136 tasks is 3 to 6 where refinements begin; |P|_1 and |C|_1 are some hundreds. On
            features that have learnt nothing yet 3e-4 leaves half of P and a fifth of C, 1e-4 nearly all of P and two
            thirds of C; turn after turn 2e-4 brought both to zero.
        rounds: turns of P and C; training comes back to them in each of its own rounds.
        iterations: of the accelerated gradient in each turn.
    """

    beta: float = 3e-5
    gamma: float = 3e-5
    mu: float = 1e-3
    rounds: int = 5
    iterations: int = 60

    def __post_init__(self) -> None:
        if min(self.beta, self.gamma, self.mu) < 0 or self.rounds < 1 or self.iterations < 1:
            raise InvalidInputError(f"expected weights >= 0, rounds and iterations >= 1; got {self}")


@dataclass(frozen=True, eq=False)
class RegressionStatistics:
    """All that f(W) needs of the training faces: second moments of features and targets, a landmark each.

    Attributes:
        gram: (L, D, D) mean of phi phi' over the faces where the landmark is annotated.
        cross: (L, D, 2) mean of phi target'.
        power: (L, 2) mean of target^2.
        faces: (L,) how many faces these are means over.
    """

    gram: Matrix
    cross: Matrix
    power: Matrix
    faces: NDArray[np.int64]

    @staticmethod
    def of(
        features: NDArray[np.floating],
        targets: NDArray[np.floating],
        known: NDArray[np.bool_],
        trust: NDArray[np.floating] | None = None,
    ) -> RegressionStatistics:
        """Moments of features (N, L, D) and targets (N, L, 2).

        Args:
            features, targets: see above.
            known: (N, L) which of them count.
            trust: (N, L) weights of their summands; 1 when None.
        """
        n, count, width = features.shape
        if targets.shape != (n, count, 2) or known.shape != (n, count):
            raise InvalidInputError(
                f"expected features (N, L, D), targets (N, L, 2), known (N, L); got {features.shape}, {targets.shape}, "
                f"{known.shape}"
            )
        gram, cross, power = np.zeros((count, width, width)), np.zeros((count, width, 2)), np.zeros((count, 2))
        for landmark in range(count):
            rows = known[:, landmark]
            phi = features[rows, landmark].astype(np.float64)
            target = targets[rows, landmark].astype(np.float64)
            weight = np.ones(len(phi)) if trust is None else trust[rows, landmark].astype(np.float64)
            weight /= max(len(phi), 1)
            weighed = phi.T * weight
            gram[landmark] = weighed @ phi
            cross[landmark] = weighed @ target
            power[landmark] = weight @ target**2
        return RegressionStatistics(gram, cross, power, known.sum(axis=0))

    @staticmethod
    def over(batches: Iterable[RegressionStatistics]) -> RegressionStatistics:
        """Moments of the faces of all batches together; thousands of faces take the memory of one batch."""
        total: list[Matrix] = []
        faces: NDArray[np.int64] | int = 0
        for one in batches:
            sums = [(part.T * one.faces).T for part in (one.gram, one.cross, one.power)]
            total = [whole + part for whole, part in zip(total, sums, strict=True)] if total else sums
            faces = faces + one.faces
        if not total:
            raise InvalidInputError("expected the moments of at least one batch; got none")
        gram, cross, power = ((part.T / np.maximum(faces, 1)).T for part in total)
        return RegressionStatistics(gram, cross, power, np.asarray(faces))

    def loss(self, detectors: Matrix) -> tuple[float, Matrix]:
        """f(W) and its gradient for W (D, 2L), columns x and y of landmark 0, then of landmark 1, ..."""
        count, width = self.cross.shape[:2]
        w = detectors.reshape(width, count, 2).transpose(1, 0, 2)
        reached = self.gram @ w
        value = 0.5 * float((w * (reached - 2 * self.cross)).sum() + self.power.sum())
        return value, (reached - self.cross).transpose(1, 0, 2).reshape(width, 2 * count)


@dataclass(frozen=True, eq=False)
class SharableDetectors:
    """P, C and how they came about.

    Attributes:
        basis: P, (D, G), the latent detectors.
        weights: C, (G, 2L), how much of each a landmark's coordinate uses.
        objective: J at the start and after each turn; never rises.
    """

    basis: Matrix
    weights: Matrix
    objective: tuple[float, ...]

    @property
    def sparsity(self) -> tuple[float, float]:
        """Shares of the entries of P and of C that are exactly zero."""
        return float((self.basis == 0).mean()), float((self.weights == 0).mean())


def objective(statistics: RegressionStatistics, basis: Matrix, weights: Matrix, settings: SharableSettings) -> float:
    """J(P, C) of Eq. 8."""
    return (
        statistics.loss(basis @ weights)[0]
        + settings.gamma * float(np.abs(weights).sum())
        + settings.beta * float(np.abs(basis).sum())
        + settings.mu * float((basis**2).sum())
    )


def learn_sharable(
    statistics: RegressionStatistics, basis: Matrix, weights: Matrix, settings: SharableSettings
) -> SharableDetectors:
    """Minimise J by turns of P and C (steps 1 and 2 of Algorithm 1), beginning at `basis` and `weights`."""
    values = [objective(statistics, basis, weights, settings)]
    for _ in range(settings.rounds):

        def of_basis(p: Matrix, c: Matrix = weights) -> tuple[float, Matrix]:
            value, gradient = statistics.loss(p @ c)
            return value + settings.mu * float((p**2).sum()), gradient @ c.T + 2 * settings.mu * p

        basis = minimize_l1(basis, of_basis, settings.beta, iterations=settings.iterations).at

        def of_weights(c: Matrix, p: Matrix = basis) -> tuple[float, Matrix]:
            value, gradient = statistics.loss(p @ c)
            return value, p.T @ gradient

        weights = minimize_l1(weights, of_weights, settings.gamma, iterations=settings.iterations).at
        values.append(objective(statistics, basis, weights, settings))
    return SharableDetectors(basis, weights, tuple(values))


def split_detectors(detectors: Matrix, latent: int) -> tuple[Matrix, Matrix]:
    """P and C that begin the turns: W = Z S V', P = the first G columns of Z, C = P'W (the paper's initialisation).

    Args:
        detectors: W (D, T) of independent linear regressions.
        latent: G; columns beyond the rank of W are zero.
    """
    left = np.linalg.svd(detectors, full_matrices=False)[0][:, :latent]
    basis = np.zeros((detectors.shape[0], latent))
    basis[:, : left.shape[1]] = left
    return basis, basis.T @ detectors
