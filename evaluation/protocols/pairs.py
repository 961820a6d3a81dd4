"""Any pairs of photographs, by a CSV file: path_a, path_b, same and, optionally, people, folds and groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from facerec.evaluation.protocols.csv_protocol import groups_of
from facerec.evaluation.protocols.recognition import PairSet, Picture, PictureList, RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.tables import beside_table, read_table

EXPECTED = (
    "expected the columns path_a,path_b,same (0 or 1), and optionally person_a,person_b,fold, group:NAME of both "
    "pictures, group_a:NAME, group_b:NAME of one"
)


def read_pairs(file: Path) -> RecognitionProtocol:
    """Verification of the file's pairs ("pairs"); paths are relative to it.

    Without the columns person_a and person_b people are those that pairs with same = 1 tie together: pictures that no
    such pair ties are taken for different people, as intervals draw them.

    Raises:
        InvalidInputError: other columns, a bad cell (naming the line), no picture on disk at all (those that
            are missing count as failures), one picture of two people or in two groups, or people that contradict same.
    """
    columns, rows = read_table(file)
    absent = {"path_a", "path_b", "same"} - set(columns)
    if absent:
        raise InvalidInputError(f"{file}: {EXPECTED}; missing: {', '.join(sorted(absent))}")
    for line, row in rows:
        if not row["path_a"] or not row["path_b"] or row["same"] not in ("0", "1"):
            raise InvalidInputError(
                f"{file}, line {line}: {EXPECTED}; got {row['path_a']!r}, {row['path_b']!r}, {row['same']!r}"
            )
    if not rows:
        raise InvalidInputError(f"{file}: expected at least one pair; got none")
    people = _people(file, rows)
    pictures = PictureList()
    known: dict[str, Picture] = {}
    sides: tuple[list[int], list[int]] = ([], [])
    for line, row in rows:
        for side, into in zip("ab", sides, strict=True):
            path = row[f"path_{side}"]
            groups = dict(groups_of(row, "group:")) | dict(groups_of(row, f"group_{side}:"))
            picture = Picture(beside_table(file, path), path, people[path], groups=tuple(groups.items()))
            if known.setdefault(path, picture) != picture:
                raise InvalidInputError(
                    f"{file}, line {line}: expected {path} in the groups of its first line, "
                    f"{known[path].groups}; got {picture.groups}"
                )
            into.append(pictures.add(picture))
    same = tuple(row["same"] == "1" for _, row in rows)
    folds = tuple((row.get("fold") or "").strip() or "all" for _, row in rows)
    return RecognitionProtocol(
        name="pairs",
        pictures=pictures.done(some_missing=True),
        pairs=(PairSet("pairs", tuple(sides[0]), tuple(sides[1]), same, folds),),
        settings={"file": file.name, "people": len(set(people.values()))},
    )


def _people(file: Path, rows: list[tuple[int, dict[str, str]]]) -> Mapping[str, str]:
    """Who each picture shows: as stated, or as pairs of one person tie pictures together."""
    named: dict[str, str] = {}
    stated = {"person_a", "person_b"} <= set(rows[0][1])
    parent: dict[str, str] = {}

    def root(path: str) -> str:
        parent.setdefault(path, path)
        while parent[path] != path:
            parent[path] = parent[parent[path]]
            path = parent[path]
        return path

    for line, row in rows:
        for side in "ab":
            path, person = row[f"path_{side}"], (row.get(f"person_{side}") or "").strip()
            if stated and (not person or named.setdefault(path, person) != person):
                raise InvalidInputError(
                    f"{file}, line {line}: expected one name for {path} on every line; got {person!r}"
                )
            root(path)
        if row["same"] == "1":
            parent[root(row["path_a"])] = root(row["path_b"])
    people = named if stated else {path: root(path) for path in parent}
    for line, row in rows:
        one = people[row["path_a"]] == people[row["path_b"]]
        if one != (row["same"] == "1"):
            raise InvalidInputError(
                f"{file}, line {line}: expected same = {int(one)}, as the people of other lines say; got {row['same']}"
            )
    return people
