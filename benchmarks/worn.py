"""Sunglasses, masks, caps and hands pasted on CFP's test people: are they found, and who are they taken for?

    python benchmarks/worn.py DATA/cfp-dataset [--every 2] [--sheet FILE.png]

One frontal picture of each of people 301-400 as it is makes the gallery. The probes are the other frontals and the
profiles, each worn thing in turn; what is not found or not described is a miss. Sunglasses and masks follow the
fitted face, caps and hands its fitted landmarks; a picture whose face is not found bare, or whose fit fails, wears
nothing and is left out of all rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import facerec
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.training.occluders import DRAW, put_cap_on, put_hand_on, put_on
from facerec.landmarks.image import read_image, write_image
from facerec.landmarks.types import Box, Image
from facerec.recognition.recognizer import DescribedFace, FaceFit, Recognizer
from facerec.recognition.search import Search
from facerec.recognition.store.galleries import open_gallery, search_of

PEOPLE = range(301, 401)
WORN = ("nothing", "sunglasses", "mask", "cap", "hand")


def dressed(image: Image, fit: FaceFit, model: FaceModel, worn: str, rng: np.random.Generator) -> Image:
    """The photograph with `worn` on the face."""
    face = fit.fitted
    if worn in ("sunglasses", "mask"):
        occluder = DRAW[worn](model, rng)
        return put_on(image, occluder, model, face.shape, face.expression, face.camera)
    if worn == "nothing":
        return image
    put: Callable[[Image, NDArray[np.float64], np.random.Generator], Image]
    put = put_cap_on if worn == "cap" else put_hand_on
    return put(image, face.points, rng)


def looked_up(image: Image, truth: Box, recognizer: Recognizer, search: Search) -> tuple[bool, str]:
    """Whether the face at `truth` is found (IoU of at least 0.4), and the name of its best candidate."""
    finds = recognizer.describe(image)
    boxes = [find.face.box if isinstance(find, DescribedFace) else find.box for find in finds]
    hits = [k for k, box in enumerate(boxes) if box.iou(truth) >= 0.4]
    if not hits:
        return False, ""
    find = finds[max(hits, key=lambda k: boxes[k].iou(truth))]
    if not isinstance(find, DescribedFace):
        return True, ""
    matches = search.search([find.signature], 1)[0].matches
    return True, matches[0].person if matches else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=2, help="every so many pictures of a person")
    parser.add_argument("--sheet", type=Path, help="write the first pictures as they were worn")
    arguments = parser.parse_args()
    images = arguments.folder / "Data" / "Images"
    recognizer, model = Recognizer.load(), FaceModel.load()
    counts: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    sheet: list[Image] = []
    with tempfile.TemporaryDirectory() as temporary:
        table, path = Path(temporary) / "list.csv", Path(temporary) / "gallery"
        rows = [f"{(images / f'{number:03d}' / 'frontal/01.jpg').absolute()},{number:03d}" for number in PEOPLE]
        table.write_text("\n".join(["path,person", *rows]) + "\n", encoding="utf-8")
        facerec.enroll(table, path, recognizer)
        with open_gallery(path) as gallery:
            search = search_of(gallery)
            for number in PEOPLE:
                for view in ("frontal", "profile"):
                    files = sorted((images / f"{number:03d}" / view).glob("*.jpg"))[1 if view == "frontal" else 0 :]
                    for file in files[:: arguments.every]:
                        bare = read_image(file)
                        fits = [fit for fit in recognizer.fit(bare) if isinstance(fit, FaceFit)]
                        if not fits:
                            continue
                        fit = max(fits, key=lambda one: one.face.box.width)
                        for worn in WORN:
                            rng = np.random.default_rng([number, int(file.stem)])
                            image = dressed(bare, fit, model, worn, rng)
                            found, name = looked_up(image, fit.face.box, recognizer, search)
                            counts[worn, view].append((found, name == f"{number:03d}"))
                            if len(sheet) < 40:
                                sheet.append(_thumbnail(image))
    if arguments.sheet:
        rows_of_images = [np.concatenate(sheet[k : k + 10], axis=1) for k in range(0, len(sheet), 10)]
        write_image(arguments.sheet, np.concatenate(rows_of_images, axis=0))
    print("| worn | pictures | frontals found | rank-1 | profiles found | rank-1 |")
    print("| --- " * 6 + "|")
    for worn in WORN:
        cells = []
        for view in ("frontal", "profile"):
            shares = 100 * np.mean(np.array(counts[worn, view]), axis=0)
            cells += [f"{shares[0]:.1f} %", f"{shares[1]:.1f} %"]
        total = len(counts[worn, "frontal"]) + len(counts[worn, "profile"])
        print(f"| {worn} | {total} | " + " | ".join(cells) + " |")


def _thumbnail(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (160, 160), interpolation=cv2.INTER_AREA), dtype=np.uint8)


if __name__ == "__main__":
    main()
