"""Faces that are cut off or covered: who is named by half a face, of people who are enrolled and of people who are not.

    python benchmarks/cut_faces.py DATA/cfp-dataset [--people 301-400] [-o FILE.json]

The gallery holds the first frontal picture of each person. The second is cut in six ways, where facerec itself locates
the nose in the whole picture: what is below or above the nose, the left or the right half, a black bar over one half
(left, right, top, bottom in turn). "Not enrolled" asks the gallery as if it lacked the probe's own person. Every
decision is the product's: threshold, overlap and the rule for faces that were seen in part.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import click
import numpy as np

import facerec
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image
from facerec.recognition.decision import FaceResult, decide_together, little_seen
from facerec.recognition.identification import Identifier
from facerec.recognition.recognizer import DescribedFace, FaceFit, Recognizer
from facerec.recognition.search import Search, SearchResult
from facerec.recognition.store.galleries import open_gallery, search_of
from facerec.recognition.threshold import Threshold

KINDS = ("whole", "below the nose", "above the nose", "left half", "right half", "bar over a half")
OUTCOMES = ("no face", "right", "unknown", "abstain", "wrong")


def cut_pictures(picture: Image, points: np.ndarray, number: int) -> dict[str, Image]:
    """The picture by `KINDS`; `points` (68, 2) are its face's landmarks, `number` says which half the bar covers."""
    nose, tip, base = (round(float(v)) for v in (points[27:31, 0].mean(), points[30, 1], points[33, 1]))
    halves = (np.s_[:, :nose], np.s_[:, nose:], np.s_[:tip], np.s_[base:])
    barred = picture.copy()
    barred[halves[number % len(halves)]] = 0
    parts = (picture, picture[base:], picture[:tip], picture[:, :nose], picture[:, nose:], barred)
    return {kind: np.ascontiguousarray(part) for kind, part in zip(KINDS, parts, strict=True)}


def outcome(faces: list[DescribedFace], person: str, enrolled: bool, search: Search, threshold: Threshold) -> str:
    """The decisions on a photograph's `faces`, which show `person`; without `enrolled`, as if they were not."""
    if not faces:
        return "no face"
    asked = []
    for face, found in enumerate(search.search([f.signature for f in faces], 2)):
        matches = tuple(m for m in found.matches if enrolled or m.person != person)
        result = SearchResult(matches, found.people, found.comparable, found.largest_overlap)
        asked.append(FaceResult(result, face, little_seen(faces[face])))
    said = decide_together(asked, threshold)
    named = {match.person for _, match in said if match is not None}
    if named - {person}:
        return "wrong"
    return "right" if named else said[0][0].verdict


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--people", default="301-400", help="First and last person; 301-400 are in no training set.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, people: str, output: Path | None) -> None:
    first, last = (int(number) for number in people.split("-"))
    names = [f"{number:03d}" for number in range(first, last + 1)]
    recognizer = Recognizer.load()
    counts = {(kind, enrolled): Counter[str]() for kind in KINDS for enrolled in (True, False)}
    with tempfile.TemporaryDirectory() as temporary:
        rows = [f"{(folder / 'Data/Images' / name / 'frontal/01.jpg').absolute()},{name}" for name in names]
        table, path = Path(temporary) / "list.csv", Path(temporary) / "gallery"
        table.write_text("\n".join(["path,person", *rows]) + "\n", encoding="utf-8")
        summary = facerec.enroll(table, path, recognizer)
        with Identifier.open(path, recognizer) as identifier, open_gallery(path) as gallery:
            search, threshold = search_of(gallery), identifier.threshold
            for number, name in enumerate(names):
                picture = read_image(folder / "Data/Images" / name / "frontal/02.jpg")
                whole = next((fit for fit in recognizer.fit(picture) if isinstance(fit, FaceFit)), None)
                if whole is None:
                    for tally in counts.values():
                        tally["no face"] += 1
                    continue
                for kind, part in cut_pictures(picture, whole.face.landmarks.points, number).items():
                    found = recognizer.describe(part) if min(part.shape[:2]) > 8 else []
                    faces = [face for face in found if isinstance(face, DescribedFace)]
                    for enrolled in (True, False):
                        counts[kind, enrolled][outcome(faces, name, enrolled, search, threshold)] += 1
    click.echo(f"{summary.people} people enrolled; threshold {threshold.value:.3f} ({threshold.note})\n")
    click.echo("| probes | person | " + " | ".join(OUTCOMES) + " |")
    click.echo("| --- " * (len(OUTCOMES) + 2) + "|")
    for (kind, enrolled), tally in counts.items():
        who = "enrolled" if enrolled else "not enrolled"
        click.echo(f"| {kind} | {who} | " + " | ".join(str(tally[said]) for said in OUTCOMES) + " |")
    if output:
        figures = [{"probes": k, "enrolled": e, **tally} for (k, e), tally in counts.items()]
        report = {"people": people, "threshold": threshold.as_json(), "contract": recognizer.contract.digest}
        output.write_text(json.dumps({**report, "figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
