"""The charts of a report's page, from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.charts import HeatCell, Line, histogram, line_chart, pose_grid
from facerec.evaluation.pointers import escape_key, format_value, identification_places, resolve

_NORMALISERS = {"nme_box": "box", "nme_interocular": "outer eye corners", "nme_pupil": "pupils"}


def page_charts(content: Mapping[str, Any], mean_face: NDArray[np.float64] | None = None) -> dict[str, str]:
    """SVG by name: "cmc", "roc", "histogram NAME", "grid POINTER", "ced"; only those that the report has data for.

    Args:
        content: the report's JSON.
        mean_face: (68, 3) landmarks drawn into the pose grid, or None.
    """
    charts: dict[str, str] = {}
    places = identification_places(content)
    ranked = [(name, figures) for base, name in places if (figures := resolve(content, base))["cmc"]]
    if ranked:
        lines = [Line(name or "all probes", range(1, len(f["cmc"]) + 1), f["cmc"]) for name, f in ranked]
        longest = max(len(f["cmc"]) for _, f in ranked)
        charts["cmc"] = line_chart(
            lines[:5],
            title="Cumulative match characteristic",
            x_label="rank",
            y_label="probes whose person is within the rank, %",
            x_range=(1, max(longest, 2)),
            percent_x=False,
        )
    curves = [
        Line(f"{name}, AUC {format_value(figures['auc'], 'number')}", figures["roc"]["far"], figures["roc"]["tar"])
        for name, figures in content.get("verification", {}).items()
        if figures["roc"]["far"]
    ]
    if curves:
        charts["roc"] = line_chart(
            curves[:5],
            title="Receiver operating characteristic",
            x_label="impostor pairs accepted, %",
            y_label="genuine pairs accepted, %",
            x_range=(0.0, 1.0),
        )
    for name, figures in content.get("verification", {}).items():
        counts = figures["histogram"]
        if counts["edges"]:
            charts[f"histogram {name}"] = histogram(
                counts["edges"],
                [("one person", counts["genuine"]), ("two people", counts["impostor"])],
                title=f"Scores of {name} pairs",
                x_label="masked cosine",
            )
    for base, _ in places:
        grid = _grid(content, base, mean_face)
        if grid:
            charts[f"grid {base}"] = grid
    if content["kind"] == "landmarks":
        curve = content["ced"]
        charts["ced"] = line_chart(
            [Line(f"by {label}", curve["error"], curve[key]) for key, label in _NORMALISERS.items() if key in curve],
            title="Cumulative error distribution",
            x_label="normalised mean error, %",
            y_label="faces with at most this error, %",
            x_range=(0.0, 0.20),
        )
    return charts


def _grid(content: Mapping[str, Any], base: str, mean_face: NDArray[np.float64] | None) -> str | None:
    """Heat map of rank-1 over yaw and pitch, when the protocol gives every pose its angles and they fill a grid."""
    poses: Mapping[str, Any] = resolve(content, base).get("by_pose", {})
    if len(poses) < 4 or not all("yaw" in figures for figures in poses.values()):
        return None
    cells: list[HeatCell] = []
    for pose, figures in poses.items():
        low, high = figures["rank1_interval"]
        cells.append(
            HeatCell(
                yaw=figures["yaw"],
                pitch=figures["pitch"],
                value=figures["rank1"],
                text=(format_value(figures["rank1"], "percent"), f"{100 * low:.0f} to {100 * high:.0f}"),
                pointer=f"{base}/by_pose/{escape_key(pose)}/rank1",
            )
        )
    taken = {(cell.yaw, cell.pitch) for cell in cells}
    if len(taken) != len(cells):
        return None
    if (0.0, 0.0) not in taken:
        cells.append(HeatCell(0.0, 0.0, None, ("gallery", ""), None))
    columns, rows = {cell.yaw for cell in cells}, {cell.pitch for cell in cells}
    # A sparse scatter of angles is no grid: the table shows it better.
    if 2 * len(cells) < len(columns) * len(rows):
        return None
    return pose_grid(cells, title="Rank-1 (%) by yaw and pitch, with 95 % intervals", mean_face=mean_face)
