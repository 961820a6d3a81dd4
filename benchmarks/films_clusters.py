"""Clusters and films of held-out people: CFP people 301-400 and every seventh person of YouTube Faces.

    python benchmarks/films_clusters.py describe DATA OUT     # the largest faces: OUT/cfp.npz, OUT/ytf.npz
    python benchmarks/films_clusters.py clusters OUT
    python benchmarks/films_clusters.py films OUT
    python benchmarks/films_clusters.py many FACES.npz...     # 10,000 faces: minutes and memory

Clusters: pairwise F-score and B-cubed of `facerec.recognition.clusters` at its own cut, and of DBSCAN on the vectors of
the photograph alone at the best cut of calibration people. A picture without a described face is a cluster of its own.
`many` groups the faces of files with the arrays person, cells and visible (those of `describe` and of the cache of
`fpir.py`), filled up to 10,000 with copies under noise.
Films: a film for each video of YouTube Faces against one frontal frame of another video of each person; films of CFP's
profiles, by how much of the head they show, against one frontal picture and against one profile. The score is that of
the best single frame, of the mean vector of the photographs, and of the pooled template. Strangers are the probes
against everybody else.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.sets.cfp import cfp_names
from facerec.landmarks.sets.ytf import person_of_frame, ytf_people
from facerec.landmarks.training.people import HELD_OUT_CFP, HELD_OUT_EVERY_YTF
from facerec.recognition.clusters import cluster, cluster_cut
from facerec.recognition.cohort import normalised_score
from facerec.recognition.recognizer import DescribedFace, Recognizer
from facerec.recognition.signature import Signature, pooled

DBSCAN_COSINE = 0.62
"""Least cosine of neighbours: the best of 0.30, 0.34, ..., 0.66 on calibration people (CFP and YouTube Faces)."""


def describe(data: Path, out: Path) -> None:
    """Write OUT/cfp.npz and OUT/ytf.npz."""
    from facerec.landmarks.image import read_image

    recognizer = Recognizer.load()
    held = set(ytf_people(data / "ytf")[::HELD_OUT_EVERY_YTF])
    numbers = [n for n in HELD_OUT_CFP if n <= len(cfp_names(data / "cfp-dataset"))]
    images = data / "cfp-dataset" / "Data" / "Images"
    frames = sorted((data / "ytf" / "frames").glob("*/*.jpg"))
    sets = {
        "cfp": [(f"{n:03d}", path) for n in numbers for path in sorted((images / f"{n:03d}").glob("*/*.jpg"))],
        "ytf": [(person_of_frame(path), path) for path in frames if person_of_frame(path) in held],
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, pictures in sets.items():
        rows = []
        for person, path in pictures:
            found = recognizer.describe(read_image(path))
            face = found[0] if found and isinstance(found[0], DescribedFace) else None
            rows.append((person, "/".join(path.parts[-2:]), face))
        shape = next(face.signature.cells.shape for *_, face in rows if face is not None)
        np.savez(
            out / f"{name}.npz",
            person=[person for person, *_ in rows],
            picture=[picture for _, picture, _ in rows],
            cells=[np.zeros(shape, np.float32) if face is None else face.signature.cells for *_, face in rows],
            visible=[np.zeros(shape[0], bool) if face is None else face.signature.visible for *_, face in rows],
            yaw=[np.nan if face is None else face.fitted.camera.angles[0] for *_, face in rows],
            quality=[0.0 if face is None else face.quality for *_, face in rows],
            contract=recognizer.contract.digest,
        )


def read(path: Path) -> dict[str, NDArray]:
    """The arrays of one set, and its signatures (None where no face was described)."""
    with np.load(path, allow_pickle=False) as kept:
        rows = {name: kept[name] for name in kept.files}
    contract = str(rows["contract"])
    rows["signature"] = np.array(
        [Signature(c, v, contract) if v.any() else None for c, v in zip(rows["cells"], rows["visible"], strict=True)],
        dtype=object,
    )
    return rows


def pairwise_and_b_cubed(people: NDArray, labels: NDArray) -> str:
    """Pairwise F (precision, recall) and B-cubed F of a clustering."""
    who, group = (np.unique(x, return_inverse=True)[1] for x in (people, labels))
    table = np.zeros((who.max() + 1, group.max() + 1))
    np.add.at(table, (who, group), 1)
    pairs = [float((x * (x - 1)).sum()) for x in (table, table.sum(0), table.sum(1))]
    precision, recall = pairs[0] / max(pairs[1], 1), pairs[0] / max(pairs[2], 1)
    b_precision = float((table**2 / np.maximum(table.sum(0), 1)).sum() / len(who))
    b_recall = float((table**2 / table.sum(1, keepdims=True)).sum() / len(who))
    f, b = (2 * p * r / max(p + r, 1e-9) for p, r in ((precision, recall), (b_precision, b_recall)))
    return f"F {f:.3f} (precision {precision:.3f}, recall {recall:.3f}), B-cubed {b:.3f}, {len(set(group))} clusters"


def clusters(out: Path) -> None:
    """Print the figures of clusters."""
    from sklearn.cluster import DBSCAN

    for name in ("cfp", "ytf"):
        rows = read(out / f"{name}.npz")
        there = np.array([s is not None for s in rows["signature"]])
        lone = len(there) + np.arange(len(there))
        signatures = rows["signature"][there].tolist()
        cut = cluster_cut(signatures[0].contract, len(signatures))
        ours, theirs = lone.copy(), lone.copy()
        ours[there] = cluster(signatures, range(len(signatures)), [None] * len(signatures), cut)
        photo = rows["cells"][there, 0]
        found = DBSCAN(eps=1 - DBSCAN_COSINE, min_samples=2, metric="precomputed").fit_predict(
            np.maximum(1 - photo @ photo.T, 0)
        )
        theirs[there] = np.where(found < 0, lone[there], found)
        print(f"{name}: {len(there)} pictures, {len(set(rows['person']))} people, {int((~there).sum())} not described")
        print(f"  clusters at {cut:.3f}: {pairwise_and_b_cubed(rows['person'], ours)}")
        print(f"  DBSCAN, photograph alone: {pairwise_and_b_cubed(rows['person'], theirs)}")


def many(files: list[Path], number: int = 10_000) -> None:
    """Print minutes and memory of grouping `number` faces."""
    rows = []
    for file in files:
        with np.load(file, allow_pickle=False) as kept:
            seen = kept["visible"].any(axis=1)
            rows.append((kept["cells"][seen], kept["visible"][seen], kept["person"][seen]))
    cells, visible, person = (np.concatenate(column)[:number] for column in zip(*rows, strict=True))
    real = len(cells)
    rng = np.random.default_rng(10)
    copied = rng.integers(0, real, number - real)
    noisy = cells[copied] + rng.normal(0, 0.5 / np.sqrt(cells.shape[2]), (len(copied), *cells.shape[1:]))
    noisy /= np.linalg.norm(noisy, axis=2, keepdims=True)
    cells = np.concatenate([cells, noisy * visible[copied][..., None]]).astype(np.float32)
    visible = np.concatenate([visible, visible[copied]])
    person = np.concatenate([person, person[copied]])
    contract = Recognizer.load().contract.digest
    signatures = [Signature(c, v, contract) for c, v in zip(cells, visible, strict=True)]
    before, began, cpu = _peak(), time.perf_counter(), time.process_time()
    labels = cluster(signatures, range(number), [None] * number, cluster_cut(contract, number))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"{number} faces ({real} as photographed) of {len(set(person.tolist()))} people: {took / 60:.1f} minutes, "
        f"{cpu / 60:.1f} of the processor, at a load average of {os.getloadavg()[0]:.1f}; "
        f"{_peak() - before:.0f} MB more than the signatures' {before:.0f} MB; {pairwise_and_b_cubed(person, labels)}"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def films(out: Path) -> None:
    """Print the figures of films."""
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
        score(f"CFP, {what}, against a frontal", rows, [one for one in made if len(one)], frontal)
    first = {p: int(own[p][profile[own[p]] & there[own[p]]][0]) for p in people}
    rest = {p: own[p][profile[own[p]] & (own[p] != first[p])] for p in people}
    other = [rest[p][~(rows["yaw"][rest[p]] * rows["yaw"][first[p]] > 0)] for p in people]
    score("CFP, profiles of the other side, against a profile", rows, [one for one in other if len(one)], first)
    turning = [np.append(rest[p], frontals(p)[0]) for p in people]
    score("CFP, the other profiles and a frontal, against a profile", rows, turning, first)

    rows = read(out / "ytf.npz")
    video = np.array([Path(str(picture)).stem[:-1] for picture in rows["picture"]])  # NAME_VF: a digit V, a digit F
    there = np.array([s is not None for s in rows["signature"]])
    best = {}
    for p in np.unique(rows["person"]):
        own_there = np.flatnonzero((rows["person"] == p) & there)
        best[p] = int(own_there[np.abs(rows["yaw"][own_there]).argmin()])
    used = {video[i] for i in best.values()}
    rest_of = [np.flatnonzero(video == one) for one in dict.fromkeys(video.tolist()) if one not in used]
    score("YouTube Faces, another video, against a frontal frame", rows, rest_of, best)


def score(name: str, rows: dict[str, NDArray], probes: list[NDArray], chosen: dict[str, int]) -> None:
    """Rank-1, and TPIR where 1 and 5 % of strangers are taken for somebody; `probes` are the pictures of each film."""
    there = np.array([s is not None for s in rows["signature"]])
    people = list(chosen)
    gallery = {p: rows["signature"][i] for p, i in chosen.items()}
    ways: dict[str, list[NDArray]] = {"best frame": [], "mean vector": [], "template": []}
    owner, seen_frame, seen_film = [], [], []
    for film in probes:
        owner.append(str(rows["person"][film[0]]))
        own = film[there[film]]
        if not len(own):  # a film without a face is a miss
            for scores in ways.values():
                scores.append(np.full(len(people), -9.0))
            continue
        frames = rows["signature"][own].tolist()
        template = pooled(frames, np.maximum(rows["quality"][own], 0.01).tolist())
        best = frames[int(rows["quality"][own].argmax())]
        seen_frame.append(best.visible.mean())
        seen_film.append(template.visible.mean())
        mean = rows["cells"][own, 0].mean(axis=0)
        ways["best frame"].append(np.array([normalised_score(best, gallery[p]).score for p in people]))
        ways["mean vector"].append(np.array([mean / np.linalg.norm(mean) @ gallery[p].cells[0] for p in people]))
        ways["template"].append(np.array([normalised_score(template, gallery[p]).score for p in people]))
    right = np.array([people.index(who) for who in owner])
    print(
        f"{name}: {len(probes)} films, {len(people)} people; cells seen: best frame {np.mean(seen_frame):.3f}, "
        f"film {np.mean(seen_film):.3f}"
    )
    for way, scores in ways.items():
        table = np.stack(scores)
        mates = table[np.arange(len(right)), right]
        others = table.copy()
        others[np.arange(len(right)), right] = -np.inf
        strangers = np.sort(others.max(axis=1))[::-1]
        thresholds = [strangers[int(fpir * len(strangers))] for fpir in (0.01, 0.05)]
        first = mates > others.max(axis=1)
        found = [100 * (first & (mates > threshold)).mean() for threshold in thresholds]
        print(f"  {way}: rank-1 {100 * first.mean():.1f} %, TPIR {found[0]:.1f} / {found[1]:.1f} % at FPIR 1 / 5 %")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["describe", data, out]:
            describe(Path(data), Path(out))
        case ["clusters", out]:
            clusters(Path(out))
        case ["films", out]:
            films(Path(out))
        case ["many", *files] if files:
            many([Path(file) for file in files])
        case _:
            sys.exit(__doc__)
