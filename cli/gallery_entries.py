"""The entries of a gallery as lines of CSV or JSON, and as arrays with their signatures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facerec.recognition.store.protocol import GalleryStore
    from facerec.recognition.store.records import EntryRecord

_ENTRY_COLUMNS = (
    "entry",
    "person",
    "file",
    "absolute_path",
    "sha256",
    "face",
    "x0",
    "y0",
    "x1",
    "y1",
    "yaw",
    "pitch",
    "roll",
    "visible_fraction",
    "quality",
    "created",
    "nobody",
)


def write_entries(gallery: GalleryStore, form: str) -> None:
    """Every entry to stdout, as a row (`form` "csv") or a JSON object."""
    from facerec.cli.output import write_csv_row, write_line

    if form == "csv":
        write_csv_row(_ENTRY_COLUMNS)
    for record in gallery.entries():
        if form == "csv":
            write_csv_row(_entry_row(record))
        else:
            write_line(_entry_json(record))


def _entry_row(record: EntryRecord) -> list[object]:
    box = record.box
    return [
        record.entry,
        record.person,
        str(record.relative_path),
        str(record.absolute_path),
        record.sha256,
        record.face,
        *(f"{v:.2f}" for v in (box.x0, box.y0, box.x1, box.y1, *record.pose)),
        f"{record.visible_share:.4f}",
        f"{record.quality:.4f}",
        record.created,
        int(record.nobody),
    ]


def _entry_json(record: EntryRecord) -> dict[str, Any]:
    from facerec.recognition.answers import box_json, pose_json

    return {
        "entry": record.entry,
        "person": record.person,
        "file": str(record.relative_path),
        "absolute_path": str(record.absolute_path),
        "sha256": record.sha256,
        "face": record.face,
        "box": box_json(record.box),
        "pose": pose_json(record.pose),
        "yaws": list(record.yaws),
        "visible_fraction": round(record.visible_share, 4),
        "quality": round(record.quality, 4),
        "created": record.created,
        "nobody": record.nobody,
    }


def write_arrays(gallery: GalleryStore, output: Path) -> int:
    """Every entry with its signature to an npz file; returns how many there are."""
    import numpy as np

    from facerec.recognition.signature import REGIONS, unpack_regions

    def _regions(record: EntryRecord) -> NDArray[np.bool_]:
        known = unpack_regions(record.regions)
        return np.zeros((REGIONS, REGIONS), np.bool_) if known is None else known

    records = gallery.entries()
    cells, visible = gallery.vectors([record.entry for record in records])
    with output.open("wb") as stream:  # by stream, because numpy would append its own extension to a name
        np.savez(
            stream,
            entry=np.array([r.entry for r in records], dtype=np.int64),
            person=np.array([r.person for r in records], dtype=np.str_),
            sha256=np.array([r.sha256 for r in records], dtype=np.str_),
            path=np.array([_text(r.relative_path) for r in records], dtype=np.str_),
            face=np.array([r.face for r in records], dtype=np.int64),
            pose=np.array([r.pose for r in records], dtype=np.float64).reshape(-1, 3),
            quality=np.array([r.quality for r in records], dtype=np.float64),
            visible_share=np.array([r.visible_share for r in records], dtype=np.float64),
            cells=cells,
            visible=visible,
            regions=np.stack([_regions(r) for r in records]) if records else np.zeros((0, REGIONS, REGIONS), np.bool_),
            nobody=np.array([r.nobody for r in records], dtype=np.bool_),
            contract=np.array(gallery.contract_digest),
        )
    return len(records)


def _text(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
