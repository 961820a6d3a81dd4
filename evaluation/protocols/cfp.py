"""Celebrities in Frontal-Profile (CFP), in its official tree.

    DATA/Data/Images/NNN/{frontal,profile}/NN.jpg
    DATA/Data/Fiducials/NNN/{frontal,profile}/NN.txt         30 lines "x,y" (landmarks only)
    DATA/Protocol/Pair_list_{F,P}.txt                        "INDEX ../Data/Images/NNN/frontal/NN.jpg"
    DATA/Protocol/Split/{FF,FP}/NN/{same,diff}.txt           "frontal,frontal" or "frontal,profile" indices

Verification follows the official folds. CFP defines no identification; here its gallery is frontal/01 of every person
in the chosen folds, its probes all their other frontal pictures ("frontal") and their profiles ("profile"). Only the
chosen folds' people need to be on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture
from facerec.evaluation.protocols.recognition import (
    Identification,
    PairSet,
    Picture,
    PictureList,
    RecognitionProtocol,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import cfp_to_ibug68
from facerec.landmarks.types import Box

View = Literal["frontal", "profile"]

EXPECTED = (
    "expected CFP's official tree (Data/Images/NNN/{frontal,profile}/NN.jpg, Protocol/Pair_list_F.txt, "
    "Protocol/Pair_list_P.txt, Protocol/Split/{FF,FP}/NN/{same,diff}.txt)"
)

# The gallery's picture of each person.
_ENROLLED = "01"

# CFP's points on the middle line of a frontal face, as rows of ibug68: chin, bridge, nose base, lips.
_MIDDLE = (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)


def read_cfp(data: Path, folds: Sequence[str] | None = None) -> RecognitionProtocol:
    """CFP's FF and FP folds with the identification of their people.

    Args:
        data: the folder that holds Data/ and Protocol/.
        folds: names such as "07" or "7"; all there are by default.

    Raises:
        InvalidInputError: the tree is not CFP's, a fold is not there, or a picture that the folds need is missing.
    """
    names = _folds(data, folds)
    pictures = PictureList()
    people: set[str] = set()
    sets: list[PairSet] = []
    for kind in ("FF", "FP"):
        lists = (_pair_list(data, "F"), _pair_list(data, kind[1]))
        first, second, same, fold = [], [], [], []
        for name in names:
            for file, flag in (("same.txt", True), ("diff.txt", False)):
                path = data / "Protocol" / "Split" / kind / name / file
                for a, b in _index_pairs(path):
                    ends = []
                    for index, listed in ((a, lists[0]), (b, lists[1])):
                        if index not in listed:
                            raise InvalidInputError(f"{path}: picture {index} is not in its Pair_list file")
                        person, view, number = listed[index]
                        people.add(person)
                        ends.append(pictures.add(_picture(data, person, view, number)))
                    if (lists[0][a][0] == lists[1][b][0]) is not flag:
                        raise InvalidInputError(f"{path}: pair {a},{b} does not belong in a list of {file[:4]} pairs")
                    first.append(ends[0])
                    second.append(ends[1])
                    same.append(flag)
                    fold.append(name)
        sets.append(PairSet(kind, tuple(first), tuple(second), tuple(same), tuple(fold)))

    gallery: list[int] = []
    probes: dict[str, list[int]] = {"frontal": [], "profile": []}
    absent = 0
    for letter in ("F", "P"):
        for person, view, number in _pair_list(data, letter).values():
            if person not in people:
                continue
            picture = _picture(data, person, view, number)
            enrolled = view == "frontal" and number == _ENROLLED
            if not enrolled and not picture.path.is_file():
                absent += 1
                continue
            (gallery if enrolled else probes[view]).append(pictures.add(picture))
    on_disk = pictures.done()
    if len(gallery) != len(people) or not all(probes.values()):
        raise InvalidInputError(
            f"{EXPECTED}, with frontal/{_ENROLLED}.jpg, other frontal pictures and profiles of the folds' people; the "
            f"pair lists give {len(gallery)} of the former for {len(people)} people, and on disk are "
            f"{len(probes['frontal'])} and {len(probes['profile'])} of the others"
        )
    return RecognitionProtocol(
        name="cfp",
        pictures=on_disk,
        identifications=tuple(Identification(view, tuple(gallery), tuple(ids)) for view, ids in probes.items()),
        pairs=tuple(sets),
        settings={
            "folds": list(names),
            "people": len(people),
            "gallery": "frontal/01 of each of the folds' people",
            # Listed pictures of these people that no pair needs and that are not on disk: no probes then.
            "listed_but_absent": absent,
        },
    )


def read_cfp_landmarks(
    data: Path, folds: Sequence[str] | None = None, view: View = "profile"
) -> list[AnnotatedPicture]:
    """The annotated pictures of the people in `folds`, one view, with their 30 points as rows of ibug68.

    The face box of a profile is the tight box of its points. A frontal picture has points on the image-left half and
    the middle line only, so its box is that of the points and of their mirror images in the middle line.

    Raises:
        InvalidInputError: the tree is not CFP's, or a fiducial file is missing or not 30 lines of "x,y".
    """
    names = _folds(data, folds)
    people = sorted({person for name in names for person in _fold_people(data, name)})
    annotated: list[AnnotatedPicture] = []
    for person in people:
        folder = data / "Data" / "Images" / person / view
        pictures = sorted(folder.glob("*.jpg"))
        if not pictures:
            raise InvalidInputError(f"{EXPECTED}; {folder} has no pictures")
        for picture in pictures:
            file = data / "Data" / "Fiducials" / person / view / f"{picture.stem}.txt"
            fiducials = _read_fiducials(file)
            points, _ = cfp_to_ibug68(fiducials, view)
            wide = points.astype(np.float64)
            box = Box.around(_add_mirror_images(wide) if view == "frontal" else wide)
            name = picture.relative_to(data).as_posix()
            annotated.append(AnnotatedPicture(path=picture, name=name, points=wide, box=box))
    return annotated


def _picture(data: Path, person: str, view: str, number: str) -> Picture:
    name = f"Data/Images/{person}/{view}/{number}.jpg"
    return Picture(path=data / name, name=name, person=person, pose=view)


def _folds(data: Path, folds: Sequence[str] | None) -> tuple[str, ...]:
    split = data / "Protocol" / "Split"
    there = [{path.name for path in (split / kind).glob("*") if path.is_dir()} for kind in ("FF", "FP")]
    known = sorted(there[0] & there[1])
    if not known:
        raise InvalidInputError(f"{EXPECTED}; {split} has no folds")
    if folds is None:
        return tuple(known)
    asked = list(dict.fromkeys(fold.strip().zfill(2) for fold in folds))
    absent = [fold for fold in asked if fold not in known]
    if absent or not asked:
        raise InvalidInputError(f"expected folds among {', '.join(known)}; got {', '.join(absent) or 'none'}")
    return tuple(asked)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{EXPECTED}; cannot read {path}: {error}") from None


def _pair_list(data: Path, letter: str) -> dict[int, tuple[str, str, str]]:
    """{index: (person, view, number)} of Pair_list_F.txt or Pair_list_P.txt."""
    path = data / "Protocol" / f"Pair_list_{letter}.txt"
    listed: dict[int, tuple[str, str, str]] = {}
    for line in _lines(path):
        index, _, target = line.partition(" ")
        parts = Path(target.strip()).parts
        if not index.isdigit() or len(parts) < 3 or parts[-2] not in ("frontal", "profile"):
            raise InvalidInputError(f"{path}: expected lines like '1 ../Data/Images/001/frontal/01.jpg'; got {line!r}")
        listed[int(index)] = (parts[-3], parts[-2], Path(parts[-1]).stem)
    return listed


def _index_pairs(path: Path) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for line in _lines(path):
        a, _, b = line.partition(",")
        if not (a.strip().isdigit() and b.strip().isdigit()):
            raise InvalidInputError(f"{path}: expected lines 'INDEX,INDEX'; got {line!r}")
        pairs.append((int(a), int(b)))
    return pairs


def _fold_people(data: Path, fold: str) -> set[str]:
    people: set[str] = set()
    for kind in ("FF", "FP"):
        lists = (_pair_list(data, "F"), _pair_list(data, kind[1]))
        for file in ("same.txt", "diff.txt"):
            path = data / "Protocol" / "Split" / kind / fold / file
            for pair in _index_pairs(path):
                for index, listed in zip(pair, lists, strict=True):
                    if index not in listed:
                        raise InvalidInputError(f"{path}: picture {index} is not in its Pair_list file")
                    people.add(listed[index][0])
    return people


def _read_fiducials(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    lines = _lines(path)
    try:
        fiducials = np.array([[float(value) for value in line.split(",")] for line in lines], dtype=np.float64)
    except ValueError:
        fiducials = np.empty((0, 2))
    if fiducials.shape != (30, 2):
        raise InvalidInputError(f"{path}: expected 30 lines 'x,y'; got {len(lines)} lines")
    return fiducials


def _add_mirror_images(
    points: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The points and their mirror images in the straight line that fits the middle ones best, (2 N, 2) px."""
    middle = points[list(_MIDDLE)]
    center = middle.mean(axis=0)
    along = np.linalg.svd(middle - center)[2][0]
    offset = points - center
    mirrored = center + 2 * (offset @ along)[:, None] * along - offset
    return np.concatenate([points, mirrored])
