"""10,000 damaged inputs: photographs cut, flipped, mixed and renamed; galleries and indexes with flipped and cut bytes.

    python benchmarks/fuzz.py [--pictures 8000] [--galleries 2000] [--seed 0]

A photograph must end in faces or in one of the reason codes. A gallery must answer as before it was harmed, or be
refused with an error of facerec's own; a wrong match, a crash or an error of some library counts as a fault. Pretended
models (tests/pretend_models.py) describe: what is tried is reading, storing and searching. Exit code 1 with faults.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from gallery_kill import pretended
from PIL import Image

from facerec.landmarks.errors import REASON_CODES, FacerecError
from facerec.landmarks.types import Box
from facerec.recognition.identification import Identifier
from facerec.recognition.impostors import impostor_scores
from facerec.recognition.search import MaskedSearch
from facerec.recognition.shortlist import ShortlistIndex, ShortlistSettings, shortlist_search
from facerec.recognition.store.records import NewEntry, NewPhoto
from facerec.recognition.store.sqlite import Gallery
from facerec.recognition.store.vector_file import VectorFile
from facerec.recognition.threshold import given_threshold

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "ICO")


def pictures(rng: np.random.Generator) -> list[bytes]:
    """Whole pictures in many formats and modes, some with EXIF orientation."""
    made = []
    for kind in FORMATS:
        for mode in ("RGB", "L", "RGBA", "P", "CMYK", "I;16", "1"):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            pixels[0, :, 0] = 0  # nobody, as the pretended models read it
            stream = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = int(rng.integers(1, 9))
            try:
                grey = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
                picture = grey if mode == "I;16" else Image.fromarray(pixels).convert(mode)
                picture.save(stream, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
            except (OSError, ValueError, KeyError):
                continue  # the format has no such mode
            made.append(stream.getvalue())
    return made


def spoil(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Cut, flip, overwrite, repeat or splice."""
    harmed = bytearray(data)
    kind = int(rng.integers(6))
    if kind == 0:
        del harmed[int(rng.integers(len(harmed))) :]
    elif kind == 1:
        for at in rng.integers(0, len(harmed), int(rng.integers(1, 9))):
            harmed[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        at = int(rng.integers(len(harmed)))
        harmed[at : at + 8] = rng.bytes(8)
    elif kind == 3:  # the header is where sizes and offsets are
        for at in rng.integers(0, min(64, len(harmed)), 4):
            harmed[at] = int(rng.choice([0, 1, 127, 128, 254, 255]))
    elif kind == 4:
        at = int(rng.integers(len(harmed)))
        harmed = harmed[:at] + other[int(rng.integers(len(other))) :]
    else:
        at = int(rng.integers(len(harmed)))
        harmed = harmed[:at] + harmed[max(0, at - 200) : at] * int(rng.integers(2, 40)) + harmed[at:]
    return bytes(harmed)


def fuzz_pictures(rng: np.random.Generator, count: int, folder: Path, gallery: Path) -> tuple[Counter[str], list[str]]:
    whole = pictures(rng)
    counts: Counter[str] = Counter()
    faults = []
    endings = (".jpg", ".png", ".gif", ".tif", ".bmp", ".webp", "", ".jpg.txt", ".Ämélie 김")
    with Gallery.open(gallery) as opened:
        models = pretended().PretendRecognizer()
        describe = models.describe
        # What is painted into a spoilt picture may be no faces at all, or more than the pretended models can hold.
        models.describe = lambda image: describe(image) if len(image) > 12 and image[0, 0, 0] < 9 else []
        identifier = Identifier(models, MaskedSearch.of(opened), given_threshold(0.5))
        for number in range(count):
            a, b = (whole[int(i)] for i in rng.integers(0, len(whole), 2))
            file = folder / f"probe{rng.choice(endings)}"
            file.write_bytes(spoil(rng, a, b))
            for face in identifier.identify([file]):
                code = face.reason if face.decision == "none" else "a face"
                counts[code] += 1
                if face.decision == "none" and code not in REASON_CODES:
                    faults.append(f"picture {number}: {code}: {face.detail}")
                    (folder / f"fault-{number}").write_bytes(file.read_bytes())
            file.unlink()
    return counts, faults


def make_gallery(path: Path) -> None:
    pretend = pretended()
    with Gallery.create(path, pretend.PretendContract()) as gallery:
        for number in range(60):
            entries = NewEntry(0, pretend.signature(number, 0.0, 0), (0.0, 0.0, 0.0), 0.7, 0.8, Box(1, 2, 30, 40, 0.9))
            name = Path(f"{number}.jpg")
            sha256 = f"{number:064x}"
            gallery.add([NewPhoto(f"p{number:02d}", sha256, name, name, "largest", "enrolled", "", (entries,))])
        VectorFile.build(gallery)
        ShortlistIndex.build(gallery, "hnsw", ShortlistSettings(flat=20))


def answer(path: Path, mapped: bool) -> list[list[tuple[str, float]]]:
    pretend = pretended()
    probes = [pretend.signature(number, 0.0, 5) for number in (3, 17, 99)]
    with Gallery.open(path, pretend.PretendContract()) as gallery:
        impostor_scores(gallery)
        search = shortlist_search(gallery, "hnsw") if mapped else MaskedSearch.of(gallery)
        return [[(m.person, m.score) for m in result.matches] for result in search.search(probes, 1)]


def fuzz_galleries(rng: np.random.Generator, count: int, folder: Path) -> tuple[Counter[str], list[str]]:
    whole = folder / "whole"
    make_gallery(whole)
    parts = {suffix: (folder / f"whole{suffix}").read_bytes() for suffix in ("", ".vectors", ".hnsw")}
    right = answer(whole, mapped=True)
    assert right == answer(whole, mapped=False)
    place = folder / "harmed"
    place.mkdir()
    counts: Counter[str] = Counter()
    faults = []
    for number in range(count):
        for file in place.iterdir():
            file.unlink()
        harmed = str(rng.choice(["", "", ".vectors", ".hnsw"]))
        mapped = bool(harmed) or bool(rng.integers(2))
        for suffix, data in parts.items():
            if suffix == "" or mapped:
                (place / f"g{suffix}").write_bytes(spoil(rng, data, data) if suffix == harmed else data)
        what = f"gallery {number} ({harmed or 'the file itself'})"
        try:
            if answer(place / "g", mapped) == right:
                counts["answers as before"] += 1
            else:
                faults.append(f"{what}: a wrong answer")
        except FacerecError:
            counts["refused"] += 1
        except Exception as error:
            faults.append(f"{what}: {type(error).__name__}: {error}")
    return counts, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--galleries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    warnings.simplefilter("ignore")  # Pillow's, on every second spoilt header
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_galleries, faults = fuzz_galleries(rng, options.galleries, folder)
        print(json.dumps({"galleries": dict(in_galleries), "faults": len(faults)}), flush=True)
        in_pictures, more = fuzz_pictures(rng, options.pictures, folder, folder / "whole")
        print(json.dumps({"pictures": dict(in_pictures), "faults": len(more)}), flush=True)
    for fault in (faults + more)[:40]:
        print(fault)
    sys.exit(bool(faults or more))


if __name__ == "__main__":
    main()
