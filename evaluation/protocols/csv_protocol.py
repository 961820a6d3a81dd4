"""Any set of photographs, by a CSV file: path, person, role and, optionally, pose, yaw and pitch."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from facerec.evaluation.protocols.recognition import Identification, Picture, PictureList, RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError

EXPECTED = "expected the columns path,person,role (role: gallery or probe), and optionally pose,yaw,pitch"


def read_csv(file: Path, name: str = "csv", rendered: bool = False) -> RecognitionProtocol:
    """One identification ("all") of the file's probes in its gallery; paths are relative to the file.

    Probes of people who have no gallery picture are the open set's unknown probes.

    Raises:
        InvalidInputError: other columns, an unknown role or a bad number (naming the line), a picture listed twice, no
            gallery, no probe, or pictures that are missing on disk.
    """
    pictures = PictureList()
    gallery: list[int] = []
    probes: list[int] = []
    seen: dict[str, int] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            absent = {"path", "person", "role"} - set(rows.fieldnames or ())
            if absent:
                raise InvalidInputError(f"{file}: {EXPECTED}; missing: {', '.join(sorted(absent))}")
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                path, person, role = (row[key] or "" for key in ("path", "person", "role"))
                role = role.strip().lower()
                if not path or not person or role not in ("gallery", "probe"):
                    raise InvalidInputError(f"{where}: {EXPECTED}; got path {path!r}, person {person!r}, role {role!r}")
                if path in seen:
                    raise InvalidInputError(
                        f"{where}: expected each picture once; {path} is already listed on line {seen[path]}"
                    )
                seen[path] = rows.line_num
                picture = Picture(
                    path=file.parent / path,
                    name=path,
                    person=person,
                    pose=(row.get("pose") or "").strip() or None,
                    yaw=_angle(row.get("yaw"), where, "yaw"),
                    pitch=_angle(row.get("pitch"), where, "pitch"),
                )
                (gallery if role == "gallery" else probes).append(pictures.add(picture))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"expected a CSV file of pictures; cannot read {file}: {error}") from None
    if not gallery or not probes:
        raise InvalidInputError(
            f"{file}: expected at least one gallery and one probe row; got {len(gallery)} and {len(probes)}"
        )
    listed = pictures.done()
    enrolled = {listed[i].person for i in gallery}
    return RecognitionProtocol(
        name=name,
        pictures=listed,
        identifications=(
            Identification(
                "all",
                gallery=tuple(gallery),
                probes=tuple(i for i in probes if listed[i].person in enrolled),
                unknown=tuple(i for i in probes if listed[i].person not in enrolled),
            ),
        ),
        rendered=rendered,
        settings={"file": file.name, "people": len(enrolled)},
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
