"""Vectors of face_recognition (dlib), as its users take them: its own detector, the largest face of a picture.

    PEER/bin/python benchmarks/peers/face_recognition_vectors.py PICTURES.csv VECTORS.npz

PEER is an environment of its own; nothing of facerec is needed there:

    python -m venv PEER
    PEER/bin/pip install --no-deps face_recognition face_recognition_models dlib-bin "setuptools<70" numpy pillow click

PICTURES.csv has the columns name,path (`protocol.py pictures`).
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import face_recognition
import numpy as np


def main(pictures: Path, output: Path) -> None:
    with pictures.open(newline="", encoding="utf-8") as stream:
        listed = list(csv.DictReader(stream))
    vectors, seconds = np.full((len(listed), 128), np.nan, dtype=np.float32), np.zeros(len(listed))
    for i, row in enumerate(listed):
        start = time.perf_counter()
        image = face_recognition.load_image_file(row["path"])
        boxes = face_recognition.face_locations(image)
        boxes.sort(key=lambda b: (b[2] - b[0]) * (b[1] - b[3]), reverse=True)  # top, right, bottom, left
        if boxes:
            vectors[i] = face_recognition.face_encodings(image, boxes[:1])[0]
        seconds[i] = time.perf_counter() - start
    np.savez(output, names=np.array([row["name"] for row in listed]), vectors=vectors, seconds=seconds)
    found = np.isfinite(vectors).all(axis=1)
    print(f"{found.sum()} of {len(listed)} found; median {1000 * np.median(seconds):.0f} ms per picture")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
