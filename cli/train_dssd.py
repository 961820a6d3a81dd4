"""`facerec train dssd`: train the landmark network DSSD; also the code shared with `facerec train rdssd`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from facerec.cli.options import device_option, note, quiet_option, weights_root_option
from facerec.cli.recorded_command import recorded_command
from facerec.cli.train_godp import PackChoice
from facerec.landmarks.device import resolve_device

if TYPE_CHECKING:
    from facerec.landmarks.dssd import Detectors
    from facerec.landmarks.rdssd import Learning
    from facerec.landmarks.training.rdssd import DssdProgress
    from facerec.landmarks.training.rdssd_faces import DssdTrainSettings

F = TypeVar("F", bound=Callable[..., Any])


def cascade_options(function: F) -> F:
    """Options of both trainers, the fields of `CascadeChoice`."""
    options = [
        click.option(
            "--pack", "packs", required=True, multiple=True, type=PackChoice(), help="Training pack; may be repeated."
        ),
        click.option(
            "--test",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Pack of held-out people whose errors are reported and recorded.",
        ),
        click.option(
            "--run",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of checkpoint and curve; an unfinished training there is continued.  [default: work/MODEL]",
        ),
        click.option(
            "--start",
            type=click.Path(exists=True, path_type=Path),
            help="Continue from a finished run of the same model (its folder, or its weight file), with a second cycle "
            "of the learning rate.",
        ),
        click.option(
            "--samples", type=click.IntRange(min=16), help="Number of training faces.  [default: the trainer's]"
        ),
        click.option(
            "--coarse-faces",
            type=click.IntRange(min=30),
            help="Number of faces for the coarse stages.  [default: the trainer's]",
        ),
        click.option(
            "--solver-faces",
            type=click.IntRange(min=1),
            help="Number of faces on which P and C are solved in each round.  [default: the trainer's]",
        ),
        click.option(
            "--filters",
            type=click.IntRange(min=1),
            help="Filters of each convolution; 128 in the paper.  [default: 16]",
        ),
        click.option(
            "--neighbours",
            type=click.IntRange(min=1),
            help="K, the number of neighbours, the landmark itself included.  [default: 5]",
        ),
        click.option("--latent", type=click.IntRange(min=1), help="G, the number of latent detectors.  [default: 20]"),
        click.option(
            "--detectors",
            type=click.Choice(["sharable", "plain"]),
            default="sharable",
            show_default=True,
            help="'plain' is one linear regression on all features together, for comparison.",
        ),
        click.option("--beta", type=click.FloatRange(min=0), help="l1 weight of P.  [default: the solver's]"),
        click.option("--gamma", type=click.FloatRange(min=0), help="l1 weight of C.  [default: the solver's]"),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option(
            "--max-minutes",
            type=click.FloatRange(min=0, min_open=True),
            help="Finish within this many minutes; the learning rate follows the time if it is ahead of the samples.",
        ),
        click.option(
            "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the network."
        ),
        click.option(
            "--export/--no-export", default=True, show_default=True, help="Replace the package's weights at the end."
        ),
        weights_root_option("landmarks"),
        device_option,
        quiet_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command("dssd")
@cascade_options
def command(**chosen: Any) -> None:
    """Train DSSD (one refinement of an initial shape) on landmark packs (npz) and write its weights.

    An interrupted training continues from its last checkpoint when the same command is run again.
    """
    train_variant("dssd", "dssd", CascadeChoice(**chosen))


@dataclass(frozen=True)
class CascadeChoice:
    """The values of `cascade_options`, and `--learning` of R-DSSD."""

    packs: tuple[tuple[Path, float], ...]
    test: Path | None
    run: Path | None
    start: Path | None
    samples: int | None
    coarse_faces: int | None
    solver_faces: int | None
    filters: int | None
    neighbours: int | None
    latent: int | None
    detectors: Detectors
    beta: float | None
    gamma: float | None
    seed: int
    max_minutes: float | None
    threads: int
    export: bool
    weights_root: Path | None
    device: str
    quiet: bool
    learning: Learning = "recurrent"

    def settings(self, variant: str, landmarks: int) -> DssdTrainSettings:
        """Of the trainer, for `variant` on packs of `landmarks` points; what was not chosen keeps its default."""
        from facerec.landmarks.rdssd import VARIANTS
        from facerec.landmarks.training.rdssd_faces import DssdTrainSettings

        cascade = VARIANTS[variant]
        network = replace(
            cascade.network,
            landmarks=landmarks,
            detectors=self.detectors,
            **self._drop_unset("filters", "neighbours", "latent"),
        )
        plain = DssdTrainSettings(cascade=replace(cascade, network=network, learning=self.learning), seed=self.seed)
        return replace(
            plain,
            sharable=replace(plain.sharable, **self._drop_unset("beta", "gamma")),
            **self._drop_unset("samples", "coarse_faces", "solver_faces"),
        )

    def _drop_unset(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def train_variant(model: str, variant: str, chosen: CascadeChoice) -> None:
    """Train the cascade `variant` and write it as the weights of `model`."""
    import cv2
    import torch

    from facerec.landmarks.dssd_weights import cascade_arrays
    from facerec.landmarks.training.landmark_weights import save_landmark_weights
    from facerec.landmarks.training.packs import LandmarkPack
    from facerec.landmarks.training.rdssd import train_cascade
    from facerec.landmarks.training.rdssd_errors import pack_errors
    from facerec.landmarks.training.resume import TrainingRun

    # This command owns its process, so thread counts are set here and nowhere deeper.
    torch.set_num_threads(chosen.threads)
    cv2.setNumThreads(1)
    loaded = [(LandmarkPack.load(path), weight) for path, weight in chosen.packs]
    held_out = LandmarkPack.load(chosen.test) if chosen.test else None
    settings = chosen.settings(variant, loaded[0][0].points.shape[1])
    where = torch.device(resolve_device(chosen.device))
    note(f"{sum(len(pack) for pack, _ in loaded)} faces in {len(loaded)} packs, on {where}", chosen.quiet)
    cascade = train_cascade(
        loaded,
        settings,
        TrainingRun(chosen.run or Path("work") / model, where, chosen.start, chosen.max_minutes),
        test=held_out,
        on_progress=_Reporter(chosen.quiet),
        say=lambda line: note(line, chosen.quiet),
    )
    errors = pack_errors(cascade, held_out, device=where) if held_out is not None else {}
    for source, found in errors.items():
        note(f"{source}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), chosen.quiet)
    if not chosen.export:
        return
    form, network = settings.cascade, settings.cascade.network
    record = save_landmark_weights(
        model,
        cascade_arrays(cascade),
        f"{'R-' if form.coarse else ''}DSSD shape cascade, {network.landmarks} points, {len(form.coarse)} fern stages, "
        f"{len(form.fine)} refinements of {network.filters} filters",
        loaded,
        errors=errors,
        command=recorded_command(
            {name: getattr(settings, name) for name in ("samples", "coarse_faces", "solver_faces")}
            | {name: getattr(network, name) for name in ("filters", "neighbours", "latent")}
            | {name: getattr(settings.sharable, name) for name in ("beta", "gamma")}
        ),
        root=chosen.weights_root,
    )
    click.echo(f"{record.file} {record.bytes} bytes sha256 {record.sha256}")


class _Reporter:
    """Progress on stderr: one line per minute, and one after each round that was measured."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._minute = 0.0

    def __call__(self, progress: DssdProgress) -> None:
        if progress.errors:
            for source, found in progress.errors.items():
                stages = " ".join(f"{100 * v:.2f}" for name, v in found.items() if name.startswith("stage"))
                pupil = f", by pupils {100 * found['nrmse']:.2f} %" if "nrmse" in found else ""
                note(f"  {source}: stages {stages} % by box{pupil}", self._quiet)
        if progress.losses and progress.minutes - self._minute >= 1:
            self._minute = progress.minutes
            parts = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            note(
                f"{progress.samples} faces, {progress.minutes:.1f} min, {100 * progress.share:.0f} %: {parts}",
                self._quiet,
            )
