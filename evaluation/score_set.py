"""Scores of comparisons as a value: both sides of each comparison with their known properties, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.protocols.recognition import Identification, PairSet, Picture
from facerec.evaluation.signatures import PictureResult
from facerec.landmarks.errors import InvalidInputError

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One side of a comparison: a probe, or what it is compared with (a picture, a template, a person's entries).

    Attributes:
        name: what it is called in files, unique on its side.
        person: who it shows.
        acquired: whether a signature came of it. For a probe this is the standard's acquisition, for a reference its
            enrolment.
        yaw, pitch: degrees, where known.
        groups: (name, value) of each grouping it has a value in, e.g. ("age", "20-29").
        quality: predicted usefulness, more is better, where known.
    """

    name: str
    person: str
    acquired: bool = True
    yaw: float | None = None
    pitch: float | None = None
    groups: tuple[tuple[str, str], ...] = ()
    quality: float | None = None


@dataclass(frozen=True, eq=False)
class ScoreSet:
    """N comparisons of probes with references; a higher score means more similar.

    Attributes:
        name: of the set.
        references, probes: the two sides, R and P samples.
        reference, probe: (N,) int64, which of them each comparison is between.
        scores: (N,) float64; NaN for a comparison that was not completed.
    """

    name: str
    references: tuple[Sample, ...]
    probes: tuple[Sample, ...]
    reference: NDArray[np.int64]
    probe: NDArray[np.int64]
    scores: Scores

    def __post_init__(self) -> None:
        n = len(self.scores)
        sides = ((self.reference, self.references), (self.probe, self.probes))
        if not n or self.scores.shape != (n,) or any(index.shape != (n,) for index, _ in sides):
            raise InvalidInputError(
                f"{self.name}: expected N scores, each with a reference and a probe; got {self.scores.shape}, "
                f"{self.reference.shape}, {self.probe.shape}"
            )
        if any(index.min() < 0 or index.max() >= len(samples) for index, samples in sides):
            raise InvalidInputError(f"{self.name}: expected indices of listed samples; got others")
        if np.isinf(self.scores).any():
            raise InvalidInputError(f"{self.name}: expected finite scores, or NaN for what failed; got infinity")

    def people(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Number of each comparison's two people, (N,) for references and (N,) for probes, and how many there are."""
        place = {one: i for i, one in enumerate(sorted({s.person for s in (*self.references, *self.probes)}))}
        first, second = (
            np.array([place[sample.person] for sample in samples], dtype=np.int64)[index]
            for samples, index in ((self.references, self.reference), (self.probes, self.probe))
        )
        return first, second, len(place)

    def same(self) -> NDArray[np.bool_]:
        """(N,) whether the two are one person."""
        first, second, _ = self.people()
        return np.asarray(first == second)

    def matrix(self) -> Scores | None:
        """(P, R) scores when every probe was compared with every reference once and each reference is another person:
        an identification; None otherwise."""
        shape = (len(self.probes), len(self.references))
        if len(self.scores) != shape[0] * shape[1] or len({one.person for one in self.references}) != shape[1]:
            return None
        place = self.probe * shape[1] + self.reference
        if len(np.unique(place)) != len(place):
            return None
        filled = np.empty(len(place))
        filled[place] = self.scores
        return filled.reshape(shape)


def from_matrix(name: str, references: Sequence[Sample], probes: Sequence[Sample], scores: Scores) -> ScoreSet:
    """Every probe against every reference; `scores` is (P, R)."""
    if scores.shape != (len(probes), len(references)):
        raise InvalidInputError(f"{name}: expected scores ({len(probes)}, {len(references)}); got {scores.shape}")
    probe, reference = np.divmod(np.arange(scores.size, dtype=np.int64), max(len(references), 1))
    return ScoreSet(name, tuple(references), tuple(probes), reference, probe, scores.ravel().astype(np.float64))


def identification_scores(
    pictures: Sequence[Picture],
    one: Identification,
    results: Sequence[PictureResult],
    names: Sequence[str],
    best: Scores,
) -> ScoreSet:
    """The scores of an identification: its probes, known and unknown, against the people `names`; `best` is (P, N)."""
    enrolled = {pictures[i].person for i in one.gallery if results[i].signature is not None}
    groups = {pictures[i].person: pictures[i].groups for i in one.gallery}
    references = [Sample(name, name, name in enrolled, groups=groups[name]) for name in names]
    probes = [_sample(pictures[i], results[i]) for i in (*one.probes, *one.unknown)]
    return from_matrix(one.name, references, probes, best)


def pair_scores(
    pictures: Sequence[Picture], one: PairSet, results: Sequence[PictureResult], scores: Scores
) -> ScoreSet:
    """The scores of pairs: the first picture of each stands as the reference, the second as the probe."""
    return score_pairs(one, [_sample(*known) for known in zip(pictures, results, strict=True)], scores)


def score_pairs(one: PairSet, samples: Sequence[Sample], scores: Scores) -> ScoreSet:
    """As `pair_scores`, of samples that are known: one for each of the protocol's pictures."""
    sides = []
    for side in (one.first, one.second):
        place = {index: number for number, index in enumerate(dict.fromkeys(side))}
        taken = tuple(samples[index] for index in place)
        sides.append((taken, np.array([place[index] for index in side], dtype=np.int64)))
    return ScoreSet(one.name, sides[0][0], sides[1][0], sides[0][1], sides[1][1], scores)


def _sample(picture: Picture, result: PictureResult) -> Sample:
    return Sample(
        name=picture.name,
        person=picture.person,
        acquired=result.signature is not None,
        yaw=result.yaw if picture.yaw is None else picture.yaw,
        pitch=result.pitch if picture.pitch is None else picture.pitch,
        groups=picture.groups,
        quality=result.quality,
    )
