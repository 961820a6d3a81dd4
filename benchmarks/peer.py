"""face_recognition (dlib) on CFP, beside facerec's own figures: the same people, pairs and measures.

    python benchmarks/peer.py encode DATA/cfp-dataset peer.npz     # in an environment with face_recognition
    python benchmarks/peer.py report DATA/cfp-dataset peer.npz     # in facerec's environment

A picture in which face_recognition finds no face is a miss, as in facerec's reports. Of several faces the largest
counts.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

FOLDS = ("07", "08")
PEOPLE = range(301, 401)  # of these folds


def encode(data: Path, output: Path) -> None:
    """Encode all pictures of the people of the folds as face_recognition's users do."""
    import face_recognition

    paths, vectors, seconds = [], [], []
    for person in PEOPLE:
        for path in sorted((data / "Data" / "Images" / f"{person:03d}").glob("*/*.jpg")):
            start = time.perf_counter()
            image = face_recognition.load_image_file(str(path))
            boxes = face_recognition.face_locations(image)
            boxes.sort(key=lambda b: (b[0] - b[2]) * (b[1] - b[3]), reverse=True)
            found = face_recognition.face_encodings(image, boxes[:1]) if boxes else []
            seconds.append(time.perf_counter() - start)
            paths.append(path.relative_to(data).as_posix())
            vectors.append(found[0] if found else np.full(128, np.nan))
    np.savez(output, paths=np.array(paths), vectors=np.array(vectors, dtype=np.float32), seconds=np.array(seconds))


def report(data: Path, encoded: Path) -> None:
    """Print what facerec's evaluation prints for itself."""
    from facerec.evaluation.protocols.cfp import read_cfp
    from facerec.evaluation.verification import auc, by_folds

    with np.load(encoded) as file:
        known = dict(zip(file["paths"].tolist(), file["vectors"], strict=True))
        print(f"median {1000 * np.median(file['seconds']):.0f} ms a picture")
    protocol = read_cfp(data, FOLDS)
    vectors = np.stack([known[picture.name] for picture in protocol.pictures])
    people = np.array([picture.person for picture in protocol.pictures])
    for one in protocol.identifications:
        gallery, probes = np.array(one.gallery), np.array(one.probes)
        distance = np.linalg.norm(vectors[probes][:, None] - vectors[gallery][None], axis=2)
        named = people[gallery][np.where(np.isfinite(distance), distance, np.inf).argmin(axis=1)]
        found = np.isfinite(vectors[probes]).all(axis=1)
        right = (named == people[probes]) & found
        print(f"{one.name}: found {100 * found.mean():.1f} %, rank-1 {100 * right.mean():.1f} %")
    for pairs in protocol.pairs:
        scores = -np.linalg.norm(vectors[list(pairs.first)] - vectors[list(pairs.second)], axis=1).astype(np.float64)
        same = np.array(pairs.same)
        accuracy = np.mean([fold.accuracy for fold in by_folds(scores, same, pairs.fold)])
        print(f"{pairs.name}: accuracy {100 * accuracy:.1f} %, AUC {auc(scores, same):.3f}")


if __name__ == "__main__":
    {"encode": encode, "report": report}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
