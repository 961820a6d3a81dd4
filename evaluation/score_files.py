"""Score files: written for other tools, and read from any system.

Three forms. `.csv` has one row per comparison, with the columns probe_template_id, probe_subject_id,
bio_ref_template_id, bio_ref_subject_id, score, as bob writes them, and what else is known as probe_yaw,
probe_group:NAME and so on; an empty score is a comparison that was not completed. `.txt` has four columns (claimed
identity, real identity, name of the probe, score; "nan" for a failure), which leave out what else is known. `.npz`
holds numbers and names, no objects.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facerec.evaluation.score_set import Sample, ScoreSet
from facerec.landmarks.errors import InvalidInputError

_SIDES = ("bio_ref", "probe")
_NUMBERS = ("yaw", "pitch", "quality")
_REQUIRED = ("probe_subject_id", "bio_ref_subject_id", "score")
EXPECTED = (
    "expected scores as .csv (columns probe_template_id, probe_subject_id, bio_ref_template_id, bio_ref_subject_id, "
    "score), as four columns in .txt (claimed real probe score) or as .npz of facerec"
)
FORMAT = "facerec-scores-1"


def file_name(system: str, name: str) -> str:
    """SYSTEM-NAME with only characters that every file system takes."""
    return "".join(c if c.isalnum() or c in "+-._" else "_" for c in f"{system}-{name}")


def write_scores(folder: Path, one: ScoreSet, name: str) -> list[Path]:
    """Write NAME.csv, NAME.txt and NAME.npz into `folder`; the paths written. The folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{ending}" for ending in (".csv", ".txt", ".npz")]
    _write_csv(paths[0], one)
    with paths[1].open("w", encoding="utf-8") as stream:
        for reference, probe, score in zip(one.reference, one.probe, one.scores, strict=True):
            sample = one.probes[probe]
            words = (one.references[reference].person, sample.person, sample.name)
            stream.write(" ".join(word.replace(" ", "_") for word in words) + f" {float(score)!r}\n")
    content: dict[str, Any] = {"format": np.array(FORMAT), "name": np.array(one.name), "scores": one.scores}
    content |= {"bio_ref": one.reference, "probe": one.probe}
    for side, samples in zip(_SIDES, (one.references, one.probes), strict=True):
        content |= _arrays(side, samples)
    with paths[2].open("wb") as binary:
        np.savez_compressed(binary, **content)
    return paths


def _arrays(side: str, samples: Sequence[Sample]) -> dict[str, Any]:
    arrays = {
        f"{side}_template_id": np.array([sample.name for sample in samples]),
        f"{side}_subject_id": np.array([sample.person for sample in samples]),
        f"{side}_acquired": np.array([sample.acquired for sample in samples]),
    }
    for name in _NUMBERS:
        values = [getattr(sample, name) for sample in samples]
        arrays[f"{side}_{name}"] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    for name in _groupings(samples):
        arrays[f"{side}_group:{name}"] = np.array([dict(sample.groups).get(name, "") for sample in samples])
    return arrays


def _groupings(samples: Sequence[Sample]) -> list[str]:
    return sorted({name for sample in samples for name, _ in sample.groups})


def _write_csv(path: Path, one: ScoreSet) -> None:
    groupings = [_groupings(one.references), _groupings(one.probes)]
    more = [
        f"{side}_{name}"
        for side, names in zip(_SIDES, groupings, strict=True)
        for name in ("acquired", *_NUMBERS, *(f"group:{name}" for name in names))
    ]

    def known(sample: Sample, names: Sequence[str]) -> list[Any]:
        values = [int(sample.acquired), *(getattr(sample, name) for name in _NUMBERS)]
        values += [dict(sample.groups).get(name, "") for name in names]
        return ["" if value is None else value for value in values]

    beside = [known(sample, groupings[0]) for sample in one.references]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        ids = ("probe_template_id", "probe_subject_id", "bio_ref_template_id", "bio_ref_subject_id", "score")
        writer.writerow([*ids, *more])
        for r, p, score in zip(one.reference, one.probe, one.scores, strict=True):
            reference, probe = one.references[r], one.probes[p]
            text = "" if math.isnan(score) else repr(float(score))
            row = [probe.name, probe.person, reference.name, reference.person, text]
            writer.writerow([*row, *beside[r], *known(probe, groupings[1])])


def read_scores(path: Path) -> ScoreSet:
    """The scores in a file of any of the three forms; its name without the ending is the set's.

    Where a file does not say what was acquired, a probe or a reference none of whose comparisons was completed was not.

    Raises:
        InvalidInputError: another form; names the file and the line.
    """
    if path.suffix == ".npz":
        return _read_npz(path)
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as stream:
                rows = csv.DictReader(stream)
                absent = [name for name in _REQUIRED if name not in (rows.fieldnames or ())]
                if absent:
                    raise InvalidInputError(f"{path}: {EXPECTED}; missing: {', '.join(absent)}")
                return _score_set_of(path, [(rows.line_num, row) for row in rows])
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{EXPECTED}; cannot read {path}: {error}") from None
    listed = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) not in (4, 5):
            raise InvalidInputError(f"{path}, line {number}: {EXPECTED}; got {len(words)} columns")
        claimed, label, (real, probe, score) = words[0], words[-4] if len(words) == 5 else words[0], words[-3:]
        row = {"bio_ref_subject_id": claimed, "bio_ref_template_id": label, "probe_subject_id": real}
        listed.append((number, row | {"probe_template_id": probe, "score": score}))
    return _score_set_of(path, listed)


def _number(text: str | None, where: str) -> float | None:
    cell = (text or "").strip()
    try:
        value = float(cell) if cell else math.nan
    except ValueError:
        raise InvalidInputError(f"{where}: expected a number, or nothing; got {cell!r}") from None
    return None if math.isnan(value) else value


def _score_set_of(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]]) -> ScoreSet:
    """Rows of a file as a set of scores; a sample keeps what its first row says of it."""
    if not rows:
        raise InvalidInputError(f"{path}: expected at least one comparison; got none")
    samples: dict[str, dict[tuple[str, str], int]] = {side: {} for side in _SIDES}
    first: dict[str, list[Mapping[str, str]]] = {side: [] for side in _SIDES}
    places: dict[str, list[int]] = {side: [] for side in _SIDES}
    scores = np.full(len(rows), np.nan)
    for i, (line, row) in enumerate(rows):
        where = f"{path}, line {line}"
        for side in _SIDES:
            person = (row.get(f"{side}_subject_id") or "").strip()
            name = (row.get(f"{side}_template_id") or "").strip() or (person if side == "bio_ref" else str(i))
            if not person:
                raise InvalidInputError(f"{where}: expected a name in {side}_subject_id; got nothing")
            known = samples[side].setdefault((name, person), len(first[side]))
            if known == len(first[side]):
                first[side].append(row)
            places[side].append(known)
        value = _number(row["score"], where)
        scores[i] = np.nan if value is None else value
    done = ~np.isnan(scores)
    sides: list[tuple[Sample, ...]] = []
    for side in _SIDES:
        completed = np.bincount(places[side], weights=done, minlength=len(first[side])) > 0
        sides.append(
            tuple(
                _sample(side, name, person, row, bool(there), str(path))
                for (name, person), row, there in zip(samples[side], first[side], completed, strict=True)
            )
        )
    reference, probe = (np.array(places[side], dtype=np.int64) for side in _SIDES)
    return ScoreSet(path.stem, sides[0], sides[1], reference, probe, scores)


def _sample(side: str, name: str, person: str, row: Mapping[str, str], completed: bool, where: str) -> Sample:
    stated = (row.get(f"{side}_acquired") or "").strip()
    head = f"{side}_group:"
    groups = [(key.removeprefix(head), value) for key, value in row.items() if key and key.startswith(head) and value]
    yaw, pitch, quality = (_number(row.get(f"{side}_{key}"), where) for key in _NUMBERS)
    acquired = stated == "1" if stated in ("0", "1") else completed
    return Sample(name, person, acquired, yaw, pitch, tuple(groups), quality)


def _read_npz(path: Path) -> ScoreSet:
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
        if str(content["format"]) != FORMAT:
            raise KeyError("format")
        sides = [_from_arrays(side, content) for side in _SIDES]
        reference, probe, scores = (content[key] for key in ("bio_ref", "probe", "scores"))
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(f"{path}: {EXPECTED}; {error!r}") from None
    return ScoreSet(path.stem, sides[0], sides[1], reference.astype(np.int64), probe.astype(np.int64), scores)


def _from_arrays(side: str, content: Mapping[str, Any]) -> tuple[Sample, ...]:
    head = f"{side}_group:"
    groups = {key.removeprefix(head): values for key, values in content.items() if key.startswith(head)}

    def number(name: str, i: int) -> float | None:
        value = float(content[f"{side}_{name}"][i])
        return None if math.isnan(value) else value

    return tuple(
        Sample(
            str(name),
            str(content[f"{side}_subject_id"][i]),
            bool(content[f"{side}_acquired"][i]),
            number("yaw", i),
            number("pitch", i),
            tuple((key, str(values[i])) for key, values in groups.items() if values[i]),
            number("quality", i),
        )
        for i, name in enumerate(content[f"{side}_template_id"])
    )
