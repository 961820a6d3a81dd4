"""What Algorithm 1 does to faces it has not seen, and what any P and C could do on the same features; one command.

    python benchmarks/dssd_solver.py --train PACK:WEIGHT ... [--weights rdssd.safetensors] [--faces 5760]

The features are those of finished weights. The last faces of each set of each pack are held out; one half of them
chooses (the share of a step, the twin's ridge), the other half is what the table shows: the mean distance left after
the last refinement. The convex twin is a weighed ridge regression of each landmark on all its D features, without P,
C and l1 norms; its ridge is the best for the faces shown, so no P and C do better by the same criterion.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from facerec.landmarks.dssd import Dssd
from facerec.landmarks.dssd_weights import cascade_from_arrays
from facerec.landmarks.rdssd import Cascade
from facerec.landmarks.training.apg import RegressionStatistics, SharableSettings, learn_sharable
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.rdssd_faces import CropSource, DssdTrainSettings, Prepared, prepare
from facerec.landmarks.training.rdssd_solver import damp, distance_left, solver_inputs

RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Of the twin, as shares of the features' mean power."""

WEIGHINGS = ("squares, the whole way", "squares", "distance")
"""What the solver's sum weighs: squares of the whole displacement (Q would correct it again); squares of what Q leaves
to the detectors; the latter by the inverse of the distance left."""

Moments = dict[tuple[str, int], RegressionStatistics]


def split(pack: LandmarkPack, share: float) -> tuple[LandmarkPack, LandmarkPack]:
    """The first faces of each set, and its last `share`."""
    rows = [np.flatnonzero(pack.source == source) for source in np.unique(pack.source)]
    ends = [len(r) - max(1, round(share * len(r))) for r in rows]
    first = np.concatenate([r[:end] for r, end in zip(rows, ends, strict=True)])
    return pack.rows(first), pack.rows(np.concatenate([r[end:] for r, end in zip(rows, ends, strict=True)]))


def faces(cascade: Cascade, source: CropSource, count: int, first: int) -> Iterator[Prepared]:
    """`count` augmented faces in batches of 32, numbered from `first`, where the refinements' training begins them."""
    for number, begin in enumerate(range(0, count, 32), start=first):
        yield prepare(cascade, source.faces(number, min(32, count - begin)), np.random.default_rng([number, 3]))


def gather(cascade: Cascade, source: CropSource, counts: list[int]) -> Moments:
    """Moments by weighing and number of faces, in one pass: smaller numbers are the first faces of larger ones."""
    stages = list(range(len(cascade.settings.fine)))
    kept: dict[str, RegressionStatistics] = {}
    found: Moments = {}
    seen = 0
    for batch in faces(cascade, source, counts[-1], 1_000_000):
        inputs = solver_inputs(cascade, batch, stages)
        of = {
            WEIGHINGS[0]: (inputs.whole, None),
            WEIGHINGS[1]: (inputs.wanted, None),
            WEIGHINGS[2]: (inputs.wanted, inputs.trust),
        }
        for weighing, (target, trust) in of.items():
            one = RegressionStatistics.of(inputs.features, target, inputs.known, trust)
            kept[weighing] = RegressionStatistics.over([kept[weighing], one] if weighing in kept else [one])
        seen += len(batch.start)
        if seen in counts:
            found |= {(weighing, seen): moments for weighing, moments in kept.items()}
    return found


def ridge(moments: RegressionStatistics, share: float) -> NDArray[np.float64]:
    """W (D, 2L) of each landmark's own ridge regression: the twin, which is convex and has one solution."""
    width = moments.gram.shape[1]
    power = np.trace(moments.gram, axis1=1, axis2=2)[:, None, None] / width
    found = np.linalg.solve(moments.gram + share * power * np.eye(width), moments.cross)
    return np.asarray(found.transpose(1, 0, 2).reshape(width, -1))


def trusted(moments: RegressionStatistics, present: NDArray[np.float64], share: float) -> RegressionStatistics:
    """Moments with a trust region: a ridge towards the present W, as a share of the features' mean power."""
    count, width = moments.cross.shape[:2]
    held = (share * np.trace(moments.gram, axis1=1, axis2=2) / width)[:, None, None] * np.eye(width)
    towards = held @ present.reshape(width, count, 2).transpose(1, 0, 2)
    return replace(moments, gram=moments.gram + held, cross=moments.cross + towards)


class Study:
    """Detectors by name, measured on held-out faces with one network's other weights as they are."""

    def __init__(self, cascade: Cascade, choosing: list[Prepared], shown: list[Prepared]) -> None:
        self.cascade, self.choosing, self.shown = cascade, choosing, shown
        network = cascade.networks[0]
        assert isinstance(network, Dssd)
        self.network = network
        self.present = [part.detach().clone() for part in network.detectors()]
        self.basis, self.weights = (part.numpy().astype(np.float64) for part in self.present)
        self.stood = self.measure("P and C as they are")

    def put(self, basis: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        """Set P and C of any G."""
        parts = [torch.from_numpy(part.astype(np.float32)) for part in (basis, weights)]
        self.network.basis, self.network.weights = (torch.nn.Parameter(part, requires_grad=False) for part in parts)

    def measure(self, name: str, note: str = "") -> float:
        """Print a row of the table for the detectors that are set."""
        left = distance_left(self.cascade, self.shown)
        change = 100 * (left / getattr(self, "stood", left) - 1)
        print(f"| {name} | {note} | {left:.4f} | {change:+.2f} % |", flush=True)
        return left

    def solve(self, name: str, moments: RegressionStatistics, settings: SharableSettings) -> None:
        """Algorithm 1 from the present P and C, the whole step and the share of it that the other half chooses."""
        found = learn_sharable(moments, self.basis, self.weights, settings)
        p, c = found.sparsity
        note = f"zeros {100 * p:.0f}, {100 * c:.0f} %"
        self.put(found.basis, found.weights)
        self.measure(name, note)
        share, *_ = damp(self.cascade, 0, self.present, self.choosing)
        self.measure(f"... damped by unseen faces to {100 * share:.0f} % of the step")

    def twin(self, name: str, moments: RegressionStatistics) -> None:
        """The unrestricted regression with the ridge that is best for the faces shown."""
        left = {}
        for share in RIDGES:
            self.put(np.eye(len(self.basis)), ridge(moments, share))
            left[share] = distance_left(self.cascade, self.shown)
        best = min(left, key=lambda share: left[share])
        self.put(np.eye(len(self.basis)), ridge(moments, best))
        self.measure(name, f"ridge {best:g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, metavar="PACK:WEIGHT", help="training packs")
    parser.add_argument("--weights", type=Path, required=True, help="weight file of R-DSSD")
    parser.add_argument("--faces", type=int, default=5760, help="faces of the largest solution, a multiple of 512")
    parser.add_argument("--hold-out", type=float, default=0.06, help="share of each set that is held out")
    parser.add_argument("--unseen", type=int, default=640, help="augmented faces of them")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cascade = cascade_from_arrays(load_file(chosen.weights))
    settings = DssdTrainSettings(cascade=cascade.settings, seed=chosen.seed)
    packs = [
        (LandmarkPack.load(Path(name)), float(weight)) for name, _, weight in (t.rpartition(":") for t in chosen.train)
    ]
    parts = [(*split(pack, chosen.hold_out), weight) for pack, weight in packs]
    fit = CropSource([(first, weight) for first, _, weight in parts], settings)
    held = CropSource([(last, weight) for _, last, weight in parts], settings)
    unseen = list(faces(cascade, held, chosen.unseen, 2_000_000))
    half = len(unseen) // 2
    print("| detectors | | half patches left | change |\n| --- | --- | --- | --- |")
    study = Study(cascade, unseen[:half], unseen[half:])
    counts = [384, chosen.faces // 4 // 32 * 32, chosen.faces]
    moments = gather(cascade, fit, counts)
    usual = SharableSettings()
    none = replace(usual, beta=0.0, gamma=0.0)
    few, many = counts[0], counts[-1]
    for weighing in WEIGHINGS:
        study.solve(f"solver, {few} faces, {weighing}", moments[weighing, few], usual)
    for count in counts[1:]:
        study.solve(f"solver, {count} faces, distance", moments["distance", count], usual)
    study.solve(f"... {many} faces, without l1", moments["distance", many], none)
    study.solve(
        f"... {many} faces, ten times the l1 weights", moments["distance", many], replace(usual, beta=3e-4, gamma=3e-4)
    )
    for share in (0.01, 0.1):
        region = trusted(moments["distance", many], study.basis @ study.weights, share)
        study.solve(f"... {many} faces, trust region of {share:g}", region, usual)
    for weighing in ("squares", "distance"):
        for count in (few, many):
            study.twin(f"convex twin, {count} faces, {weighing}", moments[weighing, count])


if __name__ == "__main__":
    main()
