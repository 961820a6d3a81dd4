"""How many strangers are named in galleries of many people, and how many enrolled people are found?

    python benchmarks/fpir.py EXTRA/lfw-colour DATA/cfp-dataset EXTRA/utkface/test --cache FOLDER

Galleries hold one picture of each of N people of LFW in colour (for the second table also the first frontal picture of
each of CFP's people 301-400). Strangers are CFP's people 301-400, frontals and profiles, and UTKFace's test people by
group, who were in no training and no calibration; most of LFW's people, who only fill the galleries, were in resnet's
training. Thresholds are those of the product: `choose_gallery_threshold` with the gallery's own impostor scores.
Signatures are kept in FOLDER.
"""

from __future__ import annotations

import argparse
import difflib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.recognition.cohort import normalised_scores
from facerec.recognition.impostors import CalibrationSettings, ImpostorScores
from facerec.recognition.recognizer import DescribedFace, Recognizer
from facerec.recognition.threshold import (
    GalleryThresholdSettings,
    ThresholdSettings,
    choose_gallery_threshold,
    choose_threshold,
)
from facerec.recognition.training.groups import read_padded, utkface_pictures

YAWS = ((0, 15), (15, 30), (30, 60), (60, 100))


@dataclass(frozen=True, eq=False)
class Described:
    """Signatures (N, C, D), visibility (N, C), |yaw| (N,), people and groups of the pictures that were described."""

    cells: NDArray[np.float32]
    visible: NDArray[np.bool_]
    yaw: NDArray[np.float32]
    person: NDArray[np.str_]
    group: NDArray[np.str_]

    @staticmethod
    def joined(parts):
        """All of `parts` in one."""
        keys = [field.name for field in fields(Described)]
        return Described(*(np.concatenate([getattr(part, key) for part in parts]) for key in keys))

    def rows(self, at):
        """Those at `at`."""
        return Described(self.cells[at], self.visible[at], self.yaw[at], self.person[at], self.group[at])

    @property
    def vectors(self):
        """Cells and visibility."""
        return self.cells, self.visible


def described(cache: Path, recognizer: Recognizer, pictures, read=read_image) -> Described:
    """The largest face of each of `pictures` (path, person, group), from `cache` where it has been done before."""
    if not cache.exists():
        found = []
        for path, person, group in pictures:
            try:
                faces = recognizer.describe(read(path))
            except UnusablePhotoError:
                continue
            if faces and isinstance(faces[0], DescribedFace):
                signature = faces[0].signature
                yaw = abs(faces[0].fitted.camera.angles[0])
                found.append((signature.cells, signature.visible, yaw, person, group))
        cells, visible, yaw, person, group = (np.array(part) for part in zip(*found, strict=True))
        np.savez(cache, cells=cells, visible=visible, yaw=yaw, person=person, group=group, all=len(pictures))
    with np.load(cache, allow_pickle=False) as stored:
        print(f"{cache.stem}: {len(stored['cells'])} of {int(stored['all'])} pictures described")
        return Described(*(stored[key] for key in ("cells", "visible", "yaw", "person", "group")))


def cfp_names(cfp: Path) -> list[str]:
    """Names of CFP's people 301-400, as plain letters."""
    listed = (cfp / "Data" / "list_name.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return [plain(name) for name in listed[300:400]]


def plain(name: str) -> str:
    """Lower-case letters and single blanks."""
    return " ".join("".join(c if c.isalpha() else " " for c in name.lower()).split())


def unlike_names(folders: list[Path], names: list[str]) -> list[Path]:
    """The folders whose names are not nearly one of `names`: CFP spells some of its people otherwise than LFW does
    ("Nicholas Cage"), and a stranger who is enrolled is none."""
    return [f for f in folders if not difflib.get_close_matches(plain(f.name), names, n=1, cutoff=0.8)]


def own_scores(gallery: Described, contract: str) -> ImpostorScores:
    """What `calibrate` finds in a gallery of one picture per person."""
    some = gallery.rows(np.arange(min(len(gallery.person), CalibrationSettings().max_entries)))
    scores, _ = normalised_scores(some.vectors, some.vectors, contract)
    pairs = scores[np.triu_indices(len(scores), 1)]
    np.fill_diagonal(scores, -np.inf)
    return ImpostorScores(ImpostorScores.of_scores(pairs), np.sort(scores.max(axis=1)), len(scores), len(scores))


def best(probes: Described, gallery: Described, contract: str):
    """Best score of each probe and whose it is."""
    scores, _ = normalised_scores(probes.vectors, gallery.vectors, contract)
    return scores.max(axis=1), gallery.person[scores.argmax(axis=1)]


def shares(reached, probes: Described) -> str:
    """Share that `reached`, over all and by |yaw|."""
    cells = [f"{100 * reached.mean():.2f}"]
    for low, high in YAWS:
        own = reached[(probes.yaw >= low) & (probes.yaw < high)]
        cells.append(f"{100 * own.mean():.2f} ({len(own)})" if len(own) else "-")
    return " | ".join(cells)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("cfp", type=Path)
    parser.add_argument("utkface", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5, help="Galleries drawn per size.")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    recognizer = Recognizer.load()
    contract = recognizer.contract.digest

    people = unlike_names([folder for folder in sorted(args.lfw.iterdir()) if folder.is_dir()], cfp_names(args.cfp))
    everybody = [(min(f.iterdir()), f.name, "") for f in sorted(args.lfw.iterdir()) if f.is_dir()]
    lfw = described(args.cache / "lfw.npz", recognizer, everybody)
    lfw = lfw.rows(np.flatnonzero(np.isin(lfw.person, [f.name for f in people])))
    images = args.cfp / "Data" / "Images"
    chosen = [
        (path, f"{number:03d}", kind)
        for number in range(301, 401)
        for kind in ("frontal", "profile")
        for path in sorted((images / f"{number:03d}" / kind).glob("*.jpg"))
    ]
    cfp = described(args.cache / "cfp.npz", recognizer, chosen)
    adults = [(p.path, p.path.stem, p.group) for p in utkface_pictures(args.utkface)]
    utk = described(args.cache / "utkface.npz", recognizer, adults, read_padded)

    rng = np.random.default_rng(0)
    print("\n| N | target | threshold | FPIR % | " + " | ".join(f"{a}-{min(b, 90)}" for a, b in YAWS) + " |")
    print("| --- " * (4 + len(YAWS)) + "|")
    sizes = [10, 100, 1000, len(lfw.person)]
    by_group: dict[int, dict[str, list[float]]] = {n: {} for n in sizes}
    for size in sizes:
        for target in (0.1, 0.01, 0.003):
            values, reached, rows = [], [], []
            for _ in range(args.draws if size < len(lfw.person) else 1):
                gallery = lfw.rows(rng.permutation(len(lfw.person))[:size])
                threshold = choose_gallery_threshold(
                    own_scores(gallery, contract), contract, size, GalleryThresholdSettings(fpir=target)
                )
                assert threshold.value is not None
                score, _ = best(cfp, gallery, contract)
                values.append(threshold.value)
                reached.append(score >= threshold.value)
                rows.append(cfp)
                if target == 0.01:
                    other, _ = best(utk, gallery, contract)
                    for name in np.unique(utk.group):
                        by_group[size].setdefault(str(name), []).append(
                            float((other[utk.group == name] >= threshold.value).mean())
                        )
            every = Described.joined(rows)
            print(f"| {size} | {target:g} | {np.mean(values):.3f} | {shares(np.concatenate(reached), every)} |")
    print("\nBy group, target 0.01, FPIR % of UTKFace's test people:\n")
    print("| N | " + " | ".join(by_group[sizes[0]]) + " |")
    print("| --- " * (1 + len(by_group[sizes[0]])) + "|")
    for size, groups in by_group.items():
        print(f"| {size} | " + " | ".join(f"{100 * np.mean(v):.2f}" for v in groups.values()) + " |")

    found_people(lfw, cfp, utk, contract, rng)
    larger_galleries(lfw, [cfp, utk], contract)
    growing_galleries(lfw, cfp, contract, rng)


def found_people(lfw: Described, cfp: Described, utk: Described, contract: str, rng: np.random.Generator) -> None:
    """How many enrolled people are found at the thresholds, by the yaw of the probe."""
    print("\nFound, target 0.01: enrolled from one frontal picture, TPIR % by |yaw| of the probe:\n")
    frontal = np.flatnonzero(cfp.group == "frontal")
    first = frontal[np.unique(cfp.person[frontal], return_index=True)[1]]
    probes = cfp.rows(np.setdiff1d(np.arange(len(cfp.person)), first))
    yaws = " | ".join(f"{low}-{min(high, 90)}" for low, high in YAWS)
    print(f"| N | threshold | strangers named % | found % | {yaws} |")
    print("| --- " * (4 + len(YAWS)) + "|")
    strangers = utk.rows(np.flatnonzero(utk.group != ""))
    for size in (100, 1000, len(lfw.person)):
        more = rng.permutation(len(lfw.person))[: max(0, size - len(first))]
        gallery = Described.joined([cfp.rows(first), lfw.rows(more)])
        gallery = gallery.rows(rng.permutation(len(gallery.person)))
        own = own_scores(gallery, contract)
        score, who = best(probes, gallery, contract)
        named, _ = best(strangers, gallery, contract)
        for threshold in (
            choose_gallery_threshold(own, contract, len(gallery.person)),
            choose_threshold(own, contract, ThresholdSettings(far=1e-3)),
        ):
            assert threshold.value is not None
            found = shares((score >= threshold.value) & (who == probes.person), probes)
            share = 100 * (named >= threshold.value).mean()
            rule = "FAR 0.1 % of pairs" if threshold.fpir is None else "FPIR 1 %"
            print(f"| {len(gallery.person)} | {threshold.value:.3f} ({rule}) | {share:.2f} | {found} |")


def larger_galleries(lfw: Described, strangers, contract: str) -> None:
    """FPIR of galleries that are larger than any at hand, from the pairs of all strangers with all of LFW's people."""
    pairs = np.concatenate([normalised_scores(s.vectors, lfw.vectors, contract)[0].ravel() for s in strangers])
    own = own_scores(lfw, contract)
    print(f"\nSimulated, from {len(pairs):,} pairs (strangers' comparisons taken as independent):\n")
    print("| N | target | threshold | pairs that reach it | FPIR % |\n| --- | --- | --- | --- | --- |")
    for size, target in ((10_000, 0.1), (10_000, 0.01), (100_000, 0.1), (100_000, 0.01), (1_000_000, 0.1)):
        value = choose_gallery_threshold(own, contract, size, GalleryThresholdSettings(fpir=target)).value
        reached = int((pairs >= value).sum())
        fpir = 1 - (1 - reached / len(pairs)) ** size
        print(f"| {size:,} | {target:g} | {value:.3f} | {reached} | {100 * fpir:.2f} |")


def growing_galleries(lfw: Described, cfp: Described, contract: str, rng: np.random.Generator) -> None:
    """How many decisions change while a gallery grows by one picture after the other, though the best one stays."""
    print("\nWhile a gallery grows, decisions that change for the same best candidate:\n")
    print("| from | to | probes | changed | largest step of the threshold |\n| --- | --- | --- | --- | --- |")
    frontal = np.flatnonzero(cfp.group == "frontal")
    first = frontal[np.unique(cfp.person[frontal], return_index=True)[1]][:90]
    order = rng.permutation(len(lfw.person))
    for low, high in ((95, 105), (190, 210)):
        before, steps, changed = None, [], 0
        for size in range(low, high + 1):
            gallery = Described.joined([cfp.rows(first), lfw.rows(order[: size - len(first)])])
            value = choose_gallery_threshold(own_scores(gallery, contract), contract, size).value
            score, who = best(cfp, gallery, contract)
            if before is not None:
                steps.append(abs(value - before[0]))
                changed += int(((score >= value) != before[1])[who == before[2]].sum())
            before = value, score >= value, who
        print(f"| {low} | {high} | {len(cfp.person)} | {changed} | {max(steps):.4f} |")


if __name__ == "__main__":
    main()
