"""Films of people: what the best frame, the mean vector and the pooled template of a film find.

    python benchmarks/clusters.py describe DATA OUT         # held-out people: OUT/cfp.npz, OUT/ytf.npz
    python benchmarks/films.py rendered RENDERED OUT        # people rendered by synthetic_uhdb31.py: OUT/rendered.npz
    python benchmarks/films.py table OUT STRANGERS.npz      # STRANGERS: the people of UTKFace in the cache of fpir.py

Films: a film for each video of YouTube Faces against one frontal frame of another video of each person; films of CFP's
profiles, by how much of the head they show, against one frontal picture and against one profile; the poses that a
rendered person shows when the head turns. The score is that of the best single frame (by quality), of the mean vector
of the photographs, and of the template that `facerec identify FILM` pools.

Rank-1 is among the people of the set. TPIR is at the score that a film reaches with one of N other people in one case
of a hundred, N the number of people of the set, estimated from all pairs of a film with somebody else: the people of
the set and, against frontal photographs, of STRANGERS, who are frontal. Intervals are of the difference between
template and best frame, by people (bootstrap, thresholds kept).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from clusters import describe_pictures, read
from numpy.typing import NDArray

from facerec.landmarks.image import read_image
from facerec.landmarks.types import Image
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.recognizer import Recognizer
from facerec.recognition.signature import Signature, pooled

FPIR = 0.01
LEAST_QUALITY = 0.01
MISSED = -9.0
"""Score of a film without a face."""

Rows = dict[str, NDArray]
Vectors = tuple[NDArray, NDArray]
"""Cells and visibility."""


def rendered_pictures(people: Path, most: int = 45, side: int = 128) -> Iterator[tuple[str, str, Image]]:
    """Person, "yaw,pitch" and picture of rendered people, sampled down, with a camera's noise and compression; of
    profiles the level one alone."""
    rng = np.random.default_rng(22)
    for line in (people / "protocol.csv").read_text(encoding="utf-8").splitlines()[1:]:
        name, person, _, _, yaw, pitch = line.split(",")[:6]
        if int(name[:5]) > 90000 + most or (abs(float(yaw)) > 75 and float(pitch)):
            continue
        small = cv2.resize(read_image(people / name), (side, side), interpolation=cv2.INTER_AREA)
        noisy = np.clip(small + rng.normal(0, 6, small.shape), 0, 255).astype(np.uint8)
        _, code = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])
        yield person, f"{yaw},{pitch}", np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)


def cfp(out: Path, strangers: Vectors) -> None:
    """Films of CFP's held-out people."""
    rows = read(out / "cfp.npz")
    there = np.array([s is not None for s in rows["signature"]])
    profile = np.array(["profile/" in str(picture) for picture in rows["picture"]])
    people = np.unique(rows["person"])
    own = {p: np.flatnonzero(rows["person"] == p) for p in people}

    def frontals(p: str) -> NDArray:
        kept = own[p][there[own[p]] & ~profile[own[p]]]
        return kept[np.argsort(np.abs(rows["yaw"][kept]))]

    def side(p: str, sign: int) -> NDArray:
        kept = own[p][profile[own[p]]]
        return kept[~(rows["yaw"][kept] * sign < 0)]  # a picture without a face is on both sides: it fails on both

    frontal = {p: int(frontals(p)[0]) for p in people}
    shown = {
        "profiles of one side": [side(p, sign) for p in people for sign in (-1, 1)],
        "profiles of both sides": [own[p][profile[own[p]]] for p in people],
        "profiles of both sides and a frontal": [np.append(own[p][profile[own[p]]], frontals(p)[1]) for p in people],
    }
    for what, made in shown.items():
        score(f"CFP, {what}, against a frontal", rows, [one for one in made if len(one)], frontal, strangers)
    first = {p: int(own[p][profile[own[p]] & there[own[p]]][0]) for p in people}
    rest = {p: own[p][profile[own[p]] & (own[p] != first[p])] for p in people}
    other = [rest[p][~(rows["yaw"][rest[p]] * rows["yaw"][first[p]] > 0)] for p in people]
    against = "against a profile"
    nobody = strangers[0][:0], strangers[1][:0]  # frontal pictures say nothing of strangers among profiles
    score(f"CFP, profiles of the other side, {against}", rows, [one for one in other if len(one)], first, nobody)
    turning = [np.append(rest[p], frontals(p)[0]) for p in people]
    score(f"CFP, the other profiles and a frontal, {against}", rows, turning, first, nobody)


def ytf(out: Path, strangers: Vectors) -> None:
    """Videos of the held-out people of YouTube Faces."""
    rows = read(out / "ytf.npz")
    video = np.array([Path(str(picture)).stem[:-1] for picture in rows["picture"]])  # NAME_VF: a digit V, a digit F
    there = np.array([s is not None for s in rows["signature"]])
    best = {}
    for p in np.unique(rows["person"]):
        own_there = np.flatnonzero((rows["person"] == p) & there)
        best[p] = int(own_there[np.abs(rows["yaw"][own_there]).argmin()])
    used = {video[i] for i in best.values()}
    films = [np.flatnonzero(video == one) for one in dict.fromkeys(video.tolist()) if one not in used]
    score("YouTube Faces, another video, against a frontal frame", rows, films, best, strangers)


def rendered(out: Path) -> None:
    """Rendered people who turn their heads."""
    rows = read(out / "rendered.npz")
    shape = rows["cells"].shape[1:]
    nobody = np.zeros((0, *shape), np.float32), np.zeros((0, shape[0]), bool)
    yaw, pitch = np.array([[float(v) for v in str(name).split(",")] for name in rows["picture"]]).T
    people = np.unique(rows["person"])
    shown = {
        "looks up and down": (yaw == 0) & (pitch != 0),
        "one profile": yaw == 90,
        "turned to one side": yaw >= 60,
        "turned to both sides": np.abs(yaw) >= 60,
        "turns from side to side": pitch == 0,
    }
    for against, (at, without) in {"frontal": (0.0, 1.0), "picture of the left side": (-60.0, 90.0)}.items():
        chosen = {p: int(np.flatnonzero((rows["person"] == p) & (yaw == at) & (pitch == 0))[0]) for p in people}
        gallery = np.isin(np.arange(len(yaw)), list(chosen.values()))
        for what, which in shown.items():
            wanted = which & ~gallery & (yaw > (-61.0 if without == 90.0 else -91.0))
            films = [np.flatnonzero(wanted & (rows["person"] == p)) for p in people]
            score(f"rendered, {what}, against a {against}", rows, films, chosen, nobody)


def template_of(rows: Rows, frames: NDArray) -> Signature:
    """The template of a film of these frames, as `facerec.recognition.films.tracks` makes it."""
    return pooled(rows["signature"][frames].tolist(), np.maximum(rows["quality"][frames], LEAST_QUALITY).tolist())


def score(name: str, rows: Rows, films: list[NDArray], chosen: dict[str, int], strangers: Vectors) -> None:
    """Print rank-1 and TPIR; `films` are the pictures of each, `chosen` the picture of each person in the gallery."""
    there = np.array([s is not None for s in rows["signature"]])
    people = list(chosen)
    at = list(chosen.values())
    gallery = np.concatenate([rows["cells"][at], strangers[0]]), np.concatenate([rows["visible"][at], strangers[1]])
    right = np.array([people.index(str(rows["person"][film[0]])) for film in films])
    seen = [film[there[film]] for film in films]
    faces = [own for own in seen if len(own)]
    best = [int(own[rows["quality"][own].argmax()]) for own in faces]
    templates = [template_of(rows, own) for own in faces]
    mean = np.stack([rows["cells"][own, 0].mean(axis=0) for own in faces])
    found = {
        "best frame": _normalised((rows["cells"][best], rows["visible"][best]), gallery, rows),
        "mean vector": mean / np.linalg.norm(mean, axis=1, keepdims=True) @ gallery[0][:, 0].T,
        "template": _normalised(
            (np.stack([t.cells for t in templates]), np.stack([t.visible for t in templates])), gallery, rows
        ),
    }
    shares = rows["visible"][best].mean(), np.mean([t.visible.mean() for t in templates])
    print(f"{name}: {len(films)} films, {len(people)} people; cells seen: {shares[0]:.2f}, film {shares[1]:.2f}")
    hits = {}
    for way, scores in found.items():
        table = np.full((len(films), scores.shape[1]), MISSED)
        table[[len(own) > 0 for own in seen]] = scores
        hits[way] = judge(table, right, len(people))
        print(f"  {way}: rank-1 {100 * hits[way][0].mean():.1f} %, TPIR {100 * hits[way][1].mean():.1f} %")
    for k, what in enumerate(("rank-1", "TPIR")):
        low, high = interval(hits["template"][k].astype(float) - hits["best frame"][k], right)
        print(f"  template less best frame, {what}: {100 * low:+.1f} to {100 * high:+.1f}")


def _normalised(films: Vectors, gallery: Vectors, rows: Rows) -> NDArray:
    return normalised_scores(films, gallery, str(rows["contract"]))[0]


def judge(table: NDArray, right: NDArray, people: int) -> tuple[NDArray, NDArray]:
    """For each film whether its person comes first among `people`, and whether that is above the threshold too."""
    films = np.arange(len(right))
    mates, others = table[films, right], table.copy()
    others[films, right] = -np.inf
    pairs = np.sort(others[np.isfinite(others)])[::-1]
    threshold = pairs[int((1 - (1 - FPIR) ** (1 / people)) * len(pairs))]
    first = mates > others[:, :people].max(axis=1)
    return first, first & (mates > threshold)


def interval(gain: NDArray, person: NDArray, draws: int = 4000) -> tuple[float, float]:
    """95 % interval of the mean of `gain`, one value per film, by people."""
    rng = np.random.default_rng(0)
    sums = np.bincount(person, gain)
    counts = np.bincount(person)
    drawn = rng.integers(0, len(counts), (draws, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rendered", people, out]:
            describe_pictures(rendered_pictures(Path(people)), Path(out) / "rendered.npz", Recognizer.load())
        case ["table", out, strangers]:
            with np.load(strangers, allow_pickle=False) as kept:
                others = kept["cells"], kept["visible"]
            cfp(Path(out), others)
            ytf(Path(out), others)
            if (Path(out) / "rendered.npz").is_file():
                rendered(Path(out))
        case _:
            sys.exit(__doc__)
