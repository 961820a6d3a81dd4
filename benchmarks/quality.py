"""The one number of a face's quality: learnt on people for calibration, and the error it leaves on held-out people.

    python benchmarks/quality.py describe DATA EXTRA OUT    # calibration people and held-out ones: OUT/*.npz
    python benchmarks/quality.py learn OUT                  # prints the rule of facerec.recognition.quality
    python benchmarks/quality.py curve OUT                  # FNMR against discarded share, held-out people

Calibration people of CFP, YouTube Faces, LFW and CelebA; every picture as it is, and every second one spoilt as well
(small, blurred, dark, bright, cut off, under a bar, compressed), so that the rule meets what photographs of people
seldom show. A face's label is the share of that person's unspoilt other pictures that it matches at the threshold of
`facerec verify`. Held-out people (CFP 301-400, every seventh of YouTube Faces) are
described for the curve alone.
"""

from __future__ import annotations

import sys
from dataclasses import astuple, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.image import read_image
from facerec.landmarks.sets.cfp import cfp_names
from facerec.landmarks.sets.ytf import person_of_frame, ytf_people
from facerec.landmarks.training.people import (
    HELD_OUT_CFP,
    HELD_OUT_EVERY_YTF,
    held_out_people,
    is_calibration_person,
    person_key,
)
from facerec.landmarks.types import Image
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.masked_score import masked_scores
from facerec.recognition.pair import pair_threshold
from facerec.recognition.quality import SIGNS, FaceQuality, QualityRule
from facerec.recognition.recognizer import DescribedFace, Recognizer
from facerec.recognition.search import SearchSettings

PER_PERSON = {"cfp": 7, "ytf": 6, "lfw": 4, "celeba": 5}
PEOPLE = {"cfp": 1000, "ytf": 1000, "lfw": 30, "celeba": 30}

Pictures = list[tuple[str, Path]]
"""Person and file."""


def calibration_pictures(data: Path, extra: Path) -> Pictures:
    """Pictures of people for calibration, with at least two each."""
    held = held_out_people(data / "ytf", data / "cfp-dataset")
    images = data / "cfp-dataset" / "Data" / "Images"
    of: dict[str, dict[str, list[Path]]] = {name: {} for name in PER_PERSON}
    for number, name in enumerate(cfp_names(data / "cfp-dataset"), start=1):
        of["cfp"].setdefault(person_key(name), []).extend(sorted((images / f"{number:03d}").glob("*/*.jpg")))
    for frame in sorted((data / "ytf" / "frames").glob("*/*.jpg")):
        of["ytf"].setdefault(person_key(person_of_frame(frame)), []).append(frame)
    for folder in sorted((extra / "lfw-colour").iterdir()):
        of["lfw"].setdefault(person_key(folder.name), []).extend(sorted(folder.glob("*.jpg")))
    for folder in sorted((extra / "celeba").iterdir()):
        of["celeba"].setdefault(f"celeba {folder.name}", []).extend(sorted(folder.glob("*.jpg")))
    chosen: Pictures = []
    for name, people in of.items():
        used = [who for who in people if is_calibration_person(who) and who not in held and len(people[who]) > 1]
        for who in used[: PEOPLE[name]]:
            files = people[who]
            step = max(1, len(files) // PER_PERSON[name])
            chosen += [(f"{name} {who}", file) for file in files[::step][: PER_PERSON[name]]]
    return chosen


def held_back_pictures(data: Path) -> dict[str, Pictures]:
    """Pictures of the people that figures are reported on."""
    images = data / "cfp-dataset" / "Data" / "Images"
    numbers = [n for n in HELD_OUT_CFP if n <= len(cfp_names(data / "cfp-dataset"))]
    held = set(ytf_people(data / "ytf")[::HELD_OUT_EVERY_YTF])
    frames = sorted((data / "ytf" / "frames").glob("*/*.jpg"))
    return {
        "cfp": [(f"{n:03d}", file) for n in numbers for file in sorted((images / f"{n:03d}").glob("*/*.jpg"))],
        "ytf": [(person_of_frame(frame), frame) for frame in frames if person_of_frame(frame) in held],
    }


def spoilt(image: Image, rng: np.random.Generator) -> Image:
    """The picture as bad cameras and photographers give it."""
    height, width = image.shape[:2]
    out = image.astype(np.float32)
    match int(rng.integers(6)):
        case 0:
            scale = rng.uniform(0.1, 0.5)
            small = cv2.resize(out, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            out = small if rng.uniform() < 0.5 else cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        case 1:
            out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.01, 0.04) * min(height, width))
        case 2:
            out = 255 * (out / 255) ** rng.uniform(2.5, 5) * rng.uniform(0.5, 1)
        case 3:
            out = out * rng.uniform(1.5, 3)
        case 4:
            x0, y0 = int(rng.uniform(-0.5, 0.5) * width), int(rng.uniform(-0.5, 0.5) * height)
            out = out[max(y0, 0) : height + min(y0, 0), max(x0, 0) : width + min(x0, 0)]
        case _:
            top, share = rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.3)
            out[int(top * height) : int((top + share) * height)] = rng.uniform(0, 255)
    pixels = np.ascontiguousarray(np.clip(np.rint(out), 0, 255).astype(np.uint8))
    if rng.uniform() < 0.3:
        _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(8, 40))])
        pixels = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)
    return pixels


def describe(pictures: Pictures, out: Path, recognizer: Recognizer, spoil: bool) -> None:
    """Write one set of signatures with qualities; pictures without a described face have no visible cell."""
    rng = np.random.default_rng(29794)
    rows = []
    for number, (person, path) in enumerate(pictures):
        image = read_image(path)
        for bad in (False, True) if spoil and number % 2 else (False,):
            found = recognizer.describe(spoilt(image, rng) if bad else image)
            face = found[0] if found and isinstance(found[0], DescribedFace) else None
            rows.append((person, "/".join(path.parts[-2:]), bad, face))
    shape = next(face.signature.cells.shape for *_, face in rows if face is not None)
    numbers = len(fields(FaceQuality))
    np.savez(
        out,
        person=[person for person, *_ in rows],
        picture=[picture for _, picture, *_ in rows],
        spoilt=[bad for *_, bad, _ in rows],
        cells=[np.zeros(shape, np.float32) if face is None else face.signature.cells for *_, face in rows],
        visible=[np.zeros(shape[0], bool) if face is None else face.signature.visible for *_, face in rows],
        yaw=[np.nan if face is None else face.fitted.camera.yaw for *_, face in rows],
        components=[np.full(numbers, np.nan) if face is None else astuple(face.components) for *_, face in rows],
        contract=recognizer.contract.digest,
    )


def mates(path: Path) -> tuple[list[FaceQuality | None], NDArray, NDArray]:
    """Qualities (None: no described face), scores (N, N) with NaN where two do not compare, and their threshold's
    verdict (N, N) bool."""
    with np.load(path, allow_pickle=False) as kept:
        rows = {name: kept[name] for name in kept.files}
    contract = str(rows["contract"])
    qualities = [None if np.isnan(c).any() else FaceQuality(*(float(v) for v in c)) for c in rows["components"]]
    vectors = rows["cells"], rows["visible"]
    scores, overlap = normalised_scores(vectors, vectors, contract)[0], masked_scores(vectors, vectors)[1]
    scores[overlap < SearchSettings().least_cells(vectors[0].shape[1])] = -9.0
    same = rows["person"][:, None] == rows["person"][None, :]
    same &= rows["picture"][:, None] != rows["picture"][None, :]
    same &= ~rows["spoilt"][None, :]
    there = np.array([one is not None for one in qualities])
    same &= there[:, None] & there[None, :]
    threshold = pair_threshold(contract).value
    return qualities, np.where(same, scores, np.nan), scores >= threshold


def learn(out: Path) -> None:
    """Print the rule: logistic regression of a face's share of matches; a component that counts the wrong way goes."""
    from sklearn.linear_model import LogisticRegression

    qualities, scores, passed = mates(out / "calibration.npz")
    pairs = np.isfinite(scores).sum(axis=1)
    used = np.flatnonzero(pairs)
    share = np.array([passed[i][np.isfinite(scores[i])].mean() for i in used])
    features = np.array([QualityRule.features(qualities[i]) for i in used])
    twice, label = np.repeat(features, 2, axis=0), np.tile([1, 0], len(used))
    weight = np.stack([share, 1 - share], axis=1).ravel()
    spread = np.maximum(features.std(axis=0), 1e-9)
    kept, weights = np.ones(len(SIGNS), dtype=bool), np.zeros(len(SIGNS))
    while True:
        fitted = LogisticRegression(C=10.0, max_iter=5000)
        fitted.fit((twice / spread)[:, kept], label, weight)
        weights[:] = 0
        weights[kept] = fitted.coef_[0] / spread[kept]
        wrong = weights * SIGNS < 0
        if not wrong.any():
            break
        kept &= ~wrong
    rule = QualityRule(tuple(round(float(w), 3) for w in weights), round(float(fitted.intercept_[0]), 3))
    said = np.array([rule.rate(qualities[i]) for i in used])
    print(f"{len(used)} faces of people for calibration; mean share matched {share.mean():.3f}, said {said.mean():.3f}")
    print(f"UNIFIED = {rule}")
    for low, high in ((0, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1)):
        inside = (said >= low) & (said < high)
        if inside.any():
            print(f"  said {low:.1f}-{high:.1f}: {inside.sum()} faces, matched {share[inside].mean():.3f}")


def curve(out: Path) -> None:
    """Print the FNMR of pairs of held-out people after the worst were discarded, beside the quality used before."""
    for name in ("cfp", "ytf"):
        qualities, scores, passed = mates(out / f"{name}.npz")
        first, second = np.nonzero(np.triu(np.isfinite(scores), 1))
        missed = ~passed[first, second]
        now = np.array([np.nan if one is None else one.unified for one in qualities])
        before = np.array([np.nan if one is None else one.visible_share * one.confidence for one in qualities])
        print(f"{name}: {len(missed)} pairs of one person")
        for called, quality in (("unified", now), ("visible share x confidence", before)):
            worst = np.argsort(np.minimum(quality[first], quality[second]), kind="stable")
            left = [missed[worst][int(share * len(missed)) :].mean() for share in (0, 0.05, 0.1, 0.2, 0.3, 0.5)]
            print(f"  {called}: FNMR {', '.join(f'{100 * v:.2f}' for v in left)} % at 0, 5, 10, 20, 30, 50 % discarded")


def main() -> None:
    match sys.argv[1:]:
        case ["describe", data, extra, out, *sets]:
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
            recognizer = Recognizer.load()
            if "calibration" in (sets or ["calibration"]):
                pictures = calibration_pictures(Path(data), Path(extra))
                describe(pictures, folder / "calibration.npz", recognizer, spoil=True)
            for name, held in held_back_pictures(Path(data)).items():
                if name in (sets or [name]):
                    describe(held, folder / f"{name}.npz", recognizer, spoil=False)
        case ["learn", out]:
            learn(Path(out))
        case ["curve", out]:
            curve(Path(out))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
