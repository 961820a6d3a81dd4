"""`facerec gallery`: inspect, check, review, list, change, index, migrate and export a gallery."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from facerec.cli.gallery_review import review
from facerec.cli.options import (
    count,
    format_options,
    gallery_option,
    json_option,
    note,
    printable,
    quiet_option,
    recognizer_options,
    workers_option,
    write_json,
)
from facerec.landmarks.device import resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.recognition.recognizer import RecognizerSettings
    from facerec.recognition.search import SearchMethod
    from facerec.recognition.store.protocol import GalleryStore
    from facerec.recognition.store.records import EntryRecord

F = TypeVar("F", bound=Callable[..., Any])

READ_MEANWHILE = "another process still reads the previous state"
"""Begins the warning that bytes of removed entries are still on the disk."""


@click.group("gallery")
def command() -> None:
    """Inspect, check, review, list, change, index, migrate or export a gallery."""


command.add_command(review)


@command.command("info")
@gallery_option
@json_option
def info(gallery_path: Path | str, as_json: bool) -> None:
    """Show a gallery's content, models and threshold."""
    import json

    from facerec.recognition.impostors import impostor_scores
    from facerec.recognition.shipped_impostors import expected_mates
    from facerec.recognition.store.galleries import open_gallery
    from facerec.recognition.threshold import threshold_of

    with open_gallery(gallery_path) as gallery:
        found = gallery.info()
        scores = impostor_scores(gallery)
        threshold = threshold_of(gallery)
    strangers = None if threshold.value is None else scores.stranger_rate(threshold.value)
    mates = {} if threshold.value is None else expected_mates(found.contract, threshold.value)
    cells, dimension = found.shape
    if as_json:
        write_json(
            {
                "gallery": str(gallery_path),
                "people": found.people,
                "known_strangers": found.nobodies,
                "photos": found.photos,
                "entries": found.entries,
                "skipped": found.skipped,
                "signature": {"cells": cells, "dimension": dimension},
                "bytes": found.bytes,
                "created": found.created,
                "digest": found.digest,
                "contract": {"digest": found.contract, "content": json.loads(found.contract_json)},
                "threshold": threshold.as_json() | {"note": threshold.note},
                "strangers": {"tried": len(scores.strangers), "taken_for_someone": strangers},
                "expected_tpir": mates,
            }
        )
        return
    held = ", ".join((count(found.people, "person"), count(found.photos, "photo"), count(found.entries, "entry")))
    click.echo(f"{printable(str(gallery_path))}: {held}")
    if found.nobodies:
        click.echo(f"Known strangers among the people: {found.nobodies}")
    if found.skipped:
        click.echo("Skipped:   " + "  ".join(f"{reason} {n}" for reason, n in found.skipped.items()))
    click.echo(f"Signature: {cells} cells x {dimension}   File: {found.bytes / 1e6:.1f} MB, made {found.created}")
    click.echo(f"Digest:    {found.digest}")
    click.echo(f"Contract:  {found.contract}")
    content = json.loads(found.contract_json)
    for key, value in sorted(content.items()) if isinstance(content, dict) else []:
        click.echo(f"           {printable(str(key))}: {printable(str(value))}")
    shown = "none" if threshold.value is None else f"{threshold.value:.3f}"
    click.echo(f"Threshold: {shown} ({threshold.note})")
    if strangers is not None and len(scores.strangers):
        click.echo(
            f"Strangers: {100 * strangers:.1f} % of {len(scores.strangers)} entries would match someone else "
            f"if their own person were not enrolled"
        )
    if mates:
        shown = ", ".join(f"{100 * share:.0f} % at {yaw} degrees of yaw" for yaw, share in mates.items())
        click.echo(
            f"Found:     {shown} (enrolled people with one frontal picture each; measured on the calibration people)"
        )


@command.command("verify")
@gallery_option
@json_option
def verify(gallery_path: Path | str, as_json: bool) -> int:
    """Check structure, references, checksums and unit length. Exit code 2 when the gallery is damaged."""
    from facerec.recognition.store.galleries import open_gallery

    with open_gallery(gallery_path) as gallery:
        found = gallery.verify()
    if as_json:
        write_json({"entries": found.entries, "faults": list(found.faults), "remarks": list(found.remarks)})
    else:
        for fault in found.faults:
            click.echo(f"fault: {printable(fault)}")
        for remark in found.remarks:
            click.echo(f"remark: {printable(remark)}")
        state = count(len(found.faults), "fault") if found.faults else "sound"
        click.echo(f"{printable(str(gallery_path))}: {count(found.entries, 'entry')}, {state}")
    return 2 if found.faults else 0


def _yaws(entry: EntryRecord) -> str:
    """Its yaw, and for a film the lowest and the highest."""
    shown = entry.shown_yaws
    around = f" ({min(shown):+.0f} .. {max(shown):+.0f})" if max(shown) - min(shown) > 1 else ""
    return f"{shown[0]:+.0f}{around}"


@command.command("list")
@gallery_option
@click.option("--entries", is_flag=True, help="List the entries instead of the people.")
@format_options("table", "csv", "jsonl")
def list_people(gallery_path: Path | str, entries: bool, form: str) -> None:
    """List people with their poses, or entries."""
    from facerec.cli.gallery_entries import write_entries
    from facerec.cli.output import write_csv_row, write_line, write_table
    from facerec.recognition.answers import person_json
    from facerec.recognition.store.galleries import open_gallery

    with open_gallery(gallery_path) as gallery:
        if entries:
            if form == "table":
                write_table(
                    ["entry", "person", "file", "face", "yaw", "pitch", "visible", "quality"],
                    [
                        [
                            e.entry,
                            e.person,
                            e.relative_path,
                            e.face,
                            _yaws(e),
                            f"{e.pose[1]:+.0f}",
                            f"{100 * e.visible_share:.0f} %",
                            f"{e.quality:.2f}",
                        ]
                        for e in gallery.entries()
                    ],
                    right=["entry", "face", "yaw", "pitch", "visible", "quality"],
                )
            else:
                write_entries(gallery, form)
            return
        people = gallery.people()
    if form == "table":
        write_table(
            ["person", "photos", "entries", "yaw", "most visible", ""],
            [
                [
                    p.name,
                    p.photos,
                    p.entries,
                    f"{p.yaw[0]:+.0f} .. {p.yaw[1]:+.0f}",
                    f"{100 * p.visible_share:.0f} %",
                    "known stranger" if p.nobody else "",
                ]
                for p in people
            ],
            right=["photos", "entries", "yaw", "most visible"],
        )
    elif form == "csv":
        write_csv_row(["person", "photos", "entries", "yaw_low", "yaw_high", "visible_fraction", "nobody"])
        for p in people:
            yaw = (f"{p.yaw[0]:.2f}", f"{p.yaw[1]:.2f}")
            write_csv_row([p.name, p.photos, p.entries, *yaw, f"{p.visible_share:.4f}", int(p.nobody)])
    else:
        for p in people:
            write_line(person_json(p))


@command.command("remove")
@click.argument("people", nargs=-1, metavar="PERSON...")
@gallery_option
@click.option(
    "--entry", "entries", type=int, multiple=True, help="Remove one entry by its number (see list --entries)."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@quiet_option
def remove(people: tuple[str, ...], gallery_path: Path | str, entries: tuple[int, ...], yes: bool, quiet: bool) -> None:
    """Remove people, or single entries, permanently.

    Names, signatures and poses are erased from the file, its journal and everything derived from it. Photographs are
    not touched.
    """
    from facerec.recognition.store.galleries import open_gallery
    from facerec.recognition.store.records import person_name

    if bool(people) == bool(entries):
        raise click.UsageError("expected the names of people, or --entry, one of the two")
    names = list(dict.fromkeys(person_name(name) for name in people))
    with open_gallery(gallery_path, write=True) as gallery:
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("expected --yes, because there is no terminal for a confirmation")
            what = ", ".join(map(printable, names)) or count(len(set(entries)), "entry")
            click.confirm(f"Remove {what} from {printable(str(gallery_path))} permanently?", abort=True, err=True)
        removed = gallery.remove_people(names) if names else gallery.remove_entries(entries)
        left = len(gallery.people())
    _warn_of_readers(gallery, gallery_path)
    people_left = "nobody is left" if not left else f"{count(left, 'person')} left"
    note(f"Removed {count(removed, 'entry')} from {printable(str(gallery_path))}; {people_left}", quiet)


@command.command("rename")
@click.argument("old")
@click.argument("new")
@gallery_option
@quiet_option
def rename(old: str, new: str, gallery_path: Path | str, quiet: bool) -> None:
    """Rename the person OLD to NEW. The old name is erased from the file, and NEW must not be in use (see merge).

    Photographs stay in their folders, so enrolling the folder called OLD again adds a second person of that name.
    """
    from facerec.recognition.store.galleries import open_gallery
    from facerec.recognition.store.records import person_name

    if person_name(old) == person_name(new):
        raise click.UsageError(f"expected a name other than {printable(old)}")
    with open_gallery(gallery_path, write=True) as gallery:
        gallery.rename(person_name(old), person_name(new))
    _warn_of_readers(gallery, gallery_path)
    note(f"Renamed {printable(old)} to {printable(new)} in {printable(str(gallery_path))}", quiet)


@command.command("merge")
@click.argument("people", nargs=-1, required=True, metavar="PERSON...")
@click.option("--into", required=True, metavar="NAME", help="Name of the merged person.")
@gallery_option
@quiet_option
def merge(people: tuple[str, ...], into: str, gallery_path: Path | str, quiet: bool) -> None:
    """Merge people who are the same person.

    Use this when one person was enrolled under several names; the merged person is called NAME.
    """
    from facerec.recognition.store.galleries import open_gallery
    from facerec.recognition.store.records import person_name

    with open_gallery(gallery_path, write=True) as gallery:
        gallery.merge([person_name(name) for name in people], person_name(into))
    _warn_of_readers(gallery, gallery_path)
    note(f"Merged {', '.join(map(printable, people))} into {printable(into)} in {printable(str(gallery_path))}", quiet)


def _warn_of_readers(gallery: GalleryStore, path: Path | str) -> None:
    """Report when bytes of removed entries are still on the disk; the removal itself is done."""
    if gallery.erased:
        return
    if isinstance(path, str):
        why = "Milvus erases the bytes of removed entries when it compacts its files"
    else:
        why = (
            f"{READ_MEANWHILE} of {printable(str(path))}; the bytes of removed entries are erased from the disk "
            f"when that process ends or reads the new state"
        )
    note(f"warning: {why}")


@command.command("mark")
@click.argument("people", nargs=-1, required=True, metavar="PERSON...")
@click.option(
    "--nobody/--person", "nobody", required=True, help="Mark as known strangers, or as ordinary people again."
)
@gallery_option
@quiet_option
def mark(people: tuple[str, ...], nobody: bool, gallery_path: Path | str, quiet: bool) -> None:
    """Mark people as known strangers.

    A known stranger is, for example, a face on a poster or a passer-by. A face whose best candidate is a known stranger
    is reported as "unknown", with "known stranger: NAME", and matches nobody else. Enrol them like people first.

    \b
    Example:
      facerec enroll poster-3.jpg -g staff.gallery && facerec gallery mark poster-3 --nobody -g staff.gallery
    """
    from facerec.recognition.store.galleries import open_gallery
    from facerec.recognition.store.records import person_name

    names = list(dict.fromkeys(person_name(name) for name in people))
    with open_gallery(gallery_path, write=True) as gallery:
        gallery.mark(names, nobody)
    kind = "known strangers" if nobody else "people"
    note(f"Marked as {kind} in {printable(str(gallery_path))}: {', '.join(map(printable, names))}", quiet)


def _file(gallery: Path | str) -> Path:
    if isinstance(gallery, str):
        raise click.UsageError(f"expected a gallery file; got {printable(gallery)}")
    return gallery


@command.command("index")
@gallery_option
@click.option(
    "--method",
    type=click.Choice(["exact", "ivf", "hnsw", "pq"]),
    default="exact",
    show_default=True,
    help="exact only maps the vectors, for galleries larger than memory; the others also build an approximate index.",
)
@json_option
@quiet_option
def index(gallery_path: Path | str, method: SearchMethod, as_json: bool, quiet: bool) -> None:
    """Write index files for a large gallery.

    The files GALLERY.vectors and GALLERY.ivf|hnsw|pq make its search faster. They hold the same data as the gallery
    (protect them equally), are verified whenever they are read, and become invalid once people are enrolled or removed:
    then run this command again. Below about 100,000 entries the exact search does not need them.
    """
    from facerec.recognition.shortlist import ShortlistIndex, ShortlistSettings
    from facerec.recognition.store.sqlite import Gallery
    from facerec.recognition.store.vector_file import VectorFile

    path = _file(gallery_path)
    with Gallery.open(path) as gallery:
        entries = len(VectorFile.build(gallery).index.ids)
        recall = None if method == "exact" else ShortlistIndex.build(gallery, method).recall
    if as_json:
        write_json({"gallery": str(gallery_path), "method": method, "entries": entries, "recall": recall})
    note(f"Mapped {count(entries, 'entry')} of {printable(str(gallery_path))}", quiet)
    if recall is not None:
        aimed = ShortlistSettings()
        note(
            f"Index {method}: recall@1 {100 * recall:.1f} % of the exact search ({aimed.trials} trial probes of cosine "
            f"{aimed.mate_score}). Use it: facerec identify PHOTO -g {printable(str(gallery_path))} --search {method}",
            quiet,
        )


@command.command("migrate")
@gallery_option
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also look for the photographs in this folder, by their path relative to the enrolled folder.",
)
@click.option("--drop-missing", is_flag=True, help="Drop entries whose photograph is not found.")
@workers_option
@recognizer_options("the gallery's", "the gallery's", "resnet")
@json_option
@quiet_option
def migrate_gallery(
    gallery_path: Path | str,
    roots: tuple[Path, ...],
    drop_missing: bool,
    workers: int | None,
    models: RecognizerSettings,
    as_json: bool,
    quiet: bool,
) -> None:
    """Describe all photographs again with other models.

    The models are those of this installation. If only the descriptor changes, a texture that was kept (enroll
    --keep-textures) replaces a photograph that no longer exists.

    The gallery keeps its old state until all is done; an interrupted migration continues when it is run again.
    """
    from facerec.cli.output import photo_progress
    from facerec.recognition.description import EnrolmentSettings
    from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR
    from facerec.recognition.enrolment_summary import write_skipped
    from facerec.recognition.migration import MigrationSummary, migrate
    from facerec.recognition.recognizer import load_recognizer
    from facerec.recognition.store.sqlite import Gallery

    path, device = _file(gallery_path), resolve_device(models.device)
    wanted = dataclasses.replace(models, descriptor=models.descriptor or DEFAULT_DESCRIPTOR)
    with Gallery.open(path, write=True) as gallery:
        recognizer = load_recognizer(wanted, gallery.contract_json)
        before = gallery.contract_digest
        if before == recognizer.contract.digest:
            done = MigrationSummary(0, 0, (), ())
            note(
                f"{printable(str(gallery_path))} already has the contract of these models; there is nothing to do",
                quiet,
            )
        else:
            photos = len(gallery.photos())
            settings = EnrolmentSettings(workers=share_cores(workers, device, photos))
            with photo_progress(photos, "Describing again", quiet) as advance:
                done = migrate(gallery, recognizer, settings, roots, drop_missing, advance)
            write_skipped(path, done.skipped)
            note(
                f"Described {count(done.described, 'photo')} again, {done.from_textures} from kept textures; "
                f"skipped {len(done.skipped)}, missing {len(done.missing)}; "
                f"contract {before[:12]} -> {recognizer.contract.digest[:12]}",
                quiet,
            )
    if as_json:
        write_json(
            {
                "described": done.described,
                "from_textures": done.from_textures,
                "skipped_photos": [photo.as_json() for photo in done.skipped],
                "missing": [str(path) for path in done.missing],
                "contract": {"before": before, "after": recognizer.contract.digest},
            }
        )


@command.command("export")
@gallery_option
@format_options("jsonl", "csv", "npz")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write (for npz).")
@quiet_option
def export(gallery_path: Path | str, form: str, output: Path | None, quiet: bool) -> None:
    """Write the entries as jsonl, csv or npz.

    An entry has a person, a photograph, a face, a pose and a quality; the npz also holds the signatures.

    jsonl and csv go to stdout. The arrays of the npz: entry, person, sha256, path, face, pose, quality, visible_share,
    cells (N, C, D), visible (N, C), regions (N, 16, 16: which parts of the chart the camera saw; all False where that
    is not known), nobody (N: whether the entry belongs to a known stranger), contract.
    """
    from facerec.cli.gallery_entries import write_arrays, write_entries
    from facerec.recognition.store.galleries import open_gallery

    if (form == "npz") != (output is not None):
        raise click.UsageError("expected -o FILE exactly with --format npz; jsonl and csv go to stdout")
    with open_gallery(gallery_path) as gallery:
        if output is None:
            write_entries(gallery, form)
            return
        written = write_arrays(gallery, output)
    note(
        f"Wrote {count(written, 'entry')} to {printable(str(output))}: biometric data, protect them like the gallery",
        quiet,
    )
