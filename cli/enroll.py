"""`facerec enroll`: enrol photographs of known people in a gallery."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.enroll_clusters import from_clusters_option
from facerec.cli.films import enroll_film_option
from facerec.cli.options import (
    count,
    gallery_option,
    json_option,
    note,
    printable,
    quiet_option,
    ray_option,
    recognizer_options,
    workers_option,
    write_json,
)
from facerec.cli.photos import STANDARD_INPUT, photos_argument, report_ignored
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.recognition.description import DescribeMany
    from facerec.recognition.enrolment_plan import EnrolmentPlan, EnrolmentPreview
    from facerec.recognition.enrolment_summary import EnrolmentSummary
    from facerec.recognition.recognizer import RecognizerSettings
    from facerec.recognition.store.records import FacesPolicy

_DESCRIPTOR = "the gallery's, resnet for a new one"

_SHOWN = 5
"""Number of conflicts that the summary lists; --json lists all."""


@click.command("enroll")
@enroll_film_option
@from_clusters_option
@photos_argument()
@gallery_option
@click.option(
    "--layout",
    type=click.Choice(["auto", "folders", "flat", "csv"]),
    default="auto",
    show_default=True,
    help="Where names come from: PERSON/photo.jpg, PERSON_1.jpg, or a table with the columns path,person.",
)
@click.option(
    "--faces",
    type=click.Choice(["one", "largest", "all"]),
    default="largest",
    show_default=True,
    help="Which faces of a photograph are enrolled as its person; 'one' skips photographs with several faces; of "
    "several about as large, 'largest' takes the one on the person's other photographs.",
)
@click.option(
    "--sync", is_flag=True, help="Remove entries whose photographs are no longer in the folders, or have changed there."
)
@click.option(
    "--keep-textures",
    is_flag=True,
    help="Keep each face's texture (a picture of the person, about 100 KB) for a later migration.",
)
@workers_option
@ray_option
@click.option("--dry-run", is_flag=True, help="Report what would be enrolled; describe and write nothing.")
@click.option("--strict", is_flag=True, help="Exit with 3 when photographs were skipped.")
@recognizer_options("the gallery's, godp for a new one", "the gallery's, facerec for a new one", _DESCRIPTOR)
@json_option
@quiet_option
def command(
    photos: tuple[Path, ...],
    gallery_path: Path | str,
    layout: str,
    faces: FacesPolicy,
    sync: bool,
    keep_textures: bool,
    workers: int | None,
    ray_address: str | None,
    dry_run: bool,
    strict: bool,
    models: RecognizerSettings,
    as_json: bool,
    quiet: bool,
) -> int:
    """Enrol PHOTOs (folders, files or a .csv table) in a gallery.

    Each photograph shows the person whose name its folder has; the summary gives an example of this. With --layout flat
    the names come from the files, and a table lists them by photograph.

    Photographs are recognised by their content: running the same command again, for example after an interruption,
    describes only new photographs. Photographs that cannot be used are listed in GALLERY.skipped.jsonl with a reason.

    \b
    Examples:
      facerec enroll people/ -g staff.gallery
      facerec enroll list.csv -g staff.gallery --faces one --strict
      facerec enroll anna.mp4 --person Anna -g staff.gallery
      facerec enroll --from-clusters people/clusters.json -g family.gallery
    """
    from facerec.cli.output import photo_progress, spinner
    from facerec.recognition.description import EnrolmentSettings
    from facerec.recognition.enrolment_plan import plan_enrolment

    if STANDARD_INPUT in photos:
        raise click.UsageError("a photograph on standard input names no person; save it in the person's folder first")
    plan = plan_enrolment(photos, layout)  # type: ignore[arg-type]
    if dry_run:
        preview = _preview(plan, gallery_path, faces)
        if as_json:
            write_json(preview.as_json())
        _say_preview(preview, gallery_path, quiet)
        return 0

    from facerec.recognition.front_door import enroll, gallery_contract
    from facerec.recognition.recognizer import load_recognizer

    device = resolve_device(models.device)
    if not ray_address:
        workers = share_cores(workers, device, len(plan.items))
    workers = workers or 1
    settings = EnrolmentSettings(faces=faces, workers=workers, keep_textures=keep_textures, sync=sync)
    if ray_address:  # a batch holds several photographs per worker
        settings = dataclasses.replace(settings, batch=settings.batch * workers)
    load = functools.partial(load_recognizer, models, gallery_contract(gallery_path))
    with spinner("Loading the models", quiet):
        recognizer = load()
    try:
        with contextlib.ExitStack() as stack:
            describe_many: DescribeMany | None = None
            if ray_address:
                from facerec.recognition.ray_workers import RayDescriber, RayWorkers, describer_contract

                contract, gpus = recognizer.contract.digest, int(device == "cuda")
                actors = RayWorkers.connect(ray_address, workers, load, describer_contract, contract, gpus)
                describe_many = RayDescriber(stack.enter_context(actors))
            advance = stack.enter_context(photo_progress(len(plan.items), "Enrolling", quiet))
            summary = enroll(
                plan, gallery_path, recognizer, settings=settings, progress=advance, describe_many=describe_many
            )
    except KeyboardInterrupt:
        note(f"Photographs enrolled so far are in {printable(str(gallery_path))}; run the same command to continue.")
        raise
    if as_json:
        write_json(summary.as_json())
    _say_summary(summary, gallery_path, device, quiet)
    if "internal_error" in summary.reasons:
        return 1
    return 3 if strict and (summary.skipped or summary.ignored) else 0


def _preview(plan: EnrolmentPlan, gallery_path: Path | str, faces: FacesPolicy) -> EnrolmentPreview:
    """Preview of what the plan would do to the gallery, or to an empty one when there is none yet."""
    from facerec.recognition.enrolment_plan import preview_enrolment
    from facerec.recognition.store.galleries import open_gallery

    if isinstance(gallery_path, Path) and not gallery_path.exists():
        return preview_enrolment(plan, None, faces)
    with open_gallery(gallery_path) as gallery:
        return preview_enrolment(plan, gallery, faces)


def _say_preview(preview: EnrolmentPreview, gallery: Path | str, quiet: bool) -> None:
    note(
        f"Would enrol {preview.photos - preview.known - preview.unreadable} of {count(preview.photos, 'photo')}, "
        f"{count(len(preview.people), 'person')} -> {printable(str(gallery))}",
        quiet,
    )
    _say_layout(preview.layout, preview.example, quiet)
    if preview.known:
        note(f"Already enrolled: {preview.known}", quiet)
    if preview.unreadable:
        note(f"Cannot be opened: {preview.unreadable}", quiet)
    if preview.shared:
        note(f"Planned under more than one name: {count(preview.shared, 'photo')}", quiet)
    report_ignored((*preview.ignored, *preview.passed_over), quiet)


def _say_summary(summary: EnrolmentSummary, gallery: Path | str, device: str, quiet: bool) -> None:
    from facerec.cli.output import duration
    from facerec.recognition.store.derived_files import SKIPPED_SUFFIX, derived_file

    speed = f"{summary.new / summary.seconds:.1f} photos/s, " if summary.new and summary.seconds else ""
    note(
        f"Enrolled {summary.enrolled} of {count(summary.photos, 'photo')}, "
        f"{count(summary.people, 'person')} in the gallery, {duration(summary.seconds)} "
        f"({speed}{device}) -> {printable(str(gallery))} "
        f"(contract {summary.contract[:12]}, {count(summary.entries, 'entry')})",
        quiet,
    )
    _say_layout(summary.layout, summary.example, quiet)
    known = summary.enrolled - summary.new - summary.duplicates
    if known or summary.duplicates:
        note(f"Already enrolled: {known}   The same photograph twice: {summary.duplicates}", quiet)
    if summary.skipped:
        reasons = "  ".join(f"{reason} {n}" for reason, n in summary.reasons.items())
        details = "--json" if isinstance(gallery, str) else printable(str(derived_file(gallery, SKIPPED_SUFFIX)))
        note(f"Skipped {len(summary.skipped)}: {reasons}   (details: {details})", quiet)
    for failed in [photo for photo in summary.skipped if photo.reason == "internal_error"][:_SHOWN]:
        note(f"Failed (an error in facerec): {printable(str(failed.path))}: {printable(failed.detail)}")
    report_ignored((*summary.ignored, *summary.passed_over), quiet)
    _say_some(summary.groups, "Group photograph: ", "group photographs", quiet)
    _say_some(summary.notes, "Note: ", "notes", quiet)
    if summary.people:
        note(
            f"Pose coverage: {count(summary.frontal_only, 'person')} frontal only; "
            f"{summary.with_profile} with a profile view",
            quiet,
        )
        without = [name for name, views in summary.lacks.items() if "frontal" in views]
        if without:
            named = ", ".join(printable(name) for name in without[:_SHOWN])
            more = f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
            note(f"No frontal view of: {named}{more} (--json lists what each person lacks)", quiet)
    if summary.removed:
        note(f"Removed {count(summary.removed, 'photo')} no longer there, or changed", quiet)
    elif summary.gone:
        them = "it" if summary.gone == 1 else "them"
        note(
            f"No longer there, or changed: {count(summary.gone, 'photo')} of the gallery (--sync removes {them})", quiet
        )
    if summary.conflicts:
        note(f"Conflicts: {len(summary.conflicts)}", quiet)
        _say_some(summary.conflicts, "  ", "conflicts", quiet)
    if summary.entries:
        note(f"Next: facerec identify PHOTO -g {printable(shlex.quote(str(gallery)))}", quiet)


def _say_some(sentences: Sequence[str], before: str, what: str, quiet: bool) -> None:
    for sentence in sentences[:_SHOWN]:
        note(f"{before}{printable(sentence)}", quiet)
    if len(sentences) > _SHOWN:
        note(f"  and {len(sentences) - _SHOWN} more {what} (--json lists all)", quiet)


def _say_layout(layout: str, example: str, quiet: bool) -> None:
    how = {
        "folders": "Names are taken from folders",
        "flat": "Names are taken from the names of files",
        "csv": "Names are taken from a table",
    }[layout]
    other = {"folders": "; --layout flat takes file names", "flat": "; --layout folders takes folders", "csv": ""}[
        layout
    ]
    note(f"{how}: {printable(example)}{other}", quiet)
