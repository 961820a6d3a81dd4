"""`facerec evaluate`: measure recognition or landmarks on a data set, with every failure counted."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.evaluate_landmarks import landmarks
from facerec.cli.evaluate_output import (
    finish,
    fold_names,
    recognition_tables,
    run_facts,
    standard_options,
    standard_settings,
)
from facerec.cli.evaluate_scores import scores
from facerec.cli.options import (
    count,
    detector_option,
    device_option,
    json_option,
    note,
    printable,
    quiet_option,
    ray_option,
    workers_option,
    write_json,
)
from facerec.landmarks.device import resolve_device, share_cores
from facerec.landmarks.models import LANDMARK_MODELS

if TYPE_CHECKING:
    from facerec.evaluation.protocols.recognition import RecognitionProtocol
    from facerec.evaluation.report import Report, SystemRun
    from facerec.evaluation.score_figures import StandardSettings
    from facerec.evaluation.signatures import DescribeTasks, SignatureRun
    from facerec.evaluation.systems import System
    from facerec.recognition.recognizer import Recognizer

_PROTOCOLS = ("cfp", "csv", "pairs", "ijb", "synthetic", "uhdb31", "lfw")


@click.group("evaluate")
def command() -> None:
    """Measure recognition or landmarks on a data set, by pose. Failures count as misses in every figure.

    \b
    Examples:
      facerec evaluate recognition cfp cfp-dataset/ --folds 7,8 --report out/
      facerec evaluate recognition csv probes.csv --report out/
      facerec evaluate landmarks points landmarks68.csv --report out/
      facerec evaluate scores theirs.csv ours.npz --report out/
      facerec evaluate compare out-before/ out-after/
    """


command.add_command(landmarks)
command.add_command(scores)


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
    help="Cache fits and signatures here (biometric data) to resume or repeat a run.  [default: REPORT/signatures]",
)
@click.option("--no-cache", is_flag=True, help="Cache no fits and no signatures.")
@click.option(
    "--landmarks", type=click.Choice(LANDMARK_MODELS), default="godp", show_default=True, help="Landmark model."
)
@click.option("--descriptor", default=None, help="Descriptor.  [default: the product's own]")
@click.option(
    "--worst", type=click.IntRange(min=0), default=12, show_default=True, help="Number of worst errors listed."
)
@click.option("--no-photos", is_flag=True, help="No thumbnails of photographs in the report.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws of smaller galleries.")
@click.option(
    "--scores",
    "scores_folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Write every set's scores here: SYSTEM-SET.csv, .txt (four columns) and .npz.",
)
@standard_options
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
    scores_folder: Path | None,
    fmr: str | None,
    fpir: str | None,
    gallery_sizes: str | None,
    ray_address: str | None,
    workers: int | None,
    detector: str,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure identification and verification on DATA by PROTOCOL.

    \b
    cfp        CFP's official tree: FF and FP folds, and identification of the folds' people
    csv        a CSV with path,person,role (gallery or probe) and optionally pose,yaw,pitch,set,group:NAME
    pairs      a CSV with path_a,path_b,same (0 or 1) and optionally person_a,person_b,fold,group:NAME
    ijb        a folder with IJB's lists of templates: gallery and probes, and/or templates and comparisons
    synthetic  a folder made by `facerec synth`: rendered people in the 21 poses of UHDB31
    uhdb31     pictures named {subject}d31{pose}.bmp: gallery pose 11, the 20 others are probes
    lfw        pairs.txt beside LFW's pictures

    \b
    Several systems in one run; those that differ only in the descriptor share detection and fit:
      facerec evaluate recognition uhdb31 UHDB31 --resolution R128 --systems godp+dfd,photo:dlib --report out/
    """
    settings = standard_settings(fmr, fpir, gallery_sizes)
    if cache is not None and no_cache:
        raise click.UsageError("expected --cache or --no-cache, not both")
    if systems and descriptor is not None:
        raise click.UsageError("expected --systems or --descriptor, not both")
    if pictures is not None and protocol != "ijb":
        raise click.UsageError("--pictures is for ijb only")
    if resolution is not None and protocol not in ("uhdb31", "synthetic"):
        raise click.UsageError("--resolution is for uhdb31 and synthetic only")
    chosen = read_protocol(protocol, data, fold_names(folds, protocol), pictures)
    _note_missing(chosen, quiet)
    if resolution is not None:
        from facerec.evaluation.protocols.resolution import at_resolution

        chosen = at_resolution(chosen, resolution)

    from facerec.evaluation.report import RunFacts, recognition_report
    from facerec.evaluation.systems import load_systems, parse_systems

    where = resolve_device(device)
    asked = parse_systems(systems or (_lone_system(landmarks, descriptor),), landmarks)
    load = functools.partial(load_systems, asked, where, detector)
    recognizers = load()
    kept = None if no_cache else _cache_of(cache or (folder and folder / "signatures"), where, detector)
    with _describers(recognizers, load, where, ray_address, workers, len(chosen.pictures)) as describe_tasks:
        runs = _describe(chosen, recognizers, kept, describe_tasks, quiet)
    measured = _measure(chosen, asked, recognizers, runs, seed, settings)
    if scores_folder is not None:
        _write_scores(scores_folder, measured, quiet)
    first = asked[0].name
    facts = RunFacts(settings={"seed": seed, "standard": asdict(settings)}, **run_facts(ctx, where))
    report = recognition_report(chosen, measured, runs[first].digests, facts, worst)
    if folder is not None and not no_photos:
        report = _with_cases(report, chosen, recognizers[first])
    finish(report, folder, as_json, quiet, recognition_tables(report.json))
    if kept is not None and not quiet:
        note(f"The fits and signatures in {kept} are biometric data; delete the folder when you no longer need it.")


def _lone_system(landmarks: str, descriptor: str | None) -> str:
    """Name of a single system, the same as it would have in a list, so that `compare` finds it in both reports."""
    from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR

    alone = descriptor or DEFAULT_DESCRIPTOR
    return alone if landmarks == LANDMARK_MODELS[0] else f"{landmarks}+{alone}"


def _note_missing(protocol: RecognitionProtocol, quiet: bool) -> None:
    if missing := [picture.path for picture in protocol.pictures if not picture.path.is_file()]:
        number = f"{count(len(missing), 'picture')} of {len(protocol.pictures)}"
        note(f"{number} cannot be found and count as failures, e.g. {printable(str(missing[0]))}", quiet)


def _cache_of(folder: Path | None, device: str, detector: str) -> Path | None:
    """Folder below `folder` that caches fits and signatures; None for no cache."""
    from facerec.evaluation.store import cache_folder
    from facerec.landmarks.detection.detectors import boxes_digest

    if folder is None:
        return None
    kept = cache_folder(folder, device)
    # A table of boxes is no part of the contract, so the results of another table are cached in another folder.
    return kept / f"boxes-{table[:16]}" if (table := boxes_digest(detector)) else kept


@contextlib.contextmanager
def _describers(
    recognizers: Mapping[str, Recognizer],
    load: Callable[[], dict[str, Recognizer]],
    device: str,
    ray_address: str | None,
    workers: int | None,
    count: int,
) -> Iterator[DescribeTasks]:
    """Workers that describe `count` pictures: threads of this process, or actors of Ray, which `load` the models."""
    from facerec.evaluation.signatures import describe_in_threads, describe_on, systems_contract

    if ray_address:
        from facerec.recognition.ray_workers import RayWorkers

        contract, gpus = systems_contract(recognizers), int(device == "cuda")
        with RayWorkers.connect(ray_address, workers or 2, load, systems_contract, contract, gpus) as actors:
            yield describe_on(actors)
    else:
        with describe_in_threads(recognizers, share_cores(workers, device, count)) as describe_tasks:
            yield describe_tasks


def _describe(
    protocol: RecognitionProtocol,
    recognizers: Mapping[str, Recognizer],
    cache: Path | None,
    describe_tasks: DescribeTasks,
    quiet: bool,
) -> dict[str, SignatureRun]:
    """Every system's signatures of the protocol's pictures."""
    from facerec.cli.output import duration, photo_progress
    from facerec.evaluation.signatures import describe_systems

    started = time.perf_counter()
    with photo_progress(len(protocol.pictures), "Describing", quiet) as advance:
        runs = describe_systems(protocol.pictures, recognizers, cache, advance, describe_tasks)
    computed, total = sum(run.computed for run in runs.values()), len(protocol.pictures) * len(runs)
    spent = duration(time.perf_counter() - started)
    note(f"Described {count(computed, 'picture')} in {spent}; {total - computed} came from the cache.", quiet)
    return runs


def _measure(
    protocol: RecognitionProtocol,
    systems: Sequence[System],
    recognizers: Mapping[str, Recognizer],
    runs: Mapping[str, SignatureRun],
    seed: int,
    settings: StandardSettings,
) -> dict[str, SystemRun]:
    """Figures of every system by its name, with the contract of its signatures."""
    import numpy as np

    from facerec.evaluation.recognition_figures import recognition_figures
    from facerec.evaluation.report import SystemRun

    measured = {}
    for one in systems:
        results, contract = runs[one.name].results, recognizers[one.name].contract
        # Every system uses the same random draws, so that its intervals equal those of a run of its own.
        figures = recognition_figures(protocol, results, np.random.default_rng(seed), one.name, settings)
        shaped_by = {
            "landmarks": one.landmarks,
            "descriptor": one.descriptor,
            "contract": json.loads(contract.as_json()),
        }
        measured[one.name] = SystemRun(figures, results, shaped_by, contract.digest)
    return measured


def _write_scores(folder: Path, measured: Mapping[str, SystemRun], quiet: bool) -> None:
    from facerec.evaluation.score_files import file_name, write_scores

    for name, run in measured.items():
        for one_set in run.figures.score_sets:
            write_scores(folder, one_set, file_name(name, one_set.name))
    note(f"Wrote the scores to {folder}", quiet)


def _with_cases(report: Report, protocol: RecognitionProtocol, recognizer: Recognizer) -> Report:
    """The report with thumbnails of its worst errors and of the pictures that failed."""
    from facerec.evaluation.cases import failed_cases, recognition_cases
    from facerec.frontalize.face_model import FaceModel

    compared = {picture.name: picture for picture in protocol.compared}
    shots = recognition_cases(report.json["worst"], compared, recognizer, FaceModel.load())
    failed = failed_cases(report.json["failed_pictures"], {picture.name: picture for picture in protocol.pictures})
    return replace(report, pictures=shots, failed=failed)


@command.command("compare")
@click.argument("first", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two reports of the same protocol, and test whether they differ by more than chance.

    FIRST and SECOND are folders that `facerec evaluate recognition|landmarks --report` wrote. p is McNemar's exact test
    on the trials on which the two differ; for landmark errors, on which of the two is smaller. p (Holm) is corrected
    for the number of rows; below 0.05 a difference is unlikely to be chance.
    """
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
    """The protocol `name` on `data`; raises `InvalidInputError`, which names what was expected, for a wrong tree."""
    if name == "cfp":
        from facerec.evaluation.protocols.cfp import read_cfp

        return read_cfp(data, folds)
    if name == "lfw":
        from facerec.evaluation.protocols.lfw import read_lfw

        return read_lfw(data, folds)
    if name == "pairs":
        from facerec.evaluation.protocols.pairs import read_pairs

        return read_pairs(data)
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
