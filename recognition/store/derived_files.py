"""Names of the derived files beside a gallery."""

from __future__ import annotations

from pathlib import Path

SKIPPED_SUFFIX = ".skipped.jsonl"
"""Ending of the file beside a gallery that lists what the last enrolment skipped."""

VECTORS_SUFFIX = ".vectors"
"""Ending of the mapped copy of the vectors (see `vector_file`)."""

DERIVED_SUFFIXES = (SKIPPED_SUFFIX, VECTORS_SUFFIX, ".ivf", ".hnsw", ".pq")
"""Endings of files beside a gallery that are made from it. They are dropped when a person is removed."""


def derived_file(gallery: Path, suffix: str) -> Path:
    """The file beside `gallery` with `suffix` appended to its whole name."""
    return gallery.with_name(gallery.name + suffix)
