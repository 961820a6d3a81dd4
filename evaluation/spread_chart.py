"""Chart of an error rate by group: one row per group, one mark with its interval per system, and the target rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facerec.evaluation.charts import LINE_COLOURS, Axis, open_svg, svg_rule, svg_text
from facerec.landmarks.errors import InvalidInputError

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 118, 16, 34, 46
_STEP = 11
"""Px between the marks of a row's systems."""


@dataclass(frozen=True)
class SpreadMark:
    """One system's rate in one group.

    Attributes:
        rate: the share of errors.
        low, high: its interval.
        few: whether it rests on few errors: its mark is hollow.
    """

    rate: float
    low: float
    high: float
    few: bool


def spread_chart(
    rows: Sequence[tuple[str, Sequence[SpreadMark | None]]],
    systems: Sequence[str],
    *,
    title: str,
    x: Axis,
    aimed: float | None,
) -> str:
    """An SVG of groups below each other and their rates across; a large distance between the marks is a large
    differential.

    Args:
        rows: groups, each with one mark for each system, None where it has no rate.
        systems: at most as many as there are `LINE_COLOURS`.
        title: what the chart shows, for readers who do not see it.
        x: the axis of the rates; what lies beyond it stands at its edge.
        aimed: a rate to draw a line at.
    """
    if len(systems) > len(LINE_COLOURS) or any(len(marks) != len(systems) for _, marks in rows):
        raise InvalidInputError(
            f"expected a mark for each of at most {len(LINE_COLOURS)} systems in every row; got {len(systems)} systems"
        )
    tall = 14 + _STEP * len(systems)
    top = _TOP if len(systems) > 1 else 12
    plot = tall * len(rows)
    height = top + plot + _BOTTOM

    def across(value: float) -> float:
        return _LEFT + min(max(x.place(value), 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)

    parts = [open_svg(_WIDTH, height, title)]
    for tick in x.ticks():
        parts.append(svg_rule(across(tick), top, across(tick), top + plot))
        parts.append(svg_text(across(tick), top + plot + 16, x.text(tick)))
    parts.append(svg_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 10, x.label))
    if aimed is not None:
        parts.append(
            f'<line x1="{across(aimed):.1f}" y1="{top}" x2="{across(aimed):.1f}" y2="{top + plot}" stroke="#555555" '
            'stroke-width="1.4" stroke-dasharray="4 3"/>'
        )
    for place, (group, marks) in enumerate(rows):
        base = top + tall * place
        parts.append(svg_rule(_LEFT, base + tall, _WIDTH - _RIGHT, base + tall))
        parts.append(svg_text(_LEFT - 8, base + tall / 2 + 4, group, anchor="end"))
        for number, mark in enumerate(marks):
            if mark is None:
                continue
            colour, y = LINE_COLOURS[number], base + 7 + _STEP * (number + 0.5)
            parts.append(
                f'<line x1="{across(mark.low):.1f}" y1="{y:.1f}" x2="{across(mark.high):.1f}" y2="{y:.1f}" '
                f'stroke="{colour}" stroke-width="2"/>'
            )
            fill = "#ffffff" if mark.few else colour
            parts.append(_shape(number, across(mark.rate), y, fill, colour))
    start = float(_LEFT)
    for number, system in enumerate(systems if len(systems) > 1 else ()):
        parts.append(_shape(number, start, 14, LINE_COLOURS[number], LINE_COLOURS[number]))
        parts.append(svg_text(start + 9, 18, system, anchor="start"))
        start += 30 + 6.9 * len(system)
    return "".join([*parts, "</svg>"])


def _shape(number: int, x: float, y: float, fill: str, colour: str) -> str:
    """A circle, a square or a diamond, so that systems differ without their colours too."""
    style = f'fill="{fill}" stroke="{colour}" stroke-width="1.8"'
    if number % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.2" {style}/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if number % 3 == 2 else ""
    return f'<rect x="{x - 3.8:.1f}" y="{y - 3.8:.1f}" width="7.6" height="7.6" {style}{turn}/>'
