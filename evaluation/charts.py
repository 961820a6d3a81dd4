"""Charts of the reports, drawn as plain SVG: no network, no script, sharp in print.

Lines differ by colour, dash and their label; heat maps carry their numbers. Colours of lines are Okabe and Ito's, which
stay apart for colour-blind readers; heat maps use cividis, made for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError

LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 2")

_WIDTH, _HEIGHT = 460, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 46


@dataclass(frozen=True)
class Line:
    """One line of a chart: its label and its points, the same number of x and y."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float] = (0.0, 1.0),
    percent_x: bool = True,
    steps: bool = False,
) -> str:
    """An SVG line chart.

    Args:
        lines: at most as many as there are `LINE_COLOURS`.
        title: what the chart shows, for readers who do not see it.
        x_label, y_label: axis titles.
        x_range, y_range: what the axes cover; y is a share and is labelled in percent.
        percent_x: whether x is a share as well.
        steps: draw a staircase that rises at each point (a curve over ranks or thresholds) rather than straight lines.
    """
    if len(lines) > len(LINE_COLOURS):
        raise InvalidInputError(f"expected at most {len(LINE_COLOURS)} lines in a chart; got {len(lines)}")

    def across(value: float) -> float:
        low, high = x_range
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        low, high = y_range
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_open(_WIDTH, _HEIGHT, title)]
    for tick in _ticks(*y_range):
        parts.append(_rule(_LEFT, up(tick), _WIDTH - _RIGHT, up(tick)))
        parts.append(_text(_LEFT - 6, up(tick) + 4, f"{100 * tick:g}", anchor="end"))
    for tick in _ticks(*x_range, whole=not percent_x):
        parts.append(_rule(across(tick), _TOP, across(tick), _HEIGHT - _BOTTOM))
        parts.append(_text(across(tick), _HEIGHT - _BOTTOM + 16, f"{100 * tick if percent_x else tick:g}"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_label))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="14" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 14 {middle:.1f})">'
        f"{escape(y_label)}</text>"
    )
    key: float = _LEFT
    for number, line in enumerate(lines):
        points = [
            (across(float(x)), up(float(np.clip(y, *y_range))))
            for x, y in zip(line.x, line.y, strict=True)
            if x_range[0] <= x <= x_range[1]
        ]
        if steps:
            points = [p for (x0, y0), (x1, y1) in pairwise(points) for p in ((x0, y0), (x1, y0), (x1, y1))] or points
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = f'stroke="{LINE_COLOURS[number]}" stroke-dasharray="{_DASHES[number]}"'
        parts.append(f'<polyline points="{path}" fill="none" stroke-width="2.2" {style}/>')
        if len(points) == 1:
            parts.append(
                f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="4" fill="{LINE_COLOURS[number]}"/>'
            )
        # The legend stands above the axes, where no line can hide it.
        parts.append(f'<line x1="{key:.0f}" y1="16" x2="{key + 28:.0f}" y2="16" stroke-width="2.2" {style}/>')
        parts.append(_text(key + 34, 20, line.label, anchor="start"))
        key += 48 + 6.3 * len(line.label)
    parts.append("</svg>")
    return "".join(parts)


def histogram(edges: Sequence[float], counts: Sequence[tuple[str, Sequence[int]]], *, title: str, x_label: str) -> str:
    """An SVG histogram: outlines of shares over the same bins, one for each (label, counts)."""
    lines: list[Line] = []
    highest = 0.0
    for label, values in counts:
        shares = np.asarray(values, dtype=np.float64) / max(sum(values), 1)
        highest = max(highest, float(shares.max(initial=0.0)))
        x = np.repeat(np.asarray(edges), 2)
        y = np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])
        lines.append(Line(label, x.tolist(), y.tolist()))
    top = np.ceil(highest * 20 + 1e-9) / 20 if highest else 1.0
    return line_chart(
        lines,
        title=title,
        x_label=x_label,
        y_label="pairs in the bin, %",
        x_range=(float(edges[0]), float(edges[-1])),
        y_range=(0.0, float(top)),
        percent_x=False,
    )


@dataclass(frozen=True)
class HeatCell:
    """One cell of a pose grid.

    Attributes:
        yaw, pitch: its place, degrees.
        value: share in [0, 1] that gives the colour; None for the gallery's pose.
        text: what is written: the value, and below it something smaller.
        pointer: JSON pointer of the value in report.json.
    """

    yaw: float
    pitch: float
    value: float | None
    text: tuple[str, str]
    pointer: str | None


def pose_grid(
    cells: Sequence[HeatCell],
    *,
    title: str,
    low: float = 0.0,
    mean_face: NDArray[np.float64] | None = None,
) -> str:
    """An SVG heat map with one column a yaw and one row a pitch (upward poses on top).

    Args:
        cells: at most one for each yaw and pitch.
        title: what the chart shows, for readers who do not see it.
        low: value of the darkest colour; the brightest is 1.
        mean_face: (68, 3) landmarks of the mean face in model space, drawn turned into each cell's pose.
    """
    yaws = sorted({cell.yaw for cell in cells})
    pitches = sorted({cell.pitch for cell in cells}, reverse=True)
    width, height, left, bottom = 92, 96 if mean_face is not None else 58, 44, 40
    total = (left + width * len(yaws) + 8, height * len(pitches) + bottom)
    parts = [_open(*total, title)]
    for cell in cells:
        x, y = left + width * yaws.index(cell.yaw), height * pitches.index(cell.pitch)
        fill = "#ffffff" if cell.value is None else colour(cell.value, low)
        ink = "#111111" if cell.value is None or _luminance(fill) > 0.45 else "#ffffff"
        dash = ' stroke-dasharray="4 3"' if cell.value is None else ""
        parts.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{width - 2}" height="{height - 2}" rx="4" fill="{fill}" '
            f'stroke="#777777"{dash}/>'
        )
        if mean_face is not None:
            parts.append(_head(mean_face, cell.yaw, cell.pitch, x + width / 2, y + 30, 40, ink))
        key = "" if cell.pointer is None else f' data-key="{escape(cell.pointer)}" data-format="percent"'
        middle, base = x + width / 2, y + height - 22
        parts.append(
            f'<text x="{middle:.1f}" y="{base}" text-anchor="middle" fill="{ink}" font-size="17" '
            f'font-weight="600"{key}>{escape(cell.text[0])}</text>'
        )
        parts.append(
            f'<text x="{middle:.1f}" y="{base + 14}" text-anchor="middle" fill="{ink}" font-size="10">'
            f"{escape(cell.text[1])}</text>"
        )
    for yaw in yaws:
        parts.append(_text(left + width * (yaws.index(yaw) + 0.5), height * len(pitches) + 15, _degrees(yaw)))
    for pitch in pitches:
        parts.append(_text(left - 6, height * (pitches.index(pitch) + 0.5) + 4, _degrees(pitch), anchor="end"))
    label = "yaw (columns; + : nose to the image's right), pitch (rows; + : up)"
    parts.append(_text(left + width * len(yaws) / 2, total[1] - 6, label))
    parts.append("</svg>")
    return "".join(parts)


def colour(value: float, low: float = 0.0) -> str:
    """cividis for `value` within [`low`, 1], as #rrggbb."""
    from matplotlib import colormaps  # late: only reports need it

    red, green, blue, _ = colormaps["cividis"](float(np.clip((value - low) / max(1 - low, 1e-9), 0, 1)))
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


# Strokes of a face by rows of ibug68: all of it, and the half that a camera sees of a head turned to the image's right.
_STROKES = (
    tuple(range(17)),
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 31)),
    tuple(range(31, 36)),
    (*range(36, 42), 36),
    (*range(42, 48), 42),
    (*range(48, 60), 48),
)
_HALF_STROKES = (
    tuple(range(9)),
    tuple(range(17, 22)),
    (*range(27, 31), 33, 32, 31),
    (*range(36, 40),),
    (48, 49, 50, 51),
    (48, 59, 58, 57),
)


def _head(mean_face: NDArray[np.float64], yaw: float, pitch: float, x: float, y: float, size: float, ink: str) -> str:
    """Line drawing of the mean face in a pose, about `size` px wide around (x, y)."""
    turned_away = abs(yaw) > 45
    # Only one half of the face is drawn for steep poses; the other side is its mirror image.
    shown = abs(yaw) if turned_away else yaw
    centered = mean_face - mean_face.mean(axis=0)
    points = Camera.from_angles(shown, pitch, 0).project(centered)[:, :2]
    points *= size / float(np.ptp(centered[:, 1]))
    if turned_away and yaw < 0:
        points[:, 0] *= -1
    points += (x, y)
    strokes = _HALF_STROKES if turned_away else _STROKES
    lines = "".join(
        '<polyline points="' + " ".join(f"{points[i, 0]:.1f},{points[i, 1]:.1f}" for i in stroke) + '"/>'
        for stroke in strokes
    )
    return f'<g fill="none" stroke="{ink}" stroke-width="1.1" opacity="0.85">{lines}</g>'


def _open(width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12" fill="#222222">'
        f"<title>{escape(title)}</title>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _degrees(angle: float) -> str:
    return f"{angle:+g}°" if angle else "0°"


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="#dddddd"/>'


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to eight round values within [low, high]."""
    raw = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999))
    if whole and high - low >= 5:
        step = max(1.0, round(step))
    first = np.ceil(low / step - 1e-9)
    count = int(np.floor((high - first * step) / step + 1e-9)) + 1
    return [round(float((first + i) * step), 10) for i in range(count)]


def _luminance(fill: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2), in [0, 1]."""
    channels = np.array([int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))
