"""UHDB31's protocol on rendered people, from one command: renders them, measures at R256 and R128, prints the tables.

    python benchmarks/synthetic_uhdb31.py -o DIR [--subjects 77] [--lights I03] [--systems godp+dfd,...]

A finished rendering is used again, fits and signatures are cached. DIR/R256 and DIR/R128 hold the reports,
DIR/tables.md what is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facerec.cli.main import run
from facerec.evaluation.pointers import format_value, identification_places, resolve

RESOLUTIONS = ("R256", "R128")


def table(content: Mapping[str, Any], resolution: str) -> list[str]:
    """Markdown: rank-1 of every system over yaw and pitch, and its means."""
    systems = content.get("systems") or {content["system"]: content}
    lines: list[str] = []
    for base, name in identification_places(content):
        for system, block in systems.items():
            figures = resolve(block, base)
            poses = list(figures["by_pose"].values())
            yaws = sorted({one["yaw"] for one in poses})
            lines += [
                f"**{system}**, {resolution}{'.' + name if name else ''}: rank-1 {_percent(figures['rank1'])} % "
                f"[{format_value(figures['rank1_interval'], 'interval')}], centre eight "
                f"{_percent(figures['by_group']['centre eight']['rank1'])} %, {figures['n']} probes, found "
                f"{_percent(figures['found'])} %",
                "",
                "| pitch \\ yaw | " + " | ".join(f"{yaw:+.0f}" for yaw in yaws) + " |",
                "| --- |" + " --- |" * len(yaws),
            ]
            for pitch in sorted({one["pitch"] for one in poses}, reverse=True):
                row = {one["yaw"]: _percent(one["rank1"]) for one in poses if one["pitch"] == pitch}
                lines.append(f"| {pitch:+.0f} | " + " | ".join(row.get(yaw, "gallery") for yaw in yaws) + " |")
            lines.append("")
    return lines


def _percent(share: float | None) -> str:
    return format_value(share, "percent")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=77)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lights", default="I03")
    parser.add_argument("--systems", default="godp+dfd")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    people = options.output / "people"
    if not (people / "protocol.csv").is_file():
        asked = ["--subjects", str(options.subjects), "--seed", str(options.seed), "--lights", options.lights]
        if code := run(["synth", "-o", str(people), *asked]):
            return code
    lines: list[str] = []
    for resolution in RESOLUTIONS:
        report = options.output / resolution
        asked = ["--resolution", resolution, "--systems", options.systems, "--device", options.device]
        cache = ["--cache", str(options.output / "signatures")]
        if code := run(["evaluate", "recognition", "synthetic", str(people), *asked, *cache, "--report", str(report)]):
            return code
        lines += table(json.loads((report / "report.json").read_text(encoding="utf-8")), resolution)
    (options.output / "tables.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
