"""Comparison of two reports of the same protocol, with a test whether they differ by more than chance."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facerec.evaluation.intervals import mcnemar
from facerec.evaluation.report import FORMAT
from facerec.evaluation.side_by_side import Comparison, compare_answers, measure_of
from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.landmarks.models import LANDMARK_MODELS

_WITHIN = (0.08, 0.10)  # the limits of the failure rates in a landmark report


def compare_reports(first: Path, second: Path) -> list[Comparison]:
    """Compare two recognition reports or two landmark reports, trial by trial.

    Reports of one system each are compared whatever the systems; of several, those that both have.

    Args:
        first, second: folders that `facerec evaluate ... --report` wrote.

    Raises:
        InvalidInputError: a folder holds no report, or the two are not of one kind.
        ContractError: the two are not of the same pictures and trials, or have no system in common.
    """
    contents = [_content(folder) for folder in (first, second)]
    kinds = [str(content["kind"]) for content in contents]
    if kinds[0] != kinds[1]:
        raise InvalidInputError(f"expected two reports of one kind; {first} is of {kinds[0]}, {second} of {kinds[1]}")
    digests = [content["digests"]["protocol"] for content in contents]
    if digests[0] != digests[1]:
        raise ContractError(
            f"expected two reports on the same pictures and trials; {first} is on {contents[0]['protocol']} "
            f"({digests[0][:12]}), {second} on {contents[1]['protocol']} ({digests[1][:12]})"
        )
    return _recognition(first, second) if kinds[0] == "recognition" else _landmarks(first, second, contents)


def _content(folder: Path) -> Mapping[str, Any]:
    path = folder / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidInputError(f"expected a folder with the report.json of an evaluation; {path} is not one")
    return content


def _recognition(first: Path, second: Path) -> list[Comparison]:
    one, other = _answers(first), _answers(second)
    if len(one) == len(other) == 1:
        systems = [(next(iter(one)), next(iter(other)))]
    else:
        called = {_without_default(name): name for name in other}
        systems = [(name, called[_without_default(name)]) for name in one if _without_default(name) in called]
    if not systems:
        raise ContractError(
            f"expected two reports with a system in common; {first} has {', '.join(one)}, "
            f"{second} has {', '.join(other)}"
        )
    comparisons: list[Comparison] = []
    for a, b in systems:
        left, right = one[a], other[b]
        if list(left) != list(right) or any(set(left[s]) != set(right[s]) for s in left):
            raise ContractError(f"expected the same trials in the row files of {first} and {second}")
        for name, answers in left.items():
            again = [right[name][trial] for trial in answers]
            comparisons.append(compare_answers(name, measure_of(name), (a, b), list(answers.values()), again))
    return comparisons


def _without_default(system: str) -> str:
    """A system's name without the default landmark model: godp+resnet is resnet."""
    return system.removeprefix(f"{LANDMARK_MODELS[0]}+")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        try:
            yield from csv.DictReader(stream)
        except KeyError as error:
            raise InvalidInputError(f"{path}: expected the column {error}") from None


def _answers(folder: Path) -> dict[str, dict[str, dict[tuple[str, ...], bool]]]:
    """Right or wrong by system, set and trial: rank 1 for known probes, the right decision for pairs."""
    answers: dict[str, dict[str, dict[tuple[str, ...], bool]]] = {}
    for file, kind in (("probes.csv", "identification"), ("pairs.csv", "verification")):
        path = folder / file
        if not path.is_file():
            continue
        for row in _rows(path):
            try:
                if kind == "verification":
                    trial: tuple[str, ...] = (row["first"], row["second"])
                    right = row["right"] == "True"
                elif row["known"] == "True":
                    trial, right = (row["file"],), row["rank"] == "1"
                else:
                    continue
                answers.setdefault(row["system"], {}).setdefault(f"{kind} {row['set']}", {})[trial] = right
            except KeyError as error:
                raise InvalidInputError(f"{path}: expected the column {error}") from None
    if not answers:
        raise InvalidInputError(f"expected probes.csv or pairs.csv beside report.json in {folder}; there is neither")
    return answers


def _landmarks(first: Path, second: Path, contents: list[Mapping[str, Any]]) -> list[Comparison]:
    errors = [_errors(folder) for folder in (first, second)]
    if set(errors[0]) != set(errors[1]) or not errors[0]:
        raise ContractError(f"expected the same faces in faces.csv of {first} and {second}")
    one = np.array(list(errors[0].values()))
    other = np.array([errors[1][face] for face in errors[0]])
    names = tuple(str(content["settings"].get("landmarks", "")) for content in contents)
    systems = (names[0], names[1])
    found = (np.isfinite(one).tolist(), np.isfinite(other).tolist())
    comparisons = [compare_answers("landmarks", "found", systems, *found)]
    for limit in _WITHIN:
        within = ((one <= limit).tolist(), (other <= limit).tolist())
        comparisons.append(compare_answers("landmarks", f"within {100 * limit:g} % by box", systems, *within))
    medians = [float(np.median(values)) for values in (one, other)]
    stated = [value if np.isfinite(value) else None for value in medians]
    nearer = mcnemar((one < other).tolist(), (other < one).tolist())
    comparisons.append(Comparison("landmarks", "median error by box", *systems, len(one), stated[0], stated[1], nearer))
    return comparisons


def _errors(folder: Path) -> dict[tuple[str, int], float]:
    """Box-normalised error by (file, which of its annotated faces); infinity for a face that was not found."""
    path = folder / "faces.csv"
    if not path.is_file():
        raise InvalidInputError(f"expected faces.csv beside report.json in {folder}; there is none")
    errors: dict[tuple[str, int], float] = {}
    seen: dict[str, int] = {}
    for row in _rows(path):
        try:
            number = seen[row["file"]] = seen.get(row["file"], -1) + 1
            missed = row["found"] != "True"
            errors[row["file"], number] = float("inf") if missed else float(row["nme_box"])
        except (KeyError, ValueError) as error:
            raise InvalidInputError(f"{path}: expected the columns file, found and nme_box; got {error}") from None
    return errors
