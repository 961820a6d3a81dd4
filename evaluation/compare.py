"""Two reports of the same protocol: what changed, and is it more than chance?"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerec.evaluation.intervals import McNemar, mcnemar
from facerec.evaluation.report import FORMAT
from facerec.landmarks.errors import ContractError, InvalidInputError


@dataclass(frozen=True)
class Comparison:
    """One set of trials under two systems.

    Attributes:
        set: "identification NAME" or "verification NAME".
        n: trials.
        first, second: share of right answers; failures are wrong.
        test: McNemar's test on the trials on which they differ.
    """

    set: str
    n: int
    first: float
    second: float
    test: McNemar


def compare_reports(first: Path, second: Path) -> list[Comparison]:
    """Compare two recognition reports, trial by trial.

    Args:
        first, second: folders that `facerec evaluate recognition ... --report` wrote.

    Raises:
        InvalidInputError: a folder holds no recognition report.
        ContractError: the two are not of the same pictures and trials.
    """
    contents = [_content(folder) for folder in (first, second)]
    digests = [content["digests"]["protocol"] for content in contents]
    if digests[0] != digests[1]:
        raise ContractError(
            f"expected two reports on the same pictures and trials; {first} is on {contents[0]['protocol']} "
            f"({digests[0][:12]}), {second} on {contents[1]['protocol']} ({digests[1][:12]})"
        )
    answers = [_answers(folder) for folder in (first, second)]
    if list(answers[0]) != list(answers[1]) or any(set(answers[0][s]) != set(answers[1][s]) for s in answers[0]):
        raise ContractError(f"expected the same trials in the row files of {first} and {second}")
    comparisons: list[Comparison] = []
    for name, right in answers[0].items():
        trials = list(right)
        a, b = [right[trial] for trial in trials], [answers[1][name][trial] for trial in trials]
        comparisons.append(Comparison(name, len(trials), sum(a) / len(a), sum(b) / len(b), mcnemar(a, b)))
    return comparisons


def _content(folder: Path) -> Mapping[str, Any]:
    path = folder / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("kind") != "recognition":
        raise InvalidInputError(
            f"expected a folder with the report.json of a recognition evaluation; {path} is not one"
        )
    return content


def _answers(folder: Path) -> dict[str, dict[tuple[str, ...], bool]]:
    """Right or wrong by set and trial: rank 1 for known probes, the right decision for pairs."""
    answers: dict[str, dict[tuple[str, ...], bool]] = {}
    for file, kind in (("probes.csv", "identification"), ("pairs.csv", "verification")):
        path = folder / file
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                try:
                    if kind == "verification":
                        trial: tuple[str, ...] = (row["first"], row["second"])
                        right = row["right"] == "True"
                    elif row["known"] == "True":
                        trial, right = (row["file"],), row["rank"] == "1"
                    else:
                        continue
                    answers.setdefault(f"{kind} {row['set']}", {})[trial] = right
                except KeyError as error:
                    raise InvalidInputError(f"{path}: expected the column {error}") from None
    if not answers:
        raise InvalidInputError(f"expected probes.csv or pairs.csv beside report.json in {folder}; there is neither")
    return answers
