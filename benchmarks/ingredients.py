"""What each ingredient of the learnt descriptor adds, on the people for calibration, from packed crops.

    python benchmarks/ingredients.py SETS... [--network NAME=FILE ...] [--others 500] [-o FILE.json]

SETS are made by `facerec train face-set`; CFP's annotated pictures must be among them. CFP's people for calibration are
enrolled from one frontal picture each, beside one picture each of OTHERS further people for calibration; the probes are
CFP's other frontals and profiles. As many people again make the cohort. Every row adds one ingredient to the row above
it; each further network (a weight file like resnet.safetensors) adds a row with all of them, in place of the first one.
The figures: rank-1 of frontals and of profiles; FNMR of both at the score that 0.1 % of the pairs of a CFP probe and an
enrolled picture of somebody else reach; areas under the curve over CFP's pairs; and the highest false match rate within
a group and sex at the score that 0.1 % of the pairs of White people of one sex reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch.nn import functional as F

from facerec.frontalize.face_model import FaceModel
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.training.people import is_calibration_person
from facerec.recognition.cohort import Cohort
from facerec.recognition.descriptors import MIN_SEEN
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.resnet import FaceResNet, dlib_model_file, network_of, read_dlib_network
from facerec.recognition.resnet_graph import for_photographs
from facerec.recognition.training.batched_views import BatchedViews
from facerec.recognition.training.faces import Faces, load_faces
from facerec.recognition.training.figures import auc
from facerec.recognition.training.looks import network_input_of
from facerec.recognition.training.strangers import (
    CohortSettings,
    DescribedPeople,
    group_names,
    in_cohort,
    make_cohort,
)
from facerec.recognition.views import DLIB_FRAME, FACE_FRAME

SIDES = 300
"""Pictures of one side of training people's faces, in the cohort."""

LEAST_PEOPLE = 20
"""Of a group, for its rate to be judged."""

START = "the network that the training began with, alone"

PHOTO_LAYERS = {"resnet": "its layers for photographs", "resnet-start": "the start's layers for photographs"}
"""Weight files and what their networks with the layers for photographs are called here."""

LOOSE, PHOTO, MIRROR, LEFT, RIGHT = range(5)
"""The looks: the photograph in dlib's frame, in the package's, that one mirrored, and the halves."""


def chosen_faces(paths: tuple[Path, ...], others: int) -> Faces:
    """CFP's people for calibration, OTHERS each of the cohort's half and of the other half, and people's sides."""
    faces = load_faces(paths)
    calibration = np.array([is_calibration_person(str(name)) for name in faces.person])
    cfp = np.char.startswith(faces.source, "cfp")
    ytf = faces.source == "ytf"
    rng = np.random.default_rng(0)
    keep = calibration & cfp
    frontal = calibration & ~cfp & ~ytf & ~np.isin(faces.person, faces.person[keep])
    member = in_cohort(faces.person)
    for half in (member, ~member):
        rows = np.flatnonzero(frontal & half)
        rows = rows[np.lexsort((np.abs(faces.yaw[rows]), faces.person[rows]))]
        rows = rows[np.unique(faces.person[rows], return_index=True)[1]]
        rows = rng.permutation(rows)
        # UTKFace's people first: they are of all groups.
        keep[rows[np.argsort(faces.source[rows] != "utkface", kind="stable")][:others]] = True
    side = np.flatnonzero(~calibration & (cfp | ytf) & (np.abs(faces.yaw) >= CohortSettings().side_yaw))
    keep[rng.permutation(side)[:SIDES]] = True
    return faces.rows(keep)


def looks_of(faces: Faces, networks: list[FaceResNet]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(networks, N, 5, D) unit vectors of the looks, and (N, 2) which halves were seen."""
    model = FaceModel.load()
    tight, loose = BatchedViews(model, FACE_FRAME), BatchedViews(model, DLIB_FRAME)
    vectors, seen = [], []
    with torch.inference_mode():
        for first in range(0, len(faces), 64):
            rows = torch.arange(first, min(len(faces), first + 64))
            crops, fit = faces.crops.batch(rows), faces.fit.rows(rows)
            surface = tight.surface(tight.geometry(fit.shape, fit.expression), fit.rotation)
            pixels, shown = tight.frontal(*tight.lift(crops, fit, surface))
            side = torch.zeros(len(rows), dtype=torch.bool)
            photo = tight.photo(crops, fit)
            halves = tight.half(pixels, shown, side), tight.half(pixels, shown, ~side)
            looks = network_input_of(torch.cat([loose.photo(crops, fit), photo, photo.flip(3), *halves]))
            looks = looks.contiguous(memory_format=torch.channels_last)
            own = [F.normalize(network(looks).float(), dim=1).view(5, len(rows), -1) for network in networks]
            vectors.append(torch.stack(own).transpose(1, 2).numpy())
            seen.append((tight.shares(shown) >= MIN_SEEN).numpy())
    return np.concatenate(vectors, axis=1), np.concatenate(seen)


def described(faces: Faces, cells: list[NDArray[np.float32]], seen: NDArray[np.bool_]) -> DescribedPeople:
    """The faces by `cells` (N, D) each, of which the last two are halves when there are more than one."""
    unit = [c / np.maximum(np.linalg.norm(c, axis=1, keepdims=True), 1e-9) for c in cells]
    known = np.ones((len(faces), len(cells)), dtype=np.bool_)
    if len(cells) > 1:
        known[:, -2:] = seen
    made = np.stack(unit, axis=1) * known[..., None]
    names = group_names(faces.person, faces.group, faces.source)
    return DescribedPeople(made.astype(np.float32), known, faces.person, names, faces.yaw)


def measure(people: DescribedPeople, source: NDArray[np.str_], normalise: bool) -> dict[str, float]:
    """The figures of one row of the table."""
    calibration = np.array([is_calibration_person(str(name)) for name in people.person])
    of_set = np.char.partition(source, "-")[:, 0]
    cfp, member = of_set == "cfp", in_cohort(people.person)
    cohort = None
    if normalise:
        front = calibration & ~cfp & member
        cohort = make_cohort(people.rows(front), people.rows(~calibration), "")

    def score(a: DescribedPeople, b: DescribedPeople, cohort: Cohort | None = cohort) -> NDArray[np.float32]:
        values, overlap = masked_scores(a.vectors, b.vectors, "numpy")
        if cohort is not None:
            values = values - cohort.levels(*a.vectors).against(cohort.levels(*b.vectors))
        return np.where(overlap > 0, values, np.float32(-1))

    frontal = np.flatnonzero(calibration & (source == "cfp-frontal"))
    enrolled = frontal[np.unique(people.person[frontal], return_index=True)[1]]
    strangers = calibration & ~cfp & ~member
    gallery = people.rows(np.concatenate([enrolled, np.flatnonzero(strangers)]))
    out: dict[str, float] = {}
    probes = {"frontal": np.setdiff1d(frontal, enrolled), "profile": np.flatnonzero(source == "cfp-profile")}
    for name, rows in probes.items():
        rows = rows[calibration[rows]]
        found, same = score(people.rows(rows), gallery), people.person[rows][:, None] == gallery.person[None]
        mate = np.where(same, found, -1).max(axis=1)
        out[f"rank1_{name}"] = float((mate > np.where(same, -1, found).max(axis=1)).mean())
        out[f"fnmr_{name}"] = float((mate < np.quantile(found[~same], 0.999)).mean())
        pairs, own = (
            score(people.rows(frontal), people.rows(rows)),
            people.person[frontal][:, None] == people.person[rows],
        )
        out[f"auc_{name}"] = auc(pairs[own & (frontal[:, None] != rows)], pairs[~own])
    alike = {}
    for name in np.unique(people.group[strangers]):
        own = people.rows(np.flatnonzero(strangers & (people.group == name)))
        if " " in str(name) and len(own.person) >= LEAST_PEOPLE:
            alike[str(name)] = score(own, own)[np.triu_indices(len(own.person), 1)]
    threshold = np.quantile(np.concatenate([v for name, v in alike.items() if name.startswith("white")]), 0.999)
    rates = {name: float((values >= threshold).mean()) for name, values in alike.items()}
    out["worst_group"] = max(rates.values())
    return out


def rows_of(by: Mapping[str, NDArray[np.float32]], name: str) -> dict[str, tuple[list[NDArray[np.float32]], bool]]:
    """Cells and whether the cohort is subtracted, for each row of the table.

    Args:
        by: (N, 5, D) looks by network; `name` of the one that the rows are about.
    """
    looks = by[name]
    photo, second, *own = (by[one][:, PHOTO] + by[one][:, MIRROR] for one in (name, START, *PHOTO_LAYERS.values()))
    halves = [looks[:, LEFT], looks[:, RIGHT]]
    return {
        "the photograph in dlib's frame": ([looks[:, LOOSE]], False),
        "frame tighter by 1.15": ([looks[:, PHOTO]], False),
        "and its mirror image": ([photo], False),
        "and a cell for each half": ([photo, *halves], False),
        "and the photograph's cell twice": ([photo, photo, *halves], False),
        "and the cohort's level subtracted": ([photo, photo, *halves], True),
        "and the photograph's second cell by the other network": ([photo, second, *halves], True),
        "and both by layers for photographs": ([*own, *halves], True),
    }


@click.command()
@click.argument("sets", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--network", "named", multiple=True, help="NAME=FILE, a further network.")
@click.option("--others", default=500, show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def main(sets: tuple[Path, ...], named: tuple[str, ...], others: int, output: Path | None) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    shipped, start = (load_weights("recognition", file) for file in PHOTO_LAYERS)
    networks = {"": network_of(shipped), START: network_of(start)}
    for name, arrays in zip(PHOTO_LAYERS.values(), (shipped, start), strict=True):
        networks[name] = network_of(for_photographs(arrays))
    for entry in named:
        name, file = entry.split("=", 1)
        if file == "dlib":
            networks[name] = read_dlib_network(dlib_model_file(), shipped["dlib_mean"])
            continue
        with safe_open(file, framework="np") as read:
            networks[name] = network_of({key: read.get_tensor(key) for key in read.keys()})  # noqa: SIM118
    faces = chosen_faces(sets, others)
    looks, seen = looks_of(faces, [network.float().eval() for network in networks.values()])
    report = {}
    by = dict(zip(networks, looks, strict=True))
    for name in networks:
        if name in PHOTO_LAYERS.values():
            continue
        rows = list(rows_of(by, name).items())
        for row, (cells, normalise) in rows if name == "" else rows[-2:-1]:
            report[name or row] = measure(described(faces, cells, seen), faces.source, normalise)
    click.echo(f"{len(faces)} faces of {len(set(faces.person.tolist()))} people")
    columns = list(next(iter(report.values())))
    click.echo("| | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 1) + "|")
    for name, figures in report.items():
        click.echo(f"| {name} | " + " | ".join(f"{figures[c]:.4f}" for c in columns) + " |")
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
