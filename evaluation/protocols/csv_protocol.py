"""Any set of photographs, by a CSV file: path, person, role and, optionally, pose, yaw, pitch, set and groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from facerec.evaluation.protocols.recognition import Identification, Picture, PictureList, RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.tables import beside_table, read_table

EXPECTED = (
    "expected the columns path,person,role (role: gallery or probe), and optionally pose,yaw,pitch,set,group:NAME"
)


def read_csv(file: Path, name: str = "csv", rendered: bool = False) -> RecognitionProtocol:
    """Identification of the file's probes in its gallery ("all"); paths are relative to the file.

    With a column `set` each set is an identification of its own, with its own gallery. Probes of people who have no
    gallery picture are the open set's unknown probes.

    Raises:
        InvalidInputError: other columns, an unknown role or a bad number (naming the line), a picture listed twice, no
            gallery, no probe, or no picture on disk at all (those that are missing count as
            failures).
    """
    pictures = PictureList()
    gallery: dict[str, list[int]] = {}
    probes: dict[str, list[int]] = {}
    seen: dict[str, int] = {}
    columns, rows = read_table(file)
    absent = {"path", "person", "role"} - set(columns)
    if absent:
        raise InvalidInputError(f"{file}: {EXPECTED}; missing: {', '.join(sorted(absent))}")
    for line, row in rows:
        where = f"{file}, line {line}"
        path, person, role = row["path"], row["person"], row["role"].strip().lower()
        if not path or not person or role not in ("gallery", "probe"):
            raise InvalidInputError(f"{where}: {EXPECTED}; got path {path!r}, person {person!r}, role {role!r}")
        if path in seen:
            raise InvalidInputError(
                f"{where}: expected each picture once; {path} is already listed on line {seen[path]}"
            )
        seen[path] = line
        picture = Picture(
            path=beside_table(file, path),
            name=path,
            person=person,
            pose=row.get("pose", "").strip() or None,
            yaw=_angle(row.get("yaw"), where, "yaw"),
            pitch=_angle(row.get("pitch"), where, "pitch"),
            groups=groups_of(row, "group:"),
        )
        into = gallery if role == "gallery" else probes
        into.setdefault(row.get("set", "").strip() or "all", []).append(pictures.add(picture))
    sets = list(dict.fromkeys((*gallery, *probes))) or ["all"]
    for one in sets:
        if one not in gallery or one not in probes:
            where = "" if one == "all" else f" in the set {one}"
            raise InvalidInputError(
                f"{file}: expected at least one gallery and one probe row{where}; "
                f"got {len(gallery.get(one, []))} and {len(probes.get(one, []))}"
            )
    listed = pictures.done(some_missing=True)
    return RecognitionProtocol(
        name=name,
        pictures=listed,
        identifications=tuple(_identification(one, gallery[one], probes[one], listed) for one in sets),
        rendered=rendered,
        settings={"file": file.name, "people": len({listed[i].person for one in sets for i in gallery[one]})},
    )


def _identification(name: str, gallery: list[int], probes: list[int], pictures: tuple[Picture, ...]) -> Identification:
    enrolled = {pictures[i].person for i in gallery}
    return Identification(
        name,
        gallery=tuple(gallery),
        probes=tuple(i for i in probes if pictures[i].person in enrolled),
        unknown=tuple(i for i in probes if pictures[i].person not in enrolled),
    )


def groups_of(row: Mapping[str | None, str | None] | Mapping[str, str], head: str) -> tuple[tuple[str, str], ...]:
    """(NAME, value) of the columns HEAD + NAME of a row that are not empty, e.g. "group:age"."""
    return tuple(
        (column[len(head) :], value.strip())
        for column, value in row.items()
        if isinstance(column, str) and column.startswith(head) and isinstance(value, str) and value.strip()
    )


def _angle(cell: str | None, where: str, column: str) -> float | None:
    text = (cell or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -180 <= value <= 180:
        raise InvalidInputError(f"{where}: expected {column} in degrees within -180..180, or empty; got {text!r}")
    return value
