"""Labeled Faces in the Wild: ten folds of 300 same and 300 different pairs.

DATA/pairs.txt                     "FOLDS<TAB>PAIRS", then a fold's same pairs "NAME<TAB>i<TAB>j" and different
                                   pairs "NAME<TAB>i<TAB>OTHER<TAB>j"
DATA/NAME/NAME_0001.jpg            or DATA/lfw*/NAME/NAME_0001.jpg
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facerec.evaluation.protocols.recognition import PairSet, Picture, PictureList, RecognitionProtocol
from facerec.landmarks.errors import InvalidInputError

EXPECTED = "expected LFW's tree (pairs.txt beside NAME/NAME_0001.jpg or lfw*/NAME/NAME_0001.jpg)"


def read_lfw(data: Path, folds: Sequence[str] | None = None) -> RecognitionProtocol:
    """LFW's restricted verification protocol (view 2).

    Args:
        data: folder with pairs.txt and the pictures.
        folds: numbers from 1; all by default.

    Raises:
        InvalidInputError: the tree is not LFW's, a line of pairs.txt is not one, or a picture is missing.
    """
    path = data / "pairs.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = [int(word) for word in lines[0].split()]
    except (OSError, UnicodeDecodeError, IndexError, ValueError):
        raise InvalidInputError(f"{EXPECTED}; {path} is missing or does not begin with the number of pairs") from None
    count, size = (head[0], head[1]) if len(head) == 2 else (1, head[0] if head else 0)
    rows = [line.split("\t") for line in lines[1:] if line.strip()]
    if count < 1 or size < 1 or len(rows) != 2 * count * size:
        raise InvalidInputError(f"{path}: expected {2 * count * size} pairs after {lines[0]!r}; got {len(rows)}")
    known = [str(number + 1) for number in range(count)]
    asked = [fold.strip().lstrip("0") for fold in folds] if folds is not None else known
    absent = [fold for fold in asked if fold not in known]
    if absent or not asked:
        raise InvalidInputError(f"expected folds among {', '.join(known)}; got {', '.join(absent) or 'none'}")

    roots = [data, *sorted(folder for folder in data.glob("lfw*") if folder.is_dir())]
    root = next((folder for folder in roots if (folder / rows[0][0]).is_dir()), None)
    if root is None:
        raise InvalidInputError(f"{EXPECTED}; there is no folder {rows[0][0]} in {data} or {data}/lfw*")

    pictures = PictureList()
    first, second, same, fold = [], [], [], []
    for number, row in enumerate(rows):
        name = str(number // (2 * size) + 1)
        genuine = number % (2 * size) < size
        numbers = (row[1], row[-1]) if len(row) == (3 if genuine else 4) else ("", "")
        if not all(digits.isdigit() for digits in numbers):
            raise InvalidInputError(
                f"{path}, line {number + 2}: expected {'NAME i j' if genuine else 'NAME i OTHER j'}"
            )
        if name not in asked:
            continue
        people = (row[0], row[0] if genuine else row[2])
        ends = []
        for person, digits in zip(people, numbers, strict=True):
            relative = f"{person}/{person}_{int(digits):04d}.jpg"
            ends.append(pictures.add(Picture(root / relative, relative, person)))
        first.append(ends[0])
        second.append(ends[1])
        same.append(genuine)
        fold.append(name)
    return RecognitionProtocol(
        name="lfw",
        pictures=pictures.done(),
        pairs=(PairSet("pairs", tuple(first), tuple(second), tuple(same), tuple(fold)),),
        settings={"folds": asked},
    )
