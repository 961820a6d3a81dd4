"""The tables of the DSSD paper on packs of faces, and R-DSSD under occlusion; one command each.

    python benchmarks/dssd.py TABLE --train PACK ... --test PACK ... --work DIR

TABLE: 1 errors of R-DSSD* and R-DSSD (also DSSD) | 2 shares of faces under 0.05 and 0.1 | 3 errors and failures on
COFW, read off 68 points | 4 with and without sharable detectors | 5 without each l1 norm | 6 learning strategies |
7 G | k K | stages (the paper's Fig. 9) | occlusion | speed.

Every cascade is trained from the training packs with the same seed and as many faces; a run that DIR holds already is
read, one that was interrupted is gone on with. Packs of 300-W, COFW and HELEN are made by `facerec train public-packs`,
those of the data at hand by `facerec train landmark-packs`. The defaults are small: an hour a cascade on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from facerec.evaluation.landmark_errors import ced, failure_rate
from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE, DSSD, RDSSD, RDSSD_STAR, Cascade
from facerec.landmarks.sets.public import cofw_from_ibug68
from facerec.landmarks.training.apg import SharableSettings
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.rdssd import train_cascade
from facerec.landmarks.training.rdssd_errors import locate_pack, plain_crops
from facerec.landmarks.training.rdssd_faces import DssdTrainSettings
from facerec.landmarks.training.resume import TrainingRun, settings_json
from facerec.landmarks.training.shape_errors import mean_distance, nrmse, pupil_distance

Errors = NDArray[np.float64]

_STRETCHES = 20


def configurations(table: str) -> dict[str, DssdTrainSettings]:
    """Cascades that a table compares, by name."""
    full = DssdTrainSettings(cascade=RDSSD)
    network = RDSSD.network

    def of(**changes: object) -> DssdTrainSettings:
        return replace(full, cascade=replace(RDSSD, network=replace(network, **changes)))  # type: ignore[arg-type]

    # The trainer's own weights are so small that with few filters nothing becomes zero.
    strong = SharableSettings(beta=1e-3, gamma=1e-3)
    tables = {
        "1": {"DSSD": replace(full, cascade=DSSD), "R-DSSD*": replace(full, cascade=RDSSD_STAR), "R-DSSD": full},
        "2": {"R-DSSD": full},
        "3": {"R-DSSD": full},
        "4": {"without sharable detectors": of(detectors="plain"), "with": full},
        "5": {
            "without |P|_1": replace(full, sharable=replace(strong, beta=0.0)),
            "without |C|_1": replace(full, sharable=replace(strong, gamma=0.0)),
            "with both": replace(full, sharable=strong),
            "with the trainer's own weights, 3e-5": full,
        },
        "6": {
            "sequential": replace(full, cascade=replace(RDSSD, learning="sequential")),
            "joint": replace(full, cascade=replace(RDSSD, learning="joint")),
            "recurrent": full,
        },
        "7": {f"G = {count}": of(latent=count) for count in (5, 10, 20, 50, 68)},
        "k": {f"K = {count}": of(neighbours=count) for count in (1, 3, 5, 7)},
        "stages": {"R-DSSD": full},
        "occlusion": {"plain regression": of(detectors="plain"), "R-DSSD": full},
        "speed": {"R-DSSD*": replace(full, cascade=RDSSD_STAR), "R-DSSD": full},
    }
    return tables[table]


def trained(name: str, settings: DssdTrainSettings, packs: list[LandmarkPack], work: Path) -> Cascade:
    """The cascade of a configuration, from its run folder or trained now."""
    # Tables share cascades: "with", "recurrent" and "R-DSSD" are the same one.
    folder = work / digest(settings)
    folder.mkdir(parents=True, exist_ok=True)
    # Coarse stages do not depend on what most tables compare, so they are learnt once.
    alike = replace(settings.cascade, network=RDSSD.network, fine=RDSSD.fine, learning=RDSSD.learning)
    shared = work / f"coarse-{digest(replace(settings, cascade=alike, sharable=SharableSettings()))}.npz"
    if shared.exists() and not (folder / "coarse.npz").exists():
        shutil.copy(shared, folder / "coarse.npz")
    started = time.monotonic()
    cascade = train_cascade(
        [(pack, 1.0) for pack in packs],
        settings,
        TrainingRun(folder),
        say=lambda line: print(f"    {line}", flush=True),
    )
    if not shared.exists():
        shutil.copy(folder / "coarse.npz", shared)
    print(f"{name}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
    return cascade


def digest(settings: DssdTrainSettings) -> str:
    return hashlib.sha256(settings_json(settings).encode()).hexdigest()[:12]


def thinned(pack: LandmarkPack, most: int | None) -> LandmarkPack:
    """At most so many faces of each set of a pack, evenly spread."""
    rows = [np.flatnonzero(pack.source == source) for source in np.unique(pack.source)]
    kept = np.concatenate(
        [r if most is None or len(r) <= most else r[np.linspace(0, len(r) - 1, most).astype(int)] for r in rows]
    )
    return pack.rows(kept)


def errors_of(cascade: Cascade, pack: LandmarkPack) -> Errors:
    """Errors (T + 1, N) of all stages: by pupil distance (Eq. 24), or by the face's box where no eye is annotated."""
    stages, truth = locate_pack(cascade, pack, np.arange(len(pack)))
    if stages.shape[2] == 68 and truth.shape[1] == 29:
        stages, missing = cofw_from_ibug68(stages), [5, 7]
        truth[:, missing] = stages[:, :, missing] = np.nan
    return np.stack([normalised_errors(shapes, truth) for shapes in stages])


def normalised_errors(located: NDArray[np.float32], truth: NDArray[np.float32]) -> Errors:
    by_pupils = np.isfinite(pupil_distance(truth))
    if by_pupils.any():
        return nrmse(located, truth)[by_pupils]
    return mean_distance(located, truth) / (CROP_SIZE / CROP_SCALE)


def occluded(pack: LandmarkPack, rows: NDArray[np.intp], share: float, seed: int) -> NDArray[np.uint8]:
    """Crops with a turned rectangle of noise over `share` of the face's box."""
    crops, _ = plain_crops(pack, rows)
    rng = np.random.default_rng(seed)
    side = CROP_SIZE / CROP_SCALE
    for crop in crops:
        aspect = float(np.exp(rng.uniform(-0.5, 0.5)))
        size = (side * np.sqrt(share * aspect), side * np.sqrt(share / aspect))
        # Inside the box, so that the stated share is covered.
        free = np.maximum(0, (side - np.array(size)) / 2)
        middle = (CROP_SIZE - 1) / 2 + rng.uniform(-free, free)
        cover = np.zeros_like(crop)
        corners = cv2.boxPoints(((float(middle[0]), float(middle[1])), size, 0.0))
        cv2.fillConvexPoly(cover, np.round(corners).astype(np.int32), 1)
        noise = cv2.GaussianBlur(rng.integers(0, 256, crop.shape, dtype=np.uint8), (0, 0), 3.0)
        if share > 0:
            crop[cover > 0] = np.clip(noise[cover > 0].astype(int) + int(rng.integers(-80, 80)), 0, 255)
    return crops


def percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def table_rows(table: str, cascades: dict[str, Cascade], packs: dict[str, LandmarkPack]) -> None:
    """Print the table in Markdown, a set of faces a block."""
    reference = next(name for name, one in configurations(table).items() if one == DssdTrainSettings(cascade=RDSSD))
    for set_name, pack in packs.items():
        for source in np.unique(pack.source):
            part = pack.rows(np.flatnonzero(pack.source == source))
            print(f"\n{set_name}, {source}: {len(part)} faces\n")
            if table == "occlusion":
                print_occlusion(cascades, part)
                continue
            columns = ["cascade", "mean error", f"more than {reference}", "<= 0.05", "<= 0.10", "failures (> 0.10)"]
            print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
            every = {name: errors_of(cascade, part) for name, cascade in cascades.items()}
            for name, found in every.items():
                stages = enumerate(found) if table == "stages" else [(len(found) - 1, found[-1])]
                for number, errors in stages:
                    label = f"{name}, stage {number}" if table == "stages" else name
                    more = difference(errors, every[reference][-1]) if reference in every else ""
                    under = ced(errors, np.array([0.05, 0.10]))
                    print(
                        f"| {label} | {percent(float(errors.mean()))} | {more} | {percent(under[0])} | "
                        f"{percent(under[1])} | {percent(failure_rate(errors, 0.10))} |"
                    )


def difference(errors: Errors, other: Errors) -> str:
    """Mean of errors (N,) less `other` (N,), with half its 95 % interval.

    Faces of one person follow each other in a pack, so the interval is over twenty stretches of faces, not over faces.
    """
    count = min(_STRETCHES, len(errors))
    means = np.array([stretch.mean() for stretch in np.array_split(100 * (errors - other), count)])
    half = stats.t.ppf(0.975, count - 1) * means.std(ddof=1) / np.sqrt(count)
    return f"{means.mean():+.2f} +- {half:.2f}"


def print_occlusion(cascades: dict[str, Cascade], pack: LandmarkPack) -> None:
    shares = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    print("| cascade | " + " | ".join(f"{100 * s:.0f} %" for s in shares) + " | growth |")
    print("| --- |" + " --- |" * (len(shares) + 1))
    rows = np.arange(len(pack))
    _, truth = plain_crops(pack, rows)
    for name, cascade in cascades.items():
        means = []
        for share in shares:
            crops = occluded(pack, rows, share, seed=1)
            points = np.concatenate([cascade.locate(crops[i : i + 16]).points for i in range(0, len(crops), 16)])
            means.append(float(normalised_errors(points, truth).mean()))
        print(f"| {name} | " + " | ".join(percent(m) for m in means) + f" | {percent(means[-1] - means[0])} |")


def print_speed(cascades: dict[str, Cascade], packs: dict[str, LandmarkPack]) -> None:
    from facerec.landmarks.landmarker import CascadeLandmarker, Landmarker
    from facerec.landmarks.types import Box

    pack = next(iter(packs.values()))
    image = np.repeat(pack.images[0][:, :, None], 3, axis=2)
    box = Box(32, 32, 160, 160)
    models: dict[str, Landmarker] = {name: CascadeLandmarker(cascade) for name, cascade in cascades.items()}
    models["GoDP"] = Landmarker.load("godp")
    print("\n| model | ms per face (least of 20) |\n| --- | --- |")
    for name, model in models.items():
        times = []
        for _ in range(20):
            begun = time.perf_counter()
            model.locate(image, [box])
            times.append(time.perf_counter() - begun)
        print(f"| {name} | {1000 * min(times):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*"1234567", "k", "stages", "occlusion", "speed"])
    parser.add_argument("--train", nargs="+", type=Path, required=True, help="training packs")
    parser.add_argument("--test", nargs="+", type=Path, required=True, help="packs of held-out people")
    parser.add_argument("--work", type=Path, default=Path("work/dssd-tables"), help="of runs; one per choice of packs")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows of the table by name; all by default")
    parser.add_argument("--samples", type=int, default=30_000, help="faces the networks see")
    parser.add_argument("--coarse-faces", type=int, default=8_000, help="faces of the coarse stages")
    parser.add_argument("--filters", type=int, default=16, help="of each convolution; 128 as published")
    parser.add_argument("--levels", type=int, help="of each fern stage; few leave the refinements more to do")
    parser.add_argument("--solver-faces", type=int, default=480, help="faces of each turn of the solver")
    parser.add_argument("--most", type=int, help="faces of each set to test on, evenly spread; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of clusters, ferns, weights and faces")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    packs = [LandmarkPack.load(path) for path in chosen.train]
    landmarks = packs[0].points.shape[1]
    cascades = {}
    compared = configurations(chosen.table)
    if unknown := set(chosen.only or ()) - set(compared):
        parser.error(f"table {chosen.table} has no rows {sorted(unknown)}; it has {list(compared)}")
    for name, settings in compared.items():
        if chosen.only and name not in chosen.only:
            continue
        network = replace(settings.cascade.network, landmarks=landmarks, filters=chosen.filters)
        ferns = replace(settings.cascade.ferns, levels=chosen.levels or settings.cascade.ferns.levels)
        settings = replace(
            settings,
            cascade=replace(settings.cascade, network=network, ferns=ferns),
            samples=chosen.samples,
            coarse_faces=chosen.coarse_faces,
            solver_faces=chosen.solver_faces,
            seed=chosen.seed,
        )
        cascades[name] = trained(name, settings, packs, chosen.work)
    tests = {path.stem: thinned(LandmarkPack.load(path), chosen.most) for path in chosen.test}
    if chosen.table == "speed":
        print_speed(cascades, tests)
    else:
        table_rows(chosen.table, cascades, tests)


if __name__ == "__main__":
    main()
