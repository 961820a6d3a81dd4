"""How alike rendered people are, beside real ones: scores of strangers and of mates under the descriptor.

    facerec synth -o PEOPLE
    python benchmarks/rendered_people.py SETS... --rendered PEOPLE [--people 240]

SETS are sets of crops with their fits beside them (`facerec train face-set`). The real people are those for
calibration in them, adults, near-frontal, one picture each, groups and sexes balanced; the rendered ones are shown from
the front. Mates are another near-frontal picture, or one turned by about 30 degrees. A face not found is left out.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.synthesize import FRONTAL_POSE
from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.recognizer import DescribedFace, Recognizer
from facerec.recognition.signature import Signature
from facerec.recognition.training.crop_textures import CropTextures, FrontalLimits
from facerec.recognition.training.figures import person_groups

SEED = 1
MATES = 80
TURNED_POSE = 14  # yaw 30, pitch 0
TURNED = (22.0, 40.0)  # degrees of yaw of a real person's turned picture
PHOTO = slice(0, 2)  # the photograph's cells


def describe(recognizer: Recognizer, image: Image) -> Signature | None:
    """The signature of the largest face; None: not found or not described."""
    try:
        faces = recognizer.describe(image)
    except UnusablePhotoError:
        return None
    return faces[0].signature if faces and isinstance(faces[0], DescribedFace) else None


def scores(one: Sequence[Signature], other: Sequence[Signature]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, M) cosines of the photographs' cells, and normalised scores."""
    a, b = ((np.stack([s.cells for s in side]), np.stack([s.visible for s in side])) for side in (one, other))
    photo = masked_scores(*((cells[:, PHOTO], seen[:, PHOTO]) for cells, seen in (a, b)), "numpy")[0]
    return photo, normalised_scores(a, b, one[0].contract, product="numpy")[0]


def line(name: str, photo: NDArray[np.float32], score: NDArray[np.float32], mates: bool = False) -> str:
    """A row of the table: of strangers the high scores count, of mates the low ones."""
    rates = (0.05, 0.001) if mates else (0.95, 0.999)
    cells = [f"{v:.3f}" for a in (photo, score) for v in (a.mean(), a.std(), *np.quantile(a, rates))]
    return f"| {name} | {len(photo)} | " + " | ".join(cells) + " |"


def strangers(name: str, signatures: Sequence[Signature | None]) -> str:
    """The row of all pairs."""
    found = [s for s in signatures if s is not None]
    photo, score = scores(found, found)
    upper = np.triu_indices(len(found), 1)
    return line(f"{name}, {len(found)} of {len(signatures)} people", photo[upper], score[upper])


def mates(name: str, one: Sequence[Signature | None], other: Sequence[Signature | None]) -> str:
    """The row of each face and its mate."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    photo, score = scores([a for a, _ in pairs], [b for _, b in pairs])
    return line(name, np.diag(photo), np.diag(score), mates=True)


def real_rows(recognizer: Recognizer, sets: Sequence[Path], people: int) -> list[str]:
    """The rows of real people."""
    limits = FrontalLimits(people=people)
    chosen = CropTextures.frontal(sets, limits, SEED, calibration=True)
    found = [describe(recognizer, chosen.sets[s][0].crop(r)) for s, r in chosen.place.tolist()]
    kind = np.array([str(chosen.sets[s][0].group[r]) for s, r in chosen.place.tolist()])
    group = person_groups(chosen.person, kind)
    alike: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for name in np.unique(group[group != ""]):
        mine = [s for s, of in zip(found, group, strict=True) if of == name and s is not None]
        upper = np.triu_indices(len(mine), 1)
        alike.append(tuple(a[upper] for a in scores(mine, mine)))  # type: ignore[arg-type]
    rows = [strangers("real, strangers", found)]
    rows.append(line("real, strangers of one group and sex", *(np.concatenate(a) for a in zip(*alike, strict=True))))
    # Mates are of those sets that have several pictures of a person.
    several = CropTextures.frontal(sets, replace(limits, people=10**6), SEED, calibration=True)
    taken = 0
    near: list[tuple[Signature | None, Signature | None]] = []
    turned: list[tuple[Signature | None, Signature | None]] = []
    for (s, r), person in zip(several.place.tolist(), several.person, strict=True):
        crops, fits = several.sets[s]
        own = np.flatnonzero((crops.person == person) & fits.usable() & (np.abs(fits.pitch) < limits.max_pitch))
        own = own[own != r]
        yaw = np.abs(fits.yaw[own])
        pair = own[yaw < limits.max_yaw], own[(yaw >= TURNED[0]) & (yaw <= TURNED[1])]
        if not len(pair[0]) or not len(pair[1]):
            continue
        first = describe(recognizer, crops.crop(r))
        near.append((first, describe(recognizer, crops.crop(int(pair[0][0])))))
        turned.append((first, describe(recognizer, crops.crop(int(pair[1][0])))))
        taken += 1
        if taken == MATES:
            break
    rows.append(mates("real, mates, near-frontal", *zip(*near, strict=True)))
    rows.append(mates("real, mates, turned 22 to 40 degrees", *zip(*turned, strict=True)))
    return rows


def rendered_rows(recognizer: Recognizer, folder: Path) -> list[str]:
    """The rows of the rendered people in a folder that `facerec synth` wrote."""
    with (folder / "protocol.csv").open(newline="", encoding="utf-8") as file:
        trials = list(csv.DictReader(file))
    front, turned = (
        [describe(recognizer, read_image(folder / trial["path"])) for trial in trials if int(trial["pose"]) == pose]
        for pose in (FRONTAL_POSE, TURNED_POSE)
    )
    return [
        strangers(f"rendered ({folder.name}), strangers", front),
        mates(f"rendered ({folder.name}), mates, turned 30 degrees", front, turned),
    ]


@click.command()
@click.argument("sets", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rendered", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--people", default=240, type=click.IntRange(min=20), help="Largest number of real people.")
def main(sets: tuple[Path, ...], rendered: tuple[Path, ...], people: int) -> None:
    recognizer = Recognizer.load()
    names = ("photograph's cosine: mean", "spread", "95 % (mates: 5 %)", "99.9 % (mates: 0.1 %)")
    click.echo("| people | pairs | " + " | ".join([*names, "score: mean", *names[1:]]) + " |")
    click.echo("| --- " * 10 + "|")
    rows = real_rows(recognizer, sets, people) if sets else []
    for folder in rendered:
        rows += rendered_rows(recognizer, folder)
    click.echo("\n".join(rows))


if __name__ == "__main__":
    main()
