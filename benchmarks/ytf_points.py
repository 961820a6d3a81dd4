"""The held-out people's frames of YouTube Faces as a points file for `facerec evaluate landmarks points`.

    python benchmarks/ytf_points.py DATA/ytf DATA/cfp-dataset OUT.csv [--moved]

Pictures are named by absolute paths. With --moved the points are put back by the offset that all of them have to the
right (`facerec.landmarks.training.packs.YTF_OFFSET`, measured on training people).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from facerec.landmarks.sets.ytf import person_of_frame, read_points_csv
from facerec.landmarks.training.packs import YTF_OFFSET, without_offset
from facerec.landmarks.training.people import held_out_people, person_key
from facerec.landmarks.types import Box


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ytf", type=Path)
    parser.add_argument("cfp", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--moved", action="store_true")
    arguments = parser.parse_args()
    held = held_out_people(arguments.ytf, arguments.cfp)
    rows = 0
    with arguments.output.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", *[f"{axis}{i}" for i in range(68) for axis in "xy"]])
        for picture, points in read_points_csv(arguments.ytf / "landmarks68.csv"):
            if person_key(person_of_frame(picture)) not in held:
                continue
            placed = without_offset(points, Box.around(points), YTF_OFFSET) if arguments.moved else points
            writer.writerow([picture.resolve(), *[f"{value:.3f}" for value in placed.ravel()]])
            rows += 1
    print(f"{arguments.output}: {rows} faces")


if __name__ == "__main__":
    main()
