"""`facerec train godp`: train the landmark network on landmark packs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import device_option, note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.landmarks.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from facerec.landmarks.godp_graph import Architecture, GodpSettings
    from facerec.landmarks.training.godp import Progress, TrainSettings

LOSS_NAMES = ("godp-a", "godp", "godp-a-dsl", "godp-dsl", "p-dsl", "r-dsl", "sl", "sl-a")
"""`facerec.landmarks.training.dsl.LOSSES`, without importing torch."""


class PackChoice(click.ParamType[tuple[Path, float]]):
    """FILE or FILE:WEIGHT."""

    name = "FILE[:WEIGHT]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Path, float]:
        """(path, weight > 0)."""
        text = str(value)
        path, colon, number = text.rpartition(":")
        weight = 1.0
        if colon and not Path(text).exists():
            try:
                weight = float(number)
            except ValueError:
                self.fail(f"expected FILE or FILE:WEIGHT; got {text!r}", param, ctx)
        else:
            path = text
        if not weight > 0 or weight == float("inf"):
            self.fail(f"expected a weight above 0; got {number!r}", param, ctx)
        if not Path(path).is_file():
            self.fail(f"there is no pack {path!r}", param, ctx)
        return Path(path), weight


@click.command("godp")
@click.option(
    "--pack", "packs", required=True, multiple=True, type=PackChoice(), help="Training pack; may be repeated."
)
@click.option(
    "--test",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Pack of held-out people whose errors are reported and recorded.",
)
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("work/godp"),
    show_default=True,
    help="Folder of checkpoint and curves; an unfinished training there is continued.",
)
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Start from the network of this checkpoint or weight file (of the same width) instead of random weights.",
)
@click.option("--samples", type=click.IntRange(min=16), help="Number of training faces.  [default: the trainer's]")
@click.option("--batch", type=click.IntRange(min=2), help="Faces per step.  [default: the trainer's]")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Highest learning rate.  [default: the trainer's]"
)
@click.option(
    "--width", type=click.FloatRange(min=0, min_open=True), help="Share of VGG's channels.  [default: the network's]"
)
@click.option(
    "--schedule",
    type=click.Choice(["fast", "published", "last"]),
    default="fast",
    show_default=True,
    help='Loss stages; "last" uses only the last one, to continue with a trained network.',
)
@click.option(
    "--losses",
    type=click.Choice(LOSS_NAMES),
    default="godp-a",
    show_default=True,
    help="GoDP(A), or an ablation of the paper's Table 7; sl and sl-a are for the baselines.",
)
@click.option(
    "--architecture",
    type=click.Choice(["godp", "deconvnet", "hourglass", "coordinates"]),
    default="godp",
    show_default=True,
    help="GoDP, or a baseline of the paper; these can be compared, not exported.",
)
@click.option(
    "--yaw-edges",
    default="",
    help="Angles that separate the yaw ranges, e.g. -30,30 for K = 3.  [default: none, K = 1]",
)
@click.option("--spatial", type=click.FloatRange(min=0), help="Weight of the spatial loss.  [default: the loss's]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Finish within this many minutes; learning rate and stages follow the time if it is ahead of the samples.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the network.")
@click.option(
    "--loaders",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that draw training faces, a few for a GPU; 0: a thread.",
)
@click.option(
    "--export/--no-export", default=True, show_default=True, help="Replace the package's godp weights at the end."
)
@weights_root_option("landmarks")
@device_option
@quiet_option
def command(
    packs: tuple[tuple[Path, float], ...],
    test: Path | None,
    run: Path,
    start: Path | None,
    samples: int | None,
    batch: int | None,
    rate: float | None,
    width: float | None,
    schedule: str,
    losses: str,
    architecture: Architecture,
    yaw_edges: str,
    spatial: float | None,
    seed: int,
    max_minutes: float | None,
    threads: int,
    loaders: int,
    export: bool,
    weights_root: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Train GoDP on landmark packs (npz) and write its weights.

    An interrupted training continues from its last checkpoint when the same command is run again. On several GPUs run
    torchrun --nproc-per-node N -m facerec.cli.main train godp ...
    """
    import cv2
    import torch

    from facerec.landmarks.godp import Godp
    from facerec.landmarks.godp_weights import godp_arrays
    from facerec.landmarks.training.godp import train_godp
    from facerec.landmarks.training.godp_calibration import calibrate
    from facerec.landmarks.training.godp_errors import pack_errors
    from facerec.landmarks.training.landmark_weights import save_landmark_weights
    from facerec.landmarks.training.packs import LandmarkPack
    from facerec.landmarks.training.resume import TrainingRun
    from facerec.landmarks.training.workers import Workers, started_workers

    # This command owns its process, so thread counts are set here and nowhere deeper.
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    settings = _settings(schedule, losses, seed, samples=samples, batch=batch, learning_rate=rate, spatial=spatial)
    settings = replace(settings, network=_network_settings(width, architecture, yaw_edges))
    chosen = resolve_device(device)
    loaded = [(LandmarkPack.load(path), weight) for path, weight in packs]
    held_out = LandmarkPack.load(test) if test else None
    note(f"{sum(len(pack) for pack, _ in loaded)} faces in {len(loaded)} packs, on {chosen}", quiet)
    with started_workers(chosen) as where, _reporter(quiet or not Workers.here().first) as report:
        first = Workers.here().first
        goal = TrainingRun(run, where, start, max_minutes, loaders=loaders)
        network = train_godp(loaded, settings, goal, test=held_out, on_progress=report)
    if not first:
        return
    errors = pack_errors(network, held_out, device=where) if held_out is not None else {}
    for source, found in errors.items():
        note(f"{source}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), quiet)
    if not export or not isinstance(network, Godp):
        return
    record = save_landmark_weights(
        "godp",
        godp_arrays(network, calibrate(network, loaded, settings, device=where)),
        f"GoDP landmark network, 68 points, {network.settings.width:g} of VGG-16's width",
        loaded,
        errors=errors,
        command=recorded_command(
            {
                "samples": settings.samples,
                "batch": settings.batch,
                "rate": settings.learning_rate,
                "width": settings.network.width,
                "spatial": settings.spatial.weight,
                "yaw_edges": yaw_edges or None,
            }
        ),
        root=weights_root,
    )
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")


def _network_settings(width: float | None, architecture: Architecture, yaw_edges: str) -> GodpSettings:
    from facerec.landmarks.godp_graph import GodpSettings

    try:
        edges = tuple(float(edge) for edge in yaw_edges.split(",") if edge.strip())
    except ValueError:
        raise click.UsageError(f"expected --yaw-edges as angles separated by commas; got {yaw_edges!r}") from None
    settings = GodpSettings(architecture=architecture, yaw_bins=len(edges) + 1, yaw_edges=edges)
    return settings if width is None else replace(settings, width=width)


def _settings(schedule: str, losses: str, seed: int, *, spatial: float | None, **chosen: Any) -> TrainSettings:
    """The trainer's settings with those in `chosen` that are not None."""
    from facerec.landmarks.training.dsl import SpatialSettings
    from facerec.landmarks.training.godp import TrainSettings

    if spatial is not None:
        chosen["spatial"] = SpatialSettings(weight=spatial)
    given = {name: value for name, value in chosen.items() if value is not None}
    return TrainSettings(schedule=schedule, losses=losses, seed=seed, **given)


class _reporter:  # noqa: N801 - used like a function
    """Progress on stderr: a bar on a terminal, one line per minute elsewhere."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._quiet = quiet
        self._minute = 0.0
        self._terminal = sys.stderr.isatty() and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.1f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._terminal,
        )
        self._task = self._bar.add_task("training", total=1.0)

    def __enter__(self) -> Callable[[Progress], None]:
        self._bar.start()
        return self._report

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _report(self, progress: Progress) -> None:
        if self._terminal:
            total = float(sum(progress.losses.values()))
            text = f"stage {progress.stage} loss {total:.2f}"
            self._bar.update(self._task, completed=progress.share, description=text)
        if self._quiet:
            return
        if progress.errors:
            self._say(
                f"{progress.samples} faces, {progress.minutes:.1f} min: "
                + "; ".join(
                    f"{source} box {100 * found['nme_box']:.2f} %"
                    + (f" interocular {100 * found['nme_interocular']:.2f} %" if "nme_interocular" in found else "")
                    for source, found in progress.errors.items()
                )
            )
        if not self._terminal and progress.minutes - self._minute >= 1:
            self._minute = progress.minutes
            self._say(
                f"{progress.samples} faces, {progress.minutes:.1f} min, {100 * progress.share:.0f} %, "
                f"stage {progress.stage}, rate {progress.rate:.2g}: "
                + ", ".join(f"{k} {float(v):.3f}" for k, v in progress.losses.items())
            )

    def _say(self, line: str) -> None:
        if self._terminal:
            self._bar.console.print(line, highlight=False)
        else:
            click.echo(line, err=True)
