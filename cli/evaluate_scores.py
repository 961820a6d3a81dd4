"""`facerec evaluate scores`: figures of the scores of any system, computed by the same code as facerec's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from facerec.cli.evaluate_output import command_line, finish, score_tables, standard_options, standard_settings
from facerec.cli.options import json_option, quiet_option


@click.command("scores")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the report here.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws of smaller galleries.")
@standard_options
@json_option
@quiet_option
@click.pass_context
def scores(
    ctx: click.Context,
    files: tuple[Path, ...],
    folder: Path | None,
    seed: int,
    fmr: str | None,
    fpir: str | None,
    gallery_sizes: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compute error rates from score FILES of any system, one block of figures per file.

    \b
    .csv  columns probe_template_id, probe_subject_id, bio_ref_template_id, bio_ref_subject_id, score, as bob writes
          them; optionally probe_yaw, probe_pitch, probe_quality, probe_acquired, probe_group:NAME (and bio_ref_...)
    .txt  four columns: claimed identity, real identity, name of the probe, score
    .npz  as `facerec evaluate recognition --scores` writes it

    A higher score means more similar. An empty score, or nan, is a comparison that was not completed.
    """
    import numpy as np

    from facerec.evaluation.environment import machine, versions
    from facerec.evaluation.report import RunFacts
    from facerec.evaluation.score_files import read_scores
    from facerec.evaluation.score_report import score_report, score_set_figures
    from facerec.landmarks.errors import InvalidInputError

    settings = standard_settings(fmr, fpir, gallery_sizes)
    names = [path.stem for path in files]
    if len(set(names)) < len(names):
        names = [path.name for path in files]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"expected files of different names; got {', '.join(sorted(names))}")
    sets = [read_scores(path) for path in files]
    # Every file uses the same random draws, so that its intervals equal those of a run of its own.
    figures = {
        name: score_set_figures(one, np.random.default_rng(seed), settings)
        for name, one in zip(names, sets, strict=True)
    }
    facts = RunFacts(
        command=command_line(ctx),
        settings={"seed": seed, "standard": asdict(settings)},
        versions=versions(),
        weights={},
        machine=machine("cpu"),
    )
    report = score_report(figures, dict(zip(names, files, strict=True)), facts)
    finish(report, folder, as_json, quiet, score_tables(report.json))
