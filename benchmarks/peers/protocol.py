"""Other face networks by facerec's protocols: the pictures they have to describe, and score files of their vectors.

    python benchmarks/peers/protocol.py pictures cfp DATA/cfp-dataset PICTURES.csv --folds 7,8
    PEER/bin/python benchmarks/peers/face_recognition_vectors.py PICTURES.csv VECTORS.npz     # or onnx_vectors.py
    python benchmarks/peers/protocol.py scores cfp DATA/cfp-dataset VECTORS.npz SCORES --system face_recognition \
        --measure distance --folds 7,8
    facerec evaluate scores SCORES/*.npz --report out

The peer runs in an environment of its own, which needs nothing of facerec. A picture that it finds no face in has a
vector of NaN: its comparisons fail, and stay in every denominator. The score files are those of
`facerec evaluate recognition --scores`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from facerec.cli.evaluate import read_protocol
from facerec.cli.evaluate_output import fold_names
from facerec.evaluation.protocols.recognition import Identification, PairSet, Picture, RecognitionProtocol
from facerec.evaluation.ranks import person_scores
from facerec.evaluation.score_files import file_name, write_scores
from facerec.evaluation.score_set import Sample, ScoreSet, from_matrix, score_pairs
from facerec.landmarks.errors import InvalidInputError

Vectors = NDArray[np.float64]
MEASURES = ("cosine", "distance")


def likeness(first: Vectors, second: Vectors, measure: str) -> Vectors:
    """(P, G) scores of (P, D) vectors with (G, D): the cosine, or the distance with its sign turned; NaN where either
    picture failed."""
    if measure == "cosine":
        one, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second))
        return np.asarray(one @ other.T)
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.asarray(-np.sqrt(np.maximum(squared, 0)))


def protocol_scores(protocol: RecognitionProtocol, vectors: Vectors, measure: str) -> list[ScoreSet]:
    """The scores of each identification and set of pairs of `protocol`.

    Args:
        protocol: of single pictures.
        vectors: (N, D), one for each of its pictures; NaN for a picture that failed.
        measure: see `likeness`.
    """
    if protocol.templates or vectors.shape[:1] != (len(protocol.pictures),):
        raise InvalidInputError(
            f"expected a protocol of single pictures and a vector for each of the {len(protocol.pictures)}; got "
            f"{len(protocol.templates)} templates and vectors {vectors.shape}"
        )
    samples = [
        Sample(p.name, p.person, bool(found), p.yaw, p.pitch, p.groups)
        for p, found in zip(protocol.pictures, np.isfinite(vectors).all(axis=1), strict=True)
    ]
    sets = [_searched(one, protocol.pictures, samples, vectors, measure) for one in protocol.identifications]
    return sets + [_paired(one, samples, vectors, measure) for one in protocol.pairs]


def _searched(
    one: Identification, pictures: tuple[Picture, ...], samples: list[Sample], vectors: Vectors, measure: str
) -> ScoreSet:
    probes = (*one.probes, *one.unknown)
    scores = likeness(vectors[list(probes)], vectors[list(one.gallery)], measure)
    best, names, _ = person_scores(scores, [pictures[i].person for i in one.gallery])
    enrolled = {samples[i].person for i in one.gallery if samples[i].acquired}
    groups = {samples[i].person: samples[i].groups for i in one.gallery}
    references = [Sample(name, name, name in enrolled, groups=groups[name]) for name in names]
    return from_matrix(one.name, references, [samples[i] for i in probes], best)


def _paired(one: PairSet, samples: list[Sample], vectors: Vectors, measure: str) -> ScoreSet:
    first, second = np.array(one.first), np.array(one.second)
    scores = np.empty(len(first))
    for a in np.unique(first):
        mine = np.flatnonzero(first == a)
        scores[mine] = likeness(vectors[[a]], vectors[second[mine]], measure)[0]
    return score_pairs(one, samples, scores)


@click.group(help=__doc__)
def command() -> None:
    pass


def _options(function):  # type: ignore[no-untyped-def]
    function = click.option("--folds", default=None, help="Folds of cfp or lfw.")(function)
    function = click.argument("data", type=click.Path(exists=True, path_type=Path))(function)
    return click.argument("protocol")(function)


@command.command()
@_options
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def pictures(protocol: str, data: Path, folds: str | None, output: Path) -> None:
    """Write the protocol's pictures as name,path."""
    listed = read_protocol(protocol, data, fold_names(folds, protocol)).pictures
    with output.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "path"))
        writer.writerows((picture.name, picture.path.resolve()) for picture in listed)
    click.echo(f"{len(listed)} pictures")


@command.command()
@_options
@click.argument("encoded", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--system", required=True, help="What the files are called: SYSTEM-SET.")
@click.option("--measure", type=click.Choice(MEASURES), default="cosine", show_default=True)
def scores(
    protocol: str, data: Path, folds: str | None, encoded: Path, folder: Path, system: str, measure: str
) -> None:
    """Write score files of the protocol from a peer's vectors."""
    read = read_protocol(protocol, data, fold_names(folds, protocol))
    with np.load(encoded, allow_pickle=False) as file:
        known = dict(zip(file["names"].tolist(), file["vectors"].astype(np.float64), strict=True))
    absent = [picture.name for picture in read.pictures if picture.name not in known]
    if absent:
        raise click.UsageError(f"{encoded} lacks {len(absent)} of the protocol's pictures, the first: {absent[0]}")
    for one in protocol_scores(read, np.stack([known[picture.name] for picture in read.pictures]), measure):
        write_scores(folder, one, file_name(system, one.name))
        click.echo(f"{one.name}: {len(one.scores)} comparisons, {int(np.isnan(one.scores).sum())} failed")


if __name__ == "__main__":
    command()
