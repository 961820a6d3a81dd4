"""Shared code of the commands of `facerec evaluate`: options of the figures, tables for the terminal, reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facerec.cli.options import note, write_json

if TYPE_CHECKING:
    from facerec.evaluation.report import Report
    from facerec.evaluation.score_figures import StandardSettings


def standard_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--fmr`, `--fpir` and `--gallery-sizes` of commands that give error rates."""
    for option in (
        click.option(
            "--gallery-sizes", default=None, metavar="N,N", help="Also measure FNIR for galleries of this many people."
        ),
        click.option("--fpir", default=None, metavar="R,R", help="Target FPIRs.  [default: 0.001,0.01,0.1]"),
        click.option("--fmr", default=None, metavar="R,R", help="Target FMRs.  [default: 0.001,0.01,0.1]"),
    ):
        function = option(function)
    return function


def standard_settings(fmr: str | None, fpir: str | None, gallery_sizes: str | None) -> StandardSettings:
    """Settings from the texts of `standard_options`."""
    from facerec.evaluation.score_figures import StandardSettings

    def numbers(text: str, option: str) -> tuple[float, ...]:
        try:
            return tuple(float(word) for word in text.split(",") if word.strip())
        except ValueError:
            raise click.UsageError(f"expected {option} NUMBER,NUMBER,...; got {text!r}") from None

    chosen: dict[str, Any] = {}
    if fmr is not None:
        chosen["fmr"] = numbers(fmr, "--fmr")
    if fpir is not None:
        chosen["fpir"] = numbers(fpir, "--fpir")
    if gallery_sizes is not None:
        chosen["gallery_sizes"] = tuple(int(size) for size in numbers(gallery_sizes, "--gallery-sizes"))
    return StandardSettings(**chosen)


def fold_names(folds: str | None, protocol: str) -> list[str] | None:
    """Names of the folds in `--folds`; None for all of them."""
    if folds is None:
        return None
    if protocol not in ("cfp", "lfw"):
        raise click.UsageError("--folds is for cfp and lfw only")
    return [fold for fold in folds.replace(" ", ",").split(",") if fold]


_IDENTIFICATION = (
    ("n", "probes", "count"),
    ("failed_to_find", "no face %", "percent"),
    ("failed_to_fit", "no fit %", "percent"),
    ("failed_to_describe", "not described %", "percent"),
    ("rank1", "rank-1 %", "percent"),
    ("rank1_interval", "95 % interval", "interval"),
    ("rank5", "rank-5 %", "percent"),
    ("rank1_described", "of described %", "percent"),
)
_VERIFICATION = (
    ("n", "pairs", "count"),
    ("failed_to_find", "no face %", "percent"),
    ("failed_to_fit", "no fit %", "percent"),
    ("failed_to_describe", "not described %", "percent"),
    ("accuracy", "accuracy %", "percent"),
    ("accuracy_interval", "95 % interval", "interval"),
    ("auc", "AUC", "number"),
    ("eer", "EER %", "percent"),
)
_LANDMARKS = (
    ("n", "faces", "count"),
    ("found", "found %", "percent"),
    ("nme_box", "NME box %", "percent2"),
    ("nme_interocular", "NME outer eyes %", "percent2"),
    ("nme_pupil", "NME pupils %", "percent2"),
    ("nme_vis", "NME-Vis %", "percent2"),
    ("nme_all", "NME-All %", "percent2"),
    ("auc8_box", "AUC to 8 %", "number"),
    ("failure8_box", "above 8 %", "percent"),
    ("failure10_box", "above 10 %", "percent"),
)

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def recognition_tables(content: Mapping[str, Any]) -> list[Table]:
    """Headings and rows of the terminal's tables for a recognition report's JSON."""
    from facerec.evaluation.pointers import identification_places, resolve

    tables: list[Table] = []
    systems: Mapping[str, Any] = content.get("systems", {})
    for base, name in identification_places(content):
        figures = resolve(content, base)
        if systems:
            title = f"identification {name}".strip()
            beside = [(system, resolve(block, base)) for system, block in systems.items()]
            tables.append(_table(title, _IDENTIFICATION, beside))
            continue
        blocks = [(name or "all", figures)]
        blocks += list(figures.get("by_group", {}).items())
        blocks += [(f"pose {pose}", inside) for pose, inside in figures.get("by_pose", {}).items()]
        blocks += [(f"|yaw| {bins}", inside) for bins, inside in figures["by_yaw"].items()]
        tables.append(_table("identification", _IDENTIFICATION, blocks))
    for name in content.get("verification", {}) if systems else ():
        beside = [(system, block["verification"][name]) for system, block in systems.items()]
        tables.append(_table(f"verification {name}", _VERIFICATION, beside))
    if content.get("verification") and not systems:
        tables.append(_table("verification", _VERIFICATION, list(content["verification"].items())))
    blocks = [(name or "all", resolve(content, base)) for base, name in identification_places(content)]
    return tables + standard_tables(blocks + list(content.get("verification", {}).items()))


def score_tables(content: Mapping[str, Any]) -> list[Table]:
    """Headings and rows of the terminal's tables for a report on score files."""
    return standard_tables(list(content["scores"].items()))


def standard_tables(blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Table]:
    """The standard's figures of sets of comparisons, by name: FNMR at FMR, and FNIR at FPIR where people were searched.

    A figure with fewer than 30 errors has a tilde; one without errors is its bound.
    """
    matching: list[tuple[str, ...]] = []
    searching: list[tuple[str, ...]] = []
    for name, figures in blocks:
        one = figures["standard"]
        failed = (_rate(one["fta"]), _rate(one["fte"]))
        for point in one.get("fnmr_at_fmr", ()):
            fnmr = point["fnmr"]
            interval = _shares(fnmr["interval"]) if fnmr["trials"] else "–"
            cells = (f"{100 * point['target_fmr']:g}", _rate(point["fmr"]), _rate(fnmr), interval)
            matching.append((name, *failed, *cells, _percent(point["far"]), _percent(point["frr"])))
        for point in one.get("identification", {}).get("fnir_at_fpir", ()):
            fnir = point["fnir"]["1"]
            size = str(one["identification"]["gallery_size"])
            rates = (_rate(point["fpir"]), _rate(fnir), _shares(fnir["interval"]))
            searching.append((name, size, f"{100 * point['target_fpir']:g}", *rates))
    words = "95 % interval"
    tables: list[Table] = []
    if matching:
        heads = ("FTA %", "FTE %", "target FMR %", "FMR %", "FNMR %", words, "FAR %", "FRR %")
        tables.append((("ISO/IEC 19795-1, completed comparisons", *heads, ""), [(*row, "") for row in matching]))
    if searching:
        columns = ("people", "target FPIR %", "FPIR %", "FNIR rank 1 %", words)
        tables.append((("ISO/IEC 19795-1, searches", *columns, ""), [(*row, "") for row in searching]))
    return tables


def _rate(figures: Mapping[str, Any]) -> str:
    from facerec.evaluation.pointers import format_value

    return format_value(figures, "rate")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.3g}"


def _shares(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def landmark_tables(content: Mapping[str, Any]) -> list[Table]:
    """Headings and rows of the terminal's table for a landmark report's JSON."""
    blocks = [("all", content)] + [(f"view {view}", inside) for view, inside in content.get("by_view", {}).items()]
    blocks += [(f"|yaw| {bins}", inside) for bins, inside in content["by_yaw"].items()]
    return [_table("landmarks", _LANDMARKS, blocks)]


def _table(
    title: str, columns: Sequence[tuple[str, str, str]], blocks: Sequence[tuple[str, Mapping[str, Any]]]
) -> Table:
    from facerec.evaluation.pointers import format_value

    headings = (title, *(heading for _, heading, _ in columns), "failures")
    rows = []
    for label, figures in blocks:
        failures = " ".join(f"{reason} {count}" for reason, count in figures["failures"].items())
        rows.append((label, *(format_value(figures[key], form) for key, _, form in columns), failures))
    return headings, rows


def finish(report: Report, folder: Path | None, as_json: bool, quiet: bool, tables: Sequence[Table]) -> None:
    """Write the report where it was asked for, and its JSON or its tables to the terminal."""
    from facerec.cli.output import write_table

    if folder is not None:
        written = write_with_heads(folder, report)
        note(f"Wrote {', '.join(path.name for path in written)} to {folder}", quiet)
    if as_json:
        write_json(report.json)
        return
    if report.json["rendered"]:
        click.echo("Rendered people: none of these pictures is a photograph.\n")
    for headings, rows in tables:
        write_table(headings, rows, right=headings[1:-1])
        click.echo()


def write_with_heads(folder: Path, report: Report) -> list[Path]:
    """Write the report's files, with rendered heads in the pose grid of its page; return the paths written."""
    from facerec.evaluation.page_charts import grid_angles
    from facerec.evaluation.report import write_report

    angles = grid_angles(report.json)
    if not angles:
        return write_report(folder, report)
    from facerec.evaluation.heads import mean_heads
    from facerec.frontalize.face_model import FaceModel
    from facerec.frontalize.texture_model import TextureModel

    return write_report(folder, report, mean_heads(angles, FaceModel.load(), TextureModel.load()))


def run_facts(ctx: click.Context, device: str) -> dict[str, Any]:
    """The fields of `RunFacts` besides the settings."""
    from facerec.evaluation.environment import machine, versions, weight_digests

    return {
        "command": command_line(ctx),
        "versions": versions(),
        "weights": weight_digests(),
        "machine": machine(device),
    }


def command_line(ctx: click.Context) -> str:
    """The command as it was given, quoted for a shell."""
    import shlex

    words = ctx.command_path.split(" ")
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = ctx.params.get(name)
        if isinstance(parameter, click.Argument):
            words += [str(one) for one in value] if isinstance(value, tuple) else [str(value)]
        elif isinstance(parameter, click.Option) and parameter.multiple:
            words += [word for one in value or () for word in (parameter.opts[-1], str(one))]
        elif isinstance(parameter, click.Option):
            words += [parameter.opts[-1]] if parameter.is_flag else [parameter.opts[-1], str(value)]
    return shlex.join(words)
