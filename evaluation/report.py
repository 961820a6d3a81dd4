"""From figures to files: report.json, report.csv, report.html and the rows behind them.

The HTML page and the CSV are made from the JSON alone, so the three cannot disagree. Every figure on the page carries
the JSON pointer it came from (`data-key`), which a test follows back. The keys are documented in docs/reports.md.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facerec.evaluation.landmark_errors import LandmarkResult
from facerec.evaluation.landmark_figures import FaceRow, worst_faces
from facerec.evaluation.pointers import (
    escape_key,
    format_value,
    identification_places,
    resolve,
    shown_target,
    side_by_side,
    standard_places,
)
from facerec.evaluation.protocols.recognition import RecognitionProtocol
from facerec.evaluation.recognition_figures import RecognitionFigures
from facerec.evaluation.rows import worst_probes
from facerec.evaluation.side_by_side import compare_systems
from facerec.evaluation.signatures import PictureResult

if TYPE_CHECKING:
    from facerec.evaluation.cases import CasePicture

FORMAT = "facerec-report-1"

RECOGNITION_RULES = (
    "Every probe and every pair of the protocol stays in every denominator.",
    "A probe that failed (unreadable, no face, no fit, no description) is a miss at every rank.",
    "If a person's only gallery picture failed, every probe of that person is a miss.",
    "Of several faces in a picture the largest counts, or the one in the protocol's box; a person's score is the best "
    "over their gallery pictures.",
    "Ties count as errors: the right person ranks behind everybody with the same score.",
    "A pair with a failed picture is a wrong decision in the accuracy; in ROC, DET, AUC and EER it has the "
    "worst possible score: below all others for one person, above all others for two people.",
    "Pictures that share less than an eighth of the signature's cells are not compared; that counts as a failure.",
    "rank1_interval is Wilson's 95 % interval over probes; rank1_people_interval allows for what probes of one person "
    "have in common.",
    "Probes of people who are not in the gallery are reported apart (open_set) and are in no rank; the rate of false "
    "alarms is over the described ones, since a failed one raises no alarm.",
    "Calibration is judged on other pairs than it was fitted on; a failed pair says nothing and costs one bit.",
)

LANDMARK_RULES = (
    "Every annotated face stays in n, found, the CED, its area (auc8, auc10) and the failure rates (failure8, "
    "failure10): a face that was not found has an infinite error.",
    "The mean errors nme_box, nme_interocular and nme_pupil are over found faces, because they would be infinite; "
    "..._median_with_misses is over all faces.",
    "A face is found when a detected box overlaps its annotated box with IoU >= 0.4; the best of them counts.",
    "nme_box divides by sqrt(width * height) of the annotated points' box, nme_interocular by the distance of the "
    "outer eye corners, nme_pupil by that of the means of the eyes' points; the latter two need both eyes annotated.",
    "nme_vis and nme_all are over the visible and over all annotated points, divided by the side of the AFLW-style "
    "box; where the data do not state which points are hidden, every annotated point counts as visible.",
    "All annotated points count, those on the far side of the face included.",
)


@dataclass(frozen=True)
class RunFacts:
    """Facts about the run that a report states.

    Attributes:
        command: the command line.
        settings: models and options.
        versions: of Python and packages.
        weights: SHA-256 of each weight file.
        machine: CPU, system, device.
    """

    command: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    weights: Mapping[str, str]
    machine: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class SystemRun:
    """The results of one system on a protocol.

    Attributes:
        figures: its figures and rows.
        results: what became of each picture.
        settings: what the system is: landmarks, descriptor, contract.
        contract: digest of its contract.
    """

    figures: RecognitionFigures
    results: Sequence[PictureResult]
    settings: Mapping[str, Any]
    contract: str


@dataclass(frozen=True, eq=False)
class Report:
    """A finished evaluation.

    Attributes:
        json: the content of report.json: plain values, rounded, no NaN.
        rows: further CSV files by name, each a sequence of dataclass rows ("probes.csv", "pairs.csv", "faces.csv").
        pictures: thumbnails for the entries of json["worst"], by their place; empty when none were asked for.
        failed: thumbnails for the entries of json["failed_pictures"], by reason and place; likewise.
    """

    json: dict[str, Any]
    rows: Mapping[str, Sequence[Any]]
    pictures: Sequence[Sequence[CasePicture]] = field(default=())
    failed: Mapping[str, Sequence[Sequence[CasePicture]]] = field(default_factory=dict)


def recognition_report(
    protocol: RecognitionProtocol,
    systems: Mapping[str, SystemRun],
    photo_digests: Sequence[str],
    facts: RunFacts,
    worst: int = 12,
) -> Report:
    """The report of a recognition evaluation, without thumbnails.

    The first system's figures stand at the top of the JSON; with several systems, those of all stand under "systems",
    and "comparisons" tests every two of them. A protocol with the single identification "all" has its figures at the
    top; others have them under "identification".

    Args:
        protocol: who was compared with whom.
        systems: what each system made of it, by name, at least one.
        photo_digests: content digest of each picture, in the protocol's order.
        facts: about the run.
        worst: how many of the first system's worst errors are listed.
    """
    name, first = next(iter(systems.items()))
    content = _head("recognition", protocol.name, protocol.rendered) | {"system": name} | _system_block(first)
    content["worst"] = [asdict(row) for row in worst_probes(first.figures.probes, worst)]
    content["failed_pictures"] = _failed_pictures(protocol, first.results, worst)
    if len(systems) > 1:
        content["systems"] = {
            one: _system_block(run)
            | {"settings": dict(run.settings), "digests": {"contract": run.contract}}
            | _times(run.results)
            for one, run in systems.items()
        }
        content["comparisons"] = compare_systems({one: run.figures for one, run in systems.items()})
    content |= _times(first.results) | _tail(facts, RECOGNITION_RULES)
    content["digests"] |= {"contract": first.contract, "protocol": protocol.digest(photo_digests)}
    content["settings"] = {"protocol": protocol.settings} | dict(first.settings) | content["settings"]
    tables: dict[str, list[Any]] = {
        "probes.csv": [row for run in systems.values() for row in run.figures.probes],
        "pairs.csv": [row for run in systems.values() for row in run.figures.pairs],
    }
    return Report(_to_plain(content), {file: rows for file, rows in tables.items() if rows})


def _failed_pictures(
    protocol: RecognitionProtocol, results: Sequence[PictureResult], most: int
) -> dict[str, list[dict[str, Any]]]:
    """Pictures of which no signature came, by reason, at most `most` of each; a failure more often than not has a
    look that says why."""
    failed: dict[str, list[dict[str, Any]]] = {}
    for picture, result in zip(protocol.pictures, results, strict=True):
        if result.reason is not None:
            failed.setdefault(result.reason, []).append(
                {"file": picture.name, "failed_at": result.failed_at, "detail": result.detail, "yaw": picture.yaw}
            )
    return {reason: sorted(rows, key=lambda row: str(row["file"]))[:most] for reason, rows in sorted(failed.items())}


def _system_block(run: SystemRun) -> dict[str, Any]:
    figures = run.figures
    block: dict[str, Any] = {}
    if list(figures.identification) == ["all"]:
        block |= figures.identification["all"]
    elif figures.identification:
        block["identification"] = figures.identification
    if figures.verification:
        block["verification"] = figures.verification
    block["pictures"] = figures.pictures
    return block


@dataclass(frozen=True)
class LandmarkSet:
    """The set on which landmarks were located.

    Attributes:
        name: of the data set.
        settings: which part of it.
        digest: SHA-256 over names, contents and annotations of the faces.
        rendered: the people are not real.
    """

    name: str
    settings: Mapping[str, Any]
    digest: str
    rendered: bool = False


def landmark_report(
    data: LandmarkSet,
    figures: Mapping[str, Any],
    rows: Sequence[FaceRow],
    results: Sequence[LandmarkResult],
    facts: RunFacts,
    worst: int = 12,
) -> Report:
    """The report of a landmark evaluation, without thumbnails."""
    content = _head("landmarks", data.name, data.rendered) | dict(figures)
    content["worst"] = [asdict(row) for row in worst_faces(rows, worst)]
    content["seconds_per_picture"] = float(np.mean([result.seconds for result in results])) if results else None
    content |= _tail(facts, LANDMARK_RULES)
    content["digests"]["protocol"] = data.digest
    content["settings"] = {"protocol": dict(data.settings)} | content["settings"]
    return Report(_to_plain(content), {"faces.csv": rows})


def plain_report(
    kind: str,
    name: str,
    content: Mapping[str, Any],
    facts: RunFacts,
    rules: Sequence[str],
    digests: Mapping[str, Any],
) -> Report:
    """A report of `content` with what every report says of its run, without rows and pictures."""
    whole = _head(kind, name, False) | dict(content) | _tail(facts, rules)
    whole["digests"] |= dict(digests)
    return Report(_to_plain(whole), {})


def write_report(folder: Path, report: Report, heads: Mapping[tuple[float, float], str] | None = None) -> list[Path]:
    """Write report.json, report.csv, report.html and the row files into `folder`; return the paths written.

    Args:
        folder: made when it is not there.
        report: what to write.
        heads: pictures of a head by (yaw, pitch), as data URIs, for the pose grid (see `facerec.evaluation.heads`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.json", folder / "report.csv", folder / "report.html"]
    _replace(written[0], json.dumps(report.json, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write_csv(written[1], COLUMNS, table_rows(report.json))
    _replace(written[2], render_html(report, heads))
    for name, rows in report.rows.items():
        columns = [column.name for column in fields(rows[0])]
        _write_csv(folder / name, columns, [_to_plain(asdict(row)) for row in rows])
        written.append(folder / name)
    return written


COLUMNS = (
    "system",
    "table",
    "row",
    "yaw",
    "pitch",
    "n",
    "found",
    "described",
    "failed_to_find",
    "failed_to_fit",
    "failed_to_describe",
    "rank1",
    "rank1_low",
    "rank1_high",
    "rank5",
    "rank1_described",
    "auc",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "eer",
    "threshold",
    "nme_box",
    "nme_interocular",
    "nme_pupil",
    "nme_vis",
    "nme_all",
    "auc8_box",
    "failure8_box",
    "failures",
)
"""Columns of report.csv; a row leaves empty what does not apply to it."""


def table_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables of a report as flat rows with the keys of `COLUMNS`, in the order of the page."""
    if content["kind"] == "landmarks":
        rows = [_flatten("", "landmarks", "all", content)]
        for key in ("by_yaw", "by_view", "by_part"):
            rows += [_flatten("", f"landmarks {key}", row, inside) for row, inside in content.get(key, {}).items()]
        return rows
    if content["kind"] == "scores":
        return [_flatten(name, "scores", "all", figures) for name, figures in content["scores"].items()]
    systems = content.get("systems") or {content["system"]: content}
    return [row for name, block in systems.items() for row in _system_rows(name, block)]


def _system_rows(system: str, block: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for base, name in identification_places(block):
        figures = resolve(block, base)
        table = f"identification {name}".strip()
        rows.append(_flatten(system, table, "all", figures))
        for key in ("by_group", "by_pose", "by_yaw"):
            rows += [_flatten(system, f"{table} {key}", row, inside) for row, inside in figures.get(key, {}).items()]
    for name, figures in block.get("verification", {}).items():
        rows.append(_flatten(system, f"verification {name}", "all", figures))
        folds = figures["folds"].items()
        rows += [_flatten(system, f"verification {name} folds", fold, inside) for fold, inside in folds]
    return rows


def _flatten(system: str, table: str, row: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: figures[name] for name in COLUMNS[3:] if name in figures and name != "failures"}
    for name in ("rank1", "accuracy"):
        if figures.get(name) is not None and figures.get(f"{name}_interval") is not None:
            flat[f"{name}_low"], flat[f"{name}_high"] = figures[f"{name}_interval"]
    failures = figures.get("failures") or {}
    flat["failures"] = " ".join(f"{reason}={count}" for reason, count in failures.items())
    return {"system": system, "table": table, "row": row} | flat


def render_html(report: Report, heads: Mapping[tuple[float, float], str] | None = None) -> str:
    """The report as one self-contained HTML page."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from facerec.evaluation.page_charts import page_charts
    from facerec.evaluation.page_summary import page_summary

    content = report.json
    folder = files("facerec.evaluation.templates")
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )

    def number(pointer: str, form: str = "percent") -> Markup:
        text = format_value(resolve(content, pointer), form)
        return Markup('<span data-key="{}" data-format="{}">{}</span>').format(pointer, form, text)

    environment.globals |= {
        "num": number,
        "at": lambda pointer: resolve(content, pointer),
        "key": escape_key,
        "target": lambda base: shown_target(content, base),
    }
    charts = {name: Markup(svg) for name, svg in page_charts(content, heads or {}).items()}
    return environment.get_template("report.html.j2").render(
        report=content,
        places=identification_places(content),
        charts=charts,
        standard_blocks=standard_places(content),
        beside=side_by_side(content),
        summary=page_summary(content),
        pictures=report.pictures,
        failed=report.failed,
    )


def _head(kind: str, name: str, rendered: bool) -> dict[str, Any]:
    return {"format": FORMAT, "kind": kind, "protocol": name, "rendered": rendered}


def _times(results: Sequence[PictureResult]) -> dict[str, Any]:
    stages: dict[str, list[float]] = {}
    for one in results:
        for stage, value in one.timings_ms.items():
            stages.setdefault(stage, []).append(value)
    return {
        "seconds_per_picture": float(np.mean([one.seconds for one in results])) if results else None,
        "timings_ms": {
            stage: {"n": len(values), "mean": float(np.mean(values)), "median": float(np.median(values))}
            for stage, values in stages.items()
        },
    }


def _tail(facts: RunFacts, rules: Sequence[str]) -> dict[str, Any]:
    return {
        "rules": list(rules),
        "settings": dict(facts.settings),
        "versions": dict(facts.versions),
        "digests": {"weights": dict(facts.weights)},
        "machine": dict(facts.machine),
        "command": facts.command,
    }


def _to_plain(value: Any) -> Any:
    """JSON-ready: floats rounded to six decimals, NaN and infinity as null, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
