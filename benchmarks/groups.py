"""How often different adults of one group and sex are taken for one person, by UTKFace's ten groups.

    python benchmarks/groups.py UTKFACE_TEST --descriptors resnet,dlib [--per-group 160] [-o FILE.json]

UTKFACE_TEST is a folder of AGE_SEX_GROUP_DATE.jpg that nothing was trained on. Two thresholds per descriptor: the one
that `verify` uses by default, where scores of impostors ship for it, and the one that 0.1 % of the pairs of White
people reach.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from facerec.recognition.recognizer import Recognizer
from facerec.recognition.shipped_impostors import ShippedImpostors, ThresholdUnavailableError
from facerec.recognition.threshold import shipped_threshold
from facerec.recognition.training.groups import describe_pictures, group_scores, read_padded, utkface_pictures


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--descriptors", default="resnet")
@click.option("--per-group", default=160)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, descriptors: str, per_group: int, output: Path | None) -> None:
    everybody = utkface_pictures(folder)
    rng = np.random.default_rng(0)
    order = [everybody[k] for k in rng.permutation(len(everybody))]
    chosen = []
    for name in sorted({p.group for p in everybody}):
        chosen += [p for p in order if p.group == name][:per_group]
    report: dict[str, object] = {}
    for descriptor in descriptors.split(","):
        recognizer = Recognizer.load(descriptor=descriptor)
        found = describe_pictures(recognizer, [p.path for p in chosen], read_padded)
        rows = [(s, p.group) for s, p in zip(found, chosen, strict=True) if s is not None]
        scores = group_scores([s for s, _ in rows], [g for _, g in rows])
        white = np.concatenate([v for k, v in scores.items() if k.startswith("White")])
        lines = {"White people 0.1 %": float(np.quantile(white, 0.999))}
        try:
            threshold = shipped_threshold(ShippedImpostors.load(recognizer.contract.digest))
            if threshold.value is not None:
                lines[f"shipped, {threshold.note}"] = threshold.value
        except ThresholdUnavailableError as error:
            click.echo(f"{descriptor}: no shipped threshold ({error})", err=True)
        click.echo(f"{descriptor}: {len(rows)} of {len(chosen)} described")
        report[descriptor] = {"described": len(rows), "pictures": len(chosen)}
        for label, value in lines.items():
            rates = {name: float((v >= value).mean()) for name, v in scores.items()}
            report[descriptor][label] = {"threshold": value, "rates": rates}  # type: ignore[index]
            click.echo(f"  {label} (score {value:.3f}): " + ", ".join(f"{k} {100 * v:.2f} %" for k, v in rates.items()))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
