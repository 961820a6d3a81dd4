"""Measurements of strangers: the cohort that normalises scores, and the scores of strangers and mates.

Everything is measured on the people for calibration, whom no descriptor was trained on. Half of them make the cohort,
the other half are scored against each other with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.cohort import Cohort
from facerec.recognition.masked_score import Vectors, masked_scores
from facerec.recognition.shipped_impostors import MATE_YAWS
from facerec.recognition.training.figures import person_groups


@dataclass(frozen=True)
class CohortSettings:
    """How a cohort is made.

    Attributes:
        merged: people whose mean a member is. Three look-alikes work as well as real people do, and are nobody.
        side_yaw: degrees from which on a picture shows one side of a face.
    """

    merged: int = 3
    side_yaw: float = 35.0


@dataclass(frozen=True, eq=False)
class DescribedPeople:
    """Faces with what is known of them.

    Attributes:
        cells: (N, C, D), visible: (N, C).
        person, group: (N,) unicode; the group is "asian woman" or the like, or else the set that the picture is of.
        yaw: (N,) degrees.
    """

    cells: NDArray[np.float32]
    visible: NDArray[np.bool_]
    person: NDArray[np.str_]
    group: NDArray[np.str_]
    yaw: NDArray[np.float32]

    def rows(self, at: NDArray[np.bool_] | NDArray[np.intp]) -> DescribedPeople:
        """Those at `at`."""
        return DescribedPeople(self.cells[at], self.visible[at], self.person[at], self.group[at], self.yaw[at])

    @property
    def vectors(self) -> Vectors:
        """Cells and visibility."""
        return self.cells, self.visible

    def most_frontal(self) -> NDArray[np.intp]:
        """Row of each person's most frontal picture."""
        order = np.lexsort((np.abs(self.yaw), self.person))
        first = np.unique(self.person[order], return_index=True)[1]
        return np.asarray(order[first], dtype=np.intp)


def group_names(person: NDArray[np.str_], group: NDArray[np.str_], source: NDArray[np.str_]) -> NDArray[np.str_]:
    """(N,) "asian woman", ... of the adults of sets that tell; the set's name of everybody else."""
    known = person_groups(person, group)
    age = np.array([_age(name) for name in person.tolist()])
    return np.where((known != "") & (age >= 18), known, np.char.partition(source, "-")[:, 0])


def _age(person: str) -> int:
    """Age that UTKFace and All-Age-Faces give in a picture's name; 0 elsewhere."""
    if person.startswith("utkface "):
        return int(person.split()[1].split("_")[0])
    return int(person.split()[1].split("A")[1]) if person.startswith("all-age-faces ") else 0


def in_cohort(person: NDArray[np.str_]) -> NDArray[np.bool_]:
    """(N,) whether each person is of the half that makes the cohort, by a hash of the name."""
    known = {name: hashlib.sha256(f"cohort {name}".encode()).digest()[0] < 128 for name in set(person.tolist())}
    return np.array([known[name] for name in person.tolist()], dtype=np.bool_)


def make_cohort(
    frontal: DescribedPeople, sides: DescribedPeople, contract: str, settings: CohortSettings | None = None
) -> Cohort:
    """A cohort of people seen from the front and of people seen from one side.

    Args:
        frontal: of these each person's most frontal picture is used.
        sides: of these the pictures beyond `side_yaw` that show one half of the face; the left half of a face and the
            right half of its mirror image are described alike, so each member stands for either side.
        contract: digest of the contract that they were described under.
        settings: see there.

    Raises:
        InvalidInputError: too few people for a single member.
    """
    settings = settings or CohortSettings()
    front = frontal.rows(frontal.most_frontal())
    front = front.rows(front.visible.all(axis=1) & (np.abs(front.yaw) < settings.side_yaw))
    members = [merge_look_alikes(front.cells, front.group, settings.merged)]
    if not len(members[0]):
        raise InvalidInputError(f"expected frontal pictures of at least {settings.merged} people of a group")
    visible = [np.ones(members[0].shape[:2], dtype=np.bool_)]
    for cells, seen in _both_sides(sides, settings):
        members.append(cells)
        visible.append(np.tile(seen, (len(cells), 1)))
    return Cohort(np.concatenate(members), np.concatenate(visible), contract)


def _both_sides(
    sides: DescribedPeople, settings: CohortSettings
) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Members seen from one side, and the same seen from the other."""
    # The last two cells are the halves, left and right.
    one = sides.visible[:, -2] != sides.visible[:, -1]
    turned = sides.rows(one & (np.abs(sides.yaw) >= settings.side_yaw))
    if not len(turned.person):
        return []
    swapped = turned.visible[:, -1]
    cells = turned.cells.copy()
    cells[swapped, -2] = cells[swapped, -1]
    cells[:, -1] = 0
    names, number = np.unique(turned.person, return_inverse=True)
    mean = np.zeros((len(names), *cells.shape[1:]), dtype=np.float32)
    np.add.at(mean, number, cells)
    group = np.array([turned.group[np.flatnonzero(number == k)[0]] for k in range(len(names))])
    left = merge_look_alikes(unit_cells(mean), group, settings.merged)
    right = left.copy()
    right[:, [-2, -1]] = left[:, [-1, -2]]
    without_last, without_left = np.ones((2, cells.shape[1]), dtype=np.bool_)
    without_last[-1] = without_left[-2] = False
    return [(left, without_last), (right, without_left)]


def merge_look_alikes(cells: NDArray[np.float32], group: NDArray[np.str_], merged: int) -> NDArray[np.float32]:
    """Means (M, C, D) of `merged` people (N, C, D) each, of one group, who look alike; nobody is in two."""
    flat = cells.reshape(len(cells), -1)
    out: list[NDArray[np.float32]] = []
    for name in np.unique(group):
        left = np.flatnonzero(group == name).tolist()
        while len(left) >= merged:
            first = left.pop()
            alike = flat[left] @ flat[first]
            chosen = [left[k] for k in np.argsort(-alike, kind="stable")[: merged - 1]]
            out.append(cells[[first, *chosen]].sum(axis=0))
            left = [k for k in left if k not in chosen]
    return unit_cells(np.stack(out)) if out else np.zeros((0, *cells.shape[1:]), dtype=np.float32)


def unit_cells(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cells (N, C, D) brought to unit length; zeros stay."""
    return np.asarray(cells / np.maximum(np.linalg.norm(cells, axis=2, keepdims=True), 1e-9), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class StrangerScores:
    """Normalised scores of the people who are not in the cohort.

    Attributes:
        alike: by group of one sex, of all pairs within the group: the strangers who are hardest to tell apart.
        general: by set, of each picture with the most frontal one of every other person of the set.
        mates: (M,) of each picture with the most frontal other one of the same person, and mate_yaws (M,) its yaw.
    """

    alike: dict[str, NDArray[np.float32]]
    general: dict[str, NDArray[np.float32]]
    mates: NDArray[np.float32]
    mate_yaws: NDArray[np.float32]


UNNAMED_SETS = ("all", "utkface")
"""Sets (All-Age-Faces, UTKFace) that do not say who is who: some of their people are in several pictures."""

ONE_PERSON = 0.2
"""Normalised score from which on two pictures of such a set count as one person's and are left out: of the eight pairs
of people for calibration above it, a look at them found seven of one person; at 0.15 to 0.2 five of twelve."""


def score_strangers(people: DescribedPeople, of_set: NDArray[np.str_], cohort: Cohort | None) -> StrangerScores:
    """Score people against each other.

    Args:
        people: whoever is not in the cohort.
        of_set: (N,) the set of each picture.
        cohort: takes its level off; None: masked scores.
    """
    first = people.most_frontal()
    scores, overlap = masked_scores(people.vectors, people.rows(first).vectors, "numpy")
    if cohort is not None:
        levels = cohort.levels(*people.vectors)
        scores -= levels.against(levels.rows(first.astype(np.int64)))
    shared = overlap > 0
    unnamed = np.isin(of_set, UNNAMED_SETS)
    shared &= ~(unnamed[:, None] & unnamed[first][None, :] & (scores >= ONE_PERSON))
    same = people.person[:, None] == people.person[first][None, :]
    alike, general = {}, {}
    is_first = np.isin(np.arange(len(people.person)), first)
    for name in np.unique(people.group):
        rows, columns = np.flatnonzero((people.group == name) & is_first), np.flatnonzero(people.group[first] == name)
        if name != "" and " " in str(name) and len(columns) >= 10:
            grid = np.ix_(rows, columns)
            once = first[columns][None, :] > rows[:, None]
            alike[str(name)] = scores[grid][shared[grid] & ~same[grid] & once]
    for name in np.unique(of_set):
        rows, columns = np.flatnonzero(of_set == name), np.flatnonzero(of_set[first] == name)
        if len(columns) >= 10:
            grid = np.ix_(rows, columns)
            general[str(name)] = scores[grid][shared[grid] & ~same[grid]]
    mate = same & shared & (np.arange(len(people.person))[:, None] != first[None, :])
    at, which = np.nonzero(mate)
    return StrangerScores(alike, general, scores[at, which], np.abs(people.yaw[at]))


def mates_by_yaw(scores: StrangerScores, least: int = 20) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """For each bin of yaw (its upper end, degrees) 51 quantiles of mates' scores; bins of too few are left out."""
    out = []
    for low, high in pairwise(MATE_YAWS):
        own = scores.mates[(scores.mate_yaws >= low) & (scores.mate_yaws < high)]
        if len(own) >= least:
            out.append((high, tuple(float(v) for v in np.quantile(own, np.linspace(0, 1, 51)))))
    return tuple(out)


def same_person_logit(scores: StrangerScores) -> tuple[float, float]:
    """(a, b) of p = 1 / (1 + exp(-(a + b S'))), fitted to mates and strangers of one group and sex, half and half."""
    from sklearn.linear_model import LogisticRegression

    strangers = np.concatenate(list(scores.alike.values()))
    values = np.concatenate([scores.mates, strangers])
    same = np.concatenate([np.ones(len(scores.mates)), np.zeros(len(strangers))])
    weight = np.where(same > 0, 0.5 / max(1, len(scores.mates)), 0.5 / max(1, len(strangers)))
    fitted = LogisticRegression(C=1e6).fit(values[:, None], same, sample_weight=weight * len(values))
    return float(fitted.intercept_[0]), float(fitted.coef_[0, 0])
