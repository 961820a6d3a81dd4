"""`facerec gallery review`: list what a person should check in a gallery, and apply the person's decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import (
    count,
    gallery_option,
    json_option,
    note,
    printable,
    quiet_option,
    recognizer_options,
    write_json,
)

if TYPE_CHECKING:
    from facerec.recognition.recognizer import RecognizerSettings
    from facerec.recognition.review_page import GalleryReview


@click.command("review")
@gallery_option
@click.option(
    "--unknown",
    "answers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also list the unknown faces in this file, which `facerec identify --format jsonl` wrote.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page on which decisions can be taken.",
)
@click.option(
    "--apply",
    "decided",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Apply the decisions that the page saved.",
)
@recognizer_options("the gallery's", "the gallery's", "the gallery's")
@json_option
@quiet_option
def review(
    gallery_path: Path | str,
    answers: Path | None,
    page: Path | None,
    decided: Path | None,
    models: RecognizerSettings,
    as_json: bool,
    quiet: bool,
) -> int:
    """List what a person should check in a gallery: pictures and names that do not fit together, views that people
    lack, and unknown faces.

    The page of --html shows the faces, offers decisions and saves them as a file: remove a picture, merge two names,
    rename a person, mark a known stranger, enrol an unknown face. --apply applies them; a decision that no longer fits
    the gallery is refused with a reason (exit code 2). The page is one file and loads nothing from elsewhere. It shows
    people: protect it like the gallery.

    \b
    Examples:
      facerec identify door/ -g staff.gallery --format jsonl > door.jsonl
      facerec gallery review -g staff.gallery --unknown door.jsonl --html review.html
      facerec gallery review -g staff.gallery --apply decisions.json
    """
    if decided is not None:
        if answers is not None or page is not None:
            raise click.UsageError("expected --apply without --html and --unknown, because it changes the gallery")
        return _apply(gallery_path, decided, models, as_json, quiet)
    from facerec.recognition.review_page import GalleryReview, read_unknown, write_review_page
    from facerec.recognition.store.galleries import open_gallery

    unknown = [] if answers is None else read_unknown(answers)
    with open_gallery(gallery_path) as gallery:
        found = GalleryReview.of(gallery, str(gallery_path), unknown)
    if page is not None:
        write_review_page(page, found)
    if as_json:
        write_json(found.as_json())
    else:
        _write_table(found)
    note(
        f"{count(len(found.findings), 'finding')}, {count(len(found.lacks), 'person')} without some view, "
        f"{count(len(found.unknown), 'unknown face')}",
        quiet,
    )
    if page is not None:
        note(f"Page for decisions: {printable(str(page))}", quiet)
    return 0


def _write_table(found: GalleryReview) -> None:
    from facerec.cli.output import write_table

    rows: list[list[object]] = [
        [one.kind, ", ".join(one.people), " ".join(map(str, one.entries)), one.sentence] for one in found.findings
    ]
    rows += [["lacks", name, None, ", ".join(views)] for name, views in found.lacks.items()]
    for face in found.unknown:
        best = "" if face.best is None or face.score is None else f"; most like {face.best}, {face.score:.2f}"
        rows.append(["unknown", None, None, f"{face.file}, face {face.face}{best}"])
    write_table(["kind", "people", "entries", "what"], rows)


def _apply(gallery_path: Path | str, decided: Path, models: RecognizerSettings, as_json: bool, quiet: bool) -> int:
    from facerec.recognition.recognizer import load_recognizer
    from facerec.recognition.review_decisions import apply_decisions, read_decisions
    from facerec.recognition.store.galleries import open_gallery

    decisions = read_decisions(decided)
    with open_gallery(gallery_path, write=True) as gallery:
        made = gallery.contract_json
        outcomes = apply_decisions(decisions, gallery, lambda: load_recognizer(models, made))
    refused = [one for one in outcomes if one.refused]
    if as_json:
        write_json({"gallery": str(gallery_path), "decisions": [one.as_json() for one in outcomes]})
    for one in outcomes:
        said = f"refused: {one.refused}" if one.refused else "done"
        note(f"{printable(str(one.decision))}: {printable(said)}", quiet)
    note(f"Applied {len(outcomes) - len(refused)} of {count(len(outcomes), 'decision')}", quiet)
    return 2 if refused else 0
