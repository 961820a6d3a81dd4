"""Clusters and films of held-back people: CFP people 301-400 and every seventh person of YouTube Faces.

    python benchmarks/films_clusters.py describe DATA OUT     # the largest faces: OUT/cfp.npz, OUT/ytf.npz
    python benchmarks/films_clusters.py clusters OUT
    python benchmarks/films_clusters.py films OUT

Clusters: pairwise F-score and B-cubed of `facerec.recognition.clusters` at its own cut, and of DBSCAN on the vectors of
the photograph alone at the best cut of calibration people. A picture without a described face is a cluster of its own.
Films: a film for each video of YouTube Faces against one frontal frame of another video of each person; a film of the
four profiles of each person of CFP against one frontal picture. The score is that of the best single frame, of the mean
vector of the photographs, and of the pooled template. Strangers are the probes against everybody else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.sets.cfp import cfp_names
from facerec.landmarks.sets.ytf import person_of_frame, ytf_people
from facerec.landmarks.training.people import HELD_OUT_CFP, HELD_OUT_EVERY_YTF
from facerec.recognition.clusters import cluster, cluster_cut
from facerec.recognition.cohort import normalised_score
from facerec.recognition.signature import Signature, pooled

DBSCAN_COSINE = 0.62
"""Least cosine of neighbours: the best of 0.30, 0.34, ..., 0.66 on calibration people (CFP and YouTube Faces)."""


def describe(data: Path, out: Path) -> None:
    """Write OUT/cfp.npz and OUT/ytf.npz."""
    from facerec.landmarks.image import read_image
    from facerec.recognition.recognizer import DescribedFace, Recognizer

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
        cut = cluster_cut(signatures[0].contract)
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


def films(out: Path) -> None:
    """Print the figures of films."""
    for name in ("cfp", "ytf"):
        rows = read(out / f"{name}.npz")
        if name == "cfp":
            film_of = [p if "profile/" in pic else "" for p, pic in zip(rows["person"], rows["picture"], strict=True)]
            frontal = np.array(["frontal/" in pic for pic in rows["picture"]])
        else:
            film_of = [Path(str(picture)).stem[:-1] for picture in rows["picture"]]  # NAME_VF: a digit V, a digit F
            frontal = np.ones(len(film_of), dtype=bool)
        score(name, rows, np.array(film_of), frontal)


def score(name: str, rows: dict[str, NDArray], film_of: NDArray, frontal: NDArray) -> None:
    """Rank-1, and TPIR where 1 % of strangers are taken for somebody."""
    there = np.array([s is not None for s in rows["signature"]])
    gallery, used = {}, set()
    for person in np.unique(rows["person"]):
        own = np.flatnonzero((rows["person"] == person) & there & frontal)
        best = own[np.abs(rows["yaw"][own]).argmin()]
        gallery[str(person)] = rows["signature"][best]
        used.add(film_of[best])
    people = list(gallery)
    probes = [f for f in dict.fromkeys(film_of.tolist()) if f and f not in used]
    ways: dict[str, list[NDArray]] = {"best frame": [], "mean vector": [], "template": []}
    owner, seen_frame, seen_film = [], [], []
    for film in probes:
        own = np.flatnonzero(film_of == film)
        owner.append(str(rows["person"][own[0]]))
        own = own[there[own]]
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
        threshold = strangers[int(0.01 * len(strangers))]
        first = mates > others.max(axis=1)
        print(
            f"  {way}: rank-1 {100 * first.mean():.1f} %, "
            f"TPIR {100 * (first & (mates > threshold)).mean():.1f} % at FPIR 1 %"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["describe", data, out]:
            describe(Path(data), Path(out))
        case ["clusters", out]:
            clusters(Path(out))
        case ["films", out]:
            films(Path(out))
        case _:
            sys.exit(__doc__)
