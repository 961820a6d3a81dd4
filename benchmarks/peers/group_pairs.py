"""Pairs of different adults by UTKFace's ten groups, for `facerec evaluate recognition pairs` and for peers.

    python benchmarks/peers/group_pairs.py EXTRA/utkface/test OUT [--per-group 160] [--across 500]
    facerec evaluate recognition pairs OUT/pairs.csv --systems resnet,dlib --scores SCORES --report out

UTKFace has one picture of a person, so no pair is of one person and the figures are FMRs. All pairs within a group, and
so many drawn ones between each two groups. The tight crops get a border, without which a detector sees no whole face.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import click
import numpy as np
from PIL import Image as PilImage

from facerec.recognition.training.groups import read_padded, utkface_pictures


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--per-group", default=160, show_default=True)
@click.option("--across", default=500, show_default=True)
def main(folder: Path, out: Path, per_group: int, across: int) -> None:
    everybody = utkface_pictures(folder)
    rng = np.random.default_rng(0)
    order = [everybody[k] for k in rng.permutation(len(everybody))]
    groups = {
        name: [p.path for p in order if p.group == name][:per_group] for name in sorted({p.group for p in everybody})
    }
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    group = {path: name for name, paths in groups.items() for path in paths}
    for path in group:
        PilImage.fromarray(read_padded(path)).save(out / "pictures" / f"{path.stem}.png", compress_level=1)
    pairs = [pair for paths in groups.values() for pair in itertools.combinations(paths, 2)]
    for one, other in itertools.combinations(groups.values(), 2):
        drawn = rng.choice(len(one) * len(other), min(across, len(one) * len(other)), replace=False)
        pairs += [(one[k // len(other)], other[k % len(other)]) for k in drawn.tolist()]
    with (out / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path_a", "path_b", "same", "group_a:group", "group_b:group"))
        for a, b in pairs:
            writer.writerow((f"pictures/{a.stem}.png", f"pictures/{b.stem}.png", 0, group[a], group[b]))
    click.echo(f"{len(group)} people in {len(groups)} groups, {len(pairs)} pairs")


if __name__ == "__main__":
    main()
