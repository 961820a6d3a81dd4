"""GoDP's ablations (Tables 7 and 8 and Figure 6 of its paper), one command:

    python benchmarks/ablations.py --train PACK ... --test PACK ... --work DIR [--samples N] [--width W]

Every network is trained from the same packs with the same seed, as many faces and the same schedule; what differs is a
setting of the trainer (`facerec train godp --architecture --losses --yaw-edges` takes the same). What DIR holds already
is read, an interrupted training goes on, and DIR/table.md is written again after every network: the errors, their
growth with noise on the boxes, and the errors on the real sets while each network was learning. NME by the square root
of the area of the annotated points' box, from annotated boxes. A rendered pack (`benchmarks/rendered_heads.py`) shows
hidden points from seen ones; in real ones every annotated point counts as seen. Packs are read as AFLW's 19 points, the
paper's markup, whose maps are cheaper than those of 68.

`--side 64` shrinks the faces, and a training takes a quarter of the time. `--faces DIR --workers 2` draws the augmented
faces, which are the same for all networks, into DIR beforehand (`--draw-only` ends there). On a GPU, `--device cuda
--batch 32 --jobs 12` trains as many networks at once, each in a process of its own. What a run leaves unfinished, the
same command finishes later, on a CPU, too.
DIR/NAME/network.safetensors holds each averaged network in half precision.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from facerec.evaluation.box_noise import LEAST_SCALE, SIGMAS
from facerec.evaluation.score_maps import mean_probabilities
from facerec.landmarks.crop import PACK_SIZE, ROI_SIZE
from facerec.landmarks.godp import Decisions
from facerec.landmarks.godp_graph import Architecture
from facerec.landmarks.markup import AFLW19_SOURCES, read_as
from facerec.landmarks.score_maps import DecodeSettings
from facerec.landmarks.training.augment import AugmentSettings
from facerec.landmarks.training.drawn import DrawnFaces, draw_faces
from facerec.landmarks.training.dsl import SpatialSettings
from facerec.landmarks.training.godp import BatchSource, FaceSource, TrainSettings, as_batch, train_godp
from facerec.landmarks.training.godp_baselines import Coordinates, LandmarkNetwork
from facerec.landmarks.training.godp_errors import forward, located, plain_rois
from facerec.landmarks.training.packs import HIDDEN, NOT_ANNOTATED, VISIBLE, LandmarkPack, packed_face
from facerec.landmarks.training.resume import TrainingRun


@dataclass(frozen=True, slots=True)
class Ablation:
    """A row: settings of the trainer, and the paper's MPK, MPB, NME-Vis and NME-All on AFLW-PIFA, percent."""

    losses: str
    architecture: Architecture = "godp"
    yaw_edges: tuple[float, ...] = ()
    published: tuple[float, float, float, float] | None = None


ABLATIONS = {
    "GoDP(A)": Ablation("godp-a", published=(47.59, 6.74, 2.86, 4.61)),
    "HGN(A)": Ablation("sl-a", "hourglass", published=(48.42, 14.19, 3.08, 5.04)),
    "DeconvNet": Ablation("sl", "deconvnet", published=(51.83, 4.50, 4.13, 8.36)),
    "GoDP(A)-DSL": Ablation("godp-a-dsl", published=(99.37, 99.92, 3.37, 5.75)),
    "HyperFace-like (A)": Ablation("sl-a", "coordinates"),
    "GoDP(A), K = 3": Ablation("godp-a", yaw_edges=(-30.0, 30.0)),
    "GoDP": Ablation("godp", published=(39.78, 1.30, 2.94, 11.17)),
    "GoDP-DSL": Ablation("godp-dsl", published=(26.15, 0.86, 3.87, 13.20)),
    "GoDP-DSL-PR": Ablation("sl", published=(31.79, 1.01, 3.35, 13.30)),
    "GoDP(A), DSL in proposals only": Ablation("p-dsl"),
    "GoDP(A), DSL in refinements only": Ablation("r-dsl"),
    "HGN": Ablation("sl", "hourglass", published=(28.38, 0.96, 3.04, 11.05)),
}
"""In the order in which they are trained: what the order of the table hangs on first. K = 1 but for one row; the paper
gives K = 3, and 4.33 % for GoDP(A) with K = 1 (Table 8)."""


RENDERED = "rendered"
"""Source of the rendered heads' pack."""

GENTLE = AugmentSettings(degrees=10.0, scale=0.08, shift=0.04, blur=0.1, noise=0.1, jpeg=0.1, coarse=0.1)
"""Changes small enough for a short training, the same for all networks."""


def settings_of(row: Ablation, arguments: argparse.Namespace) -> TrainSettings:
    """Settings of the trainer."""
    base = TrainSettings()
    network = replace(
        base.network,
        landmarks=len(AFLW19_SOURCES),
        width=arguments.width,
        architecture=row.architecture,
        side=arguments.side,
        yaw_bins=len(row.yaw_edges) + 1,
        yaw_edges=row.yaw_edges,
    )
    return replace(
        base,
        network=network,
        augment=GENTLE,
        losses=row.losses,
        samples=arguments.samples,
        batch=arguments.batch,
        learning_rate=arguments.rate,
        schedule=arguments.schedule,
        seed=arguments.seed,
        spatial=SpatialSettings(weight=arguments.spatial),
    )


def as_aflw(pack: LandmarkPack) -> LandmarkPack:
    """A pack of 68 points as AFLW's 19: a mean of several rows is annotated where all are, and seen where all are."""
    states = [pack.state[:, list(rows)] for rows in AFLW19_SOURCES]
    missing = np.stack([(state == NOT_ANNOTATED).any(axis=1) for state in states], axis=1)
    seen = np.stack([(state == VISIBLE).all(axis=1) for state in states], axis=1)
    points = read_as(pack.points, AFLW19_SOURCES).astype(np.float32)
    points[missing] = np.nan
    state = np.where(missing, NOT_ANNOTATED, np.where(seen, VISIBLE, HIDDEN)).astype(np.int8)
    return replace(pack, points=points, state=state)


def measured(
    network: LandmarkNetwork, pack: LandmarkPack, most: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """NME of seen and of all points, arg-max (as published) and sub-pixel, and MPK and MPB; percent, by source."""
    result: dict[str, dict[str, float]] = {}
    for source in np.unique(pack.source):
        rows = np.flatnonzero(pack.source == source)
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]
        rois, truth = plain_rois(pack, rows)
        errors: dict[str, list[NDArray[np.float64]]] = {}
        probabilities = []
        for first, outputs in zip(range(0, len(rows), 16), forward(network, rois, device), strict=True):
            part = rows[first : first + 16]
            span = np.nanmax(truth[first : first + 16], axis=1) - np.nanmin(truth[first : first + 16], axis=1)
            side = np.sqrt(span.prod(axis=1))[:, None]
            for name, decoding in (("argmax", DecodeSettings(method="argmax")), ("subpixel", None)):
                places = located(outputs, pack.points.shape[1], decoding)
                off = np.linalg.norm(places.cpu().numpy() - truth[first : first + 16], axis=2) / side
                errors.setdefault(name, []).append(off)
            if not isinstance(outputs, Coordinates):
                scores = outputs.refinement_2 if isinstance(outputs, Decisions) else outputs.scores
                faces = [replace(packed_face(pack, row), image=roi, points=points) for row, roi, points in
                         zip(part, rois[first : first + 16], truth[first : first + 16], strict=True)]  # fmt: skip
                probabilities.append(
                    mean_probabilities(scores.cpu(), as_batch(faces, network.settings).targets).numpy()
                )
        seen = np.where(pack.state[rows] == VISIBLE, 1.0, np.nan)
        figures = {"n": float(len(rows))}
        for name, parts in errors.items():
            off = 100 * np.concatenate(parts)
            figures[f"{name}_vis"] = float(np.nanmean(off * seen))
            figures[f"{name}_all"] = float(np.nanmean(off))
        if probabilities:
            figures["mpk"], figures["mpb"] = (100 * np.nanmean(np.concatenate(probabilities), axis=0)).tolist()
        result[str(source)] = figures
    return result


def noise_curve(
    network: LandmarkNetwork, pack: LandmarkPack, most: int, device: torch.device
) -> dict[str, list[float]]:
    """NME of all points, percent, when the box is off (Fig. 6): at no noise, then at each of `SIGMAS`.

    The noise is that of `facerec.evaluation.box_noise`. A pack holds a fifth of the ROI's side around it, which is
    repeated at its edge where a noisy box asks for more.

    Returns:
        "size" and "place", one number per deviation.
    """
    rng = np.random.default_rng(0)
    rows = np.linspace(0, len(pack) - 1, min(most, len(pack))).astype(np.intp)
    points = pack.points[rows].astype(np.float64)
    extent = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
    side = np.sqrt(extent.prod(axis=1))
    draws = rng.standard_normal((len(rows), 3))
    curves: dict[str, list[float]] = {}
    for kind in ("size", "place"):
        curves[kind] = []
        for sigma in (0.0, *SIGMAS):
            scale = np.maximum(1 + sigma * draws[:, 0], LEAST_SCALE) if kind == "size" else np.ones(len(rows))
            shift = sigma * draws[:, 1:] * extent if kind == "place" else np.zeros((len(rows), 2))
            rois = np.empty((len(rows), ROI_SIZE, ROI_SIZE), np.uint8)
            for i, row in enumerate(rows):
                # From ROI to pack: the ROI's middle lies on the noisy box's, and a larger box shows more.
                middle = (PACK_SIZE - 1) / 2 + shift[i] - scale[i] * (ROI_SIZE - 1) / 2
                matrix = np.array([[scale[i], 0, middle[0]], [0, scale[i], middle[1]]])
                rois[i] = cv2.warpAffine(
                    pack.images[row], matrix, (ROI_SIZE, ROI_SIZE),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
                )  # fmt: skip
            answers = forward(network, rois, device)
            found = np.concatenate([located(one, points.shape[1]).cpu().numpy() for one in answers])
            middle = (PACK_SIZE - 1) / 2 + shift - scale[:, None] * (ROI_SIZE - 1) / 2
            off = np.linalg.norm(found * scale[:, None, None] + middle[:, None] - points, axis=2)
            curves[kind].append(100 * float(np.mean(np.nanmean(off, axis=1) / side)))
    return curves


def learning_curve(file: Path) -> dict[int, float]:
    """Faces seen: mean error over the real sets, percent, from a training's `errors.jsonl`."""
    curve = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        row = json.loads(line)
        errors = [one["nme_box"] for one in row.values() if isinstance(one, dict)]
        curve[int(row["samples"])] = 100 * float(np.mean(errors))
    return curve


def further_tables(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: errors by noise on the boxes, and errors while the networks learn, at ten places of each training."""
    heads = [f"{kind} {100 * sigma:.0f} %" for kind in ("size", "place") for sigma in (0.0, *SIGMAS)]
    lines = ["", "| noise on boxes | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for name, one in results.items():
        cells = [*one["noise"]["size"], *one["noise"]["place"]]
        lines.append(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    lines += ["", "| network | mean error on the real sets, % (faces seen) |", "| --- | --- |"]
    for name, one in results.items():
        curve = sorted((int(seen), error) for seen, error in one["curve"].items())
        chosen = [curve[i] for i in sorted({round(k) for k in np.linspace(0, len(curve) - 1, 10)})] if curve else []
        lines.append(f"| {name} | " + ", ".join(f"{error:.2f} ({seen:,})" for seen, error in chosen) + " |")
    return "\n".join(lines) + "\n"


def table(results: dict[str, dict[str, Any]], rendered: str) -> str:
    """Markdown: the rendered set with MPK and MPB and the paper's figures, then the real sets."""
    real = sorted({source for one in results.values() for source in one["errors"]} - {rendered})
    heads = ["MPK", "MPB", "NME-Vis", "NME-All", "all, sub-pixel", *real, "paper: MPK", "MPB", "Vis", "All", "minutes"]
    lines = ["| network | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for name, one in results.items():
        figures = one["errors"].get(rendered, {})
        cells = [figures.get(key) for key in ("mpk", "mpb", "argmax_vis", "argmax_all", "subpixel_all")]
        cells += [one["errors"].get(source, {}).get("subpixel_all") for source in real]
        cells += [*(ABLATIONS[name].published or [None] * 4), one["minutes"]]
        lines.append(f"| {name} | " + " | ".join("" if cell is None else f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def folder_of(work: Path, name: str) -> Path:
    """Where a network's training runs and what it leaves lies."""
    return work / "".join(c if c.isalnum() else "-" for c in name.lower())


def write_table(work: Path) -> str:
    """DIR/table.md of all results in the folder, in the order of `ABLATIONS`; returns the text."""
    files = {name: folder_of(work, name) / "result.json" for name in ABLATIONS}
    results = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    text = table(results, RENDERED) + further_tables(results)
    (work / "table.md").write_text(text)
    return text


def train_one(name: str, faces: BatchSource, tests: list[LandmarkPack], arguments: argparse.Namespace) -> None:
    """Train one network to its end, measure it, and write result.json and network.safetensors into its folder."""
    folder, device = folder_of(arguments.work, name), torch.device(arguments.device)
    noisy = next((pack for pack in tests if RENDERED in pack.source), tests[0])
    real = next((pack for pack in tests if RENDERED not in pack.source), tests[0])
    settings = settings_of(ABLATIONS[name], arguments)
    run = TrainingRun(
        folder,
        device=device,
        checkpoint_minutes=arguments.checkpoint_minutes,
        evaluations=arguments.evaluations,
        evaluate_faces=arguments.evaluate_faces,
    )
    # A GPU's time is the clock's, since nothing else is charged for it; a CPU is shared with others.
    clock = time.process_time if device.type == "cpu" else time.monotonic
    started = clock()
    network = train_godp(faces, settings, run, test=real)
    minutes = (clock() - started) / 60
    errors = {k: v for pack in tests for k, v in measured(network, pack, arguments.most, device).items()}
    result = {
        "minutes": minutes,
        "samples": settings.samples,
        "batch": settings.batch,
        "width": settings.network.width,
        "device": device.type,
        "errors": errors,
        "noise": noise_curve(network, noisy, arguments.most, device),
        "curve": learning_curve(folder / "errors.jsonl"),
    }
    state = network.state_dict().items()
    half = {key: (value.half() if value.is_floating_point() else value).cpu().contiguous() for key, value in state}
    save_file(half, folder / "network.safetensors")
    # Whole at once: processes beside this one read it for the table.
    temporary = folder / "result.tmp"
    temporary.write_text(json.dumps(result, indent=1))
    os.replace(temporary, folder / "result.json")
    print(f"{name}: {minutes:.1f} min", flush=True)


def train_at_once(names: list[str], jobs: int) -> None:
    """One process for each network, so many at a time: this command again with `--only`.

    Raises:
        SystemExit: one of them failed, once the others have ended.
    """

    def train(name: str) -> int:
        # Of an option that is given twice the last counts.
        command = [sys.executable, __file__, *sys.argv[1:], "--jobs", "1", "--only", name]
        return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        failed = [name for name, code in zip(names, pool.map(train, names), strict=True) if code]
    if failed:
        raise SystemExit(f"these networks are not finished: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", type=Path, default=[], help="needed unless --faces holds drawn faces")
    parser.add_argument("--test", nargs="+", type=Path, default=[], help="needed unless --draw-only")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=3200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3, help="top of the learning rate's cycle, for all networks")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--side", type=int, default=160, help="of the input, px; 64 takes a quarter of the time")
    parser.add_argument("--spatial", type=float, default=1.0, help="weight of facerec's own loss; the paper has none")
    parser.add_argument("--schedule", choices=["fast", "published"], default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(ABLATIONS), default=list(ABLATIONS))
    parser.add_argument("--most", type=int, default=300, help="test faces of a source")
    parser.add_argument("--evaluations", type=int, default=8, help="points of a learning curve")
    parser.add_argument("--evaluate-faces", type=int, default=60, help="faces of a source for such a point")
    parser.add_argument("--checkpoint-minutes", type=float, default=3.0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="networks trained at once, each in its own process")
    parser.add_argument("--faces", type=Path, help="folder of the faces drawn beforehand; drawn when it has none")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw faces")
    parser.add_argument("--draw-only", action="store_true", help="draw the faces and end")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    settings = settings_of(ABLATIONS["GoDP(A)"], arguments)
    drawn = arguments.faces is not None and (arguments.faces / "settings.json").exists()
    missing = [name for name in arguments.only if not (folder_of(arguments.work, name) / "result.json").exists()]
    train = []
    if not drawn and (missing or arguments.draw_only):
        train = [(as_aflw(LandmarkPack.load(path)), 1.0) for path in arguments.train]
        if arguments.faces is not None:
            draw_faces(train, settings, arguments.faces, arguments.workers)
    if arguments.draw_only:
        return
    if arguments.jobs > 1 and len(missing) > 1:
        train_at_once(missing, arguments.jobs)
    else:
        tests = [as_aflw(LandmarkPack.load(path)) for path in arguments.test] if missing else []
        for name in missing:
            row = settings_of(ABLATIONS[name], arguments)
            faces = FaceSource(train, row) if arguments.faces is None else DrawnFaces(arguments.faces, row)
            train_one(name, faces, tests, arguments)
            write_table(arguments.work)
    text = write_table(arguments.work)
    if len(arguments.only) > 1:
        print(text)


if __name__ == "__main__":
    main()
