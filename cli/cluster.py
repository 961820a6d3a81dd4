"""`facerec cluster`: unknown faces in photographs grouped into people."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facerec.cli.options import (
    GalleryAddress,
    count,
    json_option,
    note,
    printable,
    quiet_option,
    recognizer_options,
    threshold_option,
    workers_option,
    write_json,
)
from facerec.cli.photos import photos_argument
from facerec.landmarks.device import cores_shared, resolve_device, share_cores

if TYPE_CHECKING:
    from facerec.recognition.cluster_file import ClusterFile
    from facerec.recognition.description import Describer
    from facerec.recognition.found_faces import FoundFaces
    from facerec.recognition.recognizer import RecognizerSettings

_KEEP_EVERY = 1024
"""Number of photographs after which results are saved, so that an interrupted run continues from there."""


@click.command("cluster")
@photos_argument()
@click.option(
    "-g",
    "--gallery",
    "gallery_path",
    type=GalleryAddress(),
    metavar="GALLERY",
    help="Gallery whose people are identified first.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("clusters"),
    show_default=True,
    help="Folder for clusters.json, index.html, sheet.jpg and the faces.",
)
@click.option("--cut", type=float, help="Join groups down to this score.  [default: by the number of faces]")
@threshold_option("a known person")
@workers_option
@recognizer_options("the gallery's, or godp", "the gallery's, or facerec", "the gallery's, or resnet")
@json_option
@quiet_option
def command(
    photos: tuple[Path, ...],
    gallery_path: Path | str | None,
    out: Path,
    cut: float | None,
    threshold: float | None,
    workers: int | None,
    models: RecognizerSettings,
    as_json: bool,
    quiet: bool,
) -> int:
    """Group the faces on PHOTOS (files or folders) into people, across pose.

    People in the gallery are identified first; a person appears at most once in a photograph. Write names into
    index.html or clusters.json, then run `facerec enroll --from-clusters`. A second run describes only new photographs
    and keeps the names that you wrote. The folder holds signatures and pictures of people: protect it like a gallery.

    \b
    Examples:
      facerec cluster holiday/ -o people
      facerec cluster holiday/ -g family.gallery -o people
      facerec enroll --from-clusters people/clusters.json -g family.gallery
    """
    from facerec.landmarks.errors import InvalidInputError
    from facerec.landmarks.image import write_image
    from facerec.landmarks.photo_files import find_photos
    from facerec.recognition.cluster_file import CLUSTERS_FILE, ClusterFile, FoundContract, group_faces
    from facerec.recognition.cluster_pages import contact_sheet, write_page
    from facerec.recognition.clusters import cluster_cut
    from facerec.recognition.front_door import gallery_contract
    from facerec.recognition.identification import Identifier
    from facerec.recognition.recognizer import load_recognizer

    files = find_photos(photos)
    if not files:
        raise InvalidInputError(f"expected photographs to group; found none in {', '.join(map(str, photos))}")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = out / CLUSTERS_FILE
    by_hand = ClusterFile.read(target).names_by_hand() if target.exists() else {}
    recognizer = load_recognizer(models, gallery_contract(gallery_path) if gallery_path is not None else None)
    if cut is None:
        cluster_cut(recognizer.contract.digest, len(files))  # models without impostor scores are refused at once
    workers = share_cores(workers, resolve_device(models.device), len(files))
    found = _find_faces(files, recognizer, out, workers, quiet)
    cut = cluster_cut(recognizer.contract.digest, len(found.faces)) if cut is None else cut
    with contextlib.ExitStack() as stack:
        identifier = None
        if gallery_path is not None:
            identifier = stack.enter_context(Identifier.open(gallery_path, recognizer, threshold=threshold))
        contract = FoundContract(recognizer.contract.digest, recognizer.contract.as_json())
        result = ClusterFile(contract, cut, group_faces(found.faces, cut, identifier, by_hand))
    faces = {face.key: face for face in found.faces}
    result.write(target)
    write_image(out / "sheet.jpg", contact_sheet(result, faces))
    page = write_page(out, result, faces)
    if as_json:
        write_json(result.as_json())
    _say_summary(len(files), found, result, page, quiet)
    return 0


def _find_faces(files: Sequence[Path], recognizer: Describer, out: Path, workers: int, quiet: bool) -> FoundFaces:
    from facerec.cli.output import photo_progress
    from facerec.recognition.cluster_file import FACES_FILE
    from facerec.recognition.found_faces import FoundFaces, find_faces, read_faces, write_faces

    kept, contract = out / FACES_FILE, recognizer.contract.digest
    known, found, written = read_faces(kept, contract), FoundFaces(), 0
    try:
        with cores_shared(workers), photo_progress(len(files), "Looking", quiet) as advance:
            for batch in find_faces(files, recognizer, known, workers, advance):
                found = batch
                if found.new - written >= _KEEP_EVERY:
                    write_faces(kept, found.beside(known), contract)
                    written = found.new
    except KeyboardInterrupt:
        write_faces(kept, found.beside(known), contract)
        note(f"The results so far are saved in {printable(str(out))}; run the same command to continue.")
        raise
    write_faces(kept, found.beside(known), contract)
    return found


def _say_summary(files: int, found: FoundFaces, result: ClusterFile, page: Path, quiet: bool) -> None:
    named = [group for group in result.groups if group.name]
    alone = sum(len(group.faces) == 1 for group in result.groups if not group.name)
    unknown = count(len(result.groups) - len(named) - alone, "unknown person")
    note(
        f"{count(files, 'photo')} ({found.new} new), {count(len(found.faces), 'face')}: "
        f"{count(len(named), 'person')} with a name, {unknown} on several photographs, {count(alone, 'face')} alone; "
        f"{count(len(found.skipped), 'photo')} without a usable face",
        quiet,
    )
    note(f"Names: {printable(str(page))}   Cut {result.cut:.3f}", quiet)
