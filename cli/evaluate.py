"""`facerec evaluate`: measure recognition or landmarks on a data set, with every failure counted."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from facerec.cli.options import (
    detector_option,
    device_option,
    json_option,
    note,
    quiet_option,
    ray_option,
    workers_option,
    write_json,
)
from facerec.landmarks.device import resolve_device, share_cores
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
    from facerec.evaluation.protocols.recognition import RecognitionProtocol
    from facerec.evaluation.report import Report
    from facerec.landmarks.sets.aflw import AflwPart
    from facerec.landmarks.sets.public import W300Part

_PROTOCOLS = ("cfp", "csv", "ijb", "synthetic", "uhdb31", "lfw")
_LANDMARK_SETS = ("points", "cfp", "synthetic", "300w", "aflw", "aflw-pifa", "afw", "uhdb31")


@click.group("evaluate")
def command() -> None:
    """Measure recognition or landmarks on a data set, by pose. Failures count as misses in every figure.

    \b
    Examples:
      facerec evaluate recognition cfp cfp-dataset/ --folds 7,8 --report out/
      facerec evaluate recognition csv probes.csv --report out/
      facerec evaluate landmarks points landmarks68.csv --report out/
      facerec evaluate compare out-before/ out-after/
    """


@command.command("recognition")
@click.argument("protocol", type=click.Choice(_PROTOCOLS))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--folds", default=None, help="Folds of cfp or lfw, e.g. 7,8.  [default: all]")
@click.option(
    "--resolution",
    type=click.Choice(["R1024", "R256", "R128"]),
    default=None,
    help="Sample UHDB31's pictures (or rendered ones) down by area.  [default: as they are]",
)
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder that the lists of ijb are relative to.  [default: DATA]",
)
@click.option(
    "--systems",
    multiple=True,
    help="Systems side by side, separated by commas: LANDMARKS+DESCRIPTOR, or a descriptor alone.",
)
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the report here.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Keep fits and signatures here (biometric data) to resume or repeat a run.  [default: REPORT/signatures]",
)
@click.option("--no-cache", is_flag=True, help="Keep no fits and no signatures.")
@click.option(
    "--landmarks", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model."
)
@click.option("--descriptor", default=None, help="Descriptor.  [default: the product's own]")
@click.option("--worst", type=click.IntRange(min=0), default=12, show_default=True, help="Worst errors listed.")
@click.option("--no-photos", is_flag=True, help="No thumbnails of photographs in the report.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap intervals.")
@ray_option
@workers_option
@detector_option
@device_option
@json_option
@quiet_option
@click.pass_context
def recognition(
    ctx: click.Context,
    protocol: str,
    data: Path,
    folds: str | None,
    resolution: str | None,
    pictures: Path | None,
    systems: tuple[str, ...],
    folder: Path | None,
    cache: Path | None,
    no_cache: bool,
    landmarks: str,
    descriptor: str | None,
    worst: int,
    no_photos: bool,
    seed: int,
    ray_address: str | None,
    workers: int | None,
    detector: str,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rank-1 and verification on DATA by PROTOCOL.

    \b
    cfp        CFP's official tree: FF and FP folds, and identification of the folds' people
    csv        a CSV with path,person,role (gallery or probe) and optionally pose,yaw,pitch,set
    ijb        a folder with IJB's lists of templates: gallery and probes, and/or templates and comparisons
    synthetic  a folder made by `facerec synth`: rendered people in the 21 poses of UHDB31
    uhdb31     pictures named {subject}d31{pose}.bmp: gallery pose 11, the 20 others are probes
    lfw        pairs.txt beside LFW's pictures

    \b
    Several systems at once, found and fitted once where they differ in the descriptor alone:
      facerec evaluate recognition uhdb31 UHDB31 --resolution R128 --systems godp+dfd,photo:dlib --report out/
    """
    if cache is not None and no_cache:
        raise click.UsageError("expected --cache or --no-cache, not both")
    if systems and descriptor is not None:
        raise click.UsageError("expected --systems or --descriptor, not both")
    if pictures is not None and protocol != "ijb":
        raise click.UsageError("--pictures is for ijb only")
    chosen = read_protocol(protocol, data, _fold_names(folds, protocol), pictures)
    if resolution is not None:
        if protocol not in ("uhdb31", "synthetic"):
            raise click.UsageError("--resolution is for uhdb31 and synthetic only")
        from facerec.evaluation.protocols.resolution import at_resolution

        chosen = at_resolution(chosen, resolution)

    import numpy as np

    from facerec.cli.output import duration, photo_progress
    from facerec.evaluation.recognition_figures import recognition_figures
    from facerec.evaluation.report import RunFacts, SystemRun, recognition_report
    from facerec.evaluation.signatures import describe_in_threads, describe_on, describe_systems, systems_contract
    from facerec.evaluation.store import cache_folder
    from facerec.evaluation.systems import load_systems, parse_systems
    from facerec.landmarks.detection.detectors import boxes_digest
    from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR

    where = resolve_device(device)
    asked = parse_systems(systems or (f"{landmarks}+{descriptor or DEFAULT_DESCRIPTOR}",), landmarks)
    load = functools.partial(load_systems, asked, where, detector)
    recognizers = load()
    kept = None if no_cache else cache or (folder / "signatures" if folder is not None else None)
    if kept is not None:
        kept = cache_folder(kept, where)
    if kept is not None and (table := boxes_digest(detector)):
        # A table of boxes is no part of the contract, so what was found with another one lies elsewhere.
        kept = kept / f"boxes-{table[:16]}"
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        if ray_address:
            from facerec.recognition.ray_workers import RayWorkers

            contract, gpus = systems_contract(recognizers), int(where == "cuda")
            actors = RayWorkers.connect(ray_address, workers or 2, load, systems_contract, contract, gpus)
            describe_tasks = describe_on(stack.enter_context(actors))
        else:
            at_once = share_cores(workers, where, len(chosen.pictures))
            describe_tasks = stack.enter_context(describe_in_threads(recognizers, at_once))
        advance = stack.enter_context(photo_progress(len(chosen.pictures), "Describing", quiet))
        runs = describe_systems(chosen.pictures, recognizers, kept, advance, describe_tasks)
    computed, total = sum(run.computed for run in runs.values()), len(chosen.pictures) * len(runs)
    note(
        f"Described {computed} pictures in {duration(time.perf_counter() - started)}; "
        f"{total - computed} came from the cache.",
        quiet,
    )
    measured = {
        one.name: SystemRun(
            # Every system is resampled alike, so that its intervals are those of a run of its own.
            recognition_figures(chosen, runs[one.name].results, np.random.default_rng(seed), one.name),
            runs[one.name].results,
            {
                "landmarks": one.landmarks,
                "descriptor": one.descriptor,
                "contract": json.loads(recognizers[one.name].contract.as_json()),
            },
            recognizers[one.name].contract.digest,
        )
        for one in asked
    }
    first = asked[0].name
    report = recognition_report(
        chosen, measured, runs[first].digests, RunFacts(settings={"seed": seed}, **_facts(ctx, where)), worst
    )
    if folder is not None and not no_photos:
        from dataclasses import replace

        from facerec.evaluation.cases import recognition_cases
        from facerec.frontalize.face_model import FaceModel

        compared = {picture.name: picture for picture in chosen.compared}
        shots = recognition_cases(report.json["worst"], compared, recognizers[first], FaceModel.load())
        report = replace(report, pictures=shots)
    _finish(report, folder, as_json, quiet, recognition_tables(report.json))
    if kept is not None and not quiet:
        note(f"The fits and signatures in {kept} are biometric data; delete the folder when you no longer need it.")


@command.command("landmarks")
@click.argument("dataset", type=click.Choice(_LANDMARK_SETS))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--folds", default=None, help="Folds of cfp, e.g. 7,8.  [default: all]")
@click.option(
    "--view", type=click.Choice(["frontal", "profile"]), default=None, help="View of cfp.  [default: profile]"
)
@click.option(
    "--part",
    type=click.Choice(["common", "challenging", "full", "train", "test", "frontal"]),
    default=None,
    help="Part of 300w (common, challenging, full, train) or aflw (test, frontal, train).  [default: full, test]",
)
@click.option("--rows", default=None, help="Of aflw-pifa: which of its 34 points, from 0, are AFLW's 1 to 21.")
@click.option(
    "--boxes",
    type=click.Choice(["detected", "annotated"]),
    default="detected",
    show_default=True,
    help="Find the faces, or feed the annotated boxes to the landmark model.",
)
@click.option("--box-noise", is_flag=True, help="Also from annotated boxes whose size or place is off by 5 to 20 %.")
@click.option("--model", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model.")
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the report here.")
@click.option("--worst", type=click.IntRange(min=0), default=12, show_default=True, help="Worst errors listed.")
@click.option("--no-photos", is_flag=True, help="No thumbnails of photographs in the report.")
@detector_option
@device_option
@json_option
@quiet_option
@click.pass_context
def landmarks(
    ctx: click.Context,
    dataset: str,
    data: Path,
    folds: str | None,
    view: str | None,
    part: str | None,
    rows: str | None,
    boxes: str,
    box_noise: bool,
    model: str,
    folder: Path | None,
    worst: int,
    no_photos: bool,
    detector: str,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Errors of located landmarks on DATASET's annotated pictures.

    \b
    points     a CSV with file,x0,y0,...,x67,y67 (and optionally pose,yaw,pitch); pictures lie relative to it
    cfp        CFP's official tree with its 30 fiducials a picture
    synthetic  a folder made by `facerec synth`: rendered people in 21 views, with exact points
    300w       a folder with lfpw/, helen/, afw/ and ibug/, a .pts file beside each picture
    aflw       AFLWinfo_release.mat and AFLW's pictures: 19 points (AFLW-Full; --part frontal: AFLW-F)
    aflw-pifa  BoundingBox.mat, Landmark.mat and TestImages/; --rows names AFLW's 21 of its 34 points
    afw        anno.mat and the pictures of AFW: 6 points
    uhdb31     {subject}d31{pose}.bmp with nine points in a .pts file beside each

    A set of another markup than the 68 points is compared with what its points are among them.
    """
    if dataset != "cfp" and (folds is not None or view is not None):
        raise click.UsageError("--folds and --view are for cfp only")
    if dataset not in ("300w", "aflw") and part is not None:
        raise click.UsageError("--part is for 300w and aflw only")
    if (dataset == "aflw-pifa") != (rows is not None):
        raise click.UsageError("--rows is for aflw-pifa, which needs it")
    if dataset == "300w":
        from facerec.evaluation.protocols.w300 import read_300w_landmarks

        portion = cast("W300Part", part or "full")
        annotated, settings = read_300w_landmarks(data, portion), {"part": portion}
    elif dataset in ("aflw", "aflw-pifa", "afw", "uhdb31"):
        annotated, settings = _read_godp_set(dataset, data, part or "test", rows)
    else:
        annotated, settings = _read_landmark_set(dataset, data, _fold_names(folds, dataset), view or "profile")

    from facerec.cli.output import photo_progress
    from facerec.evaluation.landmark_errors import locate_landmarks, yaw_of_points
    from facerec.evaluation.landmark_figures import landmark_figures
    from facerec.evaluation.report import RunFacts, landmark_report
    from facerec.frontalize.face_model import FaceModel
    from facerec.landmarks.detection.detectors import load_detector
    from facerec.landmarks.landmarker import Landmarker

    where = resolve_device(device)
    landmarker = Landmarker.load(model, device=where)
    chosen = load_detector(detector, where) if boxes == "detected" else None
    with photo_progress(len(annotated), "Locating", quiet) as advance:
        results = locate_landmarks(annotated, landmarker, chosen.detector if chosen else None, advance)
    mean_face = FaceModel.load().landmarks()
    yaws = [one.yaw if one.yaw is not None else yaw_of_points(one.as_ibug68(), mean_face) for one in annotated]
    figures, faces = landmark_figures(annotated, results, yaws, mean_face)
    if box_noise:
        from facerec.evaluation.box_noise import box_noise_figures

        with photo_progress(len(annotated), "Boxes with noise", quiet) as advance:
            figures["box_noise"] = box_noise_figures(annotated, landmarker, advance=advance)
    facts = RunFacts(
        settings={"landmarks": model, "boxes": boxes, "detector": chosen.name if chosen else "none"},
        **_facts(ctx, where),
    )
    report = landmark_report(
        dataset,
        settings,
        figures,
        faces,
        results,
        _set_digest(annotated),
        facts,
        worst,
        rendered=dataset == "synthetic",
    )
    if folder is not None and not no_photos:
        from dataclasses import replace

        from facerec.evaluation.cases import landmark_cases

        # A picture may hold several annotated faces, so rows are found by themselves, not by their file.
        from facerec.evaluation.landmark_figures import worst_faces

        place = {id(face): number for number, face in enumerate(faces)}
        places = [place[id(face)] for face in worst_faces(faces, worst)]
        report = replace(report, pictures=landmark_cases(annotated, results, places))
    _finish(report, folder, as_json, quiet, landmark_tables(report.json))


@command.command("compare")
@click.argument("first", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def compare(first: Path, second: Path, as_json: bool) -> None:
    """What changed between two reports of the same protocol, and whether it is more than chance.

    FIRST and SECOND are folders that `facerec evaluate recognition|landmarks --report` wrote. p is McNemar's exact
    test on the trials on which the two differ; for errors, on which of the two is nearer. p (Holm) allows for the
    number of rows: below 0.05 a difference is hard to put down to chance.
    """
    from dataclasses import asdict

    from facerec.cli.output import write_table
    from facerec.evaluation.compare import compare_reports
    from facerec.evaluation.intervals import holm

    comparisons = compare_reports(first, second)
    adjusted = holm([one.test.p_value for one in comparisons])
    if as_json:
        rows_json = [asdict(one) | {"p_holm": p} for one, p in zip(comparisons, adjusted, strict=True)]
        write_json({"comparisons": rows_json})
        return
    columns = (
        "set",
        "measure",
        "systems",
        "n",
        "first %",
        "second %",
        "change",
        "only first",
        "only second",
        "p",
        "p (Holm)",
    )

    def percent(value: float | None, sign: str = "") -> str:
        return "" if value is None else f"{100 * value:{sign}.2f}"

    rows = []
    for one, p in zip(comparisons, adjusted, strict=True):
        systems = dict.fromkeys((one.first_system, one.second_system))
        change = None if one.first is None or one.second is None else one.second - one.first
        shares = (percent(one.first), percent(one.second), percent(change, "+"))
        test = (one.test.only_first, one.test.only_second, f"{one.test.p_value:.3g}", f"{p:.3g}")
        rows.append((one.set, one.measure, ", ".join(systems), one.n, *shares, *test))
    write_table(columns, rows, right=columns[3:])


def read_protocol(
    name: str, data: Path, folds: Sequence[str] | None, pictures: Path | None = None
) -> RecognitionProtocol:
    """The protocol `name` on `data`; raises `InvalidInputError` for a wrong tree, saying what was expected."""
    if name == "cfp":
        from facerec.evaluation.protocols.cfp import read_cfp

        return read_cfp(data, folds)
    if name == "lfw":
        from facerec.evaluation.protocols.lfw import read_lfw

        return read_lfw(data, folds)
    if name == "ijb":
        from facerec.evaluation.protocols.ijb import read_ijb

        return read_ijb(data, pictures)
    if name == "uhdb31":
        from facerec.evaluation.protocols.uhdb31 import read_uhdb31

        return read_uhdb31(data)
    if name == "synthetic":
        from facerec.evaluation.protocols.synthetic import read_synthetic

        return read_synthetic(data)
    from facerec.evaluation.protocols.csv_protocol import read_csv

    return read_csv(data)


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
    return tables


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


def _finish(report: Report, folder: Path | None, as_json: bool, quiet: bool, tables: Sequence[Table]) -> None:
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


def _fold_names(folds: str | None, protocol: str) -> list[str] | None:
    if folds is None:
        return None
    if protocol not in ("cfp", "lfw"):
        raise click.UsageError("--folds is for cfp and lfw only")
    return [fold for fold in folds.replace(" ", ",").split(",") if fold]


def _read_landmark_set(
    name: str, data: Path, folds: Sequence[str] | None, view: str
) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    if name == "points":
        from facerec.evaluation.protocols.landmark_sets import read_points

        return read_points(data), {"file": data.name}
    if name == "synthetic":
        from facerec.evaluation.protocols.synthetic import read_synthetic_points

        return read_synthetic_points(data), {"file": data.name}
    from facerec.evaluation.protocols.cfp import read_cfp_landmarks

    annotated = read_cfp_landmarks(data, folds, "frontal" if view == "frontal" else "profile")
    return annotated, {"folds": list(folds or ("all",)), "view": view, "points": 30}


def _read_godp_set(name: str, data: Path, part: str, rows: str | None) -> tuple[list[AnnotatedPicture], dict[str, Any]]:
    from facerec.evaluation.protocols.aflw import (
        read_aflw_landmarks,
        read_afw_landmarks,
        read_pifa_landmarks,
        read_uhdb31_landmarks,
    )

    if name == "aflw":
        return read_aflw_landmarks(data, cast("AflwPart", part)), {"part": part, "points": 19}
    if name == "afw":
        return read_afw_landmarks(data), {"points": 6}
    if name == "uhdb31":
        return read_uhdb31_landmarks(data), {"points": 9}
    try:
        wanted = [int(row) for row in (rows or "").split(",")]
    except ValueError:
        raise click.UsageError(f"expected --rows 0,1,...; got {rows!r}") from None
    return read_pifa_landmarks(data, wanted), {"points": 19, "rows": wanted}


def _set_digest(annotated: Sequence[AnnotatedPicture]) -> str:
    """SHA-256 over names, contents and annotations of the faces."""
    import hashlib

    from facerec.landmarks.errors import UnusablePhotoError
    from facerec.landmarks.image import photo_digest

    digest = hashlib.sha256()
    for one in annotated:
        try:
            content = photo_digest(one.path)
        except UnusablePhotoError:
            content = ""
        digest.update(f"{one.name}\0{content}\0".encode())
        digest.update(one.points.tobytes())
    return digest.hexdigest()


def _facts(ctx: click.Context, device: str) -> dict[str, Any]:
    from facerec.evaluation.environment import machine, versions, weight_digests

    return {
        "command": command_line(ctx),
        "versions": versions(),
        "weights": weight_digests(),
        "machine": machine(device),
    }


def command_line(ctx: click.Context) -> str:
    """The command as it was given, in a form that a shell takes."""
    import shlex

    words = ctx.command_path.split(" ")
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = ctx.params.get(name)
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif isinstance(parameter, click.Option) and parameter.multiple:
            words += [word for one in value or () for word in (parameter.opts[-1], str(one))]
        elif isinstance(parameter, click.Option):
            words += [parameter.opts[-1]] if parameter.is_flag else [parameter.opts[-1], str(value)]
    return shlex.join(words)
