"""Share of pictures without people in which the finder sees no face.

    python benchmarks/backgrounds.py DATA/backgrounds

Measures on every fifth picture (sorted by name), the ones no model was trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facerec.landmarks.finder import FaceFinder
from facerec.landmarks.image import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.glob("*.jpg"))[::5]
    finder = FaceFinder.load()
    found = [file.name for file in files if finder.find(read_image(file))]
    print(f"{len(files)} pictures, no face in {len(files) - len(found)} = {1 - len(found) / len(files):.1%}")
    print("a face in: " + " ".join(found))


if __name__ == "__main__":
    main()
