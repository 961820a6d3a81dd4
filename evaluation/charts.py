"""Charts of the reports, drawn as plain SVG: no network, no script, sharp in print.

Lines differ by colour, dash and their label; heat maps carry their numbers. Colours of lines are Okabe and Ito's, which
stay apart for colour-blind readers; heat maps use cividis, made for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from facerec.landmarks.errors import InvalidInputError

LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 2", "12 4", "1 5")

_WIDTH, _PLOT_HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 46
_LEGEND_ROW = 18


@dataclass(frozen=True)
class Line:
    """One line of a chart: its label and its points, the same number of x and y."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: its title.
        low, high: what it covers.
        percent: whether values are shares, labelled in percent.
        whole: whether only whole numbers mean anything (ranks).
        log: whether it is logarithmic; `low` > 0 then, and smaller values stand at the edge.
        deviate: whether shares stand at their normal deviates, as in a DET: `low` > 0 and `high` < 1 then.
    """

    label: str
    low: float
    high: float
    percent: bool = True
    whole: bool = False
    log: bool = False
    deviate: bool = False

    def place(self, value: float) -> float:
        """Where `value` stands between the ends, 0 to 1; outside of that when it is beyond them."""
        if self.deviate:
            least, value, most = ndtri([self.low, min(max(value, self.low), self.high), self.high])
            return float((value - least) / (most - least))
        if self.log:
            return float(np.log(max(value, self.low) / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values on the axis."""
        if self.deviate:
            values = [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95]
            return [value for value in values if self.low <= value <= self.high]
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
        return _ticks(self.low, self.high, self.whole)

    def text(self, value: float) -> str:
        """The label of a tick."""
        return f"{round(100 * value, 6) if self.percent else value:g}"


def line_chart(
    lines: Sequence[Line], *, title: str, x: Axis, y: Axis, steps: bool = False, marks: bool = False, even: bool = False
) -> str:
    """An SVG line chart.

    Args:
        lines: at most as many as there are `LINE_COLOURS`.
        title: what the chart shows, for readers who do not see it.
        x, y: the axes.
        steps: draw a staircase that rises at each point (a curve over ranks) rather than straight lines.
        marks: draw a dot at each point.
        even: draw the line on which x equals y, for comparison.
    """
    if len(lines) > len(LINE_COLOURS):
        raise InvalidInputError(f"expected at most {len(LINE_COLOURS)} lines in a chart; got {len(lines)}")
    legend, rows = _legend([line.label for line in lines])
    top = _TOP + _LEGEND_ROW * (rows - 1)
    height = top + _PLOT_HEIGHT + _BOTTOM

    def across(value: float) -> float:
        return _LEFT + x.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        return top + (1 - float(np.clip(y.place(value), 0, 1))) * _PLOT_HEIGHT

    parts = [open_svg(_WIDTH, height, title)]
    for tick in y.ticks():
        parts.append(svg_rule(_LEFT, up(tick), _WIDTH - _RIGHT, up(tick)))
        parts.append(svg_text(_LEFT - 6, up(tick) + 4, y.text(tick), anchor="end"))
    for tick in x.ticks():
        parts.append(svg_rule(across(tick), top, across(tick), top + _PLOT_HEIGHT))
        parts.append(svg_text(across(tick), top + _PLOT_HEIGHT + 16, x.text(tick)))
    parts.append(svg_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 10, x.label))
    middle = top + _PLOT_HEIGHT / 2
    parts.append(
        f'<text class="axis" x="14" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 14 {middle:.1f})">'
        f"{escape(y.label)}</text>"
    )
    if even:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(
            f'<line x1="{across(low):.1f}" y1="{up(low):.1f}" x2="{across(high):.1f}" y2="{up(high):.1f}" '
            'stroke="#999999" stroke-width="1"/>'
        )
    for number, line in enumerate(lines):
        points = [
            (across(float(a)), up(float(b)))
            for a, b in zip(line.x, line.y, strict=True)
            if x.log or x.deviate or x.low <= a <= x.high
        ]
        dots = points
        if steps:
            points = [p for (x0, y0), (x1, y1) in pairwise(points) for p in ((x0, y0), (x1, y0), (x1, y1))] or points
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        style = f'stroke="{LINE_COLOURS[number]}" stroke-dasharray="{_DASHES[number]}"'
        parts.append(f'<polyline points="{path}" fill="none" stroke-width="2.2" {style}/>')
        if marks or len(points) == 1:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{LINE_COLOURS[number]}"/>' for a, b in dots]
        # The legend stands above the axes, where no line can hide it.
        key, row = legend[number]
        base = 16 + _LEGEND_ROW * row
        parts.append(f'<line x1="{key:.0f}" y1="{base}" x2="{key + 28:.0f}" y2="{base}" stroke-width="2.2" {style}/>')
        parts.append(svg_text(key + 34, base + 4, line.label, anchor="start"))
    parts.append("</svg>")
    return "".join(parts)


def _legend(labels: Sequence[str]) -> tuple[list[tuple[float, int]], int]:
    """Where each label's key begins, (x, row), and how many rows there are."""
    places: list[tuple[float, int]] = []
    x, row = float(_LEFT), 0
    for label in labels:
        wide = 48 + 6.9 * len(label)
        if x > _LEFT and x + wide > _WIDTH:
            x, row = float(_LEFT), row + 1
        places.append((x, row))
        x += wide
    return places, row + 1


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
        x=Axis(x_label, float(edges[0]), float(edges[-1]), percent=False),
        y=Axis("pairs in the bin, %", 0.0, float(top)),
    )


@dataclass(frozen=True)
class HeatCell:
    """One cell of a pose grid.

    Attributes:
        yaw, pitch: its place, degrees.
        shade: colour in [0, 1], 1 the brightest; None for a pose without a value.
        texts: what is written below each other, each with the JSON pointer it came from and its form (see
            `facerec.evaluation.pointers.format_value`); None for plain words.
    """

    yaw: float
    pitch: float
    shade: float | None
    texts: Sequence[tuple[str, tuple[str, str] | None]]


def pose_grid(
    cells: Sequence[HeatCell],
    *,
    title: str,
    ends: tuple[str, str],
    heads: Mapping[tuple[float, float], str] | None = None,
) -> str:
    """An SVG heat map with one column per yaw and one row per pitch (upward poses on top).

    Args:
        cells: at most one for each yaw and pitch.
        title: what the chart shows, for readers who do not see it.
        ends: what the darkest and the brightest colour stand for.
        heads: a picture of a head in each pose, as data URIs.
    """
    heads = heads or {}
    yaws = sorted({cell.yaw for cell in cells})
    pitches = sorted({cell.pitch for cell in cells}, reverse=True)
    lines = max(len(cell.texts) for cell in cells)
    picture = 66 if heads else 0
    width, height, left = 92, picture + 18 + 15 * lines, 44
    label = "yaw (columns; + : nose to the image's right), pitch (rows; + : up)"
    # A map of two columns is narrower than what is written below it.
    key_width = 7.8 * (len(ends[0]) + len(ends[1])) + 160
    wide = max(width * len(yaws), round(6.6 * len(label)), round(key_width))
    total = (left + wide + 8, height * len(pitches) + 62)
    parts = [open_svg(*total, title, "heat")]
    for cell in cells:
        x, y = left + width * yaws.index(cell.yaw), height * pitches.index(cell.pitch)
        fill = "#ffffff" if cell.shade is None else colour(cell.shade)
        ink = "#111111" if cell.shade is None or _luminance(fill) > 0.18 else "#ffffff"
        dash = ' stroke-dasharray="4 3"' if cell.shade is None else ""
        parts.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{width - 2}" height="{height - 2}" rx="4" fill="{fill}" '
            f'stroke="#777777"{dash}/>'
        )
        head = heads.get((cell.yaw, cell.pitch))
        if head is not None:
            # On white, so that a dark cell does not swallow the head.
            parts.append(
                f'<rect x="{x + 5}" y="{y + 5}" width="{width - 10}" height="{picture}" rx="3" fill="#ffffff"/>'
                f'<image x="{x + (width - picture) / 2}" y="{y + 5}" width="{picture}" height="{picture}" '
                f'href="{head}"/>'
            )
        for number, (text, source) in enumerate(cell.texts):
            base = y + picture + 22 + 15 * number
            size = 'font-size="17" font-weight="600"' if number == 0 else 'font-size="11"'
            key = "" if source is None else f' data-key="{escape(source[0])}" data-format="{source[1]}"'
            key += f' class="{"figure" if number == 0 else "detail"}{" axis" if source is None else ""}"'
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{base}" text-anchor="middle" fill="{ink}" {size}{key}>'
                f"{escape(text)}</text>"
            )
    bottom = height * len(pitches)
    for yaw in yaws:
        parts.append(svg_text(left + width * (yaws.index(yaw) + 0.5), bottom + 15, _degrees(yaw)))
    for pitch in pitches:
        parts.append(svg_text(left - 6, height * (pitches.index(pitch) + 0.5) + 4, _degrees(pitch), anchor="end"))
    parts.append(svg_text(left, bottom + 34, label, anchor="start"))
    parts += _colour_key(left, bottom + 43, ends)
    parts.append("</svg>")
    return "".join(parts)


def _colour_key(x: float, y: float, ends: tuple[str, str]) -> list[str]:
    """A strip of the colours from the darkest to the brightest, with what its ends stand for."""
    steps, wide = 24, 6
    start = x + 7.8 * len(ends[0]) + 6
    parts = [svg_text(x, y + 10, ends[0], anchor="start")]
    parts += [
        f'<rect x="{start + wide * i:.1f}" y="{y}" width="{wide + 0.5}" height="12" fill="{colour(i / (steps - 1))}"/>'
        for i in range(steps)
    ]
    return [*parts, svg_text(start + wide * steps + 6, y + 10, ends[1], anchor="start")]


def colour(shade: float) -> str:
    """cividis at `shade` within [0, 1], as #rrggbb."""
    from matplotlib import colormaps  # late: only reports need it

    red, green, blue, _ = colormaps["cividis"](float(np.clip(shade, 0, 1)))
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def open_svg(width: float, height: float, title: str, kind: str = "") -> str:
    """The first tag of a drawing, with its title; `kind` is a class for the page's style."""
    kind = f' class="{kind}"' if kind else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13" fill="#222222"{kind}>'
        f"<title>{escape(title)}</title>"
    )


def svg_text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """Words of an axis or a legend at (x, y)."""
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _degrees(angle: float) -> str:
    return f"{angle:+g}°" if angle else "0°"


def svg_rule(x0: float, y0: float, x1: float, y1: float) -> str:
    """A line of the background."""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="#dddddd"/>'


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to eight round values within [low, high]."""
    raw = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999))
    if whole:
        step = max(1.0, round(step))
    first = np.ceil(low / step - 1e-9)
    count = int(np.floor((high - first * step) / step + 1e-9)) + 1
    return [round(float((first + i) * step), 10) for i in range(count)]


def _luminance(fill: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2), in [0, 1]."""
    channels = np.array([int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))
