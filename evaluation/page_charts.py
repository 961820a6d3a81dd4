"""The charts of a report's page, from its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facerec.evaluation.charts import LINE_COLOURS, Axis, HeatCell, Line, histogram, line_chart, pose_grid
from facerec.evaluation.pointers import (
    escape_key,
    format_value,
    identification_places,
    resolve,
    shown_target,
    side_by_side,
)
from facerec.evaluation.spread_chart import SpreadMark, spread_chart

_NORMALISERS = {"nme_box": "box", "nme_interocular": "outer eye corners", "nme_pupil": "pupils"}

_FAR = Axis("impostor comparisons accepted, %", 0.0, 1.0)
_TAR = Axis("genuine comparisons accepted, %", 0.0, 1.0)
_FAR_DEVIATE = Axis("impostor comparisons accepted, %", 1e-4, 0.8, deviate=True)
_FRR_DEVIATE = Axis("genuine comparisons rejected, %", 1e-3, 0.8, deviate=True)
_FMR = Axis("FMR, %", 1e-4, 0.8, deviate=True)
_FNMR = Axis("FNMR, %", 1e-3, 0.8, deviate=True)

_WORST_SHADE = 0.10
"""The error by box that gets the darkest colour of a landmark grid: beyond it landmarks are of no use to the fit."""

Heads = Mapping[tuple[float, float], str]


def page_charts(content: Mapping[str, Any], heads: Heads) -> dict[str, str]:
    """SVG by name; only those that the report has data for.

    "KIND" or "KIND SET": "cmc", "roc", "det", "open", "scores", "calibration" of one system;
    "systems KIND SET": the same for all systems; "grid POINTER": pose grids; "ced".

    Args:
        content: the report's JSON.
        heads: pictures of a head by (yaw, pitch) for the pose grids, as data URIs.
    """
    if content["kind"] == "landmarks":
        return _landmark_charts(content, heads)
    charts: dict[str, str] = _standard_charts(content)
    if content["kind"] == "scores":
        return charts
    places = identification_places(content)
    if ranked := [Line(name or "all probes", *_cmc(resolve(content, base))) for base, name in places]:
        charts["cmc"] = _cmc_chart(ranked)
    scored = {name or "all probes": resolve(content, base)["scores"] for base, name in places}
    scored |= content.get("verification", {})
    charts |= _curve_charts("", {name: one for name, one in scored.items() if one.get("roc", {}).get("far")})
    opened = {
        name or "all probes": resolve(content, base)["open_set"]["curve"]
        for base, name in places
        if "open_set" in resolve(content, base)
    }
    if lines := [Line(name, curve["fpir"], curve["fnir"]) for name, curve in opened.items() if curve["fpir"]]:
        charts["open"] = _open_chart(lines)
    for name, one in scored.items():
        if one.get("histogram", {}).get("edges"):
            counts = one["histogram"]
            charts[f"scores {name}"] = histogram(
                counts["edges"],
                [("one person", counts["genuine"]), ("two people", counts["impostor"])],
                title=f"Scores of {name}",
                x_label="masked cosine",
            )
    systems = content.get("systems", {})
    for base, name in places:
        if grid := _binned_grid(content, base):
            charts[f"binned {base}"] = grid
        if grid := _rank_grid(content, base, heads):
            charts[f"grid {base}"] = grid
            for system in systems:
                pointer = f"/systems/{escape_key(system)}{base}"
                charts[f"grid {pointer}"] = _rank_grid(content, pointer, {})
        if systems:
            of = {system: resolve(block, base) for system, block in systems.items()}
            charts[f"systems cmc {name}"] = _cmc_chart([Line(system, *_cmc(one)) for system, one in of.items()])
            charts |= _curve_charts(
                f"systems {name} ", _with_curves({system: one["scores"] for system, one in of.items()})
            )
    if systems:
        for name in content.get("verification", {}):
            of = {system: block["verification"][name] for system, block in systems.items()}
            charts |= _curve_charts(f"systems {name} ", _with_curves(of))
    return charts


def _standard_charts(content: Mapping[str, Any]) -> dict[str, str]:
    """For each set, a line or mark per system: DET of completed comparisons, Tippett plot of the first, error against
    discarded share, and the spread of FMR and FNMR over groups ("groups GROUPING RATE").
    """
    charts: dict[str, str] = {}
    for of, members in side_by_side(content).items():
        end = f" {of}" if of else ""
        blocks = {name: resolve(content, base) for name, base in members[: len(LINE_COLOURS)]}
        lines = [
            Line(name, one["standard"]["det"]["fmr"], one["standard"]["det"]["fnmr"])
            for name, one in blocks.items()
            if "det" in one["standard"]
        ]
        if lines:
            charts[f"standard det{end}"] = line_chart(lines, title="Detection error trade-off", x=_FMR, y=_FNMR)
        charts |= {f"{name}{end}": svg for name, svg in (_tippett(blocks) | _discard(blocks)).items()}
        charts |= {f"{name}{end}": svg for name, svg in _group_charts(content, members[: len(LINE_COLOURS)]).items()}
    return charts


def _tippett(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    name, one = next(iter(blocks.items()))
    drawn = one.get("tippett") or one.get("scores", {}).get("tippett")
    if not drawn:
        return {}
    ratios = drawn["llr"]
    return {
        "tippett": line_chart(
            [Line("one person", ratios, drawn["genuine"]), Line("two people", ratios, drawn["impostor"])],
            title=f"Tippett plot of {name}",
            x=Axis("log10 of the likelihood ratio", ratios[0], max(ratios[-1], ratios[0] + 1e-6), False),
            y=Axis("comparisons with a larger one, %", 0.0, 1.0),
        )
    }


def _discard(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    curves = {name: one["standard"]["discard"][-1] for name, one in blocks.items() if one["standard"].get("discard")}
    if not curves:
        return {}
    highest = max(max(one["fnmr"]) for one in curves.values())
    return {
        "discard": line_chart(
            [Line(name, one["discarded"], one["fnmr"]) for name, one in curves.items()],
            title="Error against discarded share",
            x=Axis("genuine comparisons discarded, %", 0.0, 0.5),
            y=Axis("FNMR of the rest, %", 0.0, max(1.1 * highest, 0.01)),
            marks=True,
        )
    }


def _group_charts(content: Mapping[str, Any], members: Sequence[tuple[str, str]]) -> dict[str, str]:
    """ "groups GROUPING fmr" and "groups GROUPING fnmr": one row per group, one mark per system, at one threshold each.

    "groups": the first of them.
    """
    blocks = {name: resolve(content, base)["standard"] for name, base in members}
    charts: dict[str, str] = {}
    for grouping in dict.fromkeys(key for one in blocks.values() for key in one.get("by_group", {})):
        points = {
            name: resolve(content, base)["standard"]["by_group"][grouping][shown_target(content, members[0][1])]
            for name, base in members
            if grouping in blocks[name].get("by_group", {}) and blocks[name]["by_group"][grouping]
        }
        groups = list(dict.fromkeys(group for point in points.values() for group in point["groups"]))
        for rate in ("fmr", "fnmr"):
            rows = [(group, [_mark(point["groups"].get(group), rate) for point in points.values()]) for group in groups]
            rates = [mark.rate for _, marks in rows for mark in marks if mark is not None]
            if len(groups) < 2 or not rates:
                continue
            aimed = next(iter(points.values()))["target_fmr"] if rate == "fmr" else None
            lowest = min([value for value in rates if value > 0] + ([aimed] if aimed else []), default=0.01)
            axis = Axis(f"{rate.upper()}, %", max(lowest / 3, 1e-5), 1.0, log=True)
            chart = spread_chart(
                rows, list(points), title=f"{rate.upper()} by {grouping}, one threshold", x=axis, aimed=aimed
            )
            charts[f"groups {grouping} {rate}"] = chart
            charts.setdefault("groups", chart)
    return charts


def _mark(group: Mapping[str, Any] | None, rate: str) -> SpreadMark | None:
    if group is None or group[rate]["rate"] is None:
        return None
    low, high = group[rate]["interval"]
    return SpreadMark(group[rate]["rate"], low, high, group[rate]["few_errors"])


def _binned_grid(content: Mapping[str, Any], base: str) -> str:
    """Heat map of rank-1 over cells of yaw and pitch, for a list whose poses are scattered; "" for fewer than four."""
    figures: Mapping[str, Any] = resolve(content, base)
    cells = [
        HeatCell(
            one["yaw"],
            one["pitch"],
            one["rank1"],
            [
                _format_cell(content, f"{base}/by_yaw_pitch/{escape_key(name)}/rank1", "percent"),
                _format_cell(content, f"{base}/by_yaw_pitch/{escape_key(name)}/rank1_people_interval", "interval0"),
            ],
        )
        for name, one in figures.get("by_yaw_pitch", {}).items()
    ]
    if len(cells) < 4:
        return ""
    return pose_grid(cells, title="Rank-1 (%) by yaw and pitch, with 95 % intervals", ends=("rank-1: 0 %", "100 %"))


def grid_angles(content: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(yaw, pitch) of every cell of the report's pose grids; none when it has no grid."""
    blocks = [content.get("by_view", {})]
    if content["kind"] == "recognition":
        blocks = [resolve(content, base).get("by_pose", {}) for base, _ in identification_places(content)]
    angles: dict[tuple[float, float], None] = {}
    for poses in blocks:
        cells = [HeatCell(one["yaw"], one["pitch"], None, []) for one in poses.values() if "yaw" in one]
        if _is_grid(cells, len(poses)):
            angles |= {(cell.yaw, cell.pitch): None for cell in cells} | {(0.0, 0.0): None}
    return list(angles)


def _with_curves(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: one for name, one in blocks.items() if one.get("roc", {}).get("far")}


def _cmc(figures: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    return range(1, len(figures["cmc"]) + 1), figures["cmc"]


def _cmc_chart(lines: Sequence[Line]) -> str:
    longest = max(len(line.x) for line in lines)
    return line_chart(
        lines[: len(LINE_COLOURS)],
        title="Cumulative match characteristic",
        x=Axis("rank", 1, max(longest, 2), percent=False, whole=True),
        y=Axis("probes whose person is within the rank, %", 0.0, 1.0),
    )


def _curve_charts(prefix: str, blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """ROC, DET and reliability, a line for each block."""
    shown = dict(list(blocks.items())[: len(LINE_COLOURS)])
    if not shown:
        return {}
    return {
        f"{prefix}roc": line_chart(
            [Line(name, one["roc"]["far"], one["roc"]["tar"]) for name, one in shown.items()],
            title="Receiver operating characteristic",
            x=_FAR,
            y=_TAR,
        ),
        f"{prefix}det": line_chart(
            [Line(name, one["det"]["far"], one["det"]["frr"]) for name, one in shown.items()],
            title="Detection error trade-off",
            x=_FAR_DEVIATE,
            y=_FRR_DEVIATE,
        ),
        f"{prefix}calibration": line_chart(
            [
                Line(name, *([one[key] for one in block["calibration"]["bins"]] for key in ("predicted", "observed")))
                for name, block in shown.items()
            ],
            title="Calibration",
            x=Axis("predicted chance of one person at even odds, %", 0.0, 1.0),
            y=Axis("observed, %", 0.0, 1.0),
            marks=True,
            even=True,
        ),
    }


def _open_chart(lines: Sequence[Line]) -> str:
    return line_chart(
        lines[: len(LINE_COLOURS)],
        title="Open set",
        x=Axis("unknown probes that match somebody, % (FPIR)", 0.001, 1.0, log=True),
        y=Axis("known probes not identified, % (FNIR)", 0.001, 1.0, log=True),
    )


def _landmark_charts(content: Mapping[str, Any], heads: Heads) -> dict[str, str]:
    curve = content["ced"]
    charts = {
        "ced": line_chart(
            [Line(f"by {label}", curve["error"], curve[key]) for key, label in _NORMALISERS.items() if key in curve],
            title="Cumulative error distribution",
            x=Axis("normalised mean error, %", 0.0, 0.20),
            y=Axis("faces with at most this error, %", 0.0, 1.0),
        )
    }
    if "confidence" in content:
        bins = content["confidence"]["bins"]
        charts["confidence"] = line_chart(
            [Line("points", [one["predicted"] for one in bins], [one["observed"] for one in bins])],
            title="Reliability of the points' confidence",
            x=Axis("confidence, %", 0.0, 1.0),
            y=Axis("points within the distance, %", 0.0, 1.0),
            marks=True,
            even=True,
        )
    if "box_noise" in content:
        noise = content["box_noise"]
        highest = max(value for key in ("size", "translation") for value in noise[key])
        charts["box noise"] = line_chart(
            [Line(key, noise["sigma"], noise[key]) for key in ("size", "translation")],
            title="Errors from boxes that are off",
            x=Axis("deviation of the noise, % of the box", 0.0, max(noise["sigma"])),
            y=Axis("normalised mean error by box, %", 0.0, max(highest * 1.1, 0.01)),
            marks=True,
        )
    cells = [
        HeatCell(
            figures["yaw"],
            figures["pitch"],
            # A view in which nothing was found is as bad as can be.
            1 - min((figures["nme_box"] if figures["nme_box"] is not None else 1.0) / _WORST_SHADE, 1.0),
            [
                _format_cell(content, f"/by_view/{escape_key(pose)}/nme_box", "percent2"),
                ("found %", None),
                _format_cell(content, f"/by_view/{escape_key(pose)}/found", "percent"),
            ],
        )
        for pose, figures in content.get("by_view", {}).items()
        if "yaw" in figures
    ]
    if _is_grid(cells, len(content.get("by_view", {}))):
        charts["grid "] = pose_grid(
            cells,
            title="Mean error by box (%) by yaw and pitch",
            ends=(f"{100 * _WORST_SHADE:g} % and more", "0 %"),
            heads=heads,
        )
    return charts


def _rank_grid(content: Mapping[str, Any], base: str, heads: Heads) -> str:
    """Heat map of rank-1 over yaw and pitch; "" unless every pose has its angles and they fill a grid."""
    poses: Mapping[str, Any] = resolve(content, base).get("by_pose", {})
    cells = [
        HeatCell(
            figures["yaw"],
            figures["pitch"],
            figures["rank1"],
            [
                _format_cell(content, f"{base}/by_pose/{escape_key(pose)}/rank1", "percent"),
                _format_cell(content, f"{base}/by_pose/{escape_key(pose)}/rank1_interval", "interval0"),
            ],
        )
        for pose, figures in poses.items()
        if "yaw" in figures
    ]
    if not _is_grid(cells, len(poses)):
        return ""
    if (0.0, 0.0) not in {(cell.yaw, cell.pitch) for cell in cells}:
        cells.append(HeatCell(0.0, 0.0, None, [("gallery", None)]))
    return pose_grid(
        cells, title="Rank-1 (%) by yaw and pitch, with 95 % intervals", ends=("rank-1: 0 %", "100 %"), heads=heads
    )


def _format_cell(content: Mapping[str, Any], pointer: str, form: str) -> tuple[str, tuple[str, str]]:
    return format_value(resolve(content, pointer), form), (pointer, form)


def _is_grid(cells: Sequence[HeatCell], poses: int) -> bool:
    """Whether every pose has its angles, no two the same, and they fill half a grid: a table shows a scatter better."""
    taken = {(cell.yaw, cell.pitch) for cell in cells}
    rows, columns = {cell.pitch for cell in cells}, {cell.yaw for cell in cells}
    return len(cells) == poses >= 4 and len(taken) == poses and 2 * (poses + 1) >= len(rows) * len(columns)
