"""Clusters of held-out people: CFP people 301-400 and every seventh person of YouTube Faces.

    python benchmarks/clusters.py describe DATA OUT     # the largest faces: OUT/cfp.npz, OUT/ytf.npz
    python benchmarks/clusters.py clusters OUT
    python benchmarks/clusters.py many FACES.npz...     # 10,000 faces: minutes and memory

Pairwise F-score and B-cubed of `facerec.recognition.clusters` at its own cut, and of DBSCAN on the vectors of
the photograph alone at the best cut of calibration people. A picture without a described face is a cluster of its own.
`many` groups the faces of files with the arrays person, cells and visible (those of `describe` and of the cache of
`fpir.py`), filled up to 10,000 with copies under noise.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.image import read_image
from facerec.landmarks.sets.cfp import cfp_names
from facerec.landmarks.sets.ytf import person_of_frame, ytf_people
from facerec.landmarks.training.people import HELD_OUT_CFP, HELD_OUT_EVERY_YTF
from facerec.landmarks.types import Image
from facerec.recognition.clusters import cluster, cluster_cut
from facerec.recognition.recognizer import DescribedFace, Recognizer
from facerec.recognition.signature import Signature

DBSCAN_COSINE = 0.62
"""Least cosine of neighbours: the best of 0.30, 0.34, ..., 0.66 on calibration people (CFP and YouTube Faces)."""


def describe(data: Path, out: Path) -> None:
    """Write OUT/cfp.npz and OUT/ytf.npz."""
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
    for name, files in sets.items():
        pictures = ((person, "/".join(path.parts[-2:]), read_image(path)) for person, path in files)
        describe_pictures(pictures, out / f"{name}.npz", recognizer)


def describe_pictures(pictures: Iterable[tuple[str, str, Image]], out: Path, recognizer: Recognizer) -> None:
    """Write the largest face of each picture (person, name, pixels); no visible cell where none was described."""
    rows = []
    for person, name, image in pictures:
        found = recognizer.describe(image)
        rows.append((person, name, found[0] if found and isinstance(found[0], DescribedFace) else None))
    shape = next(face.signature.cells.shape for *_, face in rows if face is not None)
    np.savez(
        out,
        person=[person for person, *_ in rows],
        picture=[name for _, name, _ in rows],
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


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["describe", data, out]:
            describe(Path(data), Path(out))
        case ["clusters", out]:
            clusters(Path(out))
        case ["many", *files] if files:
            many([Path(file) for file in files])
        case _:
            sys.exit(__doc__)
