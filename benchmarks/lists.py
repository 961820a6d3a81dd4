"""Lists of pictures of people whom no descriptor was trained on, for `facerec evaluate recognition`.

    python benchmarks/lists.py DATA OUT
    facerec evaluate recognition lfw OUT/lfw --report out          # pairs of LFW
    facerec evaluate recognition csv OUT/ytf.csv --report out      # YouTube Faces, from one video to the others

LFW's official pairs show people that were trained on. These pairs are of the people left out: the held-out people's
namesakes and the sixteenth that thresholds are calibrated on. In YouTube Faces the gallery is the middle frame of a
held-out person's first video, the probes are frames of that person's other videos.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np

from facerec.landmarks.sets.ytf import person_of_frame
from facerec.landmarks.training.people import held_out_people, is_calibration_person, person_key

FOLDS = 10
FRAMES = 5  # of a video


def write_lfw(data: Path, out: Path) -> None:
    """pairs.txt in LFW's form beside a link to its pictures."""
    held = held_out_people(data / "ytf", data / "cfp-dataset")
    rng = np.random.default_rng(0)
    folders = [f for f in sorted((data / "lfw").iterdir()) if f.is_dir()]
    people = {}
    for folder in folders:
        if person_key(folder.name) in held or is_calibration_person(person_key(folder.name)):
            numbers = [int(path.stem[-4:]) for path in sorted(folder.glob("*.jpg"))]
            if numbers:
                people[folder.name] = numbers
    names = list(rng.permutation(sorted(people)))
    folds = [names[k::FOLDS] for k in range(FOLDS)]
    # As in LFW, a person is in one fold only, and no one celebrity fills it: at most ten same pairs each.
    same = [
        [(name, a, b) for name in fold for a, b in list(itertools.combinations(people[name], 2))[:10]] for fold in folds
    ]
    size = min(len(pairs) for pairs in same)
    out.mkdir(parents=True, exist_ok=True)
    link = out / "lfw"
    if not link.exists():
        link.symlink_to((data / "lfw").resolve())
    lines = [f"{FOLDS}\t{size}"]
    for fold, pairs in zip(folds, same, strict=True):
        for name, a, b in [pairs[k] for k in rng.permutation(len(pairs))[:size]]:
            lines.append(f"{name}\t{a}\t{b}")
        for _ in range(size):
            one, other = rng.choice(len(fold), 2, replace=False)
            lines.append(
                f"{fold[one]}\t{rng.choice(people[fold[one]])}\t{fold[other]}\t{rng.choice(people[fold[other]])}"
            )
    (out / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"LFW: {len(names)} people, {FOLDS} folds of {size} same and {size} different pairs")


def write_ytf(data: Path, file: Path) -> None:
    """A gallery frame a person and frames of the person's other videos."""
    held = held_out_people(data / "ytf", data / "cfp-dataset")
    videos: dict[str, dict[str, list[Path]]] = {}
    for path in sorted((data / "ytf").glob("frames/*/*.jpg")):
        person = person_of_frame(path)
        if person_key(person) in held:
            # NAME_VF.jpg: V is the number of the video, F that of the frame.
            videos.setdefault(person, {}).setdefault(path.stem[:-1], []).append(path)
    rows = []
    for person, of in videos.items():
        frames = list(of.values())
        if len(frames) < 2:
            continue
        rows.append((frames[0][len(frames[0]) // 2], person, "gallery"))
        rows += [(path, person, "probe") for video in frames[1:] for path in video[:FRAMES]]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "person", "role"])
        writer.writerows((path.resolve(), person, role) for path, person, role in rows)
    print(f"YouTube Faces: {sum(r[2] == 'gallery' for r in rows)} people, {sum(r[2] == 'probe' for r in rows)} probes")


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    write_lfw(source, target / "lfw")
    write_ytf(source, target / "ytf.csv")
