"""`facerec enroll --from-clusters FILE`: enrol the people who were named in a file of `facerec cluster`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from facerec.cli.options import count, note, printable, write_json

F = TypeVar("F", bound=Callable[..., Any])


def from_clusters_option(function: F) -> F:
    """Add `--from-clusters FILE`, which takes the place of photographs; must stand above `photos_argument`."""

    @functools.wraps(function)
    def command(*args: Any, from_clusters: Path | None, **others: Any) -> Any:
        if from_clusters is None:
            return function(*args, **others)
        if others["photos"] or others["files_from"] is not None:
            raise click.UsageError("expected photographs or --from-clusters, not both")
        return _enroll(from_clusters, others["gallery_path"], others["as_json"], others["quiet"])

    option = click.option(
        "--from-clusters",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Enrol the people named in this file of `facerec cluster`, instead of photographs.",
    )
    return cast(F, option(command))


def _enroll(path: Path, gallery_path: Path | str, as_json: bool, quiet: bool) -> int:
    from facerec.recognition.cluster_file import ClusterFile, enroll_clusters
    from facerec.recognition.store.galleries import open_gallery

    file = ClusterFile.read(path)
    with open_gallery(gallery_path, file.contract, write=True, create=True) as gallery:
        added = enroll_clusters(path, file, gallery)
    waiting = sum(not group.name for group in file.groups)
    if as_json:
        write_json({"enrolled": added, "without_name": waiting})
    photos = sum(added.values())
    note(
        f"Enrolled {count(photos, 'photo')} of {count(len(added), 'person')} -> {printable(str(gallery_path))}; "
        f"{count(waiting, 'group')} without a name yet",
        quiet,
    )
    for name, number in added.items():
        note(f"  {printable(name)}: {number}", quiet)
    return 0
